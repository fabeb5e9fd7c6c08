//! Gathers whose answer is not rows: COPY (query) TO STDOUT, and EXPLAIN.

use std::sync::Arc;

use super::described::Wire;
use super::failure::Failure;
use super::gather::{Gathering, Run};
use super::life::{Ended, Session};
use super::parameters::Parameters;
use crate::plan::{Gather, Part, Target};
use crate::sql::{self, Node, ast};
use crate::wire::reply::{self, Report};

/// What has no form in the extended protocol yet.
pub(super) fn extended_refused() -> Failure {
    Report::error("0A000", "COPY and EXPLAIN over several shards are not supported in the extended protocol yet")
        .with_hint("Send it as a simple query.")
        .into()
}

impl Session {
    /// COPY (query) TO STDOUT.
    pub(super) async fn gather_copy(&mut self, text: &[u8], gather: &Arc<Gather>) -> Result<Ended, Failure> {
        let (query, copy) = copy_texts(text, &gather.merge)
            .ok_or_else(|| Failure::from(Report::error("0A000", "this COPY over several shards is not supported")))?;
        let described = self.described(query.as_bytes(), &[], gather, Wire::Simple).await?;
        let gathering = Gathering { described, parameters: Parameters::default(), result_formats: Vec::new() };
        let run = Run { wire: Wire::Simple, tells_columns: false, rows_max: 0, statement: Some(&copy) };
        let merged = self.run_gather(&gathering, run).await?;
        let tag = merged.tag.unwrap_or_default();
        if let Some(server) = merged.held {
            let key = server.server.cancel_key();
            self.link.servers.push(server);
            self.drop_last_merge(&key).await?;
        }
        reply::complete(&mut self.link.client.outbound, &String::from_utf8_lossy(&tag));
        Ok(Ended::NotReady)
    }

    /// EXPLAIN, as text without running anything.
    pub(super) async fn gather_explain(&mut self, text: &[u8], gather: &Arc<Gather>) -> Result<Ended, Failure> {
        if !is_plain_explain(text) {
            return Err(Report::error("0A000", "this EXPLAIN over several shards is not supported yet")
                .with_hint("EXPLAIN without ANALYZE, in text format, shows what is shipped and how it is merged.")
                .into());
        }
        let out = &mut self.link.client.outbound;
        reply::text_columns(out, &["QUERY PLAN"]);
        let mut lines = vec![format!("Gather  ({})", gather.reason)];
        for part in &gather.parts {
            lines.push(format!("  ->  Part {} on {}", part.name, place(part)));
            lines.push(format!("        {}", part.text));
            lines.extend(gather.notes(part).into_iter().map(|note| format!("        {note}")));
        }
        lines.push("  ->  Merge".to_owned());
        lines.push(format!("        {}", gather.merge));
        for line in lines {
            reply::text_row(out, &[line.as_bytes()]);
        }
        reply::complete(out, "EXPLAIN");
        Ok(Ended::NotReady)
    }
}

fn place(part: &Part) -> &'static str {
    match &part.target {
        Target::Scatter => "all shards",
        Target::Keyed(_) => "the shards of its keys",
        Target::Home => "the home shard",
        Target::Any
        | Target::Unknown
        | Target::Replicated
        | Target::Computed(_)
        | Target::Moved(_)
        | Target::Gather(_) => "one shard",
    }
}

/// The query of a COPY, and the COPY with another query in its place.
fn copy_texts(text: &[u8], merge: &str) -> Option<(String, String)> {
    let mut copy = only(std::str::from_utf8(text).ok()?)?;
    let merge = only(merge)?;
    let Some(Node::CopyStmt(statement)) = copy.stmt.as_mut()?.node.as_mut() else { return None };
    let query = statement.query.take()?;
    statement.query = merge.stmt;
    let query = print(ast::RawStmt { stmt: Some(query), ..ast::RawStmt::default() })?;
    Some((query, print(copy)?))
}

pub(super) fn only(text: &str) -> Option<ast::RawStmt> {
    let mut script = sql::parse(text).ok()?;
    let statement = script.statements.pop()?;
    if script.statements.is_empty() { statement.tree.map(|tree| *tree) } else { None }
}

pub(super) fn print(statement: ast::RawStmt) -> Option<String> {
    sql::edit::print_statement(statement)
}

/// Without options, or with options that change nothing of what is shown.
fn is_plain_explain(text: &[u8]) -> bool {
    let statement = std::str::from_utf8(text).ok().and_then(only);
    match statement.and_then(|raw| raw.stmt).and_then(|stmt| stmt.node) {
        Some(Node::ExplainStmt(explain)) => explain.options.iter().all(|option| match &option.node {
            Some(Node::DefElem(option)) => matches!(option.defname.as_str(), "costs" | "verbose" | "summary"),
            _ => false,
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_copy_keeps_its_options() {
        let (query, copy) =
            copy_texts(b"COPY (SELECT count(*) FROM t) TO STDOUT (FORMAT csv, HEADER)", "SELECT 1").unwrap();
        assert_eq!(query, "SELECT count(*) FROM t");
        assert_eq!(copy, "COPY (SELECT 1) TO STDOUT WITH (FORMAT CSV, HEADER)");
    }
}
