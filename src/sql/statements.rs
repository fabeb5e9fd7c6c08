//! Visits what is below a node, as `edit` does, also where the node is an INSERT, UPDATE, DELETE, MERGE or CALL.

use pg_query::protobuf::{Node as Wrapped, ReturningClause, WithClause};

use super::Node;
use super::edit::{self, Visit};
use super::walk::Unknown;

/// Calls `visit` for each child of `node`: expressions, FROM items, WITH queries, sub-selects. Not for what a write names: its
/// table and the columns of its list.
///
/// # Errors
/// [`Unknown`] for a node of another kind of statement, and what `visit` returns.
pub fn children<E: From<Unknown>>(node: &mut Node, visit: Visit<'_, E>) -> Result<(), E> {
    match node {
        Node::InsertStmt(e) => {
            with(&mut e.with_clause, visit)?;
            one(&mut e.select_stmt, visit)?;
            if let Some(conflict) = &mut e.on_conflict_clause {
                if let Some(infer) = &mut conflict.infer {
                    list(&mut infer.index_elems, visit)?;
                    one(&mut infer.where_clause, visit)?;
                }
                list(&mut conflict.target_list, visit)?;
                one(&mut conflict.where_clause, visit)?;
            }
            returning(&mut e.returning_clause, visit)
        }
        Node::UpdateStmt(e) => {
            with(&mut e.with_clause, visit)?;
            list(&mut e.from_clause, visit)?;
            list(&mut e.target_list, visit)?;
            one(&mut e.where_clause, visit)?;
            returning(&mut e.returning_clause, visit)
        }
        Node::DeleteStmt(e) => {
            with(&mut e.with_clause, visit)?;
            list(&mut e.using_clause, visit)?;
            one(&mut e.where_clause, visit)?;
            returning(&mut e.returning_clause, visit)
        }
        Node::MergeStmt(e) => {
            with(&mut e.with_clause, visit)?;
            one(&mut e.source_relation, visit)?;
            one(&mut e.join_condition, visit)?;
            list(&mut e.merge_when_clauses, visit)?;
            returning(&mut e.returning_clause, visit)
        }
        Node::MergeWhenClause(e) => {
            one(&mut e.condition, visit)?;
            list(&mut e.target_list, visit)?;
            list(&mut e.values, visit)
        }
        Node::CallStmt(e) => e.funccall.as_mut().map_or(Ok(()), |call| list(&mut call.args, visit)),
        Node::MultiAssignRef(e) => one(&mut e.source, visit),
        Node::IndexElem(e) => one(&mut e.expr, visit),
        _ => edit::children(node, visit),
    }
}

fn with<E>(clause: &mut Option<WithClause>, visit: Visit<'_, E>) -> Result<(), E> {
    clause.as_mut().map_or(Ok(()), |clause| list(&mut clause.ctes, visit))
}

fn returning<E>(clause: &mut Option<ReturningClause>, visit: Visit<'_, E>) -> Result<(), E> {
    clause.as_mut().map_or(Ok(()), |clause| list(&mut clause.exprs, visit))
}

fn one<E>(node: &mut Option<Box<Wrapped>>, visit: Visit<'_, E>) -> Result<(), E> {
    node.as_mut().and_then(|node| node.node.as_mut()).map_or(Ok(()), visit)
}

fn list<E>(nodes: &mut [Wrapped], visit: Visit<'_, E>) -> Result<(), E> {
    nodes.iter_mut().filter_map(|node| node.node.as_mut()).try_for_each(visit)
}
