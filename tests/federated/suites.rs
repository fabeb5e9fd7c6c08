//! Files of benchmarks' queries, and comparing answers whose rows are not totally ordered.

use crate::client::Answer;
use crate::compare::difference;

/// Queries of a file, each ending with a semicolon at the end of a line, after `-- order N` if rows are ordered by output column N.
pub fn parse(text: &str) -> Vec<(Option<usize>, String)> {
    let mut queries = Vec::new();
    let (mut order, mut sql) = (None, String::new());
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("--") {
            order = comment.trim().strip_prefix("order ").map(|column| column.parse().unwrap());
            continue;
        }
        sql += line;
        match sql.strip_suffix(';') {
            Some(query) => {
                queries.push((order.take(), query.to_owned()));
                sql.clear();
            }
            None => sql.push('\n'),
        }
    }
    assert!(sql.trim().is_empty(), "the last query has no semicolon");
    queries
}

/// A query without its limit, if it has one: whose rows those of the query must be among.
pub fn unlimited(sql: &str) -> Option<&str> {
    sql.rfind(" LIMIT ").map(|at| &sql[..at])
}

/// Where an answer with a limit differs from one that it could have been: `wanted` is one that it could have been, `all` the rows without the limit.
pub fn limited_difference(wanted: &Answer, got: &Answer, all: &Answer, order: Option<usize>) -> Option<String> {
    // All but the rows.
    let rest = |answer: &Answer| Answer { rows: Vec::new(), ..answer.clone() };
    if let Some(how) = difference(rest(wanted), rest(got), true) {
        return Some(how);
    }
    if wanted.rows.len() != got.rows.len() {
        return Some(format!("wanted {} rows, got {}", wanted.rows.len(), got.rows.len()));
    }
    let mut left = all.rows.clone();
    for (at, row) in got.rows.iter().enumerate() {
        match left.iter().position(|other| other == row) {
            Some(found) => drop(left.swap_remove(found)),
            None => return Some(format!("row {at} is none of all rows: {row:?}")),
        }
    }
    let column = order?.checked_sub(1)?;
    let at = (0..got.rows.len()).find(|at| wanted.rows[*at][column] != got.rows[*at][column])?;
    Some(format!("row {at}: wanted {:?} first, got {:?}", wanted.rows[at], got.rows[at]))
}
