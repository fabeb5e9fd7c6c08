//! The splitter against a real PostgreSQL: a file's rows, copied one by one, are the table that the whole file makes, or both
//! fail alike; and the key found in each row is the value stored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files;
#[path = "../postgres/mod.rs"]
mod postgres;

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use pgbraid::catalog::KeyType;
use pgbraid::execute::copy_key::{CopyEncoding, FieldFormat, KeyDecode, key_of};
use pgbraid::wire::copy::{FeedError, Field, Format, Join, JoinFormat, Piece, SplitError, Splitter};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use shardmap::Key;
use tokio_postgres::{Client, Statement};

use files::CopyFile;
use postgres::Postgres;

const FILES: usize = 1200;

/// `character_not_in_repertoire`
const INVALID_ENCODING: &str = "22021";

/// A row the splitter found.
#[derive(Clone, Debug)]
struct Row {
    bytes: Vec<u8>,
    /// `None`: too few fields. `Some(None)`: NULL.
    key: Option<Option<Vec<u8>>>,
    line: u64,
}

/// What a file was split into, up to the first error.
#[derive(Debug, Default)]
struct Parts {
    header: Vec<u8>,
    rows: Vec<Row>,
    error: Option<SplitError>,
}

/// How a COPY failed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    sqlstate: String,
    message: String,
    line: Option<u64>,
}

fn split(file: &CopyFile, chunk_bytes: usize) -> Parts {
    let mut parts = Parts::default();
    let columns = u16::try_from(file.columns).unwrap();
    let mut splitter = Splitter::new(&file.format, file.key_field, usize::MAX);
    splitter.expect_columns(columns);
    let mut sink = |piece: Piece<'_>| -> Result<(), Infallible> {
        match piece {
            Piece::Header(bytes) => parts.header = bytes.to_vec(),
            Piece::Row { bytes, key, line } => parts.rows.push(Row {
                bytes: bytes.to_vec(),
                key: match key {
                    Field::Null => Some(None),
                    Field::Value(value) => Some(Some(value.to_vec())),
                    Field::Missing => None,
                },
                line,
            }),
            Piece::End => {}
        }
        Ok(())
    };
    let fed = file.data.chunks(chunk_bytes).try_for_each(|chunk| splitter.feed(chunk, &mut sink));
    let result = fed.and_then(|()| splitter.finish(&mut sink));
    parts.error = match result {
        Ok(()) => None,
        Err(FeedError::Split(error)) => Some(error),
    };
    parts
}

fn literal(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("E'{text}'")
}

fn copy_statement(file: &CopyFile, table: &str) -> String {
    let key = ["a", "b", "c"][file.key_field];
    let options = match &file.format {
        Format::Binary => "FORMAT binary".to_owned(),
        Format::Text { delimiter, null, header } => {
            format!("DELIMITER {}, NULL {}, HEADER {header}", literal(&[*delimiter]), literal(null))
        }
        Format::Csv { delimiter, quote, escape, null, force_not_null, force_null, header } => {
            let force = |on: bool, name: &str| if on { format!(", {name} ({key})") } else { String::new() };
            format!(
                "FORMAT csv, DELIMITER {}, QUOTE {}, ESCAPE {}, NULL {}, HEADER {header}{}{}",
                literal(&[*delimiter]),
                literal(&[*quote]),
                literal(&[*escape]),
                literal(null),
                force(*force_not_null, "FORCE_NOT_NULL"),
                force(*force_null, "FORCE_NULL"),
            )
        }
    };
    format!("COPY {table} FROM STDIN ({options})")
}

async fn copy(client: &Client, statement: &Statement, data: Vec<u8>) -> Result<(), Failure> {
    let result = async {
        let sink = client.copy_in::<_, Bytes>(statement).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(data)).await?;
        sink.as_mut().finish().await
    };
    result.await.map(drop).map_err(|error| {
        let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
        let line = error.where_().and_then(|text| text.split_once(", line ")).map(|(_, rest)| rest);
        let digits = line.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().to_owned());
        Failure {
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            line: digits.map(|digits| digits.parse().unwrap()),
        }
    })
}

async fn contents(client: &Client, table: &str) -> Vec<Vec<Option<String>>> {
    let rows = client.query(&format!("SELECT * FROM {table} ORDER BY ctid"), &[]).await.unwrap();
    rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
}

/// Rows that were stored, whole and apart, or how each failed.
async fn check(client: &Client, file: &CopyFile, chunk_bytes: usize) -> bool {
    let columns = if file.columns == 1 { "a text" } else { "a text, b text, c text" };
    client
        .batch_execute(&format!("CREATE TEMP TABLE whole ({columns}); CREATE TEMP TABLE apart ({columns})"))
        .await
        .unwrap();
    let describe = || format!("{file:?} {}", file.data.escape_ascii());
    let whole = client.prepare(&copy_statement(file, "whole")).await.unwrap();
    let apart = client.prepare(&copy_statement(file, "apart")).await.unwrap();
    let expected = copy(client, &whole, file.data.clone()).await;
    let parts = split(file, chunk_bytes);
    // A shard may get no row; every shard gets the header.
    let mut found = if parts.header.is_empty() { Ok(()) } else { copy(client, &apart, parts.header.clone()).await };
    for row in if found.is_ok() { &parts.rows[..] } else { &[] } {
        found = copy(client, &apart, [&parts.header[..], &row.bytes].concat()).await;
        if let Err(failure) = &mut found {
            // Within its own COPY the row has another number; the splitter says which it has in the file.
            failure.line = failure.line.map(|_| row.line);
            break;
        }
    }
    if found.is_ok()
        && let Some(error) = &parts.error
    {
        let (sqlstate, message) = (error.sqlstate().to_owned(), error.to_string());
        found = Err(Failure { sqlstate, message, line: error.line });
    }
    match (&found, &expected) {
        // PostgreSQL looks at the encoding first; splitting does not, so that another fault of the same line may win,
        // and a row's line is its last, even if the fault is in its first.
        (Err(ours), Err(theirs)) if theirs.sqlstate == INVALID_ENCODING => {
            assert!(ours.line >= theirs.line, "{ours:?} {theirs:?} {}", describe());
        }
        _ => assert_eq!(found, expected, "{}", describe()),
    }
    if expected.is_ok() {
        let stored = contents(client, "apart").await;
        assert_eq!(stored, contents(client, "whole").await, "{}", describe());
        let keys: Vec<_> = parts.rows.iter().map(|row| row.key.clone().unwrap()).collect();
        let stored_keys: Vec<_> =
            stored.iter().map(|row| row[file.key_field].clone().map(String::into_bytes)).collect();
        assert_eq!(keys, stored_keys, "{}", describe());
    }
    client.batch_execute("DROP TABLE whole, apart").await.unwrap();
    expected.is_ok()
}

async fn check_many(client: &Client, files: impl Strategy<Value = CopyFile>) {
    let mut runner = TestRunner::deterministic();
    let mut stored = 0;
    for number in 0..FILES {
        let file = files.new_tree(&mut runner).unwrap().current();
        stored += usize::from(check(client, &file, [1, 3, 7, 1 << 16][number % 4]).await);
    }
    // Neither all well-formed nor all refused, or the comparison would say little.
    assert!((FILES / 4..FILES * 9 / 10).contains(&stored), "{stored} of {FILES} files were stored");
}

/// The key column's value as the shard stores it, as the bytes the map hashes; `None` if the row is refused.
async fn stored_key(client: &Client, statement: &Statement, value: &[u8]) -> Option<Option<Vec<u8>>> {
    let stored = copy(client, statement, [value, b"\n"].concat()).await;
    stored.ok()?;
    let query = "DELETE FROM keyed RETURNING k::text";
    Some(client.query_one(query, &[]).await.unwrap().get::<_, Option<String>>(0).map(String::into_bytes))
}

#[tokio::test]
async fn text_and_csv_files_split_apart_make_the_same_table() {
    let postgres = Postgres::start(&[]);
    let client = postgres.connect("postgres").await;
    check_many(&client, files::line_file()).await;
}

#[tokio::test]
async fn binary_files_split_apart_make_the_same_table() {
    let postgres = Postgres::start(&[]);
    let client = postgres.connect("postgres").await;
    check_many(&client, files::binary_file()).await;
}

#[tokio::test]
async fn keys_are_what_the_column_stores() {
    let postgres = Postgres::start(&[]);
    let client = postgres.connect("postgres").await;
    let numbers = [
        "1",
        "-7",
        "+7",
        " 8 ",
        "007",
        "9223372036854775807",
        "9223372036854775808",
        "",
        "1e3",
        "0x1F",
        "1_0",
        "\\x31",
    ];
    let texts = [
        "",
        " ",
        "abc",
        "abcde",
        "abcde  ",
        "abcdef",
        " abc ",
        "äöüßé  ",
        "äöüßéx",
        "a\\tb",
        "\\303\\244",
        "\\xff",
        "\\0",
    ];
    let uuids = [
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}",
        "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
        "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
    ];
    let cases: [(&str, KeyType, &[&str]); 6] = [
        ("int8", KeyType::Integer, &numbers),
        ("int2", KeyType::Integer, &numbers),
        ("text", KeyType::Text { max_chars: None }, &texts),
        ("varchar(5)", KeyType::Text { max_chars: Some(5) }, &texts),
        ("char(5)", KeyType::PaddedText { max_chars: 5 }, &texts),
        ("uuid", KeyType::Uuid, &uuids),
    ];
    for (column, key_type, values) in cases {
        client.batch_execute(&format!("CREATE TEMP TABLE keyed (k {column})")).await.unwrap();
        let statement = client.prepare("COPY keyed FROM STDIN").await.unwrap();
        for value in values.iter().chain(&["\\N"]) {
            let stored = stored_key(&client, &statement, value.as_bytes()).await;
            let format = Format::Text { delimiter: b'\t', null: b"\\N".to_vec(), header: false };
            let mut decoded = KeyDecode::Invalid;
            let mut splitter = Splitter::new(&format, 0, usize::MAX);
            let mut sink = |piece: Piece<'_>| -> Result<(), Infallible> {
                if let Piece::Row { key, .. } = piece {
                    decoded = key_of(key, key_type, FieldFormat::Text, CopyEncoding::Utf8);
                }
                Ok(())
            };
            splitter.feed(format!("{value}\n").as_bytes(), &mut sink).unwrap();
            let name = format!("{column} {value:?}: {decoded:?}, stored {stored:?}");
            let Some(stored) = stored else {
                // A key of a refused row does no harm; NULL or what cannot be read would not be sent at all.
                assert!(matches!(decoded, KeyDecode::Invalid | KeyDecode::Key(_)), "{name}");
                continue;
            };
            let written = match decoded {
                KeyDecode::Null => None,
                KeyDecode::Key(Key::Integer(number)) => Some(number.to_string().into_bytes()),
                KeyDecode::Key(Key::Text(text)) => Some(text.as_bytes().to_vec()),
                KeyDecode::Key(Key::Uuid(bytes)) => {
                    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    let dashed = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
                    Some(dashed.into_bytes())
                }
                KeyDecode::Invalid | KeyDecode::Unreadable => panic!("{name}"),
            };
            // char(n)::text has lost its padding, like the key.
            assert_eq!(written, stored, "{name}");
        }
        client.batch_execute("DROP TABLE keyed").await.unwrap();
    }
}

/// The payloads of a COPY TO's messages.
async fn copied_out(client: &Client, statement: &str) -> Vec<Bytes> {
    client.copy_out(statement).await.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn streams_of_several_tables_join_into_one_that_can_be_copied_in() {
    let postgres = Postgres::start(&[]);
    let client = postgres.connect("postgres").await;
    // The name of the column makes the CSV header two lines.
    let setup = "CREATE TABLE none (\"a\nb\" int, c text); CREATE TABLE one (LIKE none); CREATE TABLE two (LIKE none);
        CREATE TABLE back (LIKE none); INSERT INTO one VALUES (1, 'x'), (NULL, E'\\n'); INSERT INTO two VALUES (2, '')";
    client.batch_execute(setup).await.unwrap();
    for (options, format) in [
        ("", JoinFormat::Rows),
        ("(HEADER)", JoinFormat::Header),
        ("(FORMAT csv)", JoinFormat::Rows),
        ("(FORMAT csv, HEADER)", JoinFormat::Header),
        ("(FORMAT binary)", JoinFormat::Binary),
    ] {
        let tables = ["none", "one", "two", "none"];
        let mut join = Join::new(format, tables.len());
        let mut joined = Vec::new();
        for (stream, table) in tables.iter().enumerate() {
            for payload in copied_out(&client, &format!("COPY {table} TO STDOUT {options}")).await {
                joined.extend_from_slice(join.message(stream, &payload).unwrap());
            }
        }
        joined.extend_from_slice(join.trailer());
        let statement = client.prepare(&format!("COPY back FROM STDIN {options}")).await.unwrap();
        copy(&client, &statement, joined).await.unwrap();
        let rows = client.query("DELETE FROM back RETURNING *", &[]).await.unwrap();
        let rows: Vec<(Option<i32>, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(rows, [(Some(1), "x".into()), (None, "\n".into()), (Some(2), String::new())], "{options}");
    }
}
