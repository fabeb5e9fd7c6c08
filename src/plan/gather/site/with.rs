//! Places in a WITH clause: its queries, and what those return that write.

use pg_query::protobuf::{CommonTableExpr, Node as Wrapped, WithClause};

use super::clause::with_of;
use super::walk::{Found, Sites, rows, unfit};
use crate::plan::gather::fetch::writes_in_with;
use crate::plan::gather::node;
use crate::plan::ir::Stop;
use crate::sql::{Node, names};

impl Sites<'_> {
    pub fn with(&mut self, with: &mut WithClause) -> Result<(), Stop> {
        let recursive = with.recursive;
        self.with.recursive = recursive;
        let any_writes = with.ctes.iter().any(writes_in_with);
        if recursive && any_writes {
            return Err(unfit());
        }
        let all = with.ctes.clone();
        if recursive {
            self.names.extend(all.iter().filter_map(names::cte_name));
            self.with.ctes.clone_from(&all);
        }
        let mut kept = Vec::with_capacity(with.ctes.len());
        for mut wrapped in std::mem::take(&mut with.ctes) {
            let Some(Node::CommonTableExpr(cte)) = &mut wrapped.node else { return Err(unfit()) };
            let written = cte.as_ref().clone();
            let keeps = if writes_in_with(&Wrapped { node: Some(Node::CommonTableExpr(Box::new(written.clone()))) }) {
                self.write_in_with(cte)?
            } else {
                if !recursive {
                    self.with.ctes.push(Wrapped { node: Some(Node::CommonTableExpr(Box::new(written))) });
                }
                self.query_in_with(cte)?;
                true
            };
            if !recursive {
                self.names.push(cte.ctename.clone());
            }
            if keeps {
                kept.push(wrapped);
            }
        }
        with.ctes = kept;
        Ok(())
    }

    fn query_in_with(&mut self, cte: &mut CommonTableExpr) -> Result<(), Stop> {
        let name = node::relation("", &cte.ctename, "");
        let all = node::wrap(Node::ResTarget(Box::new(pg_query::protobuf::ResTarget {
            val: node::boxed(node::star()),
            ..pg_query::protobuf::ResTarget::default()
        })));
        let mut select = node::select(vec![all], vec![node::wrap(Node::RangeVar(name))]);
        select.with_clause = Some(self.with.clone());
        if !self.reads_elsewhere(&select)? || !self.certain(&select) {
            return Ok(());
        }
        if let Some(at) = self.place(|| Found::Query(Box::new(select))) {
            cte.ctequery = node::boxed(Node::SelectStmt(Box::new(rows(at))));
            cte.aliascolnames.clear();
            cte.search_clause = None;
            cte.cycle_clause = None;
        }
        Ok(())
    }

    /// Whether it stays in the WITH clause.
    fn write_in_with(&mut self, cte: &mut CommonTableExpr) -> Result<bool, Stop> {
        let Some(mut query) = cte.ctequery.as_ref().and_then(|query| query.node.clone()) else { return Err(unfit()) };
        let returns = match &query {
            Node::InsertStmt(write) => write.returning_clause.is_some(),
            Node::UpdateStmt(write) => write.returning_clause.is_some(),
            Node::DeleteStmt(write) => write.returning_clause.is_some(),
            _ => return Ok(true),
        };
        // Of queries before it, those that are left and what stands for those that are not.
        if with_of(&mut query).is_some_and(|own| own.is_some()) {
            return Err(unfit());
        }
        if !self.with.ctes.is_empty() {
            let clause = match &mut query {
                Node::InsertStmt(write) => &mut write.with_clause,
                Node::UpdateStmt(write) => &mut write.with_clause,
                Node::DeleteStmt(write) => &mut write.with_clause,
                _ => return Ok(true),
            };
            *clause = Some(self.with.clone());
        }
        let Some(at) = self.place(|| Found::Later(Box::new(query))) else { return Ok(true) };
        if returns {
            let stands = node::boxed(Node::SelectStmt(Box::new(rows(at))));
            cte.ctequery.clone_from(&stands);
            self.with.ctes.push(Wrapped { node: Some(Node::CommonTableExpr(Box::new(cte.clone()))) });
        }
        Ok(returns)
    }
}
