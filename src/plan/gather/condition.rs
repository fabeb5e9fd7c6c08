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
        node => found.push(node),
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
