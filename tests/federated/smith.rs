//! Statements that SQLsmith (Debian's package `sqlsmith`) makes: the gateway answers each, with no internal error, and with the error that one
//! Postgres raises if that raises one.

use std::process::Command;

use crate::client::{Answer, Client, Login};

/// Statements that SQLsmith makes over the tables of a database; `None` if it is not installed.
pub fn statements(login: &Login, seed: u64, count: u64) -> Option<Vec<String>> {
    let value = |name: &str| &login.parameters.iter().find(|(known, _)| known == name).unwrap().1;
    let (host, port) = (login.address.ip(), login.address.port());
    let target = format!(
        "host={host} port={port} user={} password={} dbname={}",
        value("user"),
        login.password,
        value("database")
    );
    let output = Command::new("sqlsmith")
        .args(["--exclude-catalog", "--dry-run"])
        .args([format!("--target={target}"), format!("--seed={seed}"), format!("--max-queries={count}")])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let statements: Vec<String> =
        text.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()).map(str::to_owned).collect();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!statements.is_empty(), "sqlsmith made nothing; it said: {said}");
    Some(statements)
}

/// Of one statement.
pub enum Outcome {
    /// Both answer it.
    Answered,
    /// Both raise the same error.
    Error,
    /// By the gateway.
    Refused(String),
    /// One of them took too long.
    Late,
    /// How.
    Wrong(String),
}

/// Runs a statement in a transaction that is rolled back on both.
pub fn run(gateway: &mut Client, postgres: &mut Client, sql: &str) -> Outcome {
    let of = |client: &mut Client| {
        let begun = client.query("BEGIN");
        let answer = if begun.lost.is_some() { begun } else { client.query(sql) };
        client.query("ROLLBACK");
        answer
    };
    let (wanted, got) = (of(postgres), of(gateway));
    judged(&wanted, &got)
}

fn judged(wanted: &Answer, got: &Answer) -> Outcome {
    if got.lost.is_some() {
        return Outcome::Wrong(format!("connection: {:?} {:?}", got.lost, got.error));
    }
    match (&wanted.error, &got.error) {
        (_, Some((code, message))) if code == "XX000" && wanted.sqlstate() != "XX000" || code.starts_with("08") => {
            Outcome::Wrong(format!("{code} {message}"))
        }
        (_, Some((code, _))) | (Some((code, _)), _) if code == "57014" => Outcome::Late,
        (_, Some((code, message))) if code == "0A000" && wanted.sqlstate() != "0A000" => {
            Outcome::Refused(message.clone())
        }
        // The key of a new row is asked for before its other columns are looked at.
        (_, Some((code, message))) if code == "23502" && message.contains("sharding key") => {
            Outcome::Refused(message.clone())
        }
        (None, None) => Outcome::Answered,
        (Some((code, _)), Some((other, _))) if code == other => Outcome::Error,
        (wanted, got) => Outcome::Wrong(format!("wanted {wanted:?}, got {got:?}")),
    }
}
