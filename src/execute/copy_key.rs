//! A field of COPY data -> the key that the shard would store: the input functions of the key types, again.
//!
//! What a supported server may accept must be read here as it reads it, or a row is stored where nobody looks for it. So
//! integers are read as PostgreSQL 16 and later do (`0x1F`, `1_000`): an older server refuses those by itself. The other
//! direction is harmless: a key found here in a row that the shard refuses.

use shardmap::Key;

use crate::catalog::KeyType;
use crate::wire::copy::Field;

/// What a field says of the row's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyDecode {
    /// The row belongs to the shard of this key.
    Key(Key),
    /// The key is NULL.
    Null,
    /// No server takes this for a value of the key's type: any shard may get the row, and refuse it in its own words.
    Invalid,
    /// A text key with characters beyond ASCII in an encoding that the gateway does not convert: the row must be refused.
    Unreadable,
}

/// How COPY's fields are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldFormat {
    /// Text and CSV.
    Text,
    /// Binary.
    Binary,
}

/// What the encoding of COPY data (its ENCODING option, else `client_encoding`) means for splitting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyEncoding {
    /// Keys are read as they are. Also SQL_ASCII, which the server takes for its own encoding.
    Utf8,
    /// Bytes below 128 are ASCII and nothing else: rows can be split, and keys within ASCII can be read.
    AsciiSuperset,
    /// A byte that looks like a backslash may be half of a character: text and CSV cannot be split.
    EmbedsAscii,
}

impl CopyEncoding {
    /// By a name as PostgreSQL takes it, in any case and punctuation.
    ///
    /// *Source*: PostgreSQL 15, `src/common/encnames.c`; `PG_ENCODING_BE_LAST` in `pg_wchar.h` parts the last kind.
    pub fn of(name: &str) -> CopyEncoding {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        match name.as_str() {
            "utf8" | "unicode" | "sqlascii" => CopyEncoding::Utf8,
            "big5" | "win950" | "windows950" | "gbk" | "win936" | "windows936" | "uhc" | "win949" | "windows949"
            | "sjis" | "mskanji" | "shiftjis" | "win932" | "windows932" | "shiftjis2004" | "gb18030" | "johab" => {
                CopyEncoding::EmbedsAscii
            }
            _ => CopyEncoding::AsciiSuperset,
        }
    }
}

/// The key in `field`.
pub fn key_of(field: Field<'_>, key_type: KeyType, format: FieldFormat, encoding: CopyEncoding) -> KeyDecode {
    let value = match field {
        Field::Null => return KeyDecode::Null,
        Field::Missing => return KeyDecode::Invalid,
        Field::Value(value) => value,
    };
    let key = match (key_type, format) {
        (KeyType::Integer, FieldFormat::Text) => integer(value).map(Key::Integer),
        (KeyType::Integer, FieldFormat::Binary) => binary_integer(value).map(Key::Integer),
        (KeyType::Uuid, FieldFormat::Text) => uuid(value).map(Key::Uuid),
        (KeyType::Uuid, FieldFormat::Binary) => value.try_into().ok().map(Key::Uuid),
        (KeyType::Text { .. } | KeyType::PaddedText { .. }, _) if !encoding.reads(value) => {
            return KeyDecode::Unreadable;
        }
        (KeyType::Text { max_chars }, _) => characters(value).and_then(|text| within(text, max_chars)).map(text_key),
        (KeyType::PaddedText { max_chars }, _) => {
            let text = characters(value).and_then(|text| within(text, Some(max_chars)));
            text.map(|text| text_key(text.trim_end_matches(' ')))
        }
    };
    key.map_or(KeyDecode::Invalid, KeyDecode::Key)
}

impl CopyEncoding {
    /// Whether the bytes are UTF-8 if they are anything.
    fn reads(self, value: &[u8]) -> bool {
        match self {
            CopyEncoding::Utf8 => true,
            CopyEncoding::AsciiSuperset | CopyEncoding::EmbedsAscii => value.is_ascii(),
        }
    }
}

fn text_key(text: &str) -> Key {
    Key::Text(text.into())
}

/// Text as the server has it: valid UTF-8 without NUL.
fn characters(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'))
}

/// Cuts to `max_chars` characters; only blanks may be cut. *Source*: `varchar_input` and `bpchar_input` in `varchar.c`.
fn within(text: &str, max_chars: Option<u32>) -> Option<&str> {
    let max_chars = max_chars.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let Some((end, _)) = text.char_indices().nth(max_chars) else { return Some(text) };
    let (kept, cut) = text.split_at(end);
    cut.bytes().all(|byte| byte == b' ').then_some(kept)
}

/// *Source*: `int2recv`, `int4recv`, `int8recv`: a length that is not the column's own is refused by the shard.
fn binary_integer(value: &[u8]) -> Option<i64> {
    match *value {
        [a, b] => Some(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Some(i32::from_be_bytes([a, b, c, d]).into()),
        _ => value.try_into().ok().map(i64::from_be_bytes),
    }
}

/// Blanks, a sign, digits, blanks. *Source*: `pg_strtoint64_safe` in `numutils.c` of PostgreSQL 16.
fn integer(value: &[u8]) -> Option<i64> {
    let value = trim_blanks(value);
    let (negative, digits) = match value {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', digits @ ..] => (16, digits),
        [b'0', b'o' | b'O', digits @ ..] => (8, digits),
        [b'0', b'b' | b'B', digits @ ..] => (2, digits),
        // After a prefix an underscore may come first, else it may not.
        [b'_', ..] => return None,
        digits => (10, digits),
    };
    // An underscore must be followed by a digit.
    if !digits.last()?.is_ascii_hexdigit() || digits.windows(2).any(|pair| pair == b"__") {
        return None;
    }
    let mut total = 0i64;
    for &byte in digits.iter().filter(|&&byte| byte != b'_') {
        let digit = i64::from(char::from(byte).to_digit(radix)?);
        // Downwards, since there is one more negative number than positive ones.
        total = total.checked_mul(i64::from(radix))?.checked_sub(digit)?;
    }
    if negative { Some(total) } else { total.checked_neg() }
}

/// Without what C's `isspace` takes for blanks.
fn trim_blanks(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// 32 digits, a hyphen allowed after each four of them, braces allowed. *Source*: `string_to_uuid` in `uuid.c`.
fn uuid(value: &[u8]) -> Option<[u8; 16]> {
    let mut rest = match value {
        [b'{', inner @ .., b'}'] => inner,
        bare => bare,
    };
    let mut uuid = [0; 16];
    for (index, byte) in uuid.iter_mut().enumerate() {
        let [high, low, after @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
        rest = match after {
            [b'-', after @ ..] if index % 2 == 1 && index < 15 => after,
            after => after,
        };
    }
    rest.is_empty().then_some(uuid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const UNLIMITED: KeyType = KeyType::Text { max_chars: None };
    const VARCHAR_5: KeyType = KeyType::Text { max_chars: Some(5) };
    const CHAR_5: KeyType = KeyType::PaddedText { max_chars: 5 };

    fn text(value: &[u8], key_type: KeyType) -> KeyDecode {
        key_of(Field::Value(value), key_type, FieldFormat::Text, CopyEncoding::Utf8)
    }

    fn integer_key(value: i64) -> KeyDecode {
        KeyDecode::Key(Key::Integer(value))
    }

    fn string_key(value: &str) -> KeyDecode {
        KeyDecode::Key(Key::Text(value.into()))
    }

    #[test]
    fn integers_are_read_as_any_supported_server_reads_them() {
        for (value, expected) in [
            ("0", 0),
            ("-7", -7),
            ("+7", 7),
            (" \t\n\x0b\x0c\r42 ", 42),
            ("007", 7),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("0x1F", 31),
            ("-0o17", -15),
            ("0b101", 5),
            ("1_000", 1000),
            ("0x_F", 15),
        ] {
            assert_eq!(text(value.as_bytes(), KeyType::Integer), integer_key(expected), "{value:?}");
        }
        for value in
            ["", " ", "-", "+-1", "- 1", "1 2", "1.0", "1e3", "9223372036854775808", "-9223372036854775809", "0x", "_1"]
        {
            assert_eq!(text(value.as_bytes(), KeyType::Integer), KeyDecode::Invalid, "{value:?}");
        }
        for value in ["1_", "1__0", "0b2", "0o8", "1f", "\u{a0}1", "1\0", "x"] {
            assert_eq!(text(value.as_bytes(), KeyType::Integer), KeyDecode::Invalid, "{value:?}");
        }
    }

    #[test]
    fn binary_integers_are_read_by_their_length() {
        let binary =
            |value: &[u8]| key_of(Field::Value(value), KeyType::Integer, FieldFormat::Binary, CopyEncoding::Utf8);
        assert_eq!(binary(&(-2i16).to_be_bytes()), integer_key(-2));
        assert_eq!(binary(&(-2i32).to_be_bytes()), integer_key(-2));
        assert_eq!(binary(&(-2i64).to_be_bytes()), integer_key(-2));
        for length in [0, 1, 3, 5, 7, 9] {
            assert_eq!(binary(&vec![0; length]), KeyDecode::Invalid, "{length} bytes");
        }
    }

    #[test]
    fn text_is_taken_as_it_is() {
        for value in ["", " a ", "4711", "Zürich", "a\nb"] {
            assert_eq!(text(value.as_bytes(), UNLIMITED), string_key(value));
        }
        assert_eq!(text(b"a\0b", UNLIMITED), KeyDecode::Invalid);
        assert_eq!(text(b"\xff", UNLIMITED), KeyDecode::Invalid);
    }

    #[test]
    fn only_blanks_are_cut_from_a_value_that_is_too_long() {
        assert_eq!(text(b"abcde   ", VARCHAR_5), string_key("abcde"));
        assert_eq!(text(b"abc     ", VARCHAR_5), string_key("abc  "));
        assert_eq!(text("äöüßé ".as_bytes(), VARCHAR_5), string_key("äöüßé"));
        assert_eq!(text(b"abcdef", VARCHAR_5), KeyDecode::Invalid);
        assert_eq!(text(b"abcde\t", VARCHAR_5), KeyDecode::Invalid);
    }

    #[test]
    fn padding_is_no_part_of_a_char_key() {
        for value in ["ab", "ab   ", "ab       "] {
            assert_eq!(text(value.as_bytes(), CHAR_5), string_key("ab"));
        }
        assert_eq!(text(b" ab", CHAR_5), string_key(" ab"));
        assert_eq!(text(b"abcdef", CHAR_5), KeyDecode::Invalid);
    }

    #[test]
    fn every_spelling_of_a_uuid_is_one_key() {
        let expected = KeyDecode::Key(Key::Uuid(*b"\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11"));
        for value in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
        ] {
            assert_eq!(text(value.as_bytes(), KeyType::Uuid), expected, "{value}");
        }
        for value in [
            "",
            " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc9-99c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
            "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
        ] {
            assert_eq!(text(value.as_bytes(), KeyType::Uuid), KeyDecode::Invalid, "{value}");
        }
    }

    #[test]
    fn a_key_in_another_encoding_is_never_guessed() {
        let latin1 =
            |value: &[u8]| key_of(Field::Value(value), UNLIMITED, FieldFormat::Text, CopyEncoding::of("latin1"));
        assert_eq!(latin1(b"Zurich"), string_key("Zurich"));
        assert_eq!(latin1(b"Z\xfcrich"), KeyDecode::Unreadable);
        assert_eq!(latin1("Zürich".as_bytes()), KeyDecode::Unreadable);
        assert_eq!(CopyEncoding::of("UTF-8"), CopyEncoding::Utf8);
        assert_eq!(CopyEncoding::of("Shift_JIS_2004"), CopyEncoding::EmbedsAscii);
        assert_eq!(CopyEncoding::of("EUC_JP"), CopyEncoding::AsciiSuperset);
    }

    #[test]
    fn null_and_missing_fields_are_told_apart() {
        let key = |field| key_of(field, KeyType::Integer, FieldFormat::Text, CopyEncoding::Utf8);
        assert_eq!((key(Field::Null), key(Field::Missing)), (KeyDecode::Null, KeyDecode::Invalid));
    }
}
