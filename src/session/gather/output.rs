//! Gathers whose answer is not rows: COPY (query) TO STDOUT.

use std::sync::Arc;

use super::described::Wire;
use super::run::{Gathering, Run};
use crate::plan::{Gather, Part, Target};
use crate::session::failure::Failure;
use crate::session::life::{Ended, Session};
use crate::session::parameters::Parameters;
use crate::sql::{self, ast, tokens};
use crate::wire::reply::{self, Report};

impl Session {
    /// COPY (query) TO STDOUT.
    pub(super) async fn gather_copy(&mut self, text: &[u8], gather: &Arc<Gather>) -> Result<Ended, Failure> {
        let query = copied_query(text)?;
        let described = self.described(query.as_bytes(), &[], gather, Wire::Simple).await?;
        let gathering = Gathering { described, parameters: Parameters::default(), result_formats: Vec::new() };
        self.copy_gathered(text, &gathering, Wire::Simple).await?;
        Ok(Ended::NotReady)
    }

    /// The same with what is needed at hand.
    pub(super) async fn copy_gathered(
        &mut self,
        text: &[u8],
        gathering: &Gathering,
        wire: Wire,
    ) -> Result<(), Failure> {
        let (_, copy) = copy_texts(text, &gathering.described.gather.merge).ok_or_else(uncopied)?;
        let run = Run { wire, tells_columns: false, rows_max: 0, statement: Some(&copy), keeps: false };
        let merged = self.run_gather(gathering, run).await?;
        let tag = merged.tag.unwrap_or_default();
        if let Some(server) = merged.held {
            let key = server.server.cancel_key();
            self.link.servers.push(server);
            self.drop_merge(&key).await?;
        }
        reply::complete(&mut self.link.client.outbound, &String::from_utf8_lossy(&tag));
        Ok(())
    }
}

fn uncopied() -> Failure {
    Report::error("0A000", "this COPY over several shards is not supported").into()
}

/// The query of a COPY.
pub(in crate::session) fn copied_query(text: &[u8]) -> Result<String, Failure> {
    copy_texts(text, "SELECT").map(|(query, _)| query).ok_or_else(uncopied)
}

pub(super) fn place(part: &Part) -> &'static str {
    match &part.target {
        Target::Scatter => "all shards",
        Target::Keyed(_) => "the shards of its keys",
        Target::Home => "the home shard",
        Target::Any
        | Target::Unknown
        | Target::Replicated { .. }
        | Target::Computed(_)
        | Target::Fetched(_)
        | Target::Moved(_)
        | Target::Gather(_) => "one shard",
    }
}

/// The query of a COPY, and the COPY with another query in its place.
fn copy_texts(text: &[u8], merge: &str) -> Option<(String, String)> {
    let text = std::str::from_utf8(text).ok()?;
    let range = tokens::query_copied(text)?;
    let (head, query, tail) = (text.get(..range.start)?, text.get(range.clone())?, text.get(range.end..)?);
    Some((query.to_owned(), format!("{head}{merge}{tail}")))
}

pub(super) fn only(text: &str) -> Option<ast::RawStmt> {
    let mut script = sql::parse(text).ok()?;
    let statement = script.statements.pop()?;
    if script.statements.is_empty() { statement.tree.map(|tree| *tree) } else { None }
}

pub(super) fn print(statement: ast::RawStmt) -> Option<String> {
    sql::edit::print_statement(statement)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_copy_keeps_its_options() {
        for options in ["(FORMAT csv, HEADER)", "csv header delimiter ';' null 'x'", "(format csv, header on) -- (all)"]
        {
            let text = format!("/* (1) */ COPY (SELECT count(*) FROM t /* ) */) TO STDOUT {options}");
            let (query, copy) = copy_texts(text.as_bytes(), "SELECT 1").unwrap();
            assert_eq!(query, "SELECT count(*) FROM t /* ) */");
            assert_eq!(copy, format!("/* (1) */ COPY (SELECT 1) TO STDOUT {options}"));
        }
    }
}
