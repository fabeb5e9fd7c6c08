//! FROM taken apart: items that can be joined on the shards, with the conditions on them, become parts.

use std::collections::{BTreeMap, BTreeSet};

use pg_query::protobuf::{JoinExpr, JoinType, SelectStmt};

use super::engine::Engine;
use super::level::{Condition, Level, Mask};
use super::reference::{self, Content, Reference};
use super::{condition, node};
use crate::catalog::RelationKind;
use crate::plan::Target;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// Items of one FROM clause beyond which pairs are not tried.
const ITEMS_MAX: usize = 16;

/// FROM items that run together on the shards.
struct Cluster {
    /// Positions in FROM.
    units: Vec<usize>,
    items: BTreeSet<String>,
    mask: Mask,
    conditions: Vec<usize>,
    /// Columns that tell its rows apart.
    unique: Vec<Vec<Reference>>,
    /// Tables under the names that their columns have.
    plain: bool,
    target: Target,
}

impl Engine<'_, '_> {
    /// Ships the rows of a level's FROM items, joined where that can be done on the shards.
    pub fn pieces(&mut self, select: &mut SelectStmt) -> Result<(), Stop> {
        let mut level = self.flatten(select)?;
        let mut clusters = self.clusters(&mut level)?;
        if clusters.len() == level.units.len()
            && self.is_aggregate(select)?
            && let Some(together) = self.together(&mut level, &clusters)?
        {
            let left: Vec<usize> = (0..level.conditions.len())
                .filter(|at| !together.conditions.contains(at) && !level.implied(*at))
                .collect();
            if left.iter().all(|at| level.correlated(*at, &together.items))
                && self.aggregate(select, &mut level, (&together.units, &together.conditions), &left)?
            {
                return Ok(());
            }
        }
        let mut apart = BTreeSet::new();
        while let Some(joined) = self.join_two(&mut level, &mut clusters, &mut apart)? {
            clusters.push(joined);
        }
        for cluster in &mut clusters {
            self.with_sublinks(&mut level, cluster)?;
        }
        self.assemble(select, &mut level, &clusters)
    }

    /// Puts the parts of the clusters in their places, and takes apart what is left.
    fn assemble(&mut self, select: &mut SelectStmt, level: &mut Level, clusters: &[Cluster]) -> Result<(), Stop> {
        self.all_sublinks(select)?;
        let pushed: BTreeSet<usize> = clusters.iter().flat_map(|cluster| cluster.conditions.iter().copied()).collect();
        let clustered: BTreeSet<usize> = clusters.iter().flat_map(|cluster| cluster.units.iter().copied()).collect();
        let all_clustered = clustered.len() == level.units.len();
        let filters = level.conditions.iter().filter(|c| !all_clustered && c.steady && !c.sublinks);
        let filters: Vec<Node> = filters.map(|c| c.node.clone()).collect();
        let mut rest = Vec::new();
        for (at, condition) in level.conditions.iter_mut().enumerate() {
            if !pushed.contains(&at) && !condition.implied {
                self.sublinks(&mut condition.node)?;
                rest.push(std::mem::replace(&mut condition.node, node::null()));
            }
        }
        select.where_clause = condition::all(rest);
        for (at, unit) in level.units.iter_mut().enumerate() {
            if !clustered.contains(&at) {
                self.hoist(unit)?;
                // Its own needs are seen by those around it.
                select.from_clause.push(node::wrap(unit.clone()));
            }
        }
        let needed = Content::of_select(select)?.columns;
        select.from_clause.clear();
        let mut shipped = BTreeMap::new();
        for cluster in clusters {
            let (nodes, conditions) = level.take(&cluster.units, &cluster.conditions);
            let item = self.ship(nodes, conditions, (&cluster.items, cluster.target.clone()), &needed)?;
            if let Some(first) = cluster.units.first() {
                shipped.insert(*first, item);
            }
        }
        for (at, mut unit) in std::mem::take(&mut level.units).into_iter().enumerate() {
            if let Some(item) = shipped.remove(&at) {
                select.from_clause.push(node::wrap(item));
            } else if !clustered.contains(&at) {
                self.tree(&mut unit, &filters, &needed)?;
                select.from_clause.push(node::wrap(unit));
            }
        }
        Ok(())
    }

    /// All units in one, with every condition that can be decided on the shards.
    fn together(&self, level: &mut Level, clusters: &[Cluster]) -> Result<Option<Cluster>, Stop> {
        let scattered = || clusters.iter().filter(|cluster| cluster.target == Target::Scatter);
        let all = clusters.iter().fold(0, |mask, cluster| mask | cluster.mask);
        let alone = |of: &Cluster| !self.may_be_together(level, of, all & !of.mask);
        if scattered().count() > 1 && scattered().any(alone) {
            return Ok(None);
        }
        let items = clusters.iter().flat_map(|cluster| cluster.items.iter().cloned()).collect();
        let Some(mut cluster) = self.cluster(level, (0..level.units.len()).collect(), items)? else { return Ok(None) };
        cluster.conditions.retain(|at| !level.implied(*at));
        self.with_sublinks(level, &mut cluster)?;
        Ok(Some(cluster))
    }

    /// Conditions in ON that are only about the table an outer join may leave out are conditions on what is shipped of it.
    fn hoist(&mut self, item: &mut Node) -> Result<(), Stop> {
        let Node::JoinExpr(_) = item else { return Ok(()) };
        let content = Content::of(item)?;
        if content.closed()
            && self.steady(&content)?
            && self.rows((vec![&mut *item], Vec::new()), Vec::new())?.is_some()
        {
            return Ok(());
        }
        let Node::JoinExpr(join) = item else { return Ok(()) };
        let optional = match join.jointype() {
            JoinType::JoinLeft => names::inner(&join.rarg),
            JoinType::JoinRight => names::inner(&join.larg),
            _ => None,
        };
        if let Some(Node::RangeVar(name)) = optional
            && !name.schemaname.is_empty()
            && let Some(alias) = name.alias.as_ref().map(|alias| alias.aliasname.clone())
        {
            let mut kept = Vec::new();
            for mut node in condition::split(join.quals.take()) {
                let about = Content::of(&mut node)?;
                let only = about.outside().len() == 1 && about.outside().contains(alias.as_str());
                if only && !about.sublinks && about.bare.is_empty() && self.steady(&about)? {
                    self.hoisted.entry(alias.clone()).or_default().push(node);
                } else {
                    kept.push(node);
                }
            }
            join.quals = condition::all(kept).or_else(|| node::boxed(node::yes()));
        }
        for side in [&mut join.larg, &mut join.rarg].into_iter().flatten().filter_map(|side| side.node.as_mut()) {
            self.hoist(side)?;
        }
        Ok(())
    }

    fn clusters(&self, level: &mut Level) -> Result<Vec<Cluster>, Stop> {
        let mut clusters = Vec::new();
        for at in 0..level.units.len() {
            let Some(unit) = level.units.get_mut(at) else { continue };
            let content = Content::of(unit)?;
            if content.tables.is_empty() || !content.closed() || !self.steady(&content)? {
                continue;
            }
            if let Some(mut cluster) = self.cluster(level, vec![at], content.items)? {
                if let Some(Node::RangeVar(name)) = level.units.get(at)
                    && let Some(alias) = name.alias.as_ref().filter(|alias| alias.colnames.is_empty())
                    && let Some(table) =
                        self.known.tables.get(&alias.aliasname).filter(|table| !table.primary_key.is_empty())
                {
                    let column = |column: &String| (alias.aliasname.clone(), column.clone());
                    cluster.unique.push(table.primary_key.iter().map(column).collect());
                }
                clusters.push(cluster);
            }
        }
        Ok(clusters)
    }

    /// The rows of some units under all conditions on them, if they distribute.
    fn cluster(
        &self,
        level: &mut Level,
        mut units: Vec<usize>,
        items: BTreeSet<String>,
    ) -> Result<Option<Cluster>, Stop> {
        units.sort_unstable();
        let chosen =
            |condition: &Condition| condition.steady && !condition.sublinks && condition.items.is_subset(&items);
        let conditions: Vec<usize> =
            level.conditions.iter().enumerate().filter(|(_, c)| chosen(c)).map(|(at, _)| at).collect();
        let found = self.rows(level.lend(&units, &conditions), Vec::new())?;
        let plain = |unit: &Node| matches!(unit, Node::RangeVar(name) if name.alias.as_ref().is_none_or(|alias| alias.colnames.is_empty()));
        let plain = units.iter().filter_map(|at| level.units.get(*at)).all(plain);
        let mask = level.mask(&items);
        Ok(found.map(|target| Cluster { units, items, mask, conditions, unique: Vec::new(), plain, target }))
    }

    /// Joins two clusters that distribute together, if that gives no more rows than one of them has; sharded ones first. `apart`: units of
    /// which it is known that they do not.
    fn join_two(
        &self,
        level: &mut Level,
        clusters: &mut Vec<Cluster>,
        apart: &mut BTreeSet<Vec<usize>>,
    ) -> Result<Option<Cluster>, Stop> {
        if level.units.len() > ITEMS_MAX {
            return Ok(None);
        }
        let mut pairs = Vec::new();
        for (left, l) in clusters.iter().enumerate() {
            for (right, r) in clusters.iter().enumerate().skip(left + 1) {
                let found = |unique: &[Vec<Reference>], joined: &[&Reference]| {
                    unique.iter().any(|columns| columns.iter().all(|column| joined.contains(&column)))
                };
                let (columns, others) = (level.joined(l.mask, r.mask), level.joined(r.mask, l.mask));
                let one_left = found(&l.unique, &columns);
                let one_right = found(&r.unique, &others);
                let everywhere = [&l.target, &r.target].iter().filter(|target| ***target == Target::Any).count();
                // Of tables that have no primary key and are sharded alike the best is hoped.
                let unknown = everywhere == 0 && !columns.is_empty() && (l.unique.is_empty() || r.unique.is_empty());
                let apart = || !self.may_be_together(level, l, r.mask) || !self.may_be_together(level, r, l.mask);
                if (one_left || one_right || unknown) && !(everywhere == 0 && apart()) {
                    pairs.push((everywhere, left, right, one_left, one_right));
                }
            }
        }
        pairs.sort_unstable();
        for (_, left, right, one_left, one_right) in pairs {
            let (Some(l), Some(r)) = (clusters.get(left), clusters.get(right)) else { continue };
            let mut units: Vec<usize> = l.units.iter().chain(&r.units).copied().collect();
            units.sort_unstable();
            if apart.contains(&units) {
                continue;
            }
            let items = l.items.union(&r.items).cloned().collect();
            let Some(mut joined) = self.cluster(level, units.clone(), items)? else {
                apart.insert(units);
                continue;
            };
            // Where each row of one finds one of the other, it stays the only one of its kind.
            joined.unique.extend(one_right.then(|| l.unique.clone()).into_iter().flatten());
            joined.unique.extend(one_left.then(|| r.unique.clone()).into_iter().flatten());
            clusters.remove(right);
            clusters.remove(left);
            return Ok(Some(joined));
        }
        Ok(None)
    }

    /// Rows of sharded tables find those of others on their shard only by a key, or what equals it: whether such stands between them.
    fn may_be_together(&self, level: &Level, cluster: &Cluster, others: Mask) -> bool {
        // Constants decide where others are; what a sub-select gives may be a key.
        if !cluster.plain || cluster.target != Target::Scatter || level.vague(cluster.mask, others) {
            return true;
        }
        let joined = level.joined(cluster.mask, others);
        let key = |item: &String| {
            let table = self.known.tables.get(item)?;
            let RelationKind::Sharded { key, .. } = table.kind else { return None };
            table.columns.get(key).map(|column| (item.clone(), column.name.clone()))
        };
        let mut keys: Vec<Reference> = cluster.items.iter().filter_map(key).collect();
        loop {
            let equal = |condition: &&Condition| {
                condition.items.is_subset(&cluster.items) && condition.sides.iter().any(|side| keys.contains(side))
            };
            let equal = level.conditions.iter().filter(equal).flat_map(|condition| &condition.sides);
            match equal.into_iter().find(|side| !keys.contains(side)).cloned() {
                Some(side) => keys.push(side),
                None => return joined.iter().any(|side| keys.contains(side)),
            }
        }
    }

    /// Adds conditions with sub-selects that can be decided on the shards too.
    fn with_sublinks(&self, level: &mut Level, cluster: &mut Cluster) -> Result<(), Stop> {
        for at in 0..level.conditions.len() {
            let Some(condition) = level.conditions.get(at) else { continue };
            if !condition.steady || !condition.sublinks || !condition.items.is_subset(&cluster.items) {
                continue;
            }
            cluster.conditions.push(at);
            match self.rows(level.lend(&cluster.units, &cluster.conditions), Vec::new())? {
                Some(target) => cluster.target = target,
                None => {
                    cluster.conditions.pop();
                }
            }
        }
        Ok(())
    }

    /// Ships rows of FROM items from where they are (`target`): the item that stands for them. Columns among `needed` move there.
    fn ship(
        &mut self,
        from: Vec<Node>,
        conditions: Vec<Node>,
        (items, target): (&BTreeSet<String>, Target),
        needed: &BTreeSet<Reference>,
    ) -> Result<Node, Stop> {
        // What is needed inside a sub-select of these items is not seen outside of it.
        let mut shown = BTreeSet::new();
        from.iter().for_each(|item| visible(item, &mut shown));
        let columns: Vec<&Reference> =
            needed.iter().filter(|(item, _)| items.contains(item) && shown.contains(item.as_str())).collect();
        let labels: Vec<String> = columns.iter().map(|(_, column)| column.clone()).collect();
        let names = super::engine::distinct(&labels);
        let outputs = columns.iter().zip(&names).map(|((item, column), name)| {
            node::target(node::column(&[item, column]), if column == name { "" } else { name })
        });
        let mut outputs: Vec<_> = outputs.collect();
        if outputs.is_empty() {
            outputs.push(node::target(node::yes(), "row"));
        }
        let mut select = super::engine::select(from, conditions, outputs);
        plain_names(&mut select)?;
        let part = self.parts.add(select, target)?;
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
        let content = Content::of(item)?;
        if !content.tables.is_empty()
            && content.closed()
            && self.steady(&content)?
            && !matches!(item, Node::RangeSubselect(_))
        {
            let mut own = match item {
                Node::RangeVar(name) => {
                    let alias = name.alias.as_ref().map(|alias| alias.aliasname.as_str());
                    alias.and_then(|alias| self.hoisted.remove(alias)).unwrap_or_default()
                }
                _ => Vec::new(),
            };
            for filter in filters {
                let about = Content::of(&mut filter.clone())?;
                if about.outside().iter().all(|name| content.items.contains(*name)) && !about.outside().is_empty() {
                    own.push(filter.clone());
                }
            }
            if let Some(target) = self.rows((vec![&mut *item], own.iter_mut().collect()), Vec::new())? {
                *item = self.ship(vec![node::taken(item)], own, (&content.items, target), needed)?;
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

/// The names of FROM items, through joins.
fn visible<'n>(item: &'n Node, found: &mut BTreeSet<&'n str>) {
    let alias = match item {
        Node::JoinExpr(join) => {
            let sides = [&join.larg, &join.rarg].into_iter().filter_map(names::inner);
            sides.for_each(|side| visible(side, found));
            &join.alias
        }
        Node::RangeVar(name) => {
            if name.alias.is_none() {
                found.insert(&name.relname);
            }
            &name.alias
        }
        Node::RangeSubselect(subselect) => &subselect.alias,
        Node::RangeFunction(function) => &function.alias,
        Node::RangeTableFunc(table) => &table.alias,
        _ => &None,
    };
    found.extend(alias.as_ref().map(|alias| alias.aliasname.as_str()));
}

/// A part that reads one table names its columns bare, so that equal parts have equal texts.
fn plain_names(select: &mut SelectStmt) -> Result<(), Stop> {
    let [only] = select.from_clause.as_mut_slice() else { return Ok(()) };
    let Some(Node::RangeVar(name)) = &mut only.node else { return Ok(()) };
    let Some(alias) = name.alias.take_if(|alias| alias.colnames.is_empty()) else { return Ok(()) };
    if Content::of_select(select)?.sublinks {
        return restore(select, alias);
    }
    let mut tree = Node::SelectStmt(Box::new(std::mem::take(select)));
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
