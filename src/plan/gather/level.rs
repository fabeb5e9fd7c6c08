//! A FROM clause without its inner joins: the items that they join, and the conditions on them.

use std::collections::BTreeSet;

use pg_query::protobuf::{AExprKind, JoinExpr, JoinType, SelectStmt};

use super::condition;
use super::engine::Engine;
use super::reference::{self, Content, Reference};
use crate::plan::ir::Stop;
use crate::sql::{Node, names};

/// Something that is AND-ed in WHERE or in ON of an inner join.
pub struct Condition {
    pub node: Node,
    /// Items that it is about.
    pub items: BTreeSet<String>,
    /// It may be decided on the shards, as far as functions go.
    pub steady: bool,
    pub sublinks: bool,
    pub equality: bool,
    /// Columns that stand alone on a side of an equality.
    pub sides: Vec<Reference>,
    /// Others say it too.
    pub implied: bool,
}

/// A FROM clause without its inner joins.
pub struct Level {
    pub units: Vec<Node>,
    pub conditions: Vec<Condition>,
}

impl Level {
    pub fn nodes(&self, units: &[usize]) -> Vec<&Node> {
        units.iter().filter_map(|at| self.units.get(*at)).collect()
    }

    pub fn implied(&self, at: usize) -> bool {
        self.conditions.get(at).is_some_and(|condition| condition.implied)
    }

    /// It compares columns of these items with columns of queries around.
    pub fn correlated(&self, at: usize, items: &BTreeSet<String>) -> bool {
        self.conditions.get(at).is_some_and(|condition| {
            condition.equality && condition.steady && !condition.sublinks && !condition.items.is_subset(items)
        })
    }

    /// The columns of these items that are equal to something of the others.
    pub fn joined(&self, items: &BTreeSet<String>, others: &BTreeSet<String>) -> Vec<&Reference> {
        let mut found = Vec::new();
        for condition in self.conditions.iter().filter(|condition| condition.steady && !condition.sides.is_empty()) {
            let within = condition.items.iter().all(|item| items.contains(item) || others.contains(item));
            if within && !condition.items.is_subset(items) {
                found.extend(condition.sides.iter().filter(|(item, _)| items.contains(item)));
            }
        }
        found
    }

    pub fn conditions(&self, chosen: &[usize]) -> Vec<Node> {
        chosen.iter().filter_map(|at| self.conditions.get(*at)).map(|condition| condition.node.clone()).collect()
    }
}

impl Engine<'_, '_> {
    pub fn flatten(&mut self, select: &mut SelectStmt) -> Result<Level, Stop> {
        let mut nodes = condition::split(select.where_clause.take());
        let mut units = Vec::new();
        for item in std::mem::take(&mut select.from_clause).into_iter().filter_map(|item| item.node) {
            flatten(item, &mut units, &mut nodes);
        }
        let mut conditions = Vec::new();
        for mut node in nodes {
            self.early_values(&mut node)?;
            let content = Content::of(&mut node)?;
            let items = content.outside().into_iter().map(str::to_owned).collect();
            let named = content.bare.iter().all(|name| content.ctes.contains(name));
            let steady = named && self.steady(&content)?;
            let equality = matches!(&node, Node::AExpr(e) if e.kind() == AExprKind::AexprOp && names::operator(&e.name).is_some_and(|(name, _)| name == "="));
            let sides = match &node {
                Node::AExpr(e) if equality => {
                    let sides = [&e.lexpr, &e.rexpr].into_iter().filter_map(names::inner).filter_map(reference::of);
                    sides.map(|(item, column)| (item.to_owned(), column.to_owned())).collect()
                }
                _ => Vec::new(),
            };
            let sublinks = content.sublinks;
            conditions.push(Condition { node, items, steady, sublinks, equality, sides, implied: false });
        }
        let implied = implied(&conditions)?;
        conditions.extend(implied);
        Ok(Level { units, conditions })
    }
}

fn flatten(item: Node, units: &mut Vec<Node>, conditions: &mut Vec<Node>) {
    match item {
        Node::JoinExpr(join) if join.jointype() == JoinType::JoinInner => {
            let JoinExpr { larg, rarg, quals, .. } = *join;
            for side in [larg, rarg].into_iter().flatten().filter_map(|side| side.node) {
                flatten(side, units, conditions);
            }
            conditions.extend(condition::split(quals));
        }
        item => units.push(item),
    }
}

/// What an OR over several items says of each of them alone: one of what its arms say of that item.
fn implied(conditions: &[Condition]) -> Result<Vec<Condition>, Stop> {
    let mut found = Vec::new();
    for condition in conditions.iter().filter(|c| c.steady && !c.sublinks && c.items.len() > 1) {
        let Some(arms) = condition::arms(&condition.node) else { continue };
        for item in &condition.items {
            let mut own = Vec::new();
            for arm in &arms {
                let mut about = Vec::new();
                for node in arm {
                    let content = Content::of(&mut node.clone())?;
                    if content.outside().len() == 1 && content.outside().contains(item.as_str()) {
                        about.push(node.clone());
                    }
                }
                own.push(about);
            }
            if own.iter().any(Vec::is_empty) {
                continue;
            }
            if let Some(node) = condition::either(own) {
                let items = BTreeSet::from([item.clone()]);
                found.push(Condition {
                    node,
                    items,
                    steady: true,
                    sublinks: false,
                    equality: false,
                    sides: Vec::new(),
                    implied: true,
                });
            }
        }
    }
    Ok(found)
}
