//! Defaults of columns that are computed on the merge server: one moment, one count for all shards.

use super::clock::Clock;
use super::node;
use crate::plan::ir::Stop;
use crate::sql::{self, Node, edit};

/// The setting in which the merge server finds the start of the client's transaction, in a form that has one meaning.
pub const NOW_SETTING: &str = "pgbraid.now";

/// Defaults with the time put in.
#[derive(Debug, Default)]
pub struct Defaults {
    /// Columns and their expressions.
    pub made: Vec<(String, String)>,
    /// Some of them tell the time.
    pub tells_time: bool,
}

impl Defaults {
    /// None yet.
    pub fn new() -> Defaults {
        Defaults::default()
    }

    /// One more; false if its text is not understood.
    pub fn add(&mut self, column: &str, text: &str) -> Result<bool, Stop> {
        let Ok(mut script) = sql::parse(&format!("SELECT {text}")) else { return Ok(false) };
        let tree = script.statements.pop().and_then(|statement| statement.tree).and_then(|raw| raw.stmt);
        let Some(mut tree) = tree.and_then(|stmt| stmt.node) else { return Ok(false) };
        let mut clock = Clock::new(1);
        clock.replace(&mut tree)?;
        self.tells_time |= clock.used;
        setting(&mut tree)?;
        let Node::SelectStmt(select) = &tree else { return Ok(false) };
        let Some(printed) = edit::print(select) else { return Ok(false) };
        let Some(expression) = printed.strip_prefix("SELECT ") else { return Ok(false) };
        self.made.push((column.to_owned(), expression.to_owned()));
        Ok(true)
    }
}

/// Puts the setting in place of the parameter.
fn setting(node: &mut Node) -> Result<(), Stop> {
    if matches!(node, Node::ParamRef(_)) {
        *node = Node::FuncCall(Box::new(node::call("current_setting", vec![node::text(NOW_SETTING)])));
        return Ok(());
    }
    edit::children(node, &mut setting)
}
