//! Numbers of sequences in rows to be stored: drawn on the merge server, once for each row. In output columns that is the query's last step;
//! elsewhere no piece of the query may run on a shard, so that tables are shipped whole and all of it runs there.

use pg_query::protobuf::SelectStmt;

use super::reference::Content;
use crate::plan::Context;
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::sql::Node;

/// Where a query draws numbers by `nextval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// Nowhere; or it asks sequences other things, which depend on who drew before.
    Not,
    /// In its output columns only, outside of sub-selects: what is there is computed when all rows are together.
    InOutput,
    /// In other places.
    Elsewhere,
}

/// Where this query does.
///
/// # Errors
/// For a function that is not known well enough.
pub fn drawn(select: &SelectStmt, context: &Context<'_>) -> Result<Drawn, Stop> {
    let builder = Builder::new(context);
    let asked = |content: &Content| -> Result<(bool, bool), Stop> {
        let (mut draws, mut others) = (false, false);
        for (schema, name) in &content.functions {
            if builder.call(schema.as_deref(), name)?.0 == Call::Sequence {
                draws |= name == "nextval";
                others |= name != "nextval";
            }
        }
        Ok((draws, others))
    };
    let mut rest = select.clone();
    let mut found = Drawn::Not;
    for mut node in std::mem::take(&mut rest.target_list).into_iter().filter_map(|target| target.node) {
        let content = Content::of(&mut node)?;
        match asked(&content)? {
            (_, true) => return Ok(Drawn::Not),
            (true, false) if content.sublinks || found == Drawn::Elsewhere => found = Drawn::Elsewhere,
            (true, false) => found = Drawn::InOutput,
            (false, false) => {}
        }
    }
    match asked(&Content::of(&mut Node::SelectStmt(Box::new(rest)))?)? {
        (_, true) => Ok(Drawn::Not),
        (true, false) => Ok(Drawn::Elsewhere),
        (false, false) => Ok(found),
    }
}
