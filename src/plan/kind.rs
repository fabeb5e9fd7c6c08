//! DDL on tables that would promise what several shards cannot keep, or change where a table's rows live.

use super::Context;
use super::ir::Stop;
use crate::sql::Node;

/// Refuses it.
pub fn check(_node: &Node, _context: &Context<'_>) -> Result<(), Stop> {
    Ok(())
}
