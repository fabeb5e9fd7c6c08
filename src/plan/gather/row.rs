//! A table's row as a value: the copy's row is of another type, so it is built anew from its columns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pg_query::protobuf::{AExpr, AExprKind, Alias, CaseExpr, CaseWhen, ColumnRef, FuncCall, RangeVar, SelectStmt};

use super::node;
use super::view;
use super::whole::Tables;
use crate::catalog::{Relation, RelationKind};
use crate::plan::Context;
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// Puts `ROW(x.a, x.b)::schema.x` in place of `x` where that can only be the row of a table. Where it may be a column, it stays:
/// the copy has all columns, and its row is written in the same way.
pub fn expand(node: &mut Node, tables: &Tables) -> Result<(), Stop> {
    let mut names = Names::default();
    names.node(node, tables)?;
    Rows { names: &names, of_views: false }.node(node)
}

/// The same of views, before sub-selects stand in their places, whose rows have no type. A row of any table is written as an argument where
/// it is one.
pub fn expand_views(node: &mut Node, context: &Context<'_>) -> Result<(), Stop> {
    let mut tables = Tables::new();
    let mut has_views = false;
    view::number(node)?;
    view::relations(node, &Builder::new(context), &mut |item, relation| {
        has_views |= is_view(relation);
        if let Node::RangeVar(name) = item {
            tables.insert(name.location, relation.clone());
        }
        Ok(())
    })?;
    let mut names = Names::default();
    names.node(node, &tables)?;
    names.calls(node, &Builder::new(context))?;
    if !has_views {
        return Ok(());
    }
    Rows { names: &names, of_views: true }.node(node)
}

fn is_view(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::View { .. })
}

/// A table and the names of its columns where it is shown.
type Shown = (Arc<Relation>, Vec<String>);

#[derive(Default)]
struct Names {
    /// By visible name: the table and the names of its columns here; `None` when several tables are meant by the name.
    shown: HashMap<String, Option<Shown>>,
    /// Names of columns anywhere.
    columns: HashSet<String>,
}

impl Names {
    fn node(&mut self, node: &mut Node, tables: &Tables) -> Result<(), Stop> {
        match node {
            Node::RangeVar(name) => self.table(name, tables),
            Node::ResTarget(target) => {
                self.columns.insert(target.name.clone());
            }
            Node::CommonTableExpr(cte) => self.given(&cte.aliascolnames),
            Node::RangeSubselect(item) => self.other(item.alias.as_ref()),
            Node::RangeFunction(item) => {
                if let Some(alias) = &item.alias {
                    self.columns.insert(alias.aliasname.clone());
                    self.given(&alias.colnames);
                }
            }
            Node::JoinExpr(join) => self.other(join.alias.as_ref()),
            _ => {}
        }
        edit::children(node, &mut |child| self.node(child, tables))
    }

    /// `x.name` -> `name(x.*)` where `x` is a table without such a column.
    fn calls(&self, node: &mut Node, builder: &Builder<'_>) -> Result<(), Stop> {
        if let Node::ColumnRef(column) = node
            && let Some([.., item, name]) = names::strings(&column.fields).as_deref()
            && let Some(Some((_, columns))) = self.shown.get(*item)
            && !columns.iter().any(|column| column == name)
            && builder.is_attribute(name)
        {
            let star = node::wrap(Node::AStar(pg_query::protobuf::AStar {}));
            let row = Node::ColumnRef(ColumnRef { fields: vec![node::name(item), star], location: 0 });
            *node =
                Node::FuncCall(Box::new(FuncCall { funcname: vec![node::name(name)], ..node::call(name, vec![row]) }));
            return Ok(());
        }
        edit::children(node, &mut |child| self.calls(child, builder))
    }

    fn given(&mut self, names: &[pg_query::protobuf::Node]) {
        self.columns.extend(names.iter().filter_map(names::string).map(str::to_owned));
    }

    /// Something else than a table.
    fn other(&mut self, alias: Option<&Alias>) {
        if let Some(alias) = alias {
            self.given(&alias.colnames);
            self.shown.insert(alias.aliasname.clone(), None);
        }
    }

    fn table(&mut self, name: &RangeVar, tables: &Tables) {
        let Some(relation) = tables.get(&name.location) else {
            self.shown.insert(names::alias_or_name(name).to_owned(), None);
            return;
        };
        let given = name.alias.as_ref().map_or(&[][..], |alias| &alias.colnames);
        let mut columns: Vec<_> = given.iter().filter_map(names::string).map(str::to_owned).collect();
        columns.extend(relation.columns.iter().skip(columns.len()).map(|column| column.name.clone()));
        self.columns.extend(columns.iter().cloned());
        let entry = (relation.clone(), columns);
        self.shown
            .entry(names::alias_or_name(name).to_owned())
            .and_modify(|known| {
                if known.as_ref() != Some(&entry) {
                    *known = None;
                }
            })
            .or_insert(Some(entry.clone()));
    }
}

struct Rows<'n> {
    names: &'n Names,
    /// And of nothing else.
    of_views: bool,
}

impl Rows<'_> {
    fn node(&self, node: &mut Node) -> Result<(), Stop> {
        if let Some(row) = self.row(node) {
            *node = row;
            return Ok(());
        }
        match node {
            // `x.*` stands for columns here.
            Node::SelectStmt(select) => self.level(select),
            Node::RowExpr(row) => self.list(&mut row.args),
            _ => edit::children(node, &mut |child| self.node(child)),
        }
    }

    fn level(&self, select: &mut SelectStmt) -> Result<(), Stop> {
        let targets: Vec<_> = std::mem::take(&mut select.target_list);
        let values: Vec<_> = std::mem::take(&mut select.values_lists);
        let result = edit::select(select, &mut |child| self.node(child));
        select.target_list = targets;
        select.values_lists = values;
        for target in &mut select.target_list {
            let Some(Node::ResTarget(target)) = &mut target.node else { continue };
            let Some(value) = target.val.as_mut().and_then(|value| value.node.as_mut()).filter(|value| !star(value))
            else {
                continue;
            };
            if target.name.is_empty() && matches!(value, Node::ColumnRef(_)) {
                let label = super::label::made_up(value);
                self.node(value)?;
                if !matches!(value, Node::ColumnRef(_)) {
                    target.name = label.unwrap_or_default();
                }
            } else {
                self.node(value)?;
            }
        }
        for row in &mut select.values_lists {
            if let Some(Node::List(row)) = &mut row.node {
                self.list(&mut row.items)?;
            }
        }
        result
    }

    fn list(&self, nodes: &mut [pg_query::protobuf::Node]) -> Result<(), Stop> {
        nodes.iter_mut().filter_map(|node| node.node.as_mut()).filter(|node| !star(node)).try_for_each(|n| self.node(n))
    }

    /// The row that a reference to a table as a whole stands for.
    fn row(&self, node: &Node) -> Option<Node> {
        let Node::ColumnRef(column) = node else { return None };
        let name = match column.fields.as_slice() {
            [only] => names::string(only)?,
            [name, star] if names::string(star).is_none() => names::string(name)?,
            _ => return None,
        };
        if column.fields.len() == 1 && self.names.columns.contains(name) {
            return None;
        }
        let (relation, columns) = self.names.shown.get(name)?.as_ref()?;
        if self.of_views && !is_view(relation) {
            return None;
        }
        let row = node::row(columns.iter().map(|column| node::column(&[name, column])));
        Some(unless_missing(name, node::cast(row, &[&relation.schema, &relation.name], &[])))
    }
}

fn star(node: &Node) -> bool {
    matches!(node, Node::ColumnRef(column) if column.fields.last().is_some_and(|last| names::string(last).is_none()))
}

/// NULL for a row that an outer join makes up. `IS DISTINCT FROM NULL` asks for the row, `IS NOT NULL` would for each column
/// (transformAExprDistinct, parse_expr.c).
fn unless_missing(name: &str, row: Node) -> Node {
    let there = Node::AExpr(Box::new(AExpr {
        kind: AExprKind::AexprDistinct as i32,
        name: vec![node::name("=")],
        lexpr: node::boxed(node::column(&[name])),
        rexpr: node::boxed(node::null()),
        ..AExpr::default()
    }));
    let when = CaseWhen { expr: node::boxed(there), result: node::boxed(row), ..CaseWhen::default() };
    let case = CaseExpr { args: vec![node::wrap(Node::CaseWhen(Box::new(when)))], ..CaseExpr::default() };
    Node::CaseExpr(Box::new(case))
}
