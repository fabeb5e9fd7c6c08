//! The splitter against its reference, and by example.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;

use proptest::prelude::*;

use super::reference::{Owned, OwnedField, split};
use super::{FeedError, Field, Format, Piece, SplitError, SplitFault, Splitter};

/// No limit.
const HELD_BYTES_MAX: usize = usize::MAX;

fn own(piece: Piece<'_>) -> Owned {
    match piece {
        Piece::Header(bytes) => Owned::Header(bytes.to_vec()),
        Piece::Row { bytes, key, line } => Owned::Row(
            bytes.to_vec(),
            match key {
                Field::Null => OwnedField::Null,
                Field::Missing => OwnedField::Missing,
                Field::Value(value) => OwnedField::Value(value.to_vec()),
            },
            line,
        ),
        Piece::End => Owned::End,
    }
}

fn feed_all<'a>(
    mut splitter: Splitter,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Owned>, Result<(), SplitError>) {
    let mut pieces = Vec::new();
    let mut sink = |piece: Piece<'_>| -> Result<(), Infallible> {
        pieces.push(own(piece));
        Ok(())
    };
    let mut result = Ok(());
    for chunk in chunks {
        result = splitter.feed(chunk, &mut sink);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = splitter.finish(&mut sink);
    }
    let result = result.map_err(|error| match error {
        FeedError::Split(error) => error,
        FeedError::Sink(never) => match never {},
    });
    (pieces, result)
}

fn assert_like_reference(format: &Format, key_field: usize, data: &[u8], cuts: &[usize]) {
    let mut chunks = Vec::new();
    let mut rest = data;
    for &cut in cuts {
        let (now, after) = rest.split_at(cut.min(rest.len()));
        chunks.push(now);
        rest = after;
    }
    chunks.push(rest);
    let (expected, expected_error) = split(format, key_field, data);
    let (pieces, result) = feed_all(Splitter::new(format, key_field, HELD_BYTES_MAX), chunks);
    let error = result.err().map(|error| (error.fault, error.line));
    assert_eq!(
        (pieces, error),
        (expected, expected_error),
        "{format:?} {:?} {cuts:?}",
        data.escape_ascii().to_string()
    );
}

fn text(delimiter: u8, null: &str, header: bool) -> Format {
    Format::Text { delimiter, null: null.into(), header }
}

fn csv() -> Format {
    csv_with(b'"', b'"')
}

fn csv_with(quote: u8, escape: u8) -> Format {
    let (force_not_null, force_null, header) = (false, false, false);
    Format::Csv { delimiter: b',', quote, escape, null: vec![], force_not_null, force_null, header }
}

fn rows(format: &Format, key_field: usize, data: &str) -> Vec<(String, Option<String>, u64)> {
    let (pieces, result) = feed_all(Splitter::new(format, key_field, HELD_BYTES_MAX), [data.as_bytes()]);
    result.unwrap();
    pieces
        .into_iter()
        .filter_map(|piece| match piece {
            Owned::Row(bytes, key, line) => {
                let key = match key {
                    OwnedField::Null => Some("NULL".to_owned()),
                    OwnedField::Value(value) => Some(String::from_utf8(value).unwrap()),
                    OwnedField::Missing => None,
                };
                Some((String::from_utf8(bytes).unwrap(), key, line))
            }
            Owned::Header(_) | Owned::End => None,
        })
        .collect()
}

fn keys(format: &Format, key_field: usize, data: &str) -> Vec<Option<String>> {
    rows(format, key_field, data).into_iter().map(|(_, key, _)| key).collect()
}

fn fault(format: &Format, data: &[u8]) -> (SplitFault, Option<u64>) {
    let (_, result) = feed_all(Splitter::new(format, 0, HELD_BYTES_MAX), [data]);
    let error = result.unwrap_err();
    (error.fault, error.line)
}

#[test]
fn rows_keep_their_line_ends_and_the_last_may_have_none() {
    let expected = [("1\ta\n".to_owned(), Some("1".to_owned()), 1), ("2\tb".to_owned(), Some("2".to_owned()), 2)];
    assert_eq!(rows(&text(b'\t', "\\N", false), 0, "1\ta\n2\tb"), expected);
}

#[test]
fn text_escapes_are_what_postgresql_makes_of_them() {
    let format = text(b'|', "\\N", false);
    let data = "\\b\\f\\n\\r\\t\\v\\101\\x41\\x4\\xg\\\\\\||x\n\\N|\n\\\\N|\n\\\n|\n\\";
    let some = |s: &str| Some(s.to_owned());
    let expected = [some("\x08\x0c\n\r\t\x0bAA\x04xg\\|"), some("NULL"), some("\\N"), some("\n"), some("")];
    assert_eq!(keys(&format, 0, data), expected);
}

#[test]
fn csv_null_is_the_unquoted_null_string_unless_forced() {
    let with = |force_not_null, force_null| Format::Csv {
        delimiter: b',',
        quote: b'"',
        escape: b'"',
        null: b"nil".to_vec(),
        force_not_null,
        force_null,
        header: false,
    };
    let some = |s: &str| Some(s.to_owned());
    let data = "nil,\n\"nil\",\nx,\n";
    assert_eq!(keys(&with(false, false), 0, data), [some("NULL"), some("nil"), some("x")]);
    assert_eq!(keys(&with(true, false), 0, data), [some("nil"), some("nil"), some("x")]);
    assert_eq!(keys(&with(false, true), 0, data), [some("NULL"), some("NULL"), some("x")]);
}

#[test]
fn quoted_line_ends_are_data_and_are_counted() {
    let expected = [("a\n".to_owned(), None, 1), ("\"x\ny\",2\n".to_owned(), Some("2".to_owned()), 3)];
    assert_eq!(rows(&csv(), 1, "a\n\"x\ny\",2\n"), expected);
}

#[test]
fn a_quote_that_hides_an_end_marker_is_not_splittable() {
    // In data whose lines end in CR LF, `\.` and LF is no marker, so with a backslash for a quote this is one quoted field;
    // alone, it is the end of the data: rows behind it would be lost.
    let format = csv_with(b'\\', b'\\');
    assert_eq!(keys(&format, 0, "1\r\n\\.\n\\\r\n").len(), 2);
    assert_eq!(keys(&format, 0, "\\.\n\\\r\n").len(), 0);
    assert!(!format.is_splittable());
    assert!(csv().is_splittable());
}

#[test]
fn what_follows_the_end_marker_is_ignored() {
    let format = text(b'\t', "\\N", false);
    let (pieces, result) = feed_all(Splitter::new(&format, 0, HELD_BYTES_MAX), [&b"1\n\\.\nrubbish\r\n\r"[..], b"x"]);
    assert_eq!(result, Ok(()));
    assert_eq!(pieces, [Owned::Row(b"1\n".to_vec(), OwnedField::Value(b"1".to_vec()), 1), Owned::End]);
}

#[test]
fn mixed_line_ends_are_errors_with_their_line() {
    let format = text(b'\t', "\\N", false);
    assert_eq!(fault(&format, b"1\n2\r\n"), (SplitFault::CarriageReturn { csv: false }, Some(2)));
    assert_eq!(fault(&format, b"1\r2\n"), (SplitFault::Newline { csv: false }, Some(2)));
    assert_eq!(fault(&csv(), b"1\r\n2\n"), (SplitFault::Newline { csv: true }, Some(2)));
    assert_eq!(fault(&csv(), b"1\r\n2\r3"), (SplitFault::CarriageReturn { csv: true }, Some(2)));
    assert_eq!(fault(&format, b"1\n\\.x\n"), (SplitFault::MarkerCorrupt, Some(2)));
    assert_eq!(fault(&format, b"1\n\\.\r"), (SplitFault::MarkerStyle, Some(2)));
}

#[test]
fn a_row_that_never_ends_is_refused_at_the_limit() {
    let format = text(b'\t', "\\N", false);
    let (pieces, result) = feed_all(Splitter::new(&format, 0, 10), [&b"1\n01234"[..], b"56789", b"x"]);
    assert_eq!(pieces.len(), 1);
    let error = result.unwrap_err();
    assert_eq!((&error.fault, error.line), (&SplitFault::RowTooLong { held_bytes_max: 10 }, Some(2)));
    assert_eq!(error.sqlstate(), "54000");
    assert!(error.to_string().contains("held_bytes_max"));
}

#[test]
fn a_long_binary_field_is_refused_before_its_bytes_have_come() {
    let data = [&binary_header()[..], &[0, 1], &i32::MAX.to_be_bytes(), b"x"].concat();
    let (_, result) = feed_all(Splitter::new(&Format::Binary, 0, 100), [&data[..]]);
    assert_eq!(result.unwrap_err().fault, SplitFault::RowTooLong { held_bytes_max: 100 });
}

#[test]
fn a_binary_row_of_another_width_is_an_error_when_the_width_is_known() {
    let data = [&binary_header()[..], &[0, 0], &[0, 2]].concat();
    let mut splitter = Splitter::new(&Format::Binary, 0, 100);
    splitter.expect_columns(0);
    let (_, result) = feed_all(splitter, [&data[..]]);
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "row field count is 2, expected 0");
    assert_eq!(error.context("t").unwrap(), "COPY t, line 2");
}

#[test]
fn an_error_of_the_sink_stops_the_splitter() {
    let mut splitter = Splitter::new(&csv(), 0, HELD_BYTES_MAX);
    let mut calls = 0;
    let result = splitter.feed(b"1\n2\n", &mut |_| {
        calls += 1;
        Err("full")
    });
    assert_eq!((result, calls), (Err(FeedError::Sink("full")), 1));
}

#[test]
fn rows_within_a_chunk_are_slices_of_it() {
    let chunk = b"1\n2\n3\n".to_vec();
    let range = chunk.as_ptr_range();
    let mut splitter = Splitter::new(&text(b'\t', "\\N", false), 0, HELD_BYTES_MAX);
    let mut seen = 0;
    splitter
        .feed::<Infallible>(&chunk, &mut |piece| {
            let Piece::Row { bytes, key: Field::Value(key), .. } = piece else { panic!("{piece:?}") };
            assert!(range.contains(&bytes.as_ptr()) && range.contains(&key.as_ptr()));
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!((seen, splitter.lines_seen()), (3, 3));
}

fn binary_header() -> Vec<u8> {
    [&b"PGCOPY\n\xff\r\n\0"[..], &[0; 8]].concat()
}

/// Bytes that mean something somewhere, and few others, so that they meet.
fn nasty_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"\n",
        b"\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"\\",
        b"\\.",
        b"\\.\n",
        b"\\.\r\n",
        b"\\.\r",
        b"\\N",
        b"\"",
        b"\"\"",
        b"'",
        b",",
        b",",
        b"\t",
        b"|",
        b"a",
        b"b",
        b"x",
        b"\\x4",
        b"\\12",
        b"7",
        b"nil",
        b".",
        b" ",
        b"\xc3\xa9",
        b"\0",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

/// Lines that end alike, so that longer files come about without an error.
fn tidy_lines() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"a",
        b"17",
        b",",
        b",",
        b"\t",
        b"|",
        b"\"x\ny\"",
        b"\"x\"\"y\"",
        b"\\N",
        b"\\\\",
        b"nil",
        b"\"nil\"",
        b"'q,'",
    ];
    let line = prop::collection::vec(prop::sample::select(words), 0..8).prop_map(|words| words.concat());
    let end = prop::sample::select(vec![&b"\n"[..], b"\r\n", b"\r"]);
    let tail = prop::sample::select(vec![&b""[..], b"\\.", b"\\.\n", b"\\.\r\n", b"tail", b"\\"]);
    (prop::collection::vec(line, 0..12), end, tail).prop_map(|(lines, end, tail)| {
        let mut data = lines.join(end);
        data.extend_from_slice(end);
        data.extend_from_slice(tail);
        data
    })
}

fn binary_data() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..9).prop_map(|b| [&(b.len() as i32).to_be_bytes()[..], &b].concat()),
        2 => Just((-1i32).to_be_bytes().to_vec()),
        1 => (-3i32..20).prop_map(|n| n.to_be_bytes().to_vec()),
    ];
    let row = prop::collection::vec(field, 0..4)
        .prop_map(|fields| [&(fields.len() as i16).to_be_bytes()[..], &fields.concat()].concat());
    let header = prop_oneof![
        6 => Just(binary_header()),
        1 => Just([&b"PGCOPY\n\xff\r\n\0"[..], &[0, 0, 5, 5, 0, 0, 0, 3], b"ext"].concat()),
        1 => Just([&b"PGCOPY\n\xff\r\n\0"[..], &[0, 1, 0, 0, 0, 0, 0, 0]].concat()),
        1 => Just([&b"PGCOPY\n\xff\r\n\0"[..], &[0, 2, 0, 0, 0, 0, 0, 0]].concat()),
        1 => Just([&b"PGCOPY\n\xff\r\n\0"[..], &[0, 0, 0, 0, 255, 0, 0, 0]].concat()),
        1 => Just(b"PGCOPY\n\xff\n\n\0".to_vec()),
    ];
    let tail = prop::sample::select(vec![&b""[..], &[255, 255], &[255, 255, 0], &[255, 254], &[0]]);
    (header, prop::collection::vec(row, 0..6), tail, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(header, rows, tail, cut, whole)| {
            let mut data = [&header[..], &rows.concat(), tail].concat();
            if !whole {
                data.truncate(cut.index(data.len() + 1));
            }
            data
        },
    )
}

fn any_format() -> impl Strategy<Value = Format> {
    let null = prop::sample::select(vec!["", "\\N", "nil", "a"]).prop_map(|null| null.as_bytes().to_vec());
    let text = (prop::sample::select(vec![b'\t', b',', b'|', b'A']), null.clone(), any::<bool>())
        .prop_map(|(delimiter, null, header)| Format::Text { delimiter, null, header });
    let quotes = prop_oneof![
        4 => Just((b'"', b'"')),
        2 => prop::sample::select(vec![(b'"', b'\\'), (b'\'', b'"'), (b'"', b'x')]),
        1 => (prop::sample::select(b"\"'\\.\n\ra".to_vec()), prop::sample::select(b"\"'\\.\n\ra,".to_vec())),
    ];
    let delimiter = prop::sample::select(b",,|\t\\".to_vec());
    let csv = (delimiter, quotes, null, any::<(bool, bool, bool)>())
        .prop_filter("PostgreSQL refuses it", |(delimiter, (quote, _), _, _)| delimiter != quote)
        .prop_map(|(delimiter, (quote, escape), null, (force_not_null, force_null, header))| Format::Csv {
            delimiter,
            quote,
            escape,
            null,
            force_not_null,
            force_null,
            header,
        });
    prop_oneof![text, csv]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![]), Just(vec![1; 400]), prop::collection::vec(0usize..12, 0..40)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nasty_lines_are_split_like_the_reference(
        format in any_format(), key_field in 0usize..4, data in nasty_bytes(), cuts in cuts(),
    ) {
        assert_like_reference(&format, key_field, &data, &cuts);
    }

    #[test]
    fn tidy_lines_are_split_like_the_reference(
        format in any_format(), key_field in 0usize..4, data in tidy_lines(), cuts in cuts(),
    ) {
        assert_like_reference(&format, key_field, &data, &cuts);
    }

    #[test]
    fn binary_rows_are_split_like_the_reference(key_field in 0usize..4, data in binary_data(), cuts in cuts()) {
        assert_like_reference(&Format::Binary, key_field, &data, &cuts);
    }
}
