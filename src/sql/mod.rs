//! Statement text -> syntax tree, by PostgreSQL's own parser (`pg_query`). Pure: knows no catalog and decides nothing.
//!
//! A syntax error is not worded here: the session sends the text to a shard, whose message is the one users know.
//! Callers: `plan`; `session` for the ranges of the statements of a script.

use std::ops::Range;

use pg_query::protobuf::{RawStmt, node::Node as NodeEnum};

pub mod edit;
pub mod lift;
pub mod erase;
pub mod names;
pub mod same;
pub mod tokens;
pub mod values;
pub mod update;
pub mod clock;
pub mod walk;
pub mod statements;

pub use pg_query::protobuf as ast;

/// A node of the syntax tree; `None` never comes from the parser, yet is handled everywhere.
pub type Node = NodeEnum;

/// Deepest nesting that is analysed. The decoder of the tree stops a little earlier (`prost`'s limit of 100 messages), so that
/// recursion over a tree needs no guard of its own; views nest on top of it and are counted by `plan`.
pub const DEPTH_MAX: usize = 100;

/// A script's statements.
#[derive(Debug, Default)]
pub struct Script {
    /// In order; nothing stands for empty statements.
    pub statements: Vec<Statement>,
}

/// One statement of a script.
#[derive(Debug)]
pub struct Statement {
    /// Bytes of the script, without the semicolon and without white space before and after.
    pub range: Range<usize>,
    /// The tree; `None` when it is nested too deeply to be analysed (the statement is then the whole script).
    pub tree: Option<Box<RawStmt>>,
}

impl Statement {
    /// The statement itself.
    pub fn node(&self) -> Option<&Node> {
        self.tree.as_ref()?.stmt.as_ref()?.node.as_ref()
    }
}

/// The text is not SQL. PostgreSQL's own message is to be had from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error")]
pub struct SyntaxError;

/// Parses a script of any number of statements.
///
/// # Errors
/// [`SyntaxError`] when the parser finds one, and for a text with a NUL byte.
pub fn parse(text: &str) -> Result<Script, SyntaxError> {
    let parsed = match guarded(|| pg_query::parse(text, 0)) {
        Some(Ok(parsed)) => parsed.protobuf,
        // check_stack_depth of the parser's tree writer, and prost's limit when the tree is read back.
        Some(Err(pg_query::Error::Decode(_))) | None => return Ok(too_deep(text)),
        Some(Err(pg_query::Error::Parse(message))) if message.starts_with("stack depth limit") => {
            return Ok(too_deep(text));
        }
        Some(Err(_)) => return Err(SyntaxError),
    };
    let statements = parsed
        .stmts
        .into_iter()
        .filter(|raw| raw.stmt.as_ref().is_some_and(|stmt| stmt.node.is_some()))
        .map(|raw| Statement { range: statement_range(text, &raw), tree: Some(Box::new(raw)) })
        .collect();
    Ok(Script { statements })
}

/// `pg_query` turns the tree it read into lists with code that indexes and panics; a panic there must not end a session's task.
fn guarded<T>(parse: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(parse)).ok()
}

fn too_deep(text: &str) -> Script {
    Script { statements: vec![Statement { range: 0..text.len(), tree: None }] }
}

/// `stmt_len` is 0 for "up to the end" (parsenodes.h, RawStmt).
fn statement_range(text: &str, raw: &RawStmt) -> Range<usize> {
    let start = usize::try_from(raw.stmt_location).unwrap_or(0).min(text.len());
    let end = match usize::try_from(raw.stmt_len) {
        Ok(length) if length > 0 => start.saturating_add(length).min(text.len()),
        _ => text.len(),
    };
    let Some(body) = text.get(start..end) else { return start..end };
    let leading = body.len() - body.trim_start().len();
    start + leading..start + leading + body.trim().len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_leave_out_semicolons_and_white_space() {
        let text = " SELECT 1 ;; \n UPDATE t SET a = ';' ;";
        let script = parse(text).unwrap();
        let statements: Vec<_> = script.statements.iter().map(|s| &text[s.range.clone()]).collect();
        assert_eq!(statements, ["SELECT 1", "UPDATE t SET a = ';'"]);
    }

    #[test]
    fn text_that_is_not_sql_is_an_error() {
        assert!(parse("SELEC 1").is_err());
        assert!(parse("SELECT 1\0").is_err());
        assert!(parse("").unwrap().statements.is_empty());
    }

    #[test]
    fn nesting_of_any_depth_is_told_and_does_not_overflow() {
        for count in [200, 5_000, 200_000] {
            let chain = format!("SELECT 1{}", "+1".repeat(count));
            assert!(parse(&chain).unwrap().statements[0].tree.is_none());
            let parentheses = format!("SELECT {}1{}", "(".repeat(count), ")".repeat(count));
            let _ = parse(&parentheses);
            let nested = format!("SELECT {}1{}", "(SELECT ".repeat(count), ")".repeat(count));
            let _ = parse(&nested);
            let unions = format!("SELECT 1{}", " UNION SELECT 1".repeat(count));
            let _ = parse(&unions);
            let prefixes = format!("SELECT {} true", "NOT ".repeat(count));
            let _ = parse(&prefixes);
        }
    }
}
