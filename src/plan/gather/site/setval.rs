//! `SELECT setval(...)` with values that are read from tables.

use pg_query::protobuf::{Node as Wrapped, SelectStmt};

use super::walk::{Found, Sites, unfit};
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::gather::node;
use crate::plan::gather::reference::Content;
use crate::plan::ir::Stop;
use crate::sql::{Node, names};

impl Sites<'_> {
    /// `SELECT setval(...)` with values that are read from tables: one row of totals.
    pub fn set_values(&mut self, select: &mut SelectStmt) -> Result<(), Stop> {
        if select.from_clause.is_empty() {
            return self.list(&mut select.target_list);
        }
        let whole = select.clone();
        let (mut values, mut kept) = (0, 0);
        let calls = select.target_list.iter_mut().filter_map(|target| target.node.as_mut());
        for call in calls.filter_map(value_of).filter_map(|value| match value {
            Node::FuncCall(call) => Some(call),
            _ => None,
        }) {
            for argument in call.args.iter_mut().skip(1) {
                let Some(node) = argument.node.as_mut() else { return Err(unfit()) };
                let content = Content::of(&mut node.clone())?;
                if !self.totals(&content)? {
                    continue;
                }
                let query = SelectStmt { target_list: vec![node::target(node.clone(), "")], ..whole.clone() };
                if !self.certain(&query) {
                    return Err(unfit());
                }
                values += 1;
                match self.place(|| Found::Query(Box::new(query))) {
                    Some(at) => *node = node::column(&[&format!("pgbraid_value_{at}_")]),
                    None => kept += 1,
                }
            }
        }
        if values == 0 {
            return Err(unfit());
        }
        if kept == 0 {
            select.from_clause.clear();
            select.where_clause = None;
        }
        Ok(())
    }

    /// Whether it has an aggregate.
    fn totals(&self, content: &Content) -> Result<bool, Stop> {
        let builder = Builder::new(self.context);
        for (schema, name) in &content.functions {
            if builder.call(schema.as_deref(), name)?.0 == Call::Aggregate {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a query consists of calls of `setval`, over no row or over one of totals.
pub fn sets(select: &SelectStmt) -> bool {
    let plain = select.group_clause.is_empty()
        && select.having_clause.is_none()
        && select.distinct_clause.is_empty()
        && select.with_clause.is_none()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.larg.is_none()
        && (select.where_clause.is_none() || !select.from_clause.is_empty());
    let call = |target: &Wrapped| {
        let Some(Node::ResTarget(target)) = &target.node else { return false };
        let Some(Node::FuncCall(call)) = names::inner(&target.val) else { return false };
        names::qualified(&call.funcname).is_some_and(|(_, name)| name == "setval")
    };
    plain && !select.target_list.is_empty() && select.target_list.iter().all(call)
}

fn value_of(target: &mut Node) -> Option<&mut Node> {
    let Node::ResTarget(target) = target else { return None };
    target.val.as_mut()?.node.as_mut()
}
