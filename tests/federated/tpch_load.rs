//! Puts TPC-H's rows into a database.

use crate::client::{Answer, Client, frame, query};
use crate::tpch;

/// Rows of one CopyData message, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Makes the tables with their rows; `scale` is the specification's scale factor.
pub fn load(client: &mut Client, scale: f64) {
    tpch::SCHEMA.iter().for_each(|statement| client.run(statement));
    tpch::TABLES.iter().for_each(|table| copy_table(client, table, scale));
    tpch::INDEXES.iter().for_each(|columns| client.run(&format!("CREATE INDEX ON {columns}")));
    client.run("ANALYZE");
}

fn copy_table(client: &mut Client, table: &str, scale: f64) {
    send(client, table, &mut |take| tpch::rows(table, scale, take));
}

/// Fills a table with lines of columns between `|`.
pub fn copy(client: &mut Client, table: &str, rows: impl Iterator<Item = impl std::fmt::Display>) {
    let mut rows = Some(rows);
    send(client, table, &mut |take| {
        for row in rows.take().into_iter().flatten() {
            let line = row.to_string();
            take(line.strip_suffix('|').unwrap_or(&line));
        }
    });
}

/// Shows each line to whom it is given.
type Lines<'l> = &'l mut dyn FnMut(&mut dyn FnMut(&str));

fn send(client: &mut Client, table: &str, lines: Lines<'_>) {
    client.send(&query(&format!("COPY {table} FROM STDIN (DELIMITER '|')")));
    let mut chunk = String::new();
    lines(&mut |line| {
        chunk.push_str(line);
        chunk.push('\n');
        if chunk.len() > CHUNK_BYTES {
            client.send(&frame(b'd', chunk.as_bytes()));
            chunk.clear();
        }
    });
    client.send(&frame(b'd', chunk.as_bytes()));
    client.send(&frame(b'c', b""));
    let answer = Answer::of(client.receive_ready());
    assert!(answer.error.is_none(), "{table}: {:?}", answer.error);
}
