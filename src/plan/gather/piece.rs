//! FROM taken apart: items that can be joined on the shards, with the conditions on them, become parts.

use std::collections::{BTreeSet, HashMap, HashSet};

use pg_query::protobuf::{AExprKind, JoinExpr, JoinType, SelectStmt};

use super::engine::Engine;
use super::reference::{self, Content, Reference};
use super::{condition, node};
use crate::plan::Target;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// Items of one FROM clause beyond which pairs are not tried.
const ITEMS_MAX: usize = 16;

/// Something that is AND-ed in WHERE or in ON of an inner join.
struct Condition {
    node: Node,
    /// Items that it is about.
    items: HashSet<String>,
    /// It may be decided on the shards, as far as functions go.
    steady: bool,
    sublinks: bool,
    equality: bool,
}

/// FROM items that run together on the shards.
pub struct Cluster {
    /// Positions in FROM.
    units: Vec<usize>,
    items: HashSet<String>,
    conditions: Vec<usize>,
    pub target: Target,
}

/// A FROM clause without its inner joins.
struct Level {
    units: Vec<Node>,
    conditions: Vec<Condition>,
}

impl Level {
    fn nodes(&self, units: &[usize]) -> Vec<&Node> {
        units.iter().filter_map(|at| self.units.get(*at)).collect()
    }

    fn conditions(&self, chosen: &[usize]) -> Vec<Node> {
        chosen.iter().filter_map(|at| self.conditions.get(*at)).map(|condition| condition.node.clone()).collect()
    }
}

impl Engine<'_, '_> {
    /// Ships the rows of a level's FROM items, joined where that can be done on the shards.
    pub fn pieces(&mut self, select: &mut SelectStmt) -> Result<(), Stop> {
        let mut level = self.flatten(select)?;
        let mut clusters = self.clusters(&level)?;
        for cluster in &mut clusters {
            self.with_sublinks(&level, cluster)?;
        }
        if let [cluster] = clusters.as_slice()
            && cluster.units.len() == level.units.len()
            && cluster.conditions.len() == level.conditions.len()
            && self.aggregate(select, &level.nodes(&cluster.units), &level.conditions(&cluster.conditions))?
        {
            return Ok(());
        }
        self.all_sublinks(select)?;
        let pushed: HashSet<usize> = clusters.iter().flat_map(|cluster| cluster.conditions.iter().copied()).collect();
        let clustered: HashSet<usize> = clusters.iter().flat_map(|cluster| cluster.units.iter().copied()).collect();
        let filters: Vec<Node> =
            level.conditions.iter().filter(|c| c.steady && !c.sublinks).map(|c| c.node.clone()).collect();
        let mut rest = Vec::new();
        for (at, condition) in level.conditions.iter_mut().enumerate() {
            if !pushed.contains(&at) {
                self.sublinks(&mut condition.node)?;
                rest.push(condition.node.clone());
            }
        }
        select.where_clause = condition::all(rest);
        for (at, unit) in level.units.iter_mut().enumerate() {
            if !clustered.contains(&at) {
                // Its own needs are seen by those around it.
                select.from_clause.push(node::wrap(unit.clone()));
            }
        }
        let mut tree = Node::SelectStmt(Box::new(std::mem::take(select)));
        let needed = Content::of(&mut tree)?.columns;
        if let Node::SelectStmt(tree) = tree {
            *select = *tree;
        }
        select.from_clause.clear();
        let mut shipped = HashMap::new();
        for cluster in &clusters {
            let (nodes, conditions) = (level.nodes(&cluster.units), level.conditions(&cluster.conditions));
            let item = self.ship(&nodes, &conditions, &cluster.items, &needed)?;
            if let Some(first) = cluster.units.first() {
                shipped.insert(*first, item);
            }
        }
        for (at, mut unit) in level.units.into_iter().enumerate() {
            if let Some(item) = shipped.remove(&at) {
                select.from_clause.push(node::wrap(item));
            } else if !clustered.contains(&at) {
                self.tree(&mut unit, &filters, &needed)?;
                select.from_clause.push(node::wrap(unit));
            }
        }
        Ok(())
    }

    fn flatten(&mut self, select: &mut SelectStmt) -> Result<Level, Stop> {
        let mut nodes = condition::split(select.where_clause.take());
        let mut units = Vec::new();
        for item in std::mem::take(&mut select.from_clause).into_iter().filter_map(|item| item.node) {
            flatten(item, &mut units, &mut nodes);
        }
        let mut conditions = Vec::new();
        for mut node in nodes {
            let content = Content::of(&mut node)?;
            let items = content.outside().into_iter().map(str::to_owned).collect();
            let named = content.bare.iter().all(|name| content.ctes.contains(name));
            let steady = named && self.steady(&content)?;
            let equality = matches!(&node, Node::AExpr(e) if e.kind() == AExprKind::AexprOp && names::operator(&e.name).is_some_and(|(name, _)| name == "="));
            conditions.push(Condition { node, items, steady, sublinks: content.sublinks, equality });
        }
        Ok(Level { units, conditions })
    }

    fn clusters(&self, level: &Level) -> Result<Vec<Cluster>, Stop> {
        let mut clusters = Vec::new();
        for (at, unit) in level.units.iter().enumerate() {
            let content = Content::of(&mut unit.clone())?;
            if content.tables.is_empty() || !content.closed() || !self.steady(&content)? {
                continue;
            }
            if let Some(cluster) = self.cluster(level, vec![at], content.items)? {
                clusters.push(cluster);
            }
        }
        if level.units.len() > ITEMS_MAX {
            return Ok(clusters);
        }
        while let Some(joined) = self.join_two(level, &mut clusters)? {
            clusters.push(joined);
        }
        Ok(clusters)
    }

    /// The rows of some units under all conditions on them, if they distribute.
    fn cluster(&self, level: &Level, mut units: Vec<usize>, items: HashSet<String>) -> Result<Option<Cluster>, Stop> {
        units.sort_unstable();
        let chosen =
            |condition: &Condition| condition.steady && !condition.sublinks && condition.items.is_subset(&items);
        let conditions: Vec<usize> =
            level.conditions.iter().enumerate().filter(|(_, c)| chosen(c)).map(|(at, _)| at).collect();
        let found = self.rows(&level.nodes(&units), &level.conditions(&conditions), Vec::new())?;
        Ok(found.map(|(_, target)| Cluster { units, items, conditions, target }))
    }

    /// Joins two clusters that are connected by an equality and distribute together; sharded ones first.
    fn join_two(&self, level: &Level, clusters: &mut Vec<Cluster>) -> Result<Option<Cluster>, Stop> {
        let mut pairs = Vec::new();
        for (left, l) in clusters.iter().enumerate() {
            for (right, r) in clusters.iter().enumerate().skip(left + 1) {
                let connects = |condition: &Condition| {
                    condition.equality
                        && condition.steady
                        && !condition.sublinks
                        && !condition.items.is_disjoint(&l.items)
                        && !condition.items.is_disjoint(&r.items)
                        && condition.items.iter().all(|item| l.items.contains(item) || r.items.contains(item))
                };
                if level.conditions.iter().any(connects) {
                    let everywhere = [&l.target, &r.target].iter().filter(|target| ***target == Target::Any).count();
                    pairs.push((everywhere, left, right));
                }
            }
        }
        pairs.sort_unstable();
        for (_, left, right) in pairs {
            let (Some(l), Some(r)) = (clusters.get(left), clusters.get(right)) else { continue };
            let units = l.units.iter().chain(&r.units).copied().collect();
            let items = l.items.union(&r.items).cloned().collect();
            if let Some(joined) = self.cluster(level, units, items)? {
                clusters.remove(right);
                clusters.remove(left);
                return Ok(Some(joined));
            }
        }
        Ok(None)
    }

    /// Adds conditions with sub-selects that can be decided on the shards too.
    fn with_sublinks(&self, level: &Level, cluster: &mut Cluster) -> Result<(), Stop> {
        for (at, condition) in level.conditions.iter().enumerate() {
            if !condition.steady || !condition.sublinks || !condition.items.is_subset(&cluster.items) {
                continue;
            }
            cluster.conditions.push(at);
            match self.rows(&level.nodes(&cluster.units), &level.conditions(&cluster.conditions), Vec::new())? {
                Some((_, target)) => cluster.target = target,
                None => {
                    cluster.conditions.pop();
                }
            }
        }
        Ok(())
    }

    /// Ships rows of FROM items: the item that stands for them. Columns among `needed` move there.
    fn ship(
        &mut self,
        from: &[&Node],
        conditions: &[Node],
        items: &HashSet<String>,
        needed: &BTreeSet<Reference>,
    ) -> Result<Node, Stop> {
        let columns: Vec<&Reference> = needed.iter().filter(|(item, _)| items.contains(item)).collect();
        let labels: Vec<String> = columns.iter().map(|(_, column)| column.clone()).collect();
        let names = super::engine::distinct(&labels);
        let outputs = columns.iter().zip(&names).map(|((item, column), name)| {
            node::target(node::column(&[item, column]), if column == name { "" } else { name })
        });
        let Some((mut select, target)) = self.rows(from, conditions, outputs.collect())? else {
            return Err(super::engine::unfit());
        };
        plain_names(&mut select)?;
        let part = self.parts.add(&select, target)?;
        let item = self.known.fresh(&part);
        for ((of, column), name) in columns.into_iter().zip(&names) {
            self.moved.insert((of.clone(), column.clone()), node::column(&[&item, name]));
            if let Some(type_oid) = self.known.types.get(&(of.clone(), column.clone())).copied() {
                self.known.types.insert((item.clone(), name.clone()), type_oid);
            }
        }
        Ok(Node::RangeVar(node::relation("pg_temp", &part, &item)))
    }

    /// A FROM item that does not distribute: ships what is in it. `filters` are conditions that its rows must meet.
    fn tree(&mut self, item: &mut Node, filters: &[Node], needed: &BTreeSet<Reference>) -> Result<(), Stop> {
        let content = Content::of(&mut item.clone())?;
        if !content.tables.is_empty()
            && content.closed()
            && self.steady(&content)?
            && !matches!(item, Node::RangeSubselect(_))
        {
            let mut own = Vec::new();
            for filter in filters {
                let about = Content::of(&mut filter.clone())?;
                if about.outside().iter().all(|name| content.items.contains(*name)) && !about.outside().is_empty() {
                    own.push(filter.clone());
                }
            }
            if self.rows(&[item], &own, Vec::new())?.is_some() {
                *item = self.ship(&[item], &own, &content.items, needed)?;
                return Ok(());
            }
        }
        match item {
            Node::JoinExpr(join) => self.join(join, filters, needed),
            Node::RangeSubselect(subselect) => {
                match subselect.subquery.as_mut().and_then(|query| query.node.as_mut()) {
                    Some(Node::SelectStmt(query)) => self.query(query, false),
                    _ => Ok(()),
                }
            }
            Node::RangeVar(name) if !name.schemaname.is_empty() => Err(super::engine::unfit()),
            Node::RangeFunction(_) => edit::children(item, &mut |child| self.sublinks(child)),
            _ => Ok(()),
        }
    }

    fn join(&mut self, join: &mut JoinExpr, filters: &[Node], needed: &BTreeSet<Reference>) -> Result<(), Stop> {
        let mut on = Vec::new();
        for mut node in condition::split(join.quals.clone()) {
            let content = Content::of(&mut node)?;
            if self.steady(&content)? && !content.sublinks {
                on.push(node);
            }
        }
        let both: Vec<Node> = filters.iter().chain(&on).cloned().collect();
        let (left, right): (&[Node], &[Node]) = match join.jointype() {
            JoinType::JoinInner => (&both, &both),
            JoinType::JoinLeft => (filters, &on),
            JoinType::JoinRight => (&on, filters),
            _ => (&[], &[]),
        };
        if let Some(quals) = join.quals.as_mut().and_then(|node| node.node.as_mut()) {
            self.sublinks(quals)?;
        }
        if let Some(side) = join.larg.as_mut().and_then(|node| node.node.as_mut()) {
            self.tree(side, left, needed)?;
        }
        match join.rarg.as_mut().and_then(|node| node.node.as_mut()) {
            Some(side) => self.tree(side, right, needed),
            None => Ok(()),
        }
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

/// A part that reads one table names its columns bare, so that equal parts have equal texts.
fn plain_names(select: &mut SelectStmt) -> Result<(), Stop> {
    let [only] = select.from_clause.as_mut_slice() else { return Ok(()) };
    let Some(Node::RangeVar(name)) = &mut only.node else { return Ok(()) };
    let Some(alias) = name.alias.take_if(|alias| alias.colnames.is_empty()) else { return Ok(()) };
    let mut tree = Node::SelectStmt(Box::new(select.clone()));
    if Content::of(&mut tree)?.sublinks {
        return restore(select, alias);
    }
    reference::substitute(&mut tree, &mut |node| match reference::of(node)? {
        (item, column) if item == alias.aliasname => Some(node::column(&[column])),
        _ => None,
    })?;
    if let Node::SelectStmt(tree) = tree {
        *select = *tree;
    }
    Ok(())
}

fn restore(select: &mut SelectStmt, alias: pg_query::protobuf::Alias) -> Result<(), Stop> {
    if let Some(Node::RangeVar(name)) = select.from_clause.first_mut().and_then(|item| item.node.as_mut()) {
        name.alias = Some(alias);
    }
    Ok(())
}
