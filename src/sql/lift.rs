//! Lifts literals out of a statement's text, in one pass over its bytes, so that texts which differ in them only have one
//! *shape*. Pure; called for every simple query, before anything is parsed.
//!
//! The rules are those of PostgreSQL 15's lexer (src/backend/parser/scan.l) with `standard_conforming_strings` on. Only whole
//! numbers, decimals without an exponent and plain strings are lifted; whatever else there is stays in the shape byte for
//! byte. Where versions of PostgreSQL cut a text differently (`1_000`, `0x1F`, `123abc`), or a mistake would put us on the
//! wrong side of a quote, nothing is lifted. That each literal is a constant of its own is checked against PostgreSQL's parser
//! when a shape is seen for the first time ([`super::erase`]).

/// Longer texts hold data rather than a statement that comes again.
pub const LIFTED_TEXT_BYTES: usize = 16 * 1024;

/// Literals of one text at the most: with a few columns, rows by the hundred.
const LITERALS_MAX: usize = 2_000;

/// What a literal is to PostgreSQL's parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LiteralKind {
    /// A whole number up to 2^31 - 1.
    Int4,
    /// A whole number up to 2^63 - 1.
    Int8,
    /// Digits, a point, digits.
    Decimal,
    /// `'...'`, quotes in it doubled.
    Text,
}

impl LiteralKind {
    /// What stands for it in a shape, behind a NUL, which no text contains.
    fn mark(self) -> u8 {
        match self {
            LiteralKind::Int4 => b'i',
            LiteralKind::Int8 => b'l',
            LiteralKind::Decimal => b'd',
            LiteralKind::Text => b't',
        }
    }
}

/// A literal's place in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// First byte.
    pub start: u32,
    /// Behind its last byte.
    pub end: u32,
    /// What it is.
    pub kind: LiteralKind,
}

impl Literal {
    /// Its token, quotes included.
    pub fn token<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A text taken apart. Kept by its user, so that its memory is used again.
#[derive(Debug, Default)]
pub struct Lifted {
    /// The text with a mark for each literal, and without comments.
    pub shape: Vec<u8>,
    /// The literals, in order.
    pub literals: Vec<Literal>,
}

impl Lifted {
    /// Takes a text apart; whether it can be, and has a literal.
    pub fn read(&mut self, text: &[u8]) -> bool {
        self.shape.clear();
        self.literals.clear();
        if text.len() > LIFTED_TEXT_BYTES {
            return false;
        }
        let mut lexer = Lexer { text, at: 0, copied: 0, lifted: self };
        lexer.run().is_some() && !self.literals.is_empty()
    }

    /// The shape in which only some literals are lifted; the others stand there as they are in the text.
    pub fn narrowed(&self, text: &[u8], keep: &[bool]) -> Vec<u8> {
        let mut narrow = Vec::with_capacity(text.len());
        let mut rest = self.shape.as_slice();
        for (literal, lifted) in self.literals.iter().zip(keep) {
            let Some(at) = memchr::memchr(0, rest) else { break };
            let (before, mark) = rest.split_at(at);
            narrow.extend_from_slice(before);
            let (mark, after) = mark.split_at_checked(2).unwrap_or((mark, &[]));
            let token = text.get(literal.start as usize..literal.end as usize).unwrap_or_default();
            narrow.extend_from_slice(if *lifted { mark } else { token });
            rest = after;
        }
        narrow.extend_from_slice(rest);
        narrow
    }

    /// Whether the text has comments, which the shape has not.
    pub fn left_comments_out(&self, text: &[u8]) -> bool {
        // A mark has two bytes.
        let marks = 2 * self.literals.len();
        let literals: usize = self.literals.iter().map(|literal| (literal.end - literal.start) as usize).sum();
        self.shape.len() + literals != text.len() + marks
    }

    /// Gives back memory that one long text took.
    pub fn shrink(&mut self, bytes: usize) {
        if self.shape.capacity() > bytes || self.literals.capacity() * size_of::<Literal>() > bytes {
            *self = Lifted::default();
        }
    }
}

/// The characters of an identifier: ident_start, and with digits and `$` ident_cont.
const fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    WORD[byte as usize]
}

/// By byte: a character of an identifier.
const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_word_start(byte as u8) || (byte as u8).is_ascii_digit() || byte as u8 == b'$';
        byte += 1;
    }
    table
};

/// By byte, where a token may begin: whether it is a space or an operator's character that begins nothing else.
const PASSED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = !WORD[byte] && !matches!(byte as u8, 0 | b'\'' | b'"' | b'-' | b'/' | b'.');
        byte += 1;
    }
    table
};

/// *Source*: scan.l, `space`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Up to here the shape is written.
    copied: usize,
    lifted: &'a mut Lifted,
}

impl Lexer<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// `None` for a text that is not to be taken apart.
    fn run(&mut self) -> Option<()> {
        while let Some(byte) = self.text.get(self.at).copied() {
            match byte {
                0 => return None,
                b'0'..=b'9' => self.number()?,
                b'\'' => self.plain_string()?,
                b'"' => self.quoted_name()?,
                b'$' => self.parameter()?,
                // Outside quotes these begin comments even in the middle of an operator.
                b'-' if self.byte(self.at + 1) == b'-' => self.line_comment(),
                b'/' if self.byte(self.at + 1) == b'*' => self.block_comment()?,
                // A fraction without a whole part, or a column of a number, which is none.
                b'.' => self.skip(1, |byte| byte.is_ascii_digit()),
                _ if is_word_start(byte) => self.word()?,
                _ => self.skip(1, |byte| PASSED[byte as usize]),
            }
        }
        self.copy_to(self.text.len());
        Some(())
    }

    fn skip(&mut self, first: usize, more: impl Fn(u8) -> bool) {
        self.at += first;
        while self.text.get(self.at).is_some_and(|byte| more(*byte)) {
            self.at += 1;
        }
    }

    fn copy_to(&mut self, end: usize) {
        self.lifted.shape.extend_from_slice(self.text.get(self.copied..end).unwrap_or_default());
        self.copied = end;
    }

    /// Lifts what lies between `start` and here.
    fn lift(&mut self, start: usize, kind: LiteralKind) -> Option<()> {
        if self.lifted.literals.len() == LITERALS_MAX {
            return None;
        }
        self.copy_to(start);
        self.copied = self.at;
        self.lifted.shape.extend_from_slice(&[0, kind.mark()]);
        let (start, end) = (u32::try_from(start).ok()?, u32::try_from(self.at).ok()?);
        self.lifted.literals.push(Literal { start, end, kind });
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let mut value = Some(0u64);
        while let digit @ b'0'..=b'9' = self.byte(self.at) {
            value = value.and_then(|value| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
            self.at += 1;
        }
        let mut kind = match value {
            Some(value) if i32::try_from(value).is_ok() => Some(LiteralKind::Int4),
            Some(value) if i64::try_from(value).is_ok() => Some(LiteralKind::Int8),
            Some(_) | None => None,
        };
        if self.byte(self.at) == b'.' {
            kind = self.byte(self.at + 1).is_ascii_digit().then_some(LiteralKind::Decimal);
            self.skip(1, |byte| byte.is_ascii_digit());
        }
        if matches!(self.byte(self.at), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(self.at + 1), b'+' | b'-'));
            if self.byte(self.at + 1 + sign).is_ascii_digit() {
                kind = None;
                self.skip(1 + sign, |byte| byte.is_ascii_digit());
            }
        }
        // What sticks to a number is cut off by some versions and refused by others.
        match kind {
            Some(kind) if !is_word(self.byte(self.at)) && self.byte(self.at) != b'.' => self.lift(start, kind),
            Some(_) | None => Some(()),
        }
    }

    fn plain_string(&mut self) -> Option<()> {
        let start = self.at;
        self.quoted(b'\'')?;
        self.no_continuation()?;
        self.lift(start, LiteralKind::Text)
    }

    fn quoted_name(&mut self) -> Option<()> {
        self.quoted(b'"')
    }

    /// To behind the closing quote; a doubled one is part of what is quoted.
    fn quoted(&mut self, quote: u8) -> Option<()> {
        self.at += 1;
        loop {
            self.at += memchr::memchr2(quote, 0, self.text.get(self.at..)?)? + 1;
            if self.byte(self.at - 1) == 0 {
                return None;
            }
            if self.byte(self.at) != quote {
                return Some(());
            }
            self.at += 1;
        }
    }

    /// A string goes on in the next line if that begins with a quote. *Source*: scan.l, `quotecontinue`.
    fn no_continuation(&self) -> Option<()> {
        let mut at = self.at;
        loop {
            match self.byte(at) {
                b'\'' => return None,
                b'-' if self.byte(at + 1) == b'-' => at += line_length(self.text.get(at..)?),
                byte if is_space(byte) => at += 1,
                _ => return Some(()),
            }
        }
    }

    /// A name or keyword, or the letter before a string of another kind: `E'...'` stays as it is, the rare ones are left alone.
    fn word(&mut self) -> Option<()> {
        let start = self.at;
        self.skip(1, is_word);
        let next = self.byte(self.at);
        if self.at - start != 1 || !matches!(next, b'\'' | b'&') {
            return Some(());
        }
        match (self.byte(start).to_ascii_lowercase(), next) {
            (b'e', b'\'') => self.escaped_string(),
            (b'b' | b'x' | b'n', b'\'') => None,
            (b'u', b'&') if matches!(self.byte(self.at + 1), b'\'' | b'"') => None,
            _ => Some(()),
        }
    }

    fn escaped_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += memchr::memchr3(b'\'', b'\\', 0, self.text.get(self.at..)?)? + 1;
            match self.byte(self.at - 1) {
                0 => return None,
                b'\\' => self.at += 1,
                _ if self.byte(self.at) == b'\'' => self.at += 1,
                _ => return self.no_continuation(),
            }
        }
    }

    /// `$1`; a string in dollars is left alone.
    fn parameter(&mut self) -> Option<()> {
        if !self.byte(self.at + 1).is_ascii_digit() {
            return None;
        }
        self.skip(1, |byte| byte.is_ascii_digit());
        Some(())
    }

    // Comments mean nothing, and some clients number them.

    fn line_comment(&mut self) {
        self.copy_to(self.at);
        self.at += line_length(self.text.get(self.at..).unwrap_or_default());
        self.copied = self.at;
        self.lifted.shape.push(b' ');
    }

    fn block_comment(&mut self) -> Option<()> {
        self.copy_to(self.at);
        let mut depth = 0usize;
        loop {
            match (self.byte(self.at), self.byte(self.at + 1)) {
                (b'/', b'*') => (depth, self.at) = (depth + 1, self.at + 2),
                (b'*', b'/') => (depth, self.at) = (depth - 1, self.at + 2),
                (0, _) => return None,
                _ => self.at += 1,
            }
            if depth == 0 {
                break;
            }
        }
        self.copied = self.at;
        self.lifted.shape.push(b' ');
        Some(())
    }
}

/// Up to the end of the line. *Source*: scan.l, `newline`.
fn line_length(text: &[u8]) -> usize {
    memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len())
}

#[cfg(test)]
#[path = "lift_tests.rs"]
mod tests;
