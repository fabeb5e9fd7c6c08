//! SQL scripts: statements, each with how it is to be compared. `tests/sql/README.md` is the manual.

use std::path::Path;

/// A file.
pub struct Script {
    /// In order.
    pub statements: Vec<Statement>,
}

/// A statement and what its annotations say.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Line of the file on which it starts, from 1.
    pub line: usize,
    /// Line of its annotation `either`, from 1.
    pub either_line: Option<usize>,
    /// Without the semicolon.
    pub sql: String,
    /// What is expected of the gateway.
    pub expectation: Expectation,
    /// Rows are compared in their order.
    pub ordered: bool,
    /// Text parameters of the extended protocol; `None`: run by every protocol that suits it.
    pub parameters: Option<Vec<Option<String>>>,
}

/// What is expected of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// What one Postgres says.
    Equal,
    /// This SQLSTATE, and nothing is run.
    Refused(String),
    /// One or the other (0A000).
    Either,
}

impl Statement {
    /// A statement that is no file's, compared in any order.
    pub fn plain(sql: &str) -> Statement {
        Statement { sql: sql.to_owned(), ..blank() }
    }
}

impl Script {
    /// Reads a file: statements end with a semicolon at the end of a line.
    pub fn read(path: &Path) -> Script {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut statements = Vec::new();
        let mut pending = blank();
        for (index, line) in text.lines().enumerate() {
            if pending.sql.is_empty() {
                if let Some(comment) = line.strip_prefix("--") {
                    annotate(&mut pending, comment.trim(), index + 1);
                    continue;
                }
                if line.trim().is_empty() {
                    continue;
                }
                pending.line = index + 1;
            } else {
                pending.sql.push('\n');
            }
            pending.sql.push_str(line);
            if let Some(whole) = pending.sql.trim_end().strip_suffix(';') {
                let sql = whole.to_owned();
                statements.push(Statement { sql, ..std::mem::replace(&mut pending, blank()) });
            }
        }
        assert!(pending.sql.is_empty(), "{}: the last statement has no semicolon", path.display());
        Script { statements }
    }
}

fn blank() -> Statement {
    Statement {
        line: 0,
        either_line: None,
        sql: String::new(),
        expectation: Expectation::Equal,
        ordered: false,
        parameters: None,
    }
}

fn annotate(statement: &mut Statement, comment: &str, line: usize) {
    if comment == "ordered" {
        statement.ordered = true;
    } else if comment == "either" {
        statement.expectation = Expectation::Either;
        statement.either_line = Some(line);
    } else if let Some(code) = comment.strip_prefix("refused ") {
        statement.expectation = Expectation::Refused(code.trim().into());
    } else if let Some(list) = comment.strip_prefix("parameters ") {
        let value = |text: &str| match text.trim() {
            "null" => None,
            other => Some(other.to_owned()),
        };
        statement.parameters = Some(list.split('|').map(value).collect());
    }
}
