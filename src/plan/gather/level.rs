//! A FROM clause without its inner joins: the items that they join, and the conditions on them.

use std::collections::{BTreeMap, BTreeSet};

use pg_query::protobuf::{AExprKind, JoinExpr, JoinType, SelectStmt};

use super::engine::{Engine, Lent};
use super::reference::{self, Content, Reference};
use super::{condition, node};
use crate::plan::ir::Stop;
use crate::sql::{Node, names};

/// FROM items, one bit for each that conditions are about; those beyond 128 have the last bit in common.
pub type Mask = u128;

/// Something that is AND-ed in WHERE or in ON of an inner join.
pub struct Condition {
    pub node: Node,
    /// Items that it is about.
    pub items: BTreeSet<String>,
    mask: Mask,
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
    bits: BTreeMap<String, Mask>,
}

impl Level {
    /// Units and conditions, to be put back.
    pub fn lend(&mut self, units: &[usize], conditions: &[usize]) -> Lent<'_> {
        let mut sorted = conditions.to_vec();
        sorted.sort_unstable();
        let own = |at: usize, chosen: &[usize]| chosen.binary_search(&at).is_ok();
        let items = self.units.iter_mut().enumerate().filter(|(at, _)| own(*at, units)).map(|(_, unit)| unit);
        let nodes = self.conditions.iter_mut().enumerate().filter(|(at, _)| own(*at, &sorted));
        (items.collect(), nodes.map(|(_, condition)| &mut condition.node).collect())
    }

    /// Units and conditions, to be kept. What more than one may keep is copied.
    pub fn take(&mut self, units: &[usize], conditions: &[usize]) -> (Vec<Node>, Vec<Node>) {
        let mut items = Vec::with_capacity(units.len());
        for at in units {
            items.extend(self.units.get_mut(*at).map(node::taken));
        }
        let mut nodes = Vec::with_capacity(conditions.len());
        for at in conditions {
            let Some(condition) = self.conditions.get_mut(*at) else { continue };
            let several = condition.items.is_empty();
            nodes.push(if several { condition.node.clone() } else { node::taken(&mut condition.node) });
        }
        (items, nodes)
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

    /// The columns of some items that are equal to something of others.
    pub fn joined(&self, items: Mask, others: Mask) -> Vec<&Reference> {
        let equalities = self.conditions.iter().filter(|condition| condition.steady && !condition.sides.is_empty());
        let between = equalities.filter(|of| of.mask & !(items | others) == 0 && of.mask & !items != 0);
        between.flat_map(|of| &of.sides).filter(|(item, _)| self.mask([item]) & !items == 0).collect()
    }

    /// Whether an equality of something else than columns stands between items and others.
    pub fn vague(&self, items: Mask, others: Mask) -> bool {
        self.conditions.iter().filter(|condition| condition.equality && condition.sides.len() < 2).any(|condition| {
            condition.mask & items != 0 && condition.mask & others != 0 && condition.mask & !(items | others) == 0
        })
    }

    /// Items that no condition is about have no bit.
    pub fn mask<'i>(&self, items: impl IntoIterator<Item = &'i String>) -> Mask {
        items.into_iter().filter_map(|item| self.bits.get(item)).fold(0, |mask, bit| mask | bit)
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
            conditions.push(Condition { node, items, mask: 0, steady, sublinks, equality, sides, implied: false });
        }
        let implied = implied(&conditions)?;
        conditions.extend(implied);
        let mut level = Level { units, conditions: Vec::new(), bits: BTreeMap::new() };
        for item in conditions.iter().flat_map(|condition| &condition.items) {
            let bit = 1 << level.bits.len().min(127);
            level.bits.entry(item.clone()).or_insert(bit);
        }
        for condition in &mut conditions {
            condition.mask = level.mask(&condition.items);
        }
        level.conditions = conditions;
        Ok(level)
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
        // With the item that each is about, if it is one.
        let mut about: Vec<Vec<(Option<String>, Node)>> = Vec::new();
        for arm in arms {
            let mut nodes = Vec::new();
            for mut node in arm {
                let content = Content::of(&mut node)?;
                let outside = content.outside();
                let only = outside.first().filter(|_| outside.len() == 1).map(|item| (*item).to_owned());
                nodes.push((only, node));
            }
            about.push(nodes);
        }
        for item in &condition.items {
            let is_own = |(only, _): &&(Option<String>, Node)| only.as_ref() == Some(item);
            let of_arm =
                |arm: &Vec<(Option<String>, Node)>| arm.iter().filter(is_own).map(|(_, node)| node.clone()).collect();
            let own: Vec<Vec<Node>> = about.iter().map(of_arm).collect();
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
                    mask: 0,
                    implied: true,
                });
            }
        }
    }
    Ok(found)
}
