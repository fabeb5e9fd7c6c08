//! Queries, level by level: WITH, the select list with `*` written out, GROUP BY, ORDER BY; what their output columns are called.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pg_query::protobuf::{CommonTableExpr, Node as Wrapped, SelectStmt, SetOperation};

use super::item::{Column, Item, Level};
use crate::catalog::{Oid, Relation};
use crate::plan::Context;
use crate::plan::builder::Builder;
use crate::plan::gather::{label, node, types};
use crate::plan::ir::Stop;
use crate::plan::select::values_width;
use crate::sql::walk::Unknown;
use crate::sql::{Node, names};

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
    /// Tables whose columns have the names that they have, by the name of their FROM item.
    pub tables: HashMap<String, Arc<Relation>>,
    /// Types of columns by item and column.
    pub types: HashMap<(String, String), Oid>,
    /// WITH queries.
    pub ctes: HashSet<String>,
    /// Functions that may be a user's, see [`types::FUNCTIONS`].
    overloaded: Vec<&'static str>,
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
        let type_of = |item: &str, column: &str| self.types.get(&(item.to_owned(), column.to_owned())).copied();
        types::of(node, types::Columns { type_of: &type_of, overloaded: &self.overloaded })
    }
}

pub struct Cte {
    pub name: String,
    pub fresh: String,
    /// Column names after its name.
    pub given: Vec<String>,
    pub columns: Option<Vec<Output>>,
}

/// An output column.
pub type Output = (String, Option<Oid>);

pub struct Namer<'c> {
    pub builder: Builder<'c>,
    pub known: Known,
    pub levels: Vec<Level>,
    pub ctes: Vec<Cte>,
    /// The WITH query whose set operation comes next: its left side tells its columns.
    pub recursive: Option<usize>,
    pub outer_joins: bool,
}

/// Names everything in `select`.
///
/// # Errors
/// [`Unsure`], with the statement in any state.
pub fn qualify(select: &mut SelectStmt, context: &Context<'_>) -> Result<Known, Unsure> {
    let builder = Builder::new(context);
    let overloaded = types::FUNCTIONS.into_iter().filter(|name| builder.is_overloaded(name)).collect();
    let mut namer = Namer {
        builder,
        known: Known { overloaded, ..Known::default() },
        levels: Vec::new(),
        ctes: Vec::new(),
        recursive: None,
        outer_joins: false,
    };
    namer.select(select)?;
    Ok(namer.known)
}

impl Namer<'_> {
    pub fn select(&mut self, select: &mut SelectStmt) -> Result<Vec<Output>, Unsure> {
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
        let width = values_width(&select.values_lists)?.ok_or(Unsure)?;
        for row in &mut select.values_lists {
            let Some(Node::List(row)) = &mut row.node else { return Err(Unsure) };
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
        let columns: Vec<Column> = match qualifier.last() {
            None if level.items.iter().any(|item| item.open) => return Err(Unsure),
            None => level.items.iter().flat_map(Item::visible).cloned().collect(),
            Some(name) => self.named(name).filter(|item| !item.open).ok_or(Unsure)?.columns.clone(),
        };
        // Those without a name can be shown, but not written out.
        if columns.iter().any(|column| column.name.is_empty()) { Err(Unsure) } else { Ok(columns) }
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

pub fn given(nodes: &[Wrapped]) -> Vec<String> {
    nodes.iter().filter_map(names::string).map(str::to_owned).collect()
}

/// Columns with the names of an alias.
pub fn retyped(columns: &[Output], names: Vec<String>) -> Vec<Output> {
    let mut columns = columns.to_vec();
    for (column, name) in columns.iter_mut().zip(names) {
        column.0 = name;
    }
    columns
}
