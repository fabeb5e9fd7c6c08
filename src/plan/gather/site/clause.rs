//! The clauses of a statement that writes: its WITH, its expressions and FROM items.

use pg_query::protobuf::{Node as Wrapped, SelectStmt, WithClause};

use crate::sql::Node;

/// The expressions and FROM items of a write.
pub fn parts(statement: &mut Node) -> Vec<&mut Node> {
    let mut lists: Vec<&mut Vec<Wrapped>> = Vec::new();
    let mut ones: Vec<&mut Option<Box<Wrapped>>> = Vec::new();
    match statement {
        Node::UpdateStmt(e) => {
            lists.extend([&mut e.from_clause, &mut e.target_list]);
            lists.extend(e.returning_clause.as_mut().map(|clause| &mut clause.exprs));
            ones.push(&mut e.where_clause);
        }
        Node::DeleteStmt(e) => {
            lists.push(&mut e.using_clause);
            lists.extend(e.returning_clause.as_mut().map(|clause| &mut clause.exprs));
            ones.push(&mut e.where_clause);
        }
        Node::InsertStmt(e) => {
            if let Some(Node::SelectStmt(select)) = e.select_stmt.as_mut().and_then(|select| select.node.as_mut()) {
                lists.push(&mut select.values_lists);
            }
            if let Some(conflict) = &mut e.on_conflict_clause {
                lists.push(&mut conflict.target_list);
                ones.push(&mut conflict.where_clause);
            }
            lists.extend(e.returning_clause.as_mut().map(|clause| &mut clause.exprs));
        }
        Node::MergeStmt(e) => {
            ones.extend([&mut e.source_relation, &mut e.join_condition]);
            for clause in e.merge_when_clauses.iter_mut().filter_map(|clause| clause.node.as_mut()) {
                if let Node::MergeWhenClause(clause) = clause {
                    lists.extend([&mut clause.target_list, &mut clause.values]);
                    ones.push(&mut clause.condition);
                }
            }
        }
        _ => {}
    }
    let nodes = lists.into_iter().flatten().filter_map(|item| item.node.as_mut());
    let ones = ones.into_iter().flatten().filter_map(|one| one.node.as_mut());
    nodes.chain(ones).collect()
}

/// Whether a literal in it has no value, or that is not certain.
pub fn has_erased(statement: &mut Node) -> bool {
    let mut erased = false;
    if let Some(Some(with)) = with_of(statement) {
        for cte in with.ctes.iter_mut().filter_map(|cte| cte.node.as_mut()) {
            let Node::CommonTableExpr(cte) = cte else { return true };
            let Some(query) = cte.ctequery.as_mut().and_then(|query| query.node.as_mut()) else { return true };
            erased |= has_erased(query);
        }
    }
    match statement {
        Node::SelectStmt(select) => {
            let mut plain = Node::SelectStmt(Box::new(SelectStmt { with_clause: None, ..select.as_ref().clone() }));
            return erased || crate::plan::gather::plan::has_erased(&mut plain).unwrap_or(true);
        }
        Node::InsertStmt(insert) => {
            if let Some(select) = insert.select_stmt.as_mut().and_then(|select| select.node.as_mut()) {
                erased |= has_erased(select);
            }
        }
        _ => {}
    }
    let whole = |part: &mut Node| crate::plan::gather::plan::has_erased(part).unwrap_or(true);
    for part in parts(statement) {
        erased |= match source_of(part) {
            Some(source) => whole(source),
            None => whole(part),
        };
    }
    erased
}

pub fn with_of(statement: &mut Node) -> Option<&mut Option<WithClause>> {
    match statement {
        Node::SelectStmt(e) => Some(&mut e.with_clause),
        Node::InsertStmt(e) => Some(&mut e.with_clause),
        Node::UpdateStmt(e) => Some(&mut e.with_clause),
        Node::DeleteStmt(e) => Some(&mut e.with_clause),
        Node::MergeStmt(e) => Some(&mut e.with_clause),
        _ => None,
    }
}

/// What `SET (a, b) = ...` takes its values from.
pub fn source_of(node: &mut Node) -> Option<&mut Node> {
    let Node::ResTarget(target) = node else { return None };
    match target.val.as_mut()?.node.as_mut()? {
        Node::MultiAssignRef(multiple) => multiple.source.as_mut()?.node.as_mut(),
        _ => None,
    }
}
