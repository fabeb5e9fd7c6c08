//! Conditions as lists of what is AND-ed together.

use pg_query::protobuf::{AExpr, AExprKind, BoolExpr, BoolExprType, Node as Wrapped};

use super::node;
use crate::sql::Node;

/// The conditions of which all must hold.
pub fn split(condition: Option<Box<Wrapped>>) -> Vec<Node> {
    let mut found = Vec::new();
    if let Some(node) = condition.and_then(|condition| condition.node) {
        add(node, &mut found);
    }
    found
}

fn add(node: Node, found: &mut Vec<Node>) {
    match node {
        Node::BoolExpr(all) if all.boolop() == BoolExprType::AndExpr => {
            all.args.into_iter().filter_map(|node| node.node).for_each(|node| add(node, found));
        }
        Node::BoolExpr(any) if any.boolop() == BoolExprType::OrExpr => factor(*any, found),
        node => found.push(node),
    }
}

/// `(a AND b) OR (a AND c)` -> `a`, `b OR c`; as PostgreSQL's planner does (find_duplicate_ors, prepqual.c).
fn factor(any: BoolExpr, found: &mut Vec<Node>) {
    let mut arms: Vec<Vec<Node>> = any.args.iter().map(|arm| split(Some(Box::new(arm.clone())))).collect();
    let Some((first, others)) = arms.split_first() else { return };
    let common: Vec<Node> =
        first.iter().filter(|condition| others.iter().all(|arm| arm.contains(condition))).cloned().collect();
    if common.is_empty() {
        found.push(Node::BoolExpr(Box::new(any)));
        return;
    }
    for arm in &mut arms {
        arm.retain(|condition| !common.contains(condition));
    }
    found.extend(common);
    // An arm that says nothing more makes the rest true.
    if arms.iter().all(|arm| !arm.is_empty()) {
        found.extend(either(arms));
    }
}

/// Conditions of which one arm must hold, all of it.
pub fn either(arms: Vec<Vec<Node>>) -> Option<Node> {
    let args: Vec<Wrapped> = arms.into_iter().filter_map(|arm| all(arm).map(|arm| *arm)).collect();
    Some(Node::BoolExpr(Box::new(BoolExpr { boolop: BoolExprType::OrExpr as i32, args, ..BoolExpr::default() })))
}

/// The arms of an OR.
pub fn arms(condition: &Node) -> Option<Vec<Vec<Node>>> {
    match condition {
        Node::BoolExpr(any) if any.boolop() == BoolExprType::OrExpr => {
            Some(any.args.iter().map(|arm| split(Some(Box::new(arm.clone())))).collect())
        }
        _ => None,
    }
}

/// One condition that says them all; none when there are none.
pub fn all(mut conditions: Vec<Node>) -> Option<Box<Wrapped>> {
    if conditions.len() < 2 {
        return conditions.pop().and_then(node::boxed);
    }
    let args = conditions.into_iter().map(node::wrap).collect();
    node::boxed(Node::BoolExpr(Box::new(BoolExpr {
        boolop: BoolExprType::AndExpr as i32,
        args,
        ..BoolExpr::default()
    })))
}

/// `left = right`.
pub fn equal(left: Node, right: Node) -> Node {
    operator("=", left, right)
}

/// `left operator right`.
pub fn operator(name: &str, left: Node, right: Node) -> Node {
    Node::AExpr(Box::new(AExpr {
        kind: AExprKind::AexprOp as i32,
        name: vec![node::name(name)],
        lexpr: node::boxed(left),
        rexpr: node::boxed(right),
        ..AExpr::default()
    }))
}
