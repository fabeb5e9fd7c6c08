//! Runs a statement on the gateway and on one Postgres, and says where they differ.

use crate::client::{Answer, Client, bind, execute, frame, parse, target};
use crate::script::{Expectation, Statement};

/// What comparing a statement came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both said the same.
    Equal,
    /// The gateway refused, as it may; the reason.
    Refused(String),
    /// They differ, or a refusal was expected and did not come, or the other way round.
    Different(String),
}

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Query.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync, with results as text.
    Text,
    /// The same in three parts, each with its Sync: a named statement and its description; Bind, Describe and Execute; Close.
    Prepared,
    /// The same with results in binary.
    Binary,
}

/// Both sides.
pub struct Sides {
    /// The system under test.
    pub gateway: Client,
    /// The oracle.
    pub postgres: Client,
}

impl Sides {
    /// Compares by each protocol that suits the statement; a statement that may change something runs once.
    pub fn compare(&mut self, statement: &Statement) -> Verdict {
        let reads = reads_only(&statement.sql);
        let protocols: &[Protocol] = match (&statement.parameters, reads) {
            (Some(_), true) => &[Protocol::Text, Protocol::Binary],
            // Which of the two is chance, but the same each time.
            (Some(values), false) if values.len() > 1 && statement.sql.len().is_multiple_of(2) => &[Protocol::Prepared],
            (Some(_), false) => &[Protocol::Text],
            (None, true) => &[Protocol::Simple, Protocol::Text, Protocol::Binary],
            (None, false) => &[Protocol::Simple],
        };
        let mut verdicts: Vec<Verdict> = Vec::new();
        for protocol in protocols {
            let verdict = self.compare_by(statement, *protocol);
            if let Verdict::Different(how) = verdict {
                return Verdict::Different(format!("[{protocol:?}] {how}"));
            }
            verdicts.push(verdict);
        }
        if verdicts.windows(2).any(|pair| matches!(pair[0], Verdict::Equal) != matches!(pair[1], Verdict::Equal)) {
            return Verdict::Different(format!("protocols disagree: {verdicts:?}"));
        }
        verdicts.swap_remove(0)
    }

    fn compare_by(&mut self, statement: &Statement, protocol: Protocol) -> Verdict {
        let got = ask(&mut self.gateway, statement, protocol);
        if got.lost.is_some() {
            return Verdict::Different(format!("the gateway's connection: {:?} {:?}", got.lost, got.error));
        }
        match (&statement.expectation, &got.error) {
            (Expectation::Refused(code), Some((got_code, reason))) if code == got_code => {
                return Verdict::Refused(reason.clone());
            }
            (Expectation::Refused(code), _) => {
                return Verdict::Different(format!("expected a refusal with {code}, got {}", show(&got)));
            }
            (Expectation::Either, Some((code, reason))) if code == "0A000" => return Verdict::Refused(reason.clone()),
            (Expectation::Either | Expectation::Equal, _) => {}
        }
        let wanted = ask(&mut self.postgres, statement, protocol);
        if statement.expectation == Expectation::Either && is_another_fault(&statement.sql, &wanted, &got) {
            return Verdict::Equal;
        }
        match difference(wanted, got, statement.ordered) {
            None => Verdict::Equal,
            Some(how) => Verdict::Different(how),
        }
    }
}

/// Several rows of a MERGE may be at fault, as random ones are; which of them comes first is for the planner to choose.
fn is_another_fault(sql: &str, wanted: &Answer, got: &Answer) -> bool {
    const FAULTS: [&str; 5] = ["21000", "22012", "23502", "23503", "23505"];
    let fails = |answer: &Answer| answer.lost.is_none() && FAULTS.contains(&answer.sqlstate());
    sql.starts_with("MERGE ") && fails(wanted) && fails(got) && wanted.status == got.status
}

/// Conservative: only what starts as a query and names no writing verb.
pub fn reads_only(sql: &str) -> bool {
    let lower = sql.trim_start().to_lowercase();
    let starts = ["select", "with", "values", "table", "show", "("].iter().any(|verb| lower.starts_with(verb));
    let writes = ["insert ", "update ", "delete ", "merge ", "nextval", "setval", "set_config", "into "];
    starts && !writes.iter().any(|verb| lower.contains(verb)) && !lower.contains(';')
}

/// Sends a statement and reads the whole answer.
pub fn ask(client: &mut Client, statement: &Statement, protocol: Protocol) -> Answer {
    if protocol == Protocol::Simple {
        return client.query(&statement.sql);
    }
    let parameters: Vec<Option<Vec<u8>>> = statement
        .parameters
        .iter()
        .flatten()
        .map(|value| value.as_ref().map(|text| text.clone().into_bytes()))
        .collect();
    let format = u16::from(protocol == Protocol::Binary);
    let name: &[u8] = if protocol == Protocol::Prepared { b"compared" } else { b"" };
    let mut bytes = parse(name, statement.sql.as_bytes(), &[]);
    if protocol == Protocol::Prepared {
        bytes.extend([target(b'D', b'S', name), frame(b'S', b"")].concat());
        client.send(&bytes);
        let answer = Answer::of(client.receive_ready());
        if answer.error.is_some() || answer.lost.is_some() {
            return answer;
        }
        bytes.clear();
    }
    bytes.extend(bind(b"", name, &[], &parameters, &[format]));
    bytes.extend(target(b'D', b'P', b""));
    bytes.extend(execute(b"", 0));
    bytes.extend(frame(b'S', b""));
    client.send(&bytes);
    let answer = Answer::of(client.receive_ready());
    if protocol == Protocol::Prepared && answer.lost.is_none() {
        client.send(&[target(b'C', b'S', name), frame(b'S', b"")].concat());
        drop(client.receive_ready());
    }
    answer
}

/// Where two answers differ; `None` when they say the same.
pub fn difference(mut wanted: Answer, mut got: Answer, ordered: bool) -> Option<String> {
    if wanted.lost.is_some() || got.lost.is_some() {
        return Some(format!("connection: wanted {:?}, got {:?}", wanted.lost, got.lost));
    }
    if wanted.sqlstate() != got.sqlstate() {
        return Some(format!("wanted {}, got {}", show(&wanted), show(&got)));
    }
    if wanted.status != got.status {
        return Some(format!("transaction status: wanted {:?}, got {:?}", wanted.status, got.status));
    }
    if wanted.error.is_some() {
        // Rows before an error may have come or not: nobody may use them.
        return None;
    }
    for answer in [&mut wanted, &mut got] {
        // OIDs of types and tables that users made differ from server to server.
        for column in &mut answer.columns {
            column.type_oid = column.type_oid.min(16384);
            column.table = column.table.min(16384);
        }
        if !ordered {
            answer.rows.sort();
        }
    }
    if wanted.columns != got.columns {
        return Some(format!("columns: wanted {:?}, got {:?}", wanted.columns, got.columns));
    }
    if wanted.tags != got.tags {
        return Some(format!("tags: wanted {:?}, got {:?}", wanted.tags, got.tags));
    }
    if wanted.rows != got.rows {
        return Some(format!("rows: wanted {}, got {}", show(&wanted), show(&got)));
    }
    None
}

fn show(answer: &Answer) -> String {
    if let Some((code, message)) = &answer.error {
        return format!("error {code} {message}");
    }
    let row = |row: &Vec<Option<Vec<u8>>>| {
        let values = row.iter().map(|value| value.as_ref().map_or("null".into(), |v| v.escape_ascii().to_string()));
        values.collect::<Vec<_>>().join(",")
    };
    let rows: Vec<String> = answer.rows.iter().take(12).map(row).collect();
    format!("{} rows {:?} [{}]", answer.rows.len(), answer.tags, rows.join(" ; "))
}
