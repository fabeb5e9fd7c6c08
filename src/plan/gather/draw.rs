//! Numbers of sequences in rows to be stored: drawn on the merge server, once for each row, as the query's last step.

use pg_query::protobuf::SelectStmt;

use super::reference::Content;
use crate::plan::Context;
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::sql::Node;

/// Whether a query draws numbers, and in its output columns only, outside of sub-selects: what is there is computed when all rows are
/// together. `nextval` alone: what others say depends on who drew before.
///
/// # Errors
/// For a function that is not known well enough.
pub fn only_in_output(select: &SelectStmt, context: &Context<'_>) -> Result<bool, Stop> {
    let drawn = |content: &Content| -> Result<Option<bool>, Stop> {
        let builder = Builder::new(context);
        let mut found = None;
        for (schema, name) in &content.functions {
            if builder.call(schema.as_deref(), name)?.0 == Call::Sequence {
                found = Some(found.unwrap_or(true) && name == "nextval");
            }
        }
        Ok(found)
    };
    let mut rest = select.clone();
    let mut any = false;
    for target in std::mem::take(&mut rest.target_list) {
        let Some(mut node) = target.node else { return Ok(false) };
        let content = Content::of(&mut node)?;
        match drawn(&content)? {
            Some(plain) if !plain || content.sublinks => return Ok(false),
            Some(_) => any = true,
            None => {}
        }
    }
    let elsewhere = drawn(&Content::of(&mut Node::SelectStmt(Box::new(rest)))?)?;
    Ok(any && elsewhere.is_none())
}
