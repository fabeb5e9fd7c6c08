//! CSV format: where a line ends, where a field ends, what its quotes mean.

use super::line_end::{
    AfterDot, LineEnd, Pending, Scan, after_carriage_return, after_dot, after_dot_cr, carriage_return, newline,
};
use super::marks::{Marks, find_near};
use super::{Field, SplitFault};

/// Finds line ends; remembers what it has read of the current line. *Source*: `CopyReadLineText`, its CSV parts.
#[derive(Debug)]
pub(super) struct CsvLines {
    marks: Marks,
    quote: u8,
    /// `None` when it is the quote itself: then doubling it leaves and enters the quotes, which comes to the same.
    escape: Option<u8>,
    line_end: Option<LineEnd>,
    pending: Pending,
    /// No byte of the line has been read: only here can `\.` stand.
    at_start: bool,
    in_quote: bool,
    /// The last byte was an escape within quotes that is not itself escaped.
    after_escape: bool,
    /// Quoted line ends in the current line, as PostgreSQL counts them.
    inner_lines: u64,
}

impl CsvLines {
    pub(super) fn new(quote: u8, escape: u8) -> CsvLines {
        CsvLines {
            marks: Marks::new([b'\n', b'\r', quote, escape]),
            quote,
            escape: (escape != quote).then_some(escape),
            line_end: None,
            pending: Pending::Nothing,
            at_start: true,
            in_quote: false,
            after_escape: false,
            inner_lines: 0,
        }
    }

    /// Quoted line ends of the line that has just ended or is being read.
    pub(super) fn inner_lines(&self) -> u64 {
        self.inner_lines
    }

    /// Forgets the line that has ended.
    pub(super) fn begin_line(&mut self) {
        self.at_start = true;
        self.in_quote = false;
        self.after_escape = false;
        self.inner_lines = 0;
    }

    /// The calls of `scan` from now on are about another chunk.
    pub(super) fn begin_chunk(&mut self) {
        self.marks.begin_chunk();
    }

    /// Scans `bytes`, a whole chunk, from `at`, where the last call ended, up to the end of the line.
    pub(super) fn scan(&mut self, bytes: &[u8], at: usize) -> Result<Scan, SplitFault> {
        let mut at = at;
        loop {
            if self.pending != Pending::Nothing {
                let Some(&byte) = bytes.get(at) else { return Ok(Scan::More) };
                if let Some(scan) = self.resume(byte, &mut at)? {
                    return Ok(scan);
                }
                continue;
            }
            // At the start of a line and after an escape any byte matters, else those that are marked.
            let here = if self.at_start || self.after_escape { Some(at) } else { self.marks.next(bytes, at) };
            let Some((here, &byte)) = here.and_then(|here| Some((here, bytes.get(here)?))) else {
                return Ok(Scan::More);
            };
            at = here + 1;
            let may_be_marker = self.at_start && byte == b'\\';
            self.at_start = false;
            if self.step(byte)? {
                return Ok(Scan::Row { end: at, end_bytes: 1 });
            }
            if may_be_marker {
                self.pending = Pending::Backslash;
            }
        }
    }

    /// The byte that counts as a line within quotes. Before the first line has ended that is `\r`, as in PostgreSQL.
    fn counted(&self) -> u8 {
        if self.line_end == Some(LineEnd::Lf) { b'\n' } else { b'\r' }
    }

    /// Reads one byte: `true` if it ends the line.
    fn step(&mut self, byte: u8) -> Result<bool, SplitFault> {
        let is_escape = self.escape == Some(byte);
        if self.in_quote && is_escape {
            self.after_escape = !self.after_escape;
        }
        if byte == self.quote && !self.after_escape {
            self.in_quote = !self.in_quote;
        }
        if !is_escape {
            self.after_escape = false;
        }
        if self.in_quote {
            self.inner_lines += u64::from(byte == self.counted());
            return Ok(false);
        }
        match byte {
            b'\n' => newline(&mut self.line_end, true).map(|()| true),
            b'\r' => {
                let ends = carriage_return(self.line_end, true)?;
                if !ends {
                    self.pending = Pending::Cr;
                }
                Ok(ends)
            }
            _ => Ok(false),
        }
    }

    /// Reads the byte at `at`, which says what is pending; leaves it unread if that turns out to be mere data.
    fn resume(&mut self, byte: u8, at: &mut usize) -> Result<Option<Scan>, SplitFault> {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        let after = match pending {
            Pending::Nothing => return Ok(None),
            Pending::Cr => {
                let two = after_carriage_return(&mut self.line_end, Some(byte), true)?;
                let extra = usize::from(two);
                return Ok(Some(Scan::Row { end: *at + extra, end_bytes: 1 + extra }));
            }
            Pending::Backslash => {
                if byte == b'.' {
                    *at += 1;
                    self.pending = Pending::Dot;
                }
                return Ok(None);
            }
            Pending::Dot => after_dot(self.line_end, byte, true),
            Pending::DotCr => after_dot_cr(byte),
        };
        match after {
            AfterDot::Marker => {
                let marker_bytes = if pending == Pending::DotCr { 4 } else { 3 };
                Ok(Some(Scan::Marker { end: *at + 1, marker_bytes }))
            }
            AfterDot::NeedsNewline => {
                *at += 1;
                self.pending = Pending::DotCr;
                Ok(None)
            }
            AfterDot::WrongStyle => Err(SplitFault::MarkerStyle),
            AfterDot::NoMarker => self.replay(pending).map(|()| None),
        }
    }

    /// Reads again, as data, what follows the backslash of an end marker that is none.
    fn replay(&mut self, pending: Pending) -> Result<(), SplitFault> {
        self.step(b'.')?;
        if pending == Pending::DotCr {
            self.step(b'\r')?;
        }
        Ok(())
    }

    /// The data ends: how many of the last bytes are a line end.
    pub(super) fn finish(&mut self) -> Result<usize, SplitFault> {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        match pending {
            Pending::Nothing | Pending::Backslash | Pending::Cr => {}
            Pending::Dot | Pending::DotCr => self.replay(pending)?,
        }
        if pending == Pending::Cr || self.pending == Pending::Cr {
            self.pending = Pending::Nothing;
            return after_carriage_return(&mut self.line_end, None, true).map(|_| 1);
        }
        Ok(0)
    }
}

/// Finds one field of a line. *Source*: `CopyReadAttributesCSV`, and `NextCopyFrom` for the FORCE options.
#[derive(Debug)]
pub(super) struct CsvFields {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    pub(super) escape: u8,
    pub(super) null: Vec<u8>,
    pub(super) force_not_null: bool,
    pub(super) force_null: bool,
}

/// Where a field ends.
struct FieldEnd {
    /// Its length in the line.
    length: usize,
    /// A delimiter follows, so the line has one more field.
    delimited: bool,
    /// Its quotes that open or close.
    quotes: usize,
    /// It contains an escaped byte.
    escaped: bool,
}

impl CsvFields {
    /// Field `index`, from 0, of a line without its end. `scratch` holds the value if it cannot be borrowed.
    pub(super) fn field<'a>(&'a self, line: &'a [u8], index: usize, scratch: &'a mut Vec<u8>) -> Field<'a> {
        let mut rest = line;
        for _ in 0..index {
            match self.field_end(rest) {
                Some(end) if end.delimited => rest = &rest[end.length + 1..],
                _ => return Field::Missing,
            }
        }
        let Some(end) = self.field_end(rest) else { return Field::Missing };
        let raw = &rest[..end.length];
        if end.quotes == 0 && raw == self.null {
            return if self.force_not_null { Field::Value(&self.null) } else { Field::Null };
        }
        let value = self.value(raw, &end, scratch);
        if self.force_null && value == self.null { Field::Null } else { Field::Value(value) }
    }

    fn value<'a>(&self, raw: &'a [u8], end: &FieldEnd, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        match raw {
            _ if end.quotes == 0 => raw,
            [first, inner @ .., last]
                if end.quotes == 2 && !end.escaped && *first == self.quote && *last == self.quote =>
            {
                inner
            }
            _ => {
                self.unquote(raw, scratch);
                scratch
            }
        }
    }

    /// `None` if the quotes do not end.
    fn field_end(&self, bytes: &[u8]) -> Option<FieldEnd> {
        let mut at = 0;
        let mut quotes = 0;
        let mut escaped = false;
        loop {
            let Some(found) = find_near(self.delimiter, self.quote, &bytes[at..]) else {
                return Some(FieldEnd { length: bytes.len(), delimited: false, quotes, escaped });
            };
            let here = at + found;
            if bytes[here] == self.delimiter {
                return Some(FieldEnd { length: here, delimited: true, quotes, escaped });
            }
            at = here + 1;
            quotes += 1;
            loop {
                at += find_near(self.quote, self.escape, &bytes[at..])? + 1;
                if self.escapes(bytes, at) {
                    escaped = true;
                    at += 1;
                } else if bytes[at - 1] == self.quote {
                    quotes += 1;
                    break;
                }
            }
        }
    }

    /// Whether, within quotes, the byte before `at` escapes the one at `at`.
    fn escapes(&self, bytes: &[u8], at: usize) -> bool {
        bytes[at - 1] == self.escape && bytes.get(at).is_some_and(|&next| next == self.escape || next == self.quote)
    }

    /// Puts what `raw`, a whole field, stands for into `out`.
    fn unquote(&self, raw: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let mut in_quote = false;
        let mut at = 0;
        while at < raw.len() {
            at += 1;
            if in_quote && self.escapes(raw, at) {
                out.push(raw[at]);
                at += 1;
            } else if raw[at - 1] == self.quote {
                in_quote = !in_quote;
            } else {
                out.push(raw[at - 1]);
            }
        }
    }
}
