//! FROM items get names of their own; USING and NATURAL become ON.

use std::sync::Arc;

use pg_query::protobuf::{Alias, CoalesceExpr, JoinExpr, JoinType, RangeFunction, RangeSubselect, RangeVar};

use super::item::{Column, Item, Level};
use super::query::{Namer, Output, Unsure, given, retyped};
use crate::catalog::Relation;
use crate::plan::gather::{condition, node};
use crate::plan::returns::Known;
use crate::sql::{Node, names};

impl Namer<'_> {
    pub fn item(&mut self, item: &mut Node) -> Result<(), Unsure> {
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
        let shown = names::alias_or_name(name).to_owned();
        let renames = name.alias.as_ref().map_or_else(Vec::new, |alias| given(&alias.colnames));
        let colnames = name.alias.take().map_or_else(Vec::new, |alias| alias.colnames);
        let alias = self.known.fresh(&shown);
        let cte = self.ctes.iter().rev().find(|cte| name.schemaname.is_empty() && cte.name == name.relname);
        if let Some(cte) = cte {
            let columns = retyped(cte.columns.as_ref().ok_or(Unsure)?, renames);
            name.relname.clone_from(&cte.fresh);
            let written = name.alias.insert(Alias { aliasname: alias, colnames });
            self.add_apart(shown, written, columns, None);
            return Ok(());
        }
        let relation = self.builder.table(name).cloned().ok_or(Unsure)?;
        let columns: Vec<_> =
            relation.columns.iter().map(|column| (column.name.clone(), Some(column.type_oid))).collect();
        let renamed = !renames.is_empty();
        let columns = retyped(&columns, renames);
        name.schemaname.clone_from(&relation.schema);
        if !renamed {
            self.known.tables.insert(alias.clone(), relation.clone());
        }
        let written = name.alias.insert(Alias { aliasname: alias, colnames });
        self.add_apart(shown, written, columns, Some(relation));
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
        written.aliasname = alias;
        self.add_apart(shown, written, columns, None);
        Ok(())
    }

    /// Adds what may have several columns of one name, which `*` shows and nothing else can say: each gets a name of its own.
    fn add_apart(&mut self, shown: String, written: &mut Alias, columns: Vec<Output>, row: Option<Arc<Relation>>) {
        let (names, types): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let own = distinct(&names);
        if own != names {
            // One without a name has none here either, but its place.
            let shown = |name: &String| node::name(if name.is_empty() { "?column?" } else { name });
            written.colnames = own.iter().map(shown).collect();
        }
        self.add(Some(shown), &written.aliasname, own.into_iter().zip(types).collect(), false, row);
        self.call_columns(names);
    }

    /// The columns of the item added last, as the statement calls them.
    fn call_columns(&mut self, names: Vec<String>) {
        let added = self.levels.last_mut().and_then(|level| level.items.last_mut());
        for (column, name) in added.into_iter().flat_map(|item| &mut item.columns).zip(names) {
            column.name = name;
        }
    }

    fn hide(&mut self, hidden: bool) -> bool {
        self.levels.last_mut().is_some_and(|level| std::mem::replace(&mut level.hidden, hidden))
    }

    fn function(&mut self, item: &mut RangeFunction) -> Result<(), Unsure> {
        let [entry] = item.functions.as_mut_slice() else { return Err(Unsure) };
        let Some(Node::List(pair)) = &mut entry.node else { return Err(Unsure) };
        let Some(call) = pair.items.first_mut().and_then(|node| node.node.as_mut()) else { return Err(Unsure) };
        self.expression(call)?;
        let alias = item.alias.as_ref().map(|alias| alias.aliasname.as_str()).filter(|name| !name.is_empty());
        let known = Known { type_of: &|node| self.known.type_of(node), qualified: true };
        let returned = self.builder.returned_by(call, alias, known);
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
        if let Some(mut names) = returned.filter(|_| open) {
            open = false;
            if item.ordinality {
                names.push("ordinality".to_owned());
            }
            columns.extend(names.into_iter().skip(columns.len()));
        }
        // Several may have one name, as those of unnest have.
        let own = if open { columns.clone() } else { distinct(&columns) };
        if item.coldeflist.is_empty() && !open {
            written.colnames = own.iter().map(|name| node::name(name)).collect();
        }
        let alias = self.known.fresh(&shown);
        written.aliasname.clone_from(&alias);
        self.add(Some(shown), &alias, own.into_iter().map(|name| (name, None)).collect(), open, None);
        self.call_columns(columns);
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
            self.alias_join(&alias, start)?;
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
    fn alias_join(&mut self, alias: &Alias, start: usize) -> Result<(), Unsure> {
        let level = self.levels.last_mut().ok_or(Unsure)?;
        let items = level.items.split_off(start.min(level.items.len()));
        let mut columns: Vec<Column> = items.iter().flat_map(Item::visible).cloned().collect();
        for (column, name) in columns.iter_mut().zip(given(&alias.colnames)) {
            column.name = name;
        }
        let open = items.iter().any(|item| item.open);
        // Which column gets which name is not certain.
        if open && !alias.colnames.is_empty() {
            return Err(Unsure);
        }
        let name = Some(alias.aliasname.clone());
        let alias = String::new();
        level.items.push(Item { name, alias, columns, merged: Vec::new(), bare: true, open, row: None });
        Ok(())
    }
}

/// The names, those that are there already with a number. Columns without a name stay so: nothing can mean them.
fn distinct(names: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let (mut own, mut count) = (name.clone(), 1);
        while !name.is_empty() && (found.contains(&own) || (count > 1 && names.contains(&own))) {
            count += 1;
            own = format!("{name}_{count}");
        }
        found.push(own);
    }
    found
}
