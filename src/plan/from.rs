//! FROM items: tables, views, WITH queries, sub-selects, functions, joins. Each adds its names to the scope under construction.

use pg_query::protobuf::{
    Alias, JoinExpr, JoinType, Node as Wrapped, RangeFunction, RangeSubselect, RangeTableFunc, RangeVar,
};

use super::Refusal;
use super::builder::{Builder, Written};
use super::function;
use super::ir::{Fact, From, Join, OutputColumn, Parts, Query, Stop, Term};
use super::key::Class;
use super::returns::Known;
use super::scope::{self, Columns, Item, Place, Scope};
use crate::catalog::{Relation, RelationKind};
use crate::sql::{Node, names};

impl<'a> Builder<'a> {
    /// A FROM item; its names become visible.
    pub fn item(&mut self, node: &'a Node) -> Result<From, Stop> {
        self.enter()?;
        match node {
            Node::RangeVar(name) => self.range_var(name),
            Node::RangeSubselect(subselect) => self.subselect(subselect),
            Node::JoinExpr(join) => self.join(join),
            Node::RangeFunction(function) => self.range_function(function),
            Node::RangeTableFunc(table) => self.xml_table(table),
            Node::RangeTableSample(sample) => {
                let Some(relation) = names::inner(&sample.relation) else { return Err(Stop::Fails) };
                let left = self.item(relation)?;
                let mut on = Parts { unsteady: Some("TABLESAMPLE"), ..Parts::default() };
                on.local = Some("TABLESAMPLE takes a sample of each shard".to_owned());
                for node in
                    sample.args.iter().filter_map(|node| node.node.as_ref()).chain(names::inner(&sample.repeatable))
                {
                    self.expression(node, &mut on)?;
                }
                let right = From::Opaque(Parts::default());
                Ok(From::Inner(Box::new(Join { left, right, on })))
            }
            Node::JsonTable(_) => Err(Refusal::unsupported("JSON_TABLE is not supported yet")
                .hint("Use jsonb_to_recordset or jsonb_array_elements.")
                .into()),
            _ => Err(Refusal::unsupported("this kind of FROM item is not supported yet").into()),
        }
    }

    fn add(&mut self, item: Item) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.items.push(item);
        }
    }

    fn range_var(&mut self, name: &'a RangeVar) -> Result<From, Stop> {
        if name.schemaname.is_empty()
            && let Some((frame, at)) = self.cte(&name.relname)
        {
            return self.cte_item(frame, at, name);
        }
        let relation = self.table(name).cloned().ok_or(Stop::Fails)?;
        match &relation.kind {
            RelationKind::Unusable { reason } => return Err(unusable(&relation, reason).into()),
            RelationKind::View { definition, .. } => {
                let mut query = self.view(&relation, definition)?;
                for (column, known) in query.columns.iter_mut().zip(&relation.columns) {
                    column.name = Some(known.name.clone());
                }
                return Ok(self.query_item(query, &relation.name, name.alias.as_ref()));
            }
            RelationKind::System if matches!(relation.name.as_str(), "pg_prepared_statements" | "pg_cursors") => {
                return Err(function::own_statements().into());
            }
            RelationKind::Sharded { .. } | RelationKind::Reference | RelationKind::Home | RelationKind::Sequence => {}
            RelationKind::System => self.effects.asks_server = true,
        }
        Ok(From::Leaf(self.relation_item(name, &relation)?))
    }

    /// An instance of a table under its name or alias.
    pub fn relation_item(
        &mut self,
        name: &RangeVar,
        relation: &std::sync::Arc<Relation>,
    ) -> Result<super::ir::LeafId, Stop> {
        let leaf = self.leaf(relation)?;
        let aliases = alias_columns(name.alias.as_ref());
        let columns = Columns::Relation { leaf, relation: relation.clone(), aliases };
        let mut item =
            Item::new(Some(alias_name(name.alias.as_ref()).unwrap_or(&relation.name).to_owned()), columns, false);
        item.schema = name.alias.is_none().then(|| relation.schema.clone());
        self.add(item);
        Ok(leaf)
    }

    fn cte(&self, name: &str) -> Option<(usize, usize)> {
        self.ctes.iter().enumerate().rev().find_map(|(frame, ctes)| {
            // A later query of a WITH RECURSIVE may be meant as well: names are unique in a clause.
            ctes.iter().position(|cte| cte.name == name).map(|at| (frame, at))
        })
    }

    fn cte_item(&mut self, frame: usize, at: usize, name: &'a RangeVar) -> Result<From, Stop> {
        if let Some(query) = self.cte_query(frame, at)? {
            return Ok(self.query_item(query, &name.relname, name.alias.as_ref()));
        }
        let written = self.ctes.get(frame).and_then(|ctes| ctes.get(at)).and_then(|cte| cte.written.clone());
        if let Some(written) = written {
            return self.written_item(&written, name);
        }
        let given = self.ctes.get(frame).and_then(|ctes| ctes.get(at)).map_or_else(Vec::new, |cte| cte.columns.clone());
        let mut columns: Vec<_> = given.into_iter().map(|name| (Some(name), None)).collect();
        rename(&mut columns, name.alias.as_ref());
        let shown = alias_name(name.alias.as_ref()).unwrap_or(&name.relname).to_owned();
        self.add(Item::new(Some(shown), Columns::Derived(columns), true));
        Ok(From::Opaque(Parts::default()))
    }

    /// The rows that a write in WITH returns.
    fn written_item(&mut self, written: &Written, name: &'a RangeVar) -> Result<From, Stop> {
        let leaf = self.leaf(&written.relation)?;
        let aliases = alias_columns(name.alias.as_ref());
        let columns = Columns::Relation { leaf, relation: written.relation.clone(), aliases };
        let shown = alias_name(name.alias.as_ref()).unwrap_or(&name.relname).to_owned();
        self.add(Item::new(Some(shown), columns, written.open));
        let key = self.leaves.get(leaf.0).and_then(|leaf| leaf.key);
        let Some((term, sources)) = key.map(|(term, _)| term).zip(written.sources.clone()) else {
            return Ok(From::Leaf(leaf));
        };
        let on = Parts { facts: vec![Fact::OneOf { term, sources }], ..Parts::default() };
        let right = From::Opaque(Parts::default());
        Ok(From::Inner(Box::new(Join { left: From::Leaf(leaf), right, on })))
    }

    fn query_item(&mut self, query: Query, name: &str, alias: Option<&Alias>) -> From {
        let mut columns: Vec<_> =
            query.columns.iter().map(|OutputColumn { name, term }| (name.clone(), *term)).collect();
        rename(&mut columns, alias);
        let open = query.open || columns.iter().any(|(name, _)| name.is_none());
        let name = alias_name(alias).unwrap_or(name).to_owned();
        // A sub-select without an alias (PostgreSQL 16) cannot be named.
        self.add(Item::new((!name.is_empty()).then_some(name), Columns::Derived(columns), open));
        From::Query(Box::new(query))
    }

    fn subselect(&mut self, subselect: &'a RangeSubselect) -> Result<From, Stop> {
        let Some(node) = names::inner(&subselect.subquery) else { return Err(Stop::Fails) };
        let hidden = self.hide(!subselect.lateral);
        let query = self.query(node);
        self.hide(hidden);
        Ok(self.query_item(query?, "", subselect.alias.as_ref()))
    }

    /// Sets whether the scope under construction is hidden, and tells whether it was.
    fn hide(&mut self, hidden: bool) -> bool {
        self.scopes.last_mut().is_some_and(|scope| std::mem::replace(&mut scope.hidden, hidden))
    }

    // Functions

    fn range_function(&mut self, range: &'a RangeFunction) -> Result<From, Stop> {
        let mut parts = Parts::default();
        let mut columns = Vec::new();
        let mut open = false;
        let alone = range.functions.len() == 1;
        for entry in range.functions.iter().filter_map(|node| node.node.as_ref()) {
            let Node::List(pair) = entry else { continue };
            let Some(call) = pair.items.first().and_then(|node| node.node.as_ref()) else { continue };
            self.expression(call, &mut parts)?;
            let definitions = match pair.items.get(1).and_then(|node| node.node.as_ref()) {
                Some(Node::List(list)) => list.items.as_slice(),
                _ => &[],
            };
            if !definitions.iter().chain(&range.coldeflist).all(is_defined_plainly) {
                return Err(Stop::Fails);
            }
            // Behind columns that are not known, no other has a certain place.
            if open {
                continue;
            }
            if !definitions.is_empty() || !range.coldeflist.is_empty() {
                columns.extend(definitions.iter().chain(&range.coldeflist).filter_map(defined_column));
                continue;
            }
            let alias = range.alias.as_ref().filter(|_| alone);
            let returned = self.returned(call, alias_name(alias));
            open = returned.is_none();
            match returned.unwrap_or_default() {
                names if names.len() > 1 || !alone => columns.extend(names.into_iter().map(|name| (Some(name), None))),
                names => {
                    let column = self.function_column(call, alias, &mut parts);
                    let name = names.into_iter().next();
                    columns.extend(column.map(|(shown, term)| (name.or(shown), term)));
                }
            }
        }
        if range.ordinality && !open {
            columns.push((Some("ordinality".to_owned()), None));
        }
        rename(&mut columns, range.alias.as_ref());
        let name = alias_name(range.alias.as_ref()).map(str::to_owned).or_else(|| {
            let call = range.functions.first()?.node.as_ref()?;
            let Node::List(pair) = call else { return None };
            function_name(pair.items.first()?.node.as_ref()?).map(str::to_owned)
        });
        self.add(Item::new(name, Columns::Derived(columns), open));
        Ok(From::Opaque(parts))
    }

    /// The columns that a function gives, if they are certain.
    fn returned(&self, call: &Node, alias: Option<&str>) -> Option<Vec<String>> {
        let type_of = |node: &Node| self.place(node).and_then(|(_, place)| self.place_type(place));
        self.returned_by(call, alias, Known { type_of: &type_of, qualified: false })
    }

    /// The one column of a function that returns a plain value; of `unnest(array)`, with the values it is one of.
    fn function_column(
        &mut self,
        call: &'a Node,
        alias: Option<&Alias>,
        parts: &mut Parts,
    ) -> Option<(Option<String>, Option<Term>)> {
        let name = function_name(call)?;
        let shown = alias_name(alias).unwrap_or(name).to_owned();
        let Node::FuncCall(call) = call else { return None };
        let array = match call.args.as_slice() {
            [only] if name == "unnest" && self.is_system(call) => only.node.as_ref(),
            _ => None,
        };
        let term = array.and_then(|array| {
            let type_oid = array_element_type(array)?;
            let class = Class::of_type(type_oid)?;
            let sources = self.array_sources(array, class, type_oid)?;
            let owner = self.owner().ok()?;
            let term = self.term(class, type_oid, owner);
            parts.facts.push(Fact::OneOf { term, sources });
            Some(term)
        });
        Some((Some(shown), term))
    }

    fn xml_table(&mut self, table: &'a RangeTableFunc) -> Result<From, Stop> {
        let mut parts = Parts::default();
        let mut columns = Vec::new();
        for node in [&table.docexpr, &table.rowexpr].into_iter().filter_map(names::inner) {
            self.expression(node, &mut parts)?;
        }
        for node in table.namespaces.iter().filter_map(|node| node.node.as_ref()) {
            self.expression(node, &mut parts)?;
        }
        for column in &table.columns {
            let Some(Node::RangeTableFuncCol(column)) = &column.node else { continue };
            // What an XML document says is read as the column's type.
            self.effects.differs |= !column.type_name.as_ref().is_none_or(|name| self.is_steady_type(name));
            for node in [&column.colexpr, &column.coldefexpr].into_iter().filter_map(names::inner) {
                self.expression(node, &mut parts)?;
            }
            columns.push((Some(column.colname.clone()), None));
        }
        rename(&mut columns, table.alias.as_ref());
        let name = alias_name(table.alias.as_ref()).unwrap_or("xmltable").to_owned();
        self.add(Item::new(Some(name), Columns::Derived(columns), false));
        Ok(From::Opaque(parts))
    }

    // Joins

    fn join(&mut self, join: &'a JoinExpr) -> Result<From, Stop> {
        let (Some(left), Some(right)) = (names::inner(&join.larg), names::inner(&join.rarg)) else {
            return Err(Stop::Fails);
        };
        let start = self.scope_length();
        let left = self.item(left)?;
        let middle = self.scope_length();
        let right = self.item(right)?;
        let mut on = Parts::default();
        let using = self.using_columns(join, start, middle);
        self.merge(join, &using, start, middle, &mut on);
        if let Some(condition) = names::inner(&join.quals) {
            let first = self.scopes.last_mut().map(|scope| std::mem::replace(&mut scope.first, start));
            let result = self.condition(condition, &mut on);
            if let (Some(scope), Some(first)) = (self.scopes.last_mut(), first) {
                scope.first = first;
            }
            result?;
        }
        if let Some(alias) = &join.alias {
            self.alias_join(alias, start);
        }
        let (join_type, joined) = (join.jointype(), Join { left, right, on });
        Ok(match join_type {
            JoinType::JoinInner => From::Inner(Box::new(joined)),
            JoinType::JoinLeft => From::Left(Box::new(joined)),
            JoinType::JoinRight => From::Left(Box::new(Join { left: joined.right, right: joined.left, on: joined.on })),
            JoinType::JoinFull => From::Full(Box::new(joined)),
            _ => return Err(Refusal::unsupported("this kind of join is not supported yet").into()),
        })
    }

    fn scope_length(&self) -> usize {
        self.scopes.last().map_or(0, |scope| scope.items.len())
    }

    /// The columns of USING, or the common ones of NATURAL.
    fn using_columns(&mut self, join: &JoinExpr, start: usize, middle: usize) -> Vec<String> {
        if !join.is_natural {
            let columns = names::strings(&join.using_clause).unwrap_or_default();
            return columns.into_iter().map(str::to_owned).collect();
        }
        let Some(scope) = self.scopes.last_mut() else { return Vec::new() };
        let end = scope.items.len();
        if scope.items.get(start..end).is_some_and(|items| items.iter().any(|item| item.open)) {
            scope.uncertain = true;
        }
        let names = |from: usize, to: usize| -> Vec<String> {
            let items = scope.items.get(from..to).unwrap_or_default();
            items
                .iter()
                .filter(|item| item.bare)
                .flat_map(|item| item.shown(true))
                .filter_map(|(name, _)| name)
                .collect()
        };
        let right = names(middle, end);
        names(start, middle).into_iter().filter(|name| right.contains(name)).collect()
    }

    /// Equates the merged columns and puts them in place of both sides'.
    fn merge(&mut self, join: &JoinExpr, using: &[String], start: usize, middle: usize, on: &mut Parts) {
        if using.is_empty() {
            return;
        }
        let end = self.scope_length();
        let mut columns = Vec::new();
        for name in using {
            let side = |scopes: &[Scope], from, to| scopes.last().and_then(|scope| scope.among(from, to, name));
            let left = side(&self.scopes, start, middle).and_then(|place: Place| self.place_term(place));
            let right = side(&self.scopes, middle, end).and_then(|place: Place| self.place_term(place));
            if let (Some(left), Some(right)) = (left, right) {
                let class = |term: Term| self.terms.get(term.0 as usize).map(|info| info.class);
                if class(left) == class(right) && self.system_equality() {
                    on.facts.push(Fact::Equal { left, right, strict: true });
                }
            }
            let merged = match join.jointype() {
                JoinType::JoinInner | JoinType::JoinLeft => left,
                JoinType::JoinRight => right,
                _ => None,
            };
            columns.push((Some(name.clone()), merged));
        }
        let Some(scope) = self.scopes.last_mut() else { return };
        for item in scope.items.iter_mut().skip(start) {
            item.merged.extend(using.iter().cloned());
        }
        let name = alias_name(join.join_using_alias.as_ref()).map(str::to_owned);
        scope.items.insert(start, Item::new(name, Columns::Derived(columns), false));
    }

    /// `(a JOIN b ...) AS name (columns)` hides the names inside.
    fn alias_join(&mut self, alias: &Alias, start: usize) {
        let Some(scope) = self.scopes.last_mut() else { return };
        let items = scope.items.split_off(start.min(scope.items.len()));
        let (shown, open) = scope::shown(items.iter(), scope.uncertain);
        let mut columns: Vec<_> = shown.into_iter().map(|(name, place)| (name, self.place_term(place))).collect();
        rename(&mut columns, Some(alias));
        self.add(Item::new(Some(alias.aliasname.clone()), Columns::Derived(columns), open));
    }
}

/// A table whose key cannot be hashed.
pub fn unusable(relation: &Relation, reason: &str) -> Refusal {
    Refusal::unsupported(format!("relation \"{}\" cannot be used: {reason}", relation.name))
        .hint("Change the column's type, or name another key column for the table in the configuration.")
}

fn alias_name(alias: Option<&Alias>) -> Option<&str> {
    alias.map(|alias| alias.aliasname.as_str()).filter(|name| !name.is_empty())
}

fn alias_columns(alias: Option<&Alias>) -> Vec<String> {
    let names = alias.and_then(|alias| names::strings(&alias.colnames)).unwrap_or_default();
    names.into_iter().map(str::to_owned).collect()
}

/// Gives the first columns the alias's names; more names than columns add columns.
fn rename(columns: &mut Vec<(Option<String>, Option<Term>)>, alias: Option<&Alias>) {
    for (at, name) in alias_columns(alias).into_iter().enumerate() {
        match columns.get_mut(at) {
            Some(column) => column.0 = Some(name),
            None => columns.push((Some(name), None)),
        }
    }
}

fn is_defined_plainly(node: &Wrapped) -> bool {
    match &node.node {
        Some(Node::ColumnDef(column)) => column.type_name.as_ref().is_none_or(names::has_plain_modifiers),
        _ => true,
    }
}

fn defined_column(node: &Wrapped) -> Option<(Option<String>, Option<Term>)> {
    match &node.node {
        Some(Node::ColumnDef(column)) => Some((Some(column.colname.clone()), None)),
        _ => None,
    }
}

fn function_name(node: &Node) -> Option<&str> {
    match node {
        Node::FuncCall(call) => names::qualified(&call.funcname).map(|(_, name)| name),
        _ => None,
    }
}

/// The element type of an array that is written with its type, or of integers.
fn array_element_type(node: &Node) -> Option<crate::catalog::Oid> {
    match node {
        Node::TypeCast(cast) => {
            let (name, true) = names::plain_type(cast.type_name.as_ref()?)? else { return None };
            super::key::type_oid(name)
        }
        Node::AArrayExpr(array) => {
            let integer = |node: &Wrapped| {
                matches!(node.node.as_ref().and_then(names::constant), Some(pg_query::protobuf::a_const::Val::Ival(_)))
            };
            (!array.elements.is_empty() && array.elements.iter().all(integer)).then_some(super::built_in::oid::INT4)
        }
        _ => None,
    }
}
