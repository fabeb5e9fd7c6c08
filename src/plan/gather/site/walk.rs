//! The walk over a statement that writes: its expressions and FROM items, and which of them are places.

use std::sync::Arc;

use pg_query::protobuf::{JoinType, Node as Wrapped, RangeVar, SelectStmt, SubLink, SubLinkType, WithClause};

use super::clause::{parts, source_of, with_of};
use super::setval::sets;
use crate::catalog::{Relation, RelationKind};
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::gather::qualify;
use crate::plan::gather::reference::Content;
use crate::plan::gather::survey::{self, Survey};
use crate::plan::gather::{condition, label, node};
use crate::plan::ir::Stop;
use crate::plan::{Context, Refusal};
use crate::sql::{Node, edit, names};

/// What is to be fetched for a place; its position among all is in the mark that stands there.
pub enum Found {
    /// The rows of a query that can be understood by itself.
    Query(Box<SelectStmt>),
    /// What a statement returns that is over the rows of others, or writes.
    Later(Box<Node>),
}

/// A walk over a statement that puts marks at chosen places.
pub struct Sites<'c> {
    pub context: &'c Context<'c>,
    pub chosen: &'c dyn Fn(usize) -> bool,
    /// Places so far.
    pub count: usize,
    /// What is fetched for the chosen ones.
    pub found: Vec<Found>,
    /// WITH queries in force, as they were written.
    pub with: WithClause,
    /// Names of WITH queries in force.
    pub names: Vec<String>,
    pub survey: Survey,
    /// `*` may mean columns of any table.
    pub star: bool,
    /// Among the values of new rows, where a key may stand: what every shard could read is a place, too.
    key_values: bool,
}

type Conditions<'n> = Option<&'n [Node]>;

impl<'c> Sites<'c> {
    /// Before the walk.
    pub fn new(context: &'c Context<'c>, chosen: &'c dyn Fn(usize) -> bool) -> Sites<'c> {
        Sites {
            context,
            chosen,
            count: 0,
            found: Vec::new(),
            with: WithClause::default(),
            names: Vec::new(),
            survey: Survey::default(),
            star: false,
            key_values: false,
        }
    }

    /// The whole statement.
    pub fn statement(&mut self, statement: &mut Node) -> Result<(), Stop> {
        self.look(statement)?;
        if let Some(with) = with_of(statement) {
            let mut with = with.take();
            if let Some(clause) = &mut with {
                self.with(clause)?;
            }
            if let Some(place) = with_of(statement) {
                *place = with.filter(|clause| !clause.ctes.is_empty());
            }
        }
        self.places(statement)?;
        if !self.found.is_empty() {
            // What is fetched is in no schema.
            for part in parts(statement) {
                match source_of(part) {
                    Some(source) => crate::plan::gather::whole::without_schemas(source)?,
                    None => crate::plan::gather::whole::without_schemas(part)?,
                }
            }
        }
        Ok(())
    }

    fn places(&mut self, statement: &mut Node) -> Result<(), Stop> {
        match statement {
            Node::UpdateStmt(update) => {
                let conditions = split(&update.where_clause);
                self.items(&mut update.from_clause, Some(&conditions))?;
                self.list(&mut update.target_list)?;
                self.one(&mut update.where_clause)?;
                self.returning(update.returning_clause.as_mut().map(|clause| &mut clause.exprs))
            }
            Node::DeleteStmt(delete) => {
                let conditions = split(&delete.where_clause);
                self.items(&mut delete.using_clause, Some(&conditions))?;
                self.one(&mut delete.where_clause)?;
                self.returning(delete.returning_clause.as_mut().map(|clause| &mut clause.exprs))
            }
            Node::MergeStmt(merge) => {
                if let Some(source) = merge.source_relation.as_mut().and_then(|source| source.node.as_mut()) {
                    self.item(source, None)?;
                }
                self.one(&mut merge.join_condition)?;
                for clause in merge.merge_when_clauses.iter_mut().filter_map(|clause| clause.node.as_mut()) {
                    let Node::MergeWhenClause(clause) = clause else { return Err(unfit()) };
                    self.one(&mut clause.condition)?;
                    self.list(&mut clause.target_list)?;
                    self.list(&mut clause.values)?;
                }
                Ok(())
            }
            Node::InsertStmt(insert) => {
                if let Some(Node::SelectStmt(select)) =
                    insert.select_stmt.as_mut().and_then(|select| select.node.as_mut())
                    && !select.values_lists.is_empty()
                {
                    self.key_values = true;
                    let listed = self.list(&mut select.values_lists);
                    self.key_values = false;
                    listed?;
                }
                if let Some(conflict) = &mut insert.on_conflict_clause {
                    self.list(&mut conflict.target_list)?;
                    self.one(&mut conflict.where_clause)?;
                }
                self.returning(insert.returning_clause.as_mut().map(|clause| &mut clause.exprs))
            }
            Node::SelectStmt(select) if sets(select) => self.set_values(select),
            // Only what it writes in WITH.
            Node::SelectStmt(_) => Ok(()),
            _ => Err(unfit()),
        }
    }

    /// Takes in the names that stand in it.
    fn look(&mut self, statement: &mut Node) -> Result<(), Stop> {
        // All its columns: values may be left out.
        self.star = matches!(statement, Node::MergeStmt(_));
        for part in parts(statement) {
            if let Node::ResTarget(target) = part
                && let Some(Node::ColumnRef(column)) = names::inner(&target.val)
            {
                self.star |=
                    column.fields.len() == 1 && column.fields.iter().all(|field| names::string(field).is_none());
            }
            match source_of(part) {
                Some(source) => self.survey.node(source)?,
                None => self.survey.node(part)?,
            }
        }
        Ok(())
    }

    /// A place: the mark's number if it is chosen.
    pub fn place(&mut self, what: impl FnOnce() -> Found) -> Option<usize> {
        let site = self.count;
        self.count += 1;
        if !(self.chosen)(site) {
            return None;
        }
        self.found.push(what());
        Some(self.found.len() - 1)
    }

    fn items(&mut self, items: &mut [Wrapped], conditions: Conditions<'_>) -> Result<(), Stop> {
        items.iter_mut().filter_map(|item| item.node.as_mut()).try_for_each(|item| self.item(item, conditions))
    }

    fn item(&mut self, item: &mut Node, conditions: Conditions<'_>) -> Result<(), Stop> {
        match item {
            Node::RangeVar(name) => self.table(name, conditions),
            Node::RangeSubselect(subselect) => {
                let Some(Node::SelectStmt(query)) = subselect.subquery.as_mut().and_then(|query| query.node.as_mut())
                else {
                    return Err(unfit());
                };
                if subselect.lateral || !self.replace(query, false)? { self.query(query) } else { Ok(()) }
            }
            Node::JoinExpr(join) => {
                let inner = conditions.filter(|_| join.jointype() == JoinType::JoinInner && !join.is_natural);
                for side in [&mut join.larg, &mut join.rarg].into_iter().flatten() {
                    if let Some(side) = &mut side.node {
                        self.item(side, inner)?;
                    }
                }
                self.one(&mut join.quals)
            }
            other => self.expression(other),
        }
    }

    fn table(&mut self, name: &mut RangeVar, conditions: Conditions<'_>) -> Result<(), Stop> {
        if name.schemaname.is_empty() && self.names.contains(&name.relname) || node::is_mark(name) {
            return Ok(());
        }
        let relation = self.relation(name)?;
        if !elsewhere(&relation) {
            return Ok(());
        }
        let all = self.star || survey::in_full(&self.survey, name);
        let columns = relation.columns.iter().filter(|column| all || self.survey.mentioned.contains(&column.name));
        let mut targets: Vec<_> = columns.map(|column| node::target(node::column(&[&column.name]), "")).collect();
        if targets.is_empty() {
            targets.push(node::target(node::yes(), "row"));
        }
        let mut from = name.clone();
        if let Some(alias) = &mut from.alias {
            alias.colnames.clear();
        }
        let renamed = name.alias.as_ref().is_some_and(|alias| !alias.colnames.is_empty());
        let mut kept = Vec::new();
        for condition in conditions.unwrap_or_default().iter().filter(|_| !renamed) {
            let mut tried =
                node::select(vec![node::target(node::yes(), "row")], vec![node::wrap(Node::RangeVar(from.clone()))]);
            tried.where_clause = node::boxed(condition.clone());
            let content = Content::of(&mut condition.clone())?;
            if !content.sublinks && self.steady(&content)? && qualify::qualify(&mut tried, self.context).is_ok() {
                kept.push(condition.clone());
            }
        }
        let mut select = node::select(targets, vec![node::wrap(Node::RangeVar(from))]);
        select.where_clause = condition::all(kept);
        if let Some(at) = self.place(|| Found::Query(Box::new(select))) {
            let mut stands = node::relation("pg_temp", &format!("pgbraid_rows_{at}_"), names::alias_or_name(name));
            if let (Some(stands), Some(alias)) = (&mut stands.alias, name.alias.take()) {
                stands.colnames = alias.colnames;
            }
            *name = stands;
        }
        Ok(())
    }

    fn relation(&self, name: &RangeVar) -> Result<Arc<Relation>, Stop> {
        Builder::new(self.context).table(name).cloned().ok_or(Stop::Fails)
    }

    fn steady(&self, content: &Content) -> Result<bool, Stop> {
        let builder = Builder::new(self.context);
        for (schema, name) in &content.functions {
            if !matches!(builder.call(schema.as_deref(), name)?.0, Call::Steady) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub fn list(&mut self, nodes: &mut [Wrapped]) -> Result<(), Stop> {
        nodes.iter_mut().filter_map(|node| node.node.as_mut()).try_for_each(|node| self.expression(node))
    }

    fn one(&mut self, node: &mut Option<Box<Wrapped>>) -> Result<(), Stop> {
        node.as_mut().and_then(|node| node.node.as_mut()).map_or(Ok(()), |node| self.expression(node))
    }

    /// Output columns keep the names that they have by their expressions.
    fn returning(&mut self, exprs: Option<&mut Vec<Wrapped>>) -> Result<(), Stop> {
        let Some(exprs) = exprs else { return Ok(()) };
        for target in exprs.iter_mut().filter_map(|target| target.node.as_mut()) {
            if let Node::ResTarget(target) = target
                && target.name.is_empty()
                && let Some(value) = names::inner(&target.val)
                && !matches!(value, Node::ColumnRef(_))
                && let Some(name) = label::made_up(value)
            {
                target.name = name;
            }
        }
        self.list(exprs)
    }

    fn expression(&mut self, node: &mut Node) -> Result<(), Stop> {
        if let Some(source) = source_of(node) {
            if let Node::SubLink(link) = source {
                return self.link(link);
            }
            return self.expression(source);
        }
        let Node::SubLink(link) = node else {
            return match node {
                Node::SelectStmt(query) => self.query(query),
                node => edit::children(node, &mut |child| self.expression(child)),
            };
        };
        if link.sub_link_type() == SubLinkType::ExprSublink
            && let Some(Node::SelectStmt(query)) = names::inner(&link.subselect)
            && query.values_lists.is_empty()
            && query.larg.is_none()
            && query.target_list.len() == 1
            && let Some(select) = self.fetchable(query)?
        {
            if let Some(at) = self.place(|| Found::Query(Box::new(select))) {
                *node = node::column(&[&format!("pgbraid_value_{at}_")]);
            }
            return Ok(());
        }
        self.link(link)
    }

    fn link(&mut self, link: &mut SubLink) -> Result<(), Stop> {
        self.one(&mut link.testexpr)?;
        let exists = link.sub_link_type() == SubLinkType::ExistsSublink;
        let Some(Node::SelectStmt(query)) = link.subselect.as_mut().and_then(|query| query.node.as_mut()) else {
            return Err(unfit());
        };
        if self.replace(query, exists)? { Ok(()) } else { self.query(query) }
    }

    /// Puts a mark in place of a query, if it is a place; whether it is one. `one`: one row is as good as many.
    fn replace(&mut self, query: &mut SelectStmt, one: bool) -> Result<bool, Stop> {
        let Some(mut select) = self.fetchable(query)? else { return Ok(false) };
        if one && select.target_list.is_empty() && select.larg.is_none() && select.values_lists.is_empty() {
            select.target_list.push(node::target(node::yes(), "row"));
        }
        if one && select.limit_count.is_none() && select.limit_offset.is_none() {
            select.limit_count = node::boxed(node::integer(1));
            select.limit_option = pg_query::protobuf::LimitOption::Count as i32;
        }
        if let Some(at) = self.place(|| Found::Query(Box::new(select))) {
            *query = rows(at);
        }
        Ok(true)
    }

    /// A query that can be understood by itself and reads rows that may be elsewhere, with the WITH queries it needs.
    fn fetchable(&self, query: &SelectStmt) -> Result<Option<SelectStmt>, Stop> {
        let mut select = query.clone();
        let content = Content::of(&mut Node::SelectStmt(Box::new(select.clone())))?;
        if content.bare.iter().any(|name| self.names.contains(name) && !content.ctes.contains(name)) {
            let Some(outer) = (!self.with.ctes.is_empty()).then(|| self.with.clone()) else { return Ok(None) };
            if select.with_clause.is_some() {
                return Ok(None);
            }
            select.with_clause = Some(outer);
        }
        let wanted = self.key_values || self.reads_elsewhere(&select)?;
        Ok((wanted && self.certain(&select)).then_some(select))
    }

    pub fn certain(&self, select: &SelectStmt) -> bool {
        let mut tried = select.clone();
        qualify::qualify(&mut tried, self.context).is_ok()
    }

    pub fn reads_elsewhere(&self, select: &SelectStmt) -> Result<bool, Stop> {
        let builder = Builder::new(self.context);
        let mut found = false;
        let mut tree = Node::SelectStmt(Box::new(select.clone()));
        crate::plan::gather::view::relations(&mut tree, &builder, &mut |_, relation| {
            found |= elsewhere(relation);
            Ok(())
        })?;
        Ok(found)
    }

    /// A query that belongs to the rows around it: its own places.
    fn query(&mut self, query: &mut SelectStmt) -> Result<(), Stop> {
        let before = self.names.len();
        let ctes = query.with_clause.iter().flat_map(|with| &with.ctes).filter_map(names::cte_name);
        self.names.extend(ctes);
        let conditions = split(&query.where_clause);
        let mut from = std::mem::take(&mut query.from_clause);
        let result = self.items(&mut from, Some(&conditions));
        let mut rest = Node::SelectStmt(Box::new(std::mem::take(query)));
        let result = result.and_then(|()| edit::children(&mut rest, &mut |child| self.expression(child)));
        if let Node::SelectStmt(rest) = rest {
            *query = *rest;
        }
        query.from_clause = from;
        self.names.truncate(before);
        result
    }
}

fn split(condition: &Option<Box<Wrapped>>) -> Vec<Node> {
    condition::split(condition.clone())
}

fn elsewhere(relation: &Relation) -> bool {
    match relation.kind {
        RelationKind::Sharded { .. } | RelationKind::Home | RelationKind::View { .. } => true,
        RelationKind::Reference | RelationKind::System | RelationKind::Sequence | RelationKind::Unusable { .. } => {
            false
        }
    }
}

/// `SELECT * FROM` the rows of a source.
pub fn rows(at: usize) -> SelectStmt {
    let from = node::relation("pg_temp", &format!("pgbraid_rows_{at}_"), "pgbraid_rows");
    node::select(vec![node::target(node::star(), "")], vec![node::wrap(Node::RangeVar(from))])
}

pub fn unfit() -> Stop {
    Refusal::unsupported("this statement cannot be taken apart for several shards").into()
}
