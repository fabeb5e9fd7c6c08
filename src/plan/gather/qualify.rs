//! Gives every FROM item of a statement a name of its own and writes every column as `item.column`, so that what follows need not
//! know of scopes: `*` is written out, USING becomes ON, output columns get their names.
//!
//! Certain or not at all: where a name might mean something else, the whole statement is left to `whole`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pg_query::protobuf::{
    Alias, CoalesceExpr, CommonTableExpr, JoinExpr, JoinType, Node as Wrapped, RangeFunction, RangeSubselect, RangeVar,
    SelectStmt, SetOperation, SubLinkType,
};

use super::item::{Column, Item, Level};
use super::{condition, label, node, types};
use crate::catalog::{Oid, Relation};
use crate::plan::Context;
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::sql::walk::Unknown;
use crate::sql::{Node, edit, names};

/// The statement is not understood well enough.
pub struct Unsure;

impl From<Unknown> for Unsure {
    fn from(_: Unknown) -> Unsure {
        Unsure
    }
}

impl From<Stop> for Unsure {
    fn from(_: Stop) -> Unsure {
        Unsure
    }
}

/// What is known of the names of a statement.
#[derive(Default)]
pub struct Known {
    /// Tables by the name of their FROM item.
    pub tables: HashMap<String, Arc<Relation>>,
    /// Types of columns by item and column.
    pub types: HashMap<(String, String), Oid>,
    /// WITH queries.
    pub ctes: HashSet<String>,
    used: HashSet<String>,
}

impl Known {
    /// A name like `base` that nothing else has.
    pub fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut count = 1;
        while !self.used.insert(name.clone()) {
            count += 1;
            name = format!("{base}_{count}");
        }
        name
    }

    /// The type of an expression, where it is certain.
    pub fn type_of(&self, node: &Node) -> Option<Oid> {
        types::of(node, &|item, column| self.types.get(&(item.to_owned(), column.to_owned())).copied())
    }
}

struct Cte {
    name: String,
    fresh: String,
    /// Column names after its name.
    given: Vec<String>,
    columns: Option<Vec<Output>>,
}

/// An output column.
type Output = (String, Option<Oid>);

/// Functions in FROM that return one column, named as the item.
const SCALAR_SETS: [&str; 7] = [
    "generate_series",
    "generate_subscripts",
    "unnest",
    "regexp_split_to_table",
    "string_to_table",
    "json_object_keys",
    "jsonb_object_keys",
];

struct Namer<'c> {
    builder: Builder<'c>,
    known: Known,
    levels: Vec<Level>,
    ctes: Vec<Cte>,
    /// The WITH query whose set operation comes next: its left side tells its columns.
    recursive: Option<usize>,
    outer_joins: bool,
}

/// Names everything in `select`.
///
/// # Errors
/// [`Unsure`], with the statement in any state.
pub fn qualify(select: &mut SelectStmt, context: &Context<'_>) -> Result<Known, Unsure> {
    let mut namer = Namer {
        builder: Builder::new(context),
        known: Known::default(),
        levels: Vec::new(),
        ctes: Vec::new(),
        recursive: None,
        outer_joins: false,
    };
    namer.select(select)?;
    Ok(namer.known)
}

impl Namer<'_> {
    fn select(&mut self, select: &mut SelectStmt) -> Result<Vec<Output>, Unsure> {
        self.builder.enter()?;
        let recursive = self.recursive.take();
        let before = self.ctes.len();
        self.with(select)?;
        let outputs = if let (Some(left), Some(right)) = (&mut select.larg, &mut select.rarg) {
            let left = self.select(left)?;
            if let Some(cte) = recursive.and_then(|at| self.ctes.get_mut(at)) {
                cte.columns = Some(retyped(&left, cte.given.clone()));
            }
            let right = self.select(right)?;
            self.levels.push(Level::default());
            self.limits(select)?;
            self.levels.pop();
            let common = |((name, left), (_, right)): (Output, Output)| (name, left.filter(|_| left == right));
            left.into_iter().zip(right).map(common).collect()
        } else if select.values_lists.is_empty() {
            self.level(select)?
        } else {
            self.values(select)?
        };
        self.ctes.truncate(before);
        Ok(outputs)
    }

    fn with(&mut self, select: &mut SelectStmt) -> Result<(), Unsure> {
        let Some(with) = &mut select.with_clause else { return Ok(()) };
        let first = self.ctes.len();
        if with.recursive {
            for cte in &mut with.ctes {
                self.declare(cte)?;
            }
        }
        for (at, node) in with.ctes.iter_mut().enumerate() {
            if !with.recursive {
                self.declare(node)?;
            }
            let Some(Node::CommonTableExpr(cte)) = &mut node.node else { return Err(Unsure) };
            let given = given(&cte.aliascolnames);
            let Some(Node::SelectStmt(query)) = cte.ctequery.as_mut().and_then(|query| query.node.as_mut()) else {
                return Err(Unsure);
            };
            let at = first + at;
            if with.recursive && query.op() != SetOperation::SetopNone {
                self.recursive = Some(at);
                if let Some(entry) = self.ctes.get_mut(at) {
                    entry.columns = None;
                }
            }
            // A WITH query that is not recursive does not see itself.
            let hidden = if with.recursive { None } else { self.ctes.pop() };
            let outputs = self.select(query);
            self.ctes.extend(hidden);
            self.recursive = None;
            let outputs = retyped(&outputs?, given);
            if let Some(entry) = self.ctes.get_mut(at) {
                entry.columns = Some(outputs);
            }
        }
        Ok(())
    }

    fn declare(&mut self, node: &mut Wrapped) -> Result<(), Unsure> {
        let Some(Node::CommonTableExpr(cte)) = &mut node.node else { return Err(Unsure) };
        let given = given(&cte.aliascolnames);
        let CommonTableExpr { ctename, search_clause: None, cycle_clause: None, .. } = cte.as_mut() else {
            return Err(Unsure);
        };
        let name = ctename.clone();
        let mut fresh = self.known.fresh(&name);
        while self.builder.relation(None, &fresh).is_some() {
            fresh = self.known.fresh(&name);
        }
        ctename.clone_from(&fresh);
        self.known.ctes.insert(fresh.clone());
        self.ctes.push(Cte { name, fresh, given, columns: None });
        Ok(())
    }

    fn values(&mut self, select: &mut SelectStmt) -> Result<Vec<Output>, Unsure> {
        self.levels.push(Level::default());
        let mut width = 0;
        for row in &mut select.values_lists {
            let Some(Node::List(row)) = &mut row.node else { return Err(Unsure) };
            width = row.items.len();
            self.list(&mut row.items)?;
        }
        self.limits(select)?;
        self.levels.pop();
        Ok((1..=width).map(|at| (format!("column{at}"), None)).collect())
    }

    fn level(&mut self, select: &mut SelectStmt) -> Result<Vec<Output>, Unsure> {
        self.levels.push(Level::default());
        for item in select.from_clause.iter_mut().filter_map(|node| node.node.as_mut()) {
            self.item(item)?;
        }
        self.one(&mut select.where_clause)?;
        self.targets(select)?;
        self.list(&mut select.window_clause)?;
        let targets: Vec<(String, Node)> = select.target_list.iter().filter_map(label::labelled).collect();
        for node in select.group_clause.iter_mut().filter_map(|node| node.node.as_mut()) {
            self.group(node, &targets)?;
        }
        self.one(&mut select.having_clause)?;
        for node in select.distinct_clause.iter_mut().filter_map(|node| node.node.as_mut()) {
            self.sorted(node, &targets)?;
        }
        for node in select.sort_clause.iter_mut().filter_map(|node| node.node.as_mut()) {
            let Node::SortBy(by) = node else { return Err(Unsure) };
            if let Some(node) = by.node.as_mut().and_then(|node| node.node.as_mut()) {
                self.sorted(node, &targets)?;
            }
        }
        self.limits(select)?;
        self.levels.pop();
        Ok(targets.iter().map(|(name, value)| (name.clone(), self.known.type_of(value))).collect())
    }

    fn limits(&mut self, select: &mut SelectStmt) -> Result<(), Unsure> {
        self.one(&mut select.limit_count)?;
        self.one(&mut select.limit_offset)
    }

    // FROM

    fn item(&mut self, item: &mut Node) -> Result<(), Unsure> {
        match item {
            Node::RangeVar(name) => self.range_var(name),
            Node::RangeSubselect(subselect) => self.subselect(subselect),
            Node::JoinExpr(join) => self.join(join),
            Node::RangeFunction(function) => self.function(function),
            _ => Err(Unsure),
        }
    }

    fn add(&mut self, name: Option<String>, alias: &str, columns: Vec<Output>, open: bool, row: Option<Arc<Relation>>) {
        let column = |(name, type_oid): Output| {
            if let Some(type_oid) = type_oid {
                self.known.types.insert((alias.to_owned(), name.clone()), type_oid);
            }
            Column { value: node::column(&[alias, &name]), name, type_oid }
        };
        let columns = columns.into_iter().map(column).collect();
        let item = Item { name, alias: alias.to_owned(), columns, merged: Vec::new(), bare: true, open, row };
        if let Some(level) = self.levels.last_mut() {
            level.items.push(item);
        }
    }

    fn range_var(&mut self, name: &mut RangeVar) -> Result<(), Unsure> {
        let shown = super::survey::visible(name).to_owned();
        let renames = name.alias.as_ref().map_or_else(Vec::new, |alias| given(&alias.colnames));
        let colnames = name.alias.take().map_or_else(Vec::new, |alias| alias.colnames);
        let alias = self.known.fresh(&shown);
        let cte = self.ctes.iter().rev().find(|cte| name.schemaname.is_empty() && cte.name == name.relname);
        if let Some(cte) = cte {
            let columns = retyped(cte.columns.as_ref().ok_or(Unsure)?, renames);
            name.relname.clone_from(&cte.fresh);
            name.alias = Some(Alias { aliasname: alias.clone(), colnames });
            self.add(Some(shown), &alias, columns, false, None);
            return Ok(());
        }
        let schema = (!name.schemaname.is_empty()).then_some(name.schemaname.as_str());
        let relation = self.builder.relation(schema, &name.relname).cloned().ok_or(Unsure)?;
        let columns: Vec<_> =
            relation.columns.iter().map(|column| (column.name.clone(), Some(column.type_oid))).collect();
        let columns = retyped(&columns, renames);
        name.schemaname.clone_from(&relation.schema);
        name.alias = Some(Alias { aliasname: alias.clone(), colnames });
        self.known.tables.insert(alias.clone(), relation.clone());
        self.add(Some(shown), &alias, columns, false, Some(relation));
        Ok(())
    }

    fn subselect(&mut self, item: &mut RangeSubselect) -> Result<(), Unsure> {
        let Some(Node::SelectStmt(query)) = item.subquery.as_mut().and_then(|query| query.node.as_mut()) else {
            return Err(Unsure);
        };
        let hidden = self.hide(!item.lateral);
        let outputs = self.select(query)?;
        self.hide(hidden);
        let written = item.alias.as_mut().ok_or(Unsure)?;
        let shown = written.aliasname.clone();
        let columns = retyped(&outputs, given(&written.colnames));
        let alias = self.known.fresh(&shown);
        written.aliasname.clone_from(&alias);
        self.add(Some(shown), &alias, columns, false, None);
        Ok(())
    }

    fn hide(&mut self, hidden: bool) -> bool {
        self.levels.last_mut().is_some_and(|level| std::mem::replace(&mut level.hidden, hidden))
    }

    fn function(&mut self, item: &mut RangeFunction) -> Result<(), Unsure> {
        let [entry] = item.functions.as_mut_slice() else { return Err(Unsure) };
        let Some(Node::List(pair)) = &mut entry.node else { return Err(Unsure) };
        let Some(call) = pair.items.first_mut().and_then(|node| node.node.as_mut()) else { return Err(Unsure) };
        self.expression(call)?;
        let Node::FuncCall(call) = call else { return Err(Unsure) };
        let (_, function) = names::qualified(&call.funcname).ok_or(Unsure)?;
        let function = function.to_owned();
        let written = item.alias.get_or_insert_with(Alias::default);
        let shown = if written.aliasname.is_empty() { function.clone() } else { written.aliasname.clone() };
        let mut columns = given(&written.colnames);
        let defined = item.coldeflist.iter().filter_map(|node| match &node.node {
            Some(Node::ColumnDef(column)) => Some(column.colname.clone()),
            _ => None,
        });
        columns.extend(defined);
        let mut open = item.coldeflist.is_empty();
        if SCALAR_SETS.contains(&function.as_str()) && (function != "unnest" || call.args.len() == 1) {
            open = false;
            if columns.is_empty() {
                columns.push(shown.clone());
                written.colnames.push(node::name(&shown));
            }
            if item.ordinality && columns.len() == 1 {
                columns.push("ordinality".to_owned());
            }
        }
        let alias = self.known.fresh(&shown);
        written.aliasname.clone_from(&alias);
        let columns = columns.into_iter().map(|name| (name, None)).collect();
        self.add(Some(shown), &alias, columns, open, None);
        Ok(())
    }

    fn join(&mut self, join: &mut JoinExpr) -> Result<(), Unsure> {
        self.outer_joins |= join.jointype() != JoinType::JoinInner;
        let length = |levels: &[Level]| levels.last().map_or(0, |level| level.items.len());
        let start = length(&self.levels);
        let (Some(left), Some(right)) = (&mut join.larg, &mut join.rarg) else { return Err(Unsure) };
        self.item(left.node.as_mut().ok_or(Unsure)?)?;
        let middle = length(&self.levels);
        self.item(right.node.as_mut().ok_or(Unsure)?)?;
        let first = self.levels.last_mut().map_or(0, |level| std::mem::replace(&mut level.first, start));
        self.one(&mut join.quals)?;
        if let Some(level) = self.levels.last_mut() {
            level.first = first;
        }
        self.using(join, start, middle)?;
        if let Some(alias) = join.alias.take() {
            self.alias_join(&alias, start);
        }
        Ok(())
    }

    /// USING and NATURAL become ON; their merged columns come before the others.
    fn using(&mut self, join: &mut JoinExpr, start: usize, middle: usize) -> Result<(), Unsure> {
        let using = if join.is_natural { self.common(start, middle)? } else { given(&join.using_clause) };
        join.is_natural = false;
        join.using_clause.clear();
        let name = join.join_using_alias.take().map(|alias| alias.aliasname);
        if using.is_empty() {
            return Ok(());
        }
        let kind = join.jointype();
        let level = self.levels.last_mut().ok_or(Unsure)?;
        let (mut equal, mut columns) = (Vec::new(), Vec::new());
        for column in using {
            let side = |items: &[Item]| {
                let mut found = items.iter().flat_map(|item| item.shown(&column));
                match (found.next(), found.next()) {
                    (Some(found), None) => Ok(found.clone()),
                    _ => Err(Unsure),
                }
            };
            let left = side(level.items.get(start..middle).unwrap_or_default())?;
            let right = side(level.items.get(middle..).unwrap_or_default())?;
            if left.type_oid != right.type_oid || left.type_oid.is_none() {
                return Err(Unsure);
            }
            equal.push(condition::equal(left.value.clone(), right.value.clone()));
            let value = match kind {
                JoinType::JoinInner | JoinType::JoinLeft => left.value,
                JoinType::JoinRight => right.value,
                _ => {
                    let args = vec![node::wrap(left.value), node::wrap(right.value)];
                    Node::CoalesceExpr(Box::new(CoalesceExpr { args, ..CoalesceExpr::default() }))
                }
            };
            columns.push(Column { name: column, value, type_oid: left.type_oid });
        }
        let merged: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
        for item in level.items.iter_mut().skip(start) {
            item.merged.extend(merged.iter().cloned());
        }
        let alias = String::new();
        let item = Item { name, alias, columns, merged: Vec::new(), bare: true, open: false, row: None };
        level.items.insert(start, item);
        join.quals = condition::all(equal);
        Ok(())
    }

    fn common(&self, start: usize, middle: usize) -> Result<Vec<String>, Unsure> {
        let level = self.levels.last().ok_or(Unsure)?;
        if level.items.iter().skip(start).any(|item| item.open) {
            return Err(Unsure);
        }
        let names = |items: &[Item]| -> Vec<String> {
            items.iter().flat_map(Item::visible).map(|column| column.name.clone()).collect()
        };
        let right = names(level.items.get(middle..).unwrap_or_default());
        let left = names(level.items.get(start..middle).unwrap_or_default());
        Ok(left.into_iter().filter(|name| right.contains(name)).collect())
    }

    /// `(a JOIN b ...) AS name (columns)` hides the names inside.
    fn alias_join(&mut self, alias: &Alias, start: usize) {
        let Some(level) = self.levels.last_mut() else { return };
        let items = level.items.split_off(start.min(level.items.len()));
        let mut columns: Vec<Column> = items.iter().flat_map(Item::visible).cloned().collect();
        for (column, name) in columns.iter_mut().zip(given(&alias.colnames)) {
            column.name = name;
        }
        let open = items.iter().any(|item| item.open);
        let name = Some(alias.aliasname.clone());
        let alias = String::new();
        level.items.push(Item { name, alias, columns, merged: Vec::new(), bare: true, open, row: None });
    }

    // Expressions

    fn one(&mut self, node: &mut Option<Box<Wrapped>>) -> Result<(), Unsure> {
        node.as_mut().and_then(|node| node.node.as_mut()).map_or(Ok(()), |node| self.expression(node))
    }

    fn list(&mut self, nodes: &mut [Wrapped]) -> Result<(), Unsure> {
        nodes.iter_mut().filter_map(|node| node.node.as_mut()).try_for_each(|node| self.expression(node))
    }

    fn expression(&mut self, node: &mut Node) -> Result<(), Unsure> {
        match node {
            Node::ColumnRef(column) => {
                let fields: Option<Vec<_>> = names::strings(&column.fields);
                *node = self.column(&fields.ok_or(Unsure)?)?;
                Ok(())
            }
            Node::SubLink(link) => {
                self.one(&mut link.testexpr)?;
                if link.sub_link_type() == SubLinkType::ExistsSublink {
                    without_outputs(link.subselect.as_deref_mut());
                }
                match link.subselect.as_mut().and_then(|node| node.node.as_mut()) {
                    Some(Node::SelectStmt(query)) => self.select(query).map(|_| ()),
                    _ => Err(Unsure),
                }
            }
            Node::SelectStmt(_) => Err(Unsure),
            _ => edit::children(node, &mut |child| self.expression(child)),
        }
    }

    fn column(&self, fields: &[&str]) -> Result<Node, Unsure> {
        match fields {
            [name] => {
                for level in self.levels.iter().rev().filter(|level| !level.hidden) {
                    if let Some(found) = level.bare(name)? {
                        return Ok(found);
                    }
                }
                let item = self.named(name).ok_or(Unsure)?;
                self.row(item)
            }
            [.., item, name] => self.named(item).ok_or(Unsure)?.column(name),
            [] => Err(Unsure),
        }
    }

    fn named(&self, name: &str) -> Option<&Item> {
        let seen = self.levels.iter().rev().filter(|level| !level.hidden);
        seen.flat_map(|level| level.items.iter().skip(level.first)).find(|item| item.name.as_deref() == Some(name))
    }

    /// The row of a table as a value of its type.
    fn row(&self, item: &Item) -> Result<Node, Unsure> {
        let relation = item.row.as_ref().filter(|_| !self.outer_joins).ok_or(Unsure)?;
        let fields = item.columns.iter().map(|column| column.value.clone());
        Ok(node::cast(node::row(fields), &[&relation.schema, &relation.name], &[]))
    }

    /// The select list, with `*` written out.
    fn targets(&mut self, select: &mut SelectStmt) -> Result<(), Unsure> {
        for wrapped in std::mem::take(&mut select.target_list) {
            let Some(Node::ResTarget(mut target)) = wrapped.node else { return Err(Unsure) };
            let star = match names::inner(&target.val) {
                Some(Node::ColumnRef(column)) => match column.fields.split_last() {
                    Some((last, qualifier)) if names::string(last).is_none() => Some(given(qualifier)),
                    _ => None,
                },
                _ => None,
            };
            if let Some(qualifier) = star {
                let columns = self.star(&qualifier)?;
                select.target_list.extend(columns.into_iter().map(|column| node::target(column.value, &column.name)));
                continue;
            }
            // (row).*: how many columns that is, only a server knows.
            if let Some(Node::AIndirection(row)) = names::inner(&target.val)
                && row.indirection.iter().any(|field| matches!(field.node, Some(Node::AStar(_))))
            {
                return Err(Unsure);
            }
            if target.name.is_empty() {
                target.name = names::inner(&target.val).and_then(label::made_up).unwrap_or_default();
            }
            self.one(&mut target.val)?;
            select.target_list.push(node::wrap(Node::ResTarget(target)));
        }
        Ok(())
    }

    fn star(&self, qualifier: &[String]) -> Result<Vec<Column>, Unsure> {
        let level = self.levels.last().ok_or(Unsure)?;
        match qualifier.last() {
            None if level.items.iter().any(|item| item.open) => Err(Unsure),
            None => Ok(level.items.iter().flat_map(Item::visible).cloned().collect()),
            Some(name) => {
                let item = self.named(name).filter(|item| !item.open).ok_or(Unsure)?;
                Ok(item.columns.clone())
            }
        }
    }

    /// A GROUP BY item: an input column first, then an output name, then an expression (findTargetlistEntrySQL92).
    fn group(&mut self, node: &mut Node, targets: &[(String, Node)]) -> Result<(), Unsure> {
        match node {
            Node::GroupingSet(set) => set
                .content
                .iter_mut()
                .filter_map(|node| node.node.as_mut())
                .try_for_each(|node| self.group(node, targets)),
            Node::List(list) => list
                .items
                .iter_mut()
                .filter_map(|node| node.node.as_mut())
                .try_for_each(|node| self.group(node, targets)),
            Node::ColumnRef(column) => {
                if let [only] = column.fields.as_slice()
                    && let Some(name) = names::string(only)
                    && self.levels.last().ok_or(Unsure)?.bare(name)?.is_none()
                    && let Some(value) = output(name, targets)?
                {
                    *node = value;
                    return Ok(());
                }
                self.expression(node)
            }
            _ => self.expression(node),
        }
    }

    /// An ORDER BY or DISTINCT ON item: an output name stays.
    fn sorted(&mut self, node: &mut Node, targets: &[(String, Node)]) -> Result<(), Unsure> {
        if let Node::ColumnRef(column) = node
            && let [only] = column.fields.as_slice()
            && let Some(name) = names::string(only)
            && output(name, targets)?.is_some()
        {
            return Ok(());
        }
        self.expression(node)
    }
}

/// The output column of a name; several are fine if they are the same.
fn output(name: &str, targets: &[(String, Node)]) -> Result<Option<Node>, Unsure> {
    let mut found = targets.iter().filter(|(label, _)| label == name).map(|(_, value)| value);
    let Some(first) = found.next() else { return Ok(None) };
    if found.any(|other| other != first) || matches!(first, Node::AConst(_)) {
        return Err(Unsure);
    }
    Ok(Some(first.clone()))
}

/// What a sub-select of EXISTS selects does not matter, where it is columns.
fn without_outputs(query: Option<&mut Wrapped>) {
    let Some(Node::SelectStmt(query)) = query.and_then(|query| query.node.as_mut()) else { return };
    let column = |target: &Wrapped| match &target.node {
        Some(Node::ResTarget(target)) => {
            matches!(names::inner(&target.val), Some(Node::ColumnRef(_) | Node::AConst(_)))
        }
        _ => false,
    };
    let plain = query.group_clause.is_empty()
        && query.having_clause.is_none()
        && query.distinct_clause.is_empty()
        && query.sort_clause.is_empty()
        && !query.from_clause.is_empty();
    if plain && query.target_list.iter().all(column) {
        query.target_list = vec![node::target(node::integer(1), "")];
    }
}

fn given(nodes: &[Wrapped]) -> Vec<String> {
    nodes.iter().filter_map(names::string).map(str::to_owned).collect()
}

/// Columns with the names of an alias.
fn retyped(columns: &[Output], names: Vec<String>) -> Vec<Output> {
    let mut columns = columns.to_vec();
    for (column, name) in columns.iter_mut().zip(names) {
        column.0 = name;
    }
    columns
}
