//! Values as PostgreSQL's input and receive functions read them -> keys. Exact or not at all.

use shardmap::Key;

use super::built_in::oid;
use crate::catalog::{KeyType, Oid};

/// What equality a key has; keys of one class with equal values live on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// int2, int4, int8, and the equalities across them.
    Integer,
    /// text and varchar in a deterministic collation: equal bytes.
    Text,
    /// char(n): equal but for trailing blanks.
    Padded,
    /// uuid.
    Uuid,
}

impl Class {
    /// The class of a key.
    pub fn of_key(key_type: KeyType) -> Class {
        match key_type {
            KeyType::Integer => Class::Integer,
            KeyType::Text { .. } => Class::Text,
            KeyType::PaddedText { .. } => Class::Padded,
            KeyType::Uuid => Class::Uuid,
        }
    }

    /// The class of a column's type, if it has one.
    pub fn of_type(type_oid: Oid) -> Option<Class> {
        match type_oid {
            oid::INT2 | oid::INT4 | oid::INT8 => Some(Class::Integer),
            oid::TEXT | oid::VARCHAR => Some(Class::Text),
            oid::BPCHAR => Some(Class::Padded),
            oid::UUID => Some(Class::Uuid),
            _ => None,
        }
    }

    /// Whether a cast to this type leaves a value of the class what it is.
    pub fn keeps(self, type_oid: Oid) -> bool {
        match self {
            Class::Integer | Class::Uuid | Class::Text => Class::of_type(type_oid) == Some(self),
            Class::Padded => matches!(Class::of_type(type_oid), Some(Class::Padded | Class::Text)),
        }
    }

    /// Whether a value of this type, compared with a key of this class, is compared by the key's own equality. For Text, not
    /// bpchar: against varchar the comparison would be bpchar's, blind to trailing blanks. Text where a number or a uuid is
    /// wanted only parses at all if the statement casts it.
    pub fn accepts(self, type_oid: Oid) -> bool {
        match self {
            Class::Integer => {
                matches!(type_oid, oid::INT2 | oid::INT4 | oid::INT8 | oid::TEXT | oid::VARCHAR | oid::UNKNOWN)
            }
            Class::Text => matches!(type_oid, oid::TEXT | oid::VARCHAR | oid::UNKNOWN),
            Class::Padded => matches!(type_oid, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::UNKNOWN),
            Class::Uuid => matches!(type_oid, oid::UUID | oid::TEXT | oid::VARCHAR | oid::UNKNOWN),
        }
    }

    /// The key that this text is in the text format of the class's types.
    pub fn parse(self, text: &str) -> Option<Key> {
        match self {
            Class::Integer => integer(text).map(Key::Integer),
            Class::Text => Some(Key::Text(text.into())),
            Class::Padded => Some(Key::Text(text.trim_end_matches(' ').into())),
            Class::Uuid => uuid(text).map(Key::Uuid),
        }
    }
}

/// A built-in type's oid by the name that the grammar gives it.
pub fn type_oid(name: &str) -> Option<Oid> {
    Some(match name {
        "int2" => oid::INT2,
        "int4" => oid::INT4,
        "int8" => oid::INT8,
        "text" => oid::TEXT,
        "varchar" => oid::VARCHAR,
        "bpchar" => oid::BPCHAR,
        "uuid" => oid::UUID,
        "numeric" => oid::NUMERIC,
        _ => return None,
    })
}

/// The array type over a built-in type.
pub fn array_of(element: Oid) -> Option<Oid> {
    ARRAYS.iter().find(|(_, of)| *of == element).map(|(array, _)| *array)
}

/// The element type of a built-in array type; `unknown` stands for an array of unknown elements.
pub fn element_of(array: Oid) -> Option<Oid> {
    if array == oid::UNKNOWN {
        return Some(oid::UNKNOWN);
    }
    ARRAYS.iter().find(|(of, _)| *of == array).map(|(_, element)| *element)
}

const ARRAYS: [(Oid, Oid); 7] = [
    (oid::INT2_ARRAY, oid::INT2),
    (oid::INT4_ARRAY, oid::INT4),
    (oid::INT8_ARRAY, oid::INT8),
    (oid::TEXT_ARRAY, oid::TEXT),
    (oid::VARCHAR_ARRAY, oid::VARCHAR),
    (oid::BPCHAR_ARRAY, oid::BPCHAR),
    (oid::UUID_ARRAY, oid::UUID),
];

/// The value in which a row with this key is stored: blanks beyond n are cut off, other characters beyond n are an error
/// (`None`). *Source*: manual of PostgreSQL 15, 8.3.
pub fn stored(key: Key, key_type: KeyType) -> Option<Key> {
    let (Key::Text(text), Some(max_chars)) = (&key, max_chars(key_type)) else { return Some(key) };
    let Some((cut, _)) = text.char_indices().nth(max_chars as usize) else { return Some(key) };
    let (kept, rest) = text.split_at(cut);
    rest.bytes().all(|byte| byte == b' ').then(|| Key::Text(kept.into()))
}

fn max_chars(key_type: KeyType) -> Option<u32> {
    match key_type {
        KeyType::Text { max_chars } => max_chars,
        KeyType::PaddedText { max_chars } => Some(max_chars),
        KeyType::Integer | KeyType::Uuid => None,
    }
}

/// So many decimal digits are within the range of `bigint`, whichever they are.
const DIGITS_MAX: usize = 18;

/// Every text that `int8in` of any version accepts, and no text that two versions read differently: since 16 also
/// `0x1F`, `0o7`, `0b1` and `1_000`. Texts it refuses are refused by every version. *Source*: pg_strtoint64_safe, numutils.c.
pub fn integer(text: &str) -> Option<i64> {
    if (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.bytes().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')));
    }
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        // A decimal number does not begin with an underscore; after a prefix one may.
        [b'_', ..] => return None,
        _ => (10, digits),
    };
    let mut value: i128 = 0;
    let mut underscore = false;
    let mut any = false;
    for character in digits.chars() {
        if character == '_' && !underscore {
            underscore = true;
            continue;
        }
        value = value.checked_mul(i128::from(radix))?.checked_add(i128::from(character.to_digit(radix)?))?;
        (underscore, any) = (false, true);
    }
    if underscore || !any {
        return None;
    }
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Every spelling `uuid_in` accepts: digits of any case, a hyphen after any group of four, braces around. *Source*: uuid.c.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let inside = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut rest = inside.as_bytes();
    let mut bytes = [0u8; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let [high, low, tail @ ..] = rest else { return None };
        *byte = u8::try_from(char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?).ok()?;
        rest = match tail {
            [b'-', tail @ ..] if index % 2 == 1 && index < 15 => tail,
            tail => tail,
        };
    }
    rest.is_empty().then_some(bytes)
}

/// The elements of an array in text format, of any number of dimensions, NULLs as `None`; `None` for what is not certainly one.
/// *Source*: manual of PostgreSQL 15, 8.15.6.
pub fn array_elements(text: &str) -> Option<Vec<Option<String>>> {
    let mut rest = text.trim_matches(BLANKS);
    if rest.starts_with('[') {
        rest = rest.split_once('=')?.1.trim_start_matches(BLANKS);
    }
    let mut reader = ArrayText { rest, elements: Vec::new() };
    let mut depth = 0usize;
    let mut between = false;
    loop {
        reader.skip_blanks();
        match reader.rest.chars().next()? {
            '{' if !between => {
                depth += 1;
                reader.advance(1)?;
                reader.skip_blanks();
                if reader.rest.starts_with('}') {
                    depth -= 1;
                    reader.advance(1)?;
                    between = true;
                }
            }
            '}' if between => {
                depth = depth.checked_sub(1)?;
                reader.advance(1)?;
            }
            ',' if between => {
                reader.advance(1)?;
                between = false;
            }
            _ if depth > 0 && !between => {
                reader.element()?;
                between = true;
            }
            _ => return None,
        }
        if depth == 0 {
            reader.skip_blanks();
            return reader.rest.is_empty().then_some(reader.elements);
        }
    }
}

const BLANKS: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

struct ArrayText<'t> {
    rest: &'t str,
    elements: Vec<Option<String>>,
}

impl ArrayText<'_> {
    fn advance(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(BLANKS);
    }

    fn element(&mut self) -> Option<()> {
        let quoted = self.rest.starts_with('"');
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        if quoted {
            characters.next();
        }
        let end = loop {
            let (at, character) = characters.next()?;
            match character {
                '\\' if !quoted => return None,
                '\\' => value.push(characters.next()?.1),
                '"' if quoted => break at + 1,
                '"' | '{' if !quoted => return None,
                ',' | '}' if !quoted => break at,
                other => value.push(other),
            }
        };
        self.advance(end)?;
        if quoted {
            self.elements.push(Some(value));
            return Some(());
        }
        let value = value.trim_matches(BLANKS);
        if value.is_empty() {
            return None;
        }
        self.elements.push((!value.eq_ignore_ascii_case("null")).then(|| value.to_owned()));
        Some(())
    }
}

/// The elements of an array in binary format, NULLs as `None`. *Source*: array_recv, arrayfuncs.c.
pub fn binary_array_elements(bytes: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (dimensions, rest) = take_u32(bytes)?;
    let (_flags, rest) = take_u32(rest)?;
    let (_element_type, mut rest) = take_u32(rest)?;
    if dimensions == 0 {
        return Some(Vec::new());
    }
    let mut count: u64 = 1;
    // MAXDIM
    for _ in 0..(dimensions <= 6).then_some(dimensions)? {
        let (size, tail) = take_u32(rest)?;
        let (_lower_bound, tail) = take_u32(tail)?;
        count = count.checked_mul(u64::from(size))?;
        rest = tail;
    }
    // Each element takes four bytes at least: a lying count allocates nothing.
    if count > (rest.len() / 4) as u64 {
        return None;
    }
    let mut elements = Vec::new();
    for _ in 0..count {
        let (length, tail) = take_u32(rest)?;
        if length == u32::MAX {
            elements.push(None);
            rest = tail;
            continue;
        }
        let (element, tail) = tail.split_at_checked(usize::try_from(length).ok()?)?;
        elements.push(Some(element));
        rest = tail;
    }
    Some(elements)
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn integers_are_read_as_every_version_of_postgresql_reads_them() {
        for (text, value) in [
            ("7", 7),
            ("999999999999999999", 999_999_999_999_999_999),
            ("0000000000000000000000007", 7),
            (" \t+7\n", 7),
            ("-007", -7),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("0x1F", 31),
            ("-0b101", -5),
            ("0o17", 15),
            ("1_000", 1000),
            ("0x_ff", 255),
        ] {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        for text in
            ["", " ", "-", "7.0", "1e3", "7 7", "+-7", "1__0", "_1", "1_", "0x", "9223372036854775808", "٣", "7\u{a0}"]
        {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn uuids_are_read_in_every_accepted_spelling_and_no_other() {
        let bytes = uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").unwrap();
        for text in [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(uuid(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            " a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11-",
            "a0eebc999c0b4ef8bb6d6bb9bd380a1",
        ] {
            assert_eq!(uuid(text), None, "{text}");
        }
    }

    #[test]
    fn array_texts_give_their_elements_or_nothing() {
        let some = |texts: &[&str]| Some(texts.iter().map(|t| Some((*t).to_owned())).collect::<Vec<_>>());
        assert_eq!(array_elements("{1,2, 3 }"), some(&["1", "2", "3"]));
        assert_eq!(array_elements(r#" { "a,b" , "c\"}" } "#), some(&["a,b", "c\"}"]));
        assert_eq!(array_elements("{{1,2},{3,4}}"), some(&["1", "2", "3", "4"]));
        assert_eq!(array_elements("[2:3]={5,6}"), some(&["5", "6"]));
        assert_eq!(array_elements("{}"), Some(vec![]));
        assert_eq!(array_elements("{1,NULL,\"null\"}"), Some(vec![Some("1".into()), None, Some("null".into())]));
        for text in ["", "1,2", "{1,2", "{1,,2}", "{1,}", "{1}}", "{a\\b}", "{\"a\"b}", "{a\"b\"}", "{1}{2}", "{{1},}"]
        {
            assert_eq!(array_elements(text), None, "{text}");
        }
    }

    #[test]
    fn a_binary_array_with_a_lying_count_is_refused_without_allocating() {
        let mut bytes = Vec::new();
        for word in [1u32, 0, 23, u32::MAX, 1] {
            bytes.extend(word.to_be_bytes());
        }
        assert_eq!(binary_array_elements(&bytes), None);
        assert_eq!(binary_array_elements(&[0; 12]), Some(vec![]));
        assert_eq!(binary_array_elements(&[0; 11]), None);
    }

    #[test]
    fn stored_text_loses_blanks_beyond_its_length_and_nothing_else() {
        let key = |text: &str| Key::Text(text.into());
        let varchar = KeyType::Text { max_chars: Some(3) };
        assert_eq!(stored(key("äbc  "), varchar), Some(key("äbc")));
        assert_eq!(stored(key("ab "), varchar), Some(key("ab ")));
        assert_eq!(stored(key("abcd"), varchar), None);
    }
}
