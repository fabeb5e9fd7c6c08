//! Which parts need only those of their rows whose values another part has too: the semi-joins of the merge query.
//!
//! Certain or not at all. A row of a part may be left out if no row of the merge query could come of it: it stands in an inner position
//! of its level, where a condition that must hold says that its column equals one of another part, or of the rows around; or it
//! stands on the side that an outer join may leave out, and ON says so. A part that is named several times must be so in each place.

use std::collections::{BTreeMap, BTreeSet};

use pg_query::protobuf::{
    AExprKind, JoinExpr, JoinType, RangeSubselect, SelectStmt, SetOperation, SubLink, SubLinkType,
};

use super::part::Parts;
use super::qualify::Known;
use super::reference::{self, Reference};
use super::{Reducer, condition};
use crate::catalog::Oid;
use crate::plan::built_in::oid;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// Reducers of one part at the most.
const REDUCERS_MAX: usize = 6;

/// Notes the reducers of parts. `node` is the merge query.
pub fn note(node: &mut Node, known: &Known, parts: &mut Parts<'_>) -> Result<(), Stop> {
    let mut finder = Finder { known, items: BTreeMap::new(), uses: vec![0; parts.made.len()], found: BTreeMap::new() };
    finder.items(node, parts)?;
    finder.levels(node)?;
    let Finder { uses, found, .. } = finder;
    for (edge, items) in found {
        let everywhere = uses.get(edge.part).is_some_and(|uses| *uses == items.len());
        if let Some(part) =
            parts.made.get_mut(edge.part).filter(|part| everywhere && part.reducers.len() < REDUCERS_MAX)
        {
            let Edge { column, source, source_column, type_oid, .. } = edge;
            part.reducers.push(Reducer { column, source, source_column, type_oid });
        }
    }
    Ok(())
}

/// A column of a part that is equal to one of another part; of the parts, the positions.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    part: usize,
    column: String,
    source: usize,
    source_column: String,
    type_oid: Oid,
}

struct Finder<'k> {
    known: &'k Known,
    /// FROM items that are parts.
    items: BTreeMap<String, usize>,
    /// How often each part is named.
    uses: Vec<usize>,
    /// By edge: the items for which it has been found.
    found: BTreeMap<Edge, BTreeSet<String>>,
}

/// One FROM clause.
#[derive(Default)]
struct Level {
    /// Items whose rows may be left out if a condition of WHERE is not met.
    inner: BTreeSet<String>,
    /// Columns of sub-selects in FROM that are columns of parts, and whether these may be left out by it.
    derived: BTreeMap<Reference, (Reference, bool)>,
    conditions: Vec<Node>,
}

impl Level {
    /// The column of a part that a reference means, and whether rows of it may be left out here.
    fn resolve(&self, node: &Node) -> Option<(Reference, bool)> {
        let (item, column) = reference::of(node)?;
        let name = (item.to_owned(), column.to_owned());
        match self.derived.get(&name) {
            Some(found) => Some(found.clone()),
            None => {
                let inner = self.inner.contains(item);
                Some((name, inner))
            }
        }
    }
}

impl Finder<'_> {
    fn items(&mut self, node: &mut Node, parts: &Parts<'_>) -> Result<(), Stop> {
        if let Node::RangeVar(name) = node
            && name.schemaname == "pg_temp"
            && let Some(at) = parts.made.iter().position(|part| part.name == name.relname)
        {
            if let Some(uses) = self.uses.get_mut(at) {
                *uses += 1;
            }
            if let Some(alias) = name.alias.as_ref().filter(|alias| alias.colnames.is_empty()) {
                self.items.insert(alias.aliasname.clone(), at);
            }
        }
        edit::children(node, &mut |child| self.items(child, parts))
    }

    fn levels(&mut self, node: &mut Node) -> Result<(), Stop> {
        if let Node::SelectStmt(select) = node
            && select.op() == SetOperation::SetopNone
        {
            self.level(select);
        }
        edit::children(node, &mut |child| self.levels(child))
    }

    fn level(&mut self, select: &SelectStmt) {
        let mut level = Level::default();
        for item in select.from_clause.iter().filter_map(|item| item.node.as_ref()) {
            self.inner(item, &mut level);
        }
        level.conditions.extend(condition::split(select.where_clause.clone()));
        let mut classes: Vec<BTreeSet<Reference>> = Vec::new();
        let mut outer = Vec::new();
        for condition in &level.conditions {
            if let Node::SubLink(link) = condition {
                self.among(link, &level);
            }
            let Some((left, right)) = equality(condition) else { continue };
            let (Some((left, left_inner)), Some((right, right_inner))) = (level.resolve(left), level.resolve(right))
            else {
                continue;
            };
            match (left_inner, right_inner) {
                (true, true) => join(&mut classes, left, right),
                (true, false) => outer.push((right, left)),
                (false, true) => outer.push((left, right)),
                (false, false) => {}
            }
        }
        for (source, target) in outer {
            let class = classes.iter().find(|class| class.contains(&target)).cloned().unwrap_or_default();
            self.edge(&source, &target);
            class.iter().for_each(|target| self.edge(&source, target));
        }
        for class in classes {
            for source in &class {
                class.iter().for_each(|target| self.edge(source, target));
            }
        }
    }

    /// Takes in a FROM item whose rows a condition may leave out.
    fn inner(&mut self, item: &Node, level: &mut Level) {
        match item {
            Node::RangeVar(name) => {
                let alias = name.alias.as_ref().map(|alias| alias.aliasname.clone());
                level.inner.extend(alias.filter(|alias| self.items.contains_key(alias)));
            }
            Node::JoinExpr(join) => {
                let (left, right) = (names::inner(&join.larg), names::inner(&join.rarg));
                let (Some(left), Some(right)) = (left, right) else { return };
                match join.jointype() {
                    JoinType::JoinInner => {
                        self.inner(left, level);
                        self.inner(right, level);
                        level.conditions.extend(condition::split(join.quals.clone()));
                    }
                    JoinType::JoinLeft => {
                        self.inner(left, level);
                        self.optional(right, join);
                    }
                    JoinType::JoinRight => {
                        self.inner(right, level);
                        self.optional(left, join);
                    }
                    _ => {}
                }
            }
            Node::RangeSubselect(subselect) => self.subselect(subselect, level),
            _ => {}
        }
    }

    /// The side that an outer join may leave out.
    fn optional(&mut self, item: &Node, join: &JoinExpr) {
        let Node::RangeVar(name) = item else { return };
        let Some(alias) = name.alias.as_ref().map(|alias| alias.aliasname.as_str()) else { return };
        let level = Level { inner: BTreeSet::from([alias.to_owned()]), ..Level::default() };
        for condition in condition::split(join.quals.clone()) {
            let Some((left, right)) = equality(&condition) else { continue };
            for (source, target) in [(left, right), (right, left)] {
                if let (Some((source, false)), Some((target, true))) = (level.resolve(source), level.resolve(target)) {
                    self.edge(&source, &target);
                }
            }
        }
    }

    fn subselect(&mut self, subselect: &RangeSubselect, level: &mut Level) {
        let (Some(Node::SelectStmt(select)), Some(alias)) = (names::inner(&subselect.subquery), &subselect.alias)
        else {
            return;
        };
        if select.op() != SetOperation::SetopNone {
            return;
        }
        let mut own = Level::default();
        if is_plain(select) {
            select.from_clause.iter().filter_map(|item| item.node.as_ref()).for_each(|item| self.inner(item, &mut own));
        }
        for (at, target) in select.target_list.iter().enumerate() {
            let Some(Node::ResTarget(target)) = &target.node else { continue };
            let Some((item, column)) = names::inner(&target.val).and_then(reference::of) else { continue };
            let label = match alias.colnames.get(at).and_then(names::string) {
                Some(given) => given,
                None if target.name.is_empty() => column,
                None => &target.name,
            };
            let grouped = select.group_clause.is_empty()
                || select
                    .group_clause
                    .iter()
                    .any(|key| key.node.as_ref().and_then(reference::of) == Some((item, column)));
            let may = grouped && own.inner.contains(item);
            let base = (item.to_owned(), column.to_owned());
            level.derived.insert((alias.aliasname.clone(), label.to_owned()), (base, may));
        }
    }

    /// `column IN (SELECT ...)`.
    fn among(&mut self, link: &SubLink, level: &Level) {
        let is_equal =
            link.oper_name.is_empty() || names::operator(&link.oper_name).is_some_and(|(name, _)| name == "=");
        let (Some(test), Some(Node::SelectStmt(select))) =
            (names::inner(&link.testexpr), names::inner(&link.subselect))
        else {
            return;
        };
        if link.sub_link_type() != SubLinkType::AnySublink || !is_equal || select.op() != SetOperation::SetopNone {
            return;
        }
        let [only] = select.target_list.as_slice() else { return };
        let Some(Node::ResTarget(target)) = &only.node else { return };
        let Some((item, column)) = names::inner(&target.val).and_then(reference::of) else { return };
        let output = (item.to_owned(), column.to_owned());
        let Some((test, inner)) = level.resolve(test) else { return };
        if inner {
            self.edge(&output, &test);
        }
        let mut own = Level::default();
        if is_plain(select) {
            select.from_clause.iter().filter_map(|item| item.node.as_ref()).for_each(|item| self.inner(item, &mut own));
        }
        if own.inner.contains(&output.0) {
            self.edge(&test, &output);
        }
    }

    /// Rows of `target` whose value is not among those of `source` may be left out.
    fn edge(&mut self, source: &Reference, target: &Reference) {
        let (Some(from), Some(to)) = (self.items.get(&source.0), self.items.get(&target.0)) else { return };
        let (Some(given), Some(type_oid)) = (self.known.types.get(source), self.known.types.get(target)) else {
            return;
        };
        if from == to || !converts(*given, *type_oid) {
            return;
        }
        let edge = Edge {
            part: *to,
            column: target.1.clone(),
            source: *from,
            source_column: source.1.clone(),
            type_oid: *type_oid,
        };
        self.found.entry(edge).or_default().insert(target.0.clone());
    }
}

/// An integer may become a wider one.
fn converts(from: Oid, to: Oid) -> bool {
    let integers = [oid::INT2, oid::INT4, oid::INT8];
    let rank = |of: Oid| integers.iter().position(|integer| *integer == of);
    match (rank(from), rank(to)) {
        (Some(from), Some(to)) => from <= to,
        _ => from == to && one_spelling(from),
    }
}

/// Types of one size without collation, whose equal values are the same in every respect.
pub fn one_spelling(type_oid: Oid) -> bool {
    let types = [oid::INT2, oid::INT4, oid::INT8, oid::DATE, oid::TIMESTAMP, oid::TIMESTAMPTZ, oid::UUID];
    types.contains(&type_oid)
}

fn equality(node: &Node) -> Option<(&Node, &Node)> {
    match node {
        Node::AExpr(e) if e.kind() == AExprKind::AexprOp && names::operator(&e.name)?.0 == "=" => {
            Some((names::inner(&e.lexpr)?, names::inner(&e.rexpr)?))
        }
        _ => None,
    }
}

fn join(classes: &mut Vec<BTreeSet<Reference>>, left: Reference, right: Reference) {
    let mut class = BTreeSet::from([left, right]);
    classes.retain(|other| {
        let apart = class.is_disjoint(other);
        if !apart {
            class.extend(other.iter().cloned());
        }
        apart
    });
    classes.push(class);
}

/// Its rows, or its groups, can be chosen by the value of a column before anything else is computed of them.
fn is_plain(select: &SelectStmt) -> bool {
    let calls = |target: &pg_query::protobuf::Node| match &target.node {
        Some(Node::ResTarget(target)) => names::inner(&target.val).and_then(reference::of).is_none(),
        _ => true,
    };
    let keys = |key: &pg_query::protobuf::Node| key.node.as_ref().and_then(reference::of).is_some();
    let distinct = matches!(select.distinct_clause.as_slice(), [])
        || matches!(select.distinct_clause.as_slice(), [only] if only.node.is_none());
    let rows =
        select.group_clause.is_empty() && select.having_clause.is_none() && !select.target_list.iter().any(calls);
    let groups = !select.group_clause.is_empty()
        && select.group_clause.iter().all(keys)
        && !select.target_list.iter().any(|target| has_window(&mut target.clone()));
    (rows || groups) && distinct && select.limit_count.is_none() && select.limit_offset.is_none()
}

fn has_window(node: &mut pg_query::protobuf::Node) -> bool {
    fn visit(node: &mut Node, found: &mut bool) -> Result<(), Stop> {
        *found |= matches!(node, Node::FuncCall(call) if call.over.is_some());
        edit::children(node, &mut |child| visit(child, found))
    }
    let mut found = false;
    match node.node.as_mut().map_or(Ok(()), |node| visit(node, &mut found)) {
        Ok(()) => found,
        Err(_) => true,
    }
}
