//! SELECT, VALUES and set operations -> [`Query`].

use pg_query::protobuf::{
    LimitOption, LockClauseStrength, LockingClause, Node as Wrapped, ResTarget, SelectStmt, SetOperation as AstSet,
};

use super::builder::{Builder, Returned};
use super::built_in::oid;
use super::ir::{Body, Distinct, Fact, Level, OutputColumn, Parts, Query, SetKind, SetOperation, Stop, Term};
use super::key::{self, Class};
use super::prove::hold;
use super::prove::solver::Solver;
use super::scope::{self, Columns, Scope};
use super::{KeySource, Refusal};
use crate::catalog::{Oid, RelationKind};
use crate::sql::{Node, names};

/// Where an output column is taken from.
enum Origin {
    Column(Term),
    Constants(Class, Oid, Vec<KeySource>),
}

/// A select list.
#[derive(Default)]
struct Targets {
    names: Vec<Option<String>>,
    origins: Vec<Option<Origin>>,
    /// They are not all known.
    open: bool,
}

impl<'a> Builder<'a> {
    /// A query at any level.
    pub fn query(&mut self, node: &'a Node) -> Result<Query, Stop> {
        match node {
            Node::SelectStmt(select) => self.select(select),
            _ => Err(Refusal::unsupported("this kind of statement cannot be part of a query here").into()),
        }
    }

    /// A SELECT statement with its WITH clause.
    pub fn select(&mut self, select: &'a SelectStmt) -> Result<Query, Stop> {
        self.enter()?;
        if select.into_clause.is_some() {
            return Err(Refusal::unsupported("SELECT INTO is not supported yet")
                .hint("CREATE TABLE first, then INSERT or COPY the rows.")
                .into());
        }
        self.with(select.with_clause.as_ref())?;
        let mut query = if select.op() != AstSet::SetopNone {
            self.set_operation(select)?
        } else if select.values_lists.is_empty() {
            self.level_query(select)?
        } else {
            self.values(select)?
        };
        query.order = !select.sort_clause.is_empty();
        query.limit = select.limit_count.is_some() || select.limit_offset.is_some();
        query.pushable &= !query.limit && select.limit_option() != LimitOption::WithTies;
        query.locking = !select.locking_clause.is_empty();
        self.end_with(select.with_clause.as_ref())?;
        Ok(query)
    }

    // One level

    fn level_query(&mut self, select: &'a SelectStmt) -> Result<Query, Stop> {
        let owner = self.owner()?;
        self.scopes.push(Scope::default());
        self.windows.push(Vec::new());
        let mut level = Level::default();
        let first_leaf = self.leaves.len();
        for node in select.from_clause.iter().filter_map(|node| node.node.as_ref()) {
            let item = self.item(node)?;
            level.from.push(item);
        }
        for locking in &select.locking_clause {
            if let Some(Node::LockingClause(locking)) = &locking.node {
                self.locking(locking, first_leaf);
            }
        }
        if let Some(condition) = names::inner(&select.where_clause) {
            self.condition(condition, &mut level.parts)?;
        }
        self.window_clause(&select.window_clause, &mut level.parts)?;
        let Targets { names, origins, open } = self.targets(&select.target_list, &mut level.parts)?;
        self.grouping(select, &mut level)?;
        self.tail(select, &mut level.parts)?;
        let mut query = Query::new(owner, Body::Values(Parts::default()));
        query.open = open;
        for (name, origin) in names.into_iter().zip(origins) {
            let (inner, term) = self.output(&mut query, origin);
            level.sources.push(inner);
            query.columns.push(OutputColumn { name, term });
        }
        query.pushable =
            level.parts.windows.is_empty() && !level.grouping_sets && !matches!(level.distinct, Distinct::On(_));
        query.body = Body::Select(Box::new(level));
        self.windows.pop();
        self.scopes.pop();
        Ok(query)
    }

    /// ORDER BY, LIMIT, OFFSET.
    fn tail(&mut self, select: &'a SelectStmt, parts: &mut Parts) -> Result<(), Stop> {
        for node in select.sort_clause.iter().filter_map(|node| node.node.as_ref()) {
            self.expression(node, parts)?;
        }
        for node in [&select.limit_count, &select.limit_offset].into_iter().filter_map(names::inner) {
            self.expression(node, parts)?;
        }
        Ok(())
    }

    fn locking(&mut self, locking: &LockingClause, first_leaf: usize) {
        self.effects.changes = true;
        self.effects.locks = true;
        // FOR SHARE and FOR KEY SHARE exclude writers only, who come to every shard.
        if matches!(locking.strength(), LockClauseStrength::LcsForshare | LockClauseStrength::LcsForkeyshare) {
            return;
        }
        let reference = |leaf: &super::ir::Leaf| leaf.relation.kind == RelationKind::Reference;
        let locked = if locking.locked_rels.is_empty() {
            self.leaves.iter().skip(first_leaf).any(reference)
        } else {
            locking.locked_rels.iter().any(|node| match &node.node {
                Some(Node::RangeVar(name)) => {
                    self.scopes.last().and_then(|scope| scope.named(None, &name.relname)).is_none_or(|item| match &item
                        .columns
                    {
                        Columns::Relation { leaf, .. } => self.leaves.get(leaf.0).is_none_or(reference),
                        Columns::Derived(_) => true,
                    })
                }
                _ => true,
            })
        };
        self.effects.locks_reference |= locked;
    }

    fn window_clause(&mut self, clause: &'a [Wrapped], parts: &mut Parts) -> Result<(), Stop> {
        for node in clause.iter().filter_map(|node| node.node.as_ref()) {
            if let Node::WindowDef(window) = node {
                let partition = self.partition(window);
                if let Some(named) = self.windows.last_mut() {
                    named.push((window.name.clone(), partition));
                }
            }
            self.expression(node, parts)?;
        }
        Ok(())
    }

    fn grouping(&mut self, select: &'a SelectStmt, level: &mut Level) -> Result<(), Stop> {
        if !select.group_clause.is_empty() {
            let mut columns = Vec::new();
            for node in select.group_clause.iter().filter_map(|node| node.node.as_ref()) {
                level.grouping_sets |= matches!(node, Node::GroupingSet(_));
                self.expression(node, &mut level.parts)?;
                columns.push(self.group_column(node, &select.target_list));
            }
            level.group = Some(columns);
        }
        if let Some(having) = names::inner(&select.having_clause) {
            level.having = true;
            self.expression(having, &mut level.parts)?;
        }
        level.distinct = match select.distinct_clause.as_slice() {
            [] => Distinct::No,
            [only] if only.node.is_none() => Distinct::All,
            on => {
                let mut columns = Vec::new();
                for node in on.iter().filter_map(|node| node.node.as_ref()) {
                    self.expression(node, &mut level.parts)?;
                    columns.push(self.expression_term(node));
                }
                Distinct::On(columns)
            }
        };
        Ok(())
    }

    /// A GROUP BY item: an input column first, then an output name, or an output position (findTargetlistEntrySQL92).
    fn group_column(&mut self, node: &'a Node, targets: &'a [Wrapped]) -> Option<Term> {
        if let Some(pg_query::protobuf::a_const::Val::Ival(position)) = names::constant(node) {
            let at = usize::try_from(position.ival).ok()?.checked_sub(1)?;
            // A star before it would shift the positions.
            let before: Option<Vec<_>> = targets.get(..=at)?.iter().map(plain_target).collect();
            let value = names::inner(&before?.last()?.val)?;
            return self.expression_term(value);
        }
        if let Node::ColumnRef(column) = node {
            let current = self.scopes.len().saturating_sub(1);
            let local = self.place(node).is_some_and(|(depth, _)| depth == current);
            if !local && column.fields.len() == 1 {
                let name = names::string(column.fields.first()?)?;
                let mut named = targets.iter().filter_map(plain_target).filter(|target| target.name == name);
                let value = match (named.next(), named.next()) {
                    (Some(target), None) => names::inner(&target.val)?,
                    _ => return None,
                };
                return self.expression_term(value);
            }
        }
        self.expression_term(node)
    }

    // Output columns

    /// A RETURNING list: its columns' names and, where they are columns of tables, their terms.
    pub fn returned_columns(&mut self, list: &'a [Wrapped], parts: &mut Parts) -> Result<Returned, Stop> {
        let Targets { names, origins, open } = self.targets(list, parts)?;
        let term = |origin| match origin {
            Some(Origin::Column(term)) => Some(term),
            Some(Origin::Constants(..)) | None => None,
        };
        Ok(Returned { columns: names.into_iter().zip(origins.into_iter().map(term)).collect(), open })
    }

    /// Names and origins of the select list, and whether they are not all known.
    fn targets(&mut self, targets: &'a [Wrapped], parts: &mut Parts) -> Result<Targets, Stop> {
        let Targets { names: mut columns, mut origins, mut open } = Targets::default();
        for target in targets {
            let Some(Node::ResTarget(target)) = &target.node else { continue };
            let Some(value) = names::inner(&target.val) else { continue };
            if let Node::ColumnRef(column) = value
                && is_expanded(value)
            {
                if !open {
                    open = self.star(&column.fields, &mut columns, &mut origins);
                }
                continue;
            }
            self.expression(value, parts)?;
            // Behind columns that are not known, no other has a certain place.
            if open {
                continue;
            }
            if is_expanded(value) {
                let fields = self.expanded(value);
                open = fields.is_none();
                for name in fields.unwrap_or_default() {
                    columns.push(Some(name));
                    origins.push(None);
                }
                continue;
            }
            columns.push(output_name(target, value));
            origins.push(self.origin(value));
        }
        Ok(Targets { names: columns, origins, open })
    }

    /// The names of what `(value).*` stands for.
    fn expanded(&self, value: &Node) -> Option<Vec<String>> {
        match value {
            Node::AIndirection(of) if of.indirection.len() == 1 => self.fields(names::inner(&of.arg)?),
            _ => None,
        }
    }

    /// `*` and `name.*`; whether they stand for more than is known.
    fn star(
        &mut self,
        fields: &'a [Wrapped],
        columns: &mut Vec<Option<String>>,
        origins: &mut Vec<Option<Origin>>,
    ) -> bool {
        let Some((_, qualifier)) = fields.split_last() else { return true };
        let Some(qualifier) = names::strings(qualifier) else { return true };
        let (shown, open) = match qualifier.as_slice() {
            [] => {
                let Some(scope) = self.scopes.last() else { return true };
                scope::shown(scope.items.iter(), scope.uncertain)
            }
            [.., name] => {
                let schema = qualifier.len().checked_sub(2).and_then(|at| qualifier.get(at)).copied();
                let Some(item) =
                    self.scopes.iter().rev().filter(|scope| !scope.hidden).find_map(|scope| scope.named(schema, name))
                else {
                    return true;
                };
                (item.shown(false), item.open)
            }
        };
        for (name, place) in shown {
            columns.push(name);
            origins.push(self.place_term(place).map(Origin::Column));
        }
        open
    }

    fn origin(&mut self, value: &Node) -> Option<Origin> {
        if let Some(term) = self.expression_term(value) {
            return Some(Origin::Column(term));
        }
        let (class, type_oid) = constant_class(value)?;
        match self.source(value, class, type_oid)? {
            KeySource::Null => None,
            source => Some(Origin::Constants(class, type_oid, vec![source])),
        }
    }

    /// An output column: the term it is taken from, and its own.
    fn output(&mut self, query: &mut Query, origin: Option<Origin>) -> (Option<Term>, Option<Term>) {
        match origin {
            None => (None, None),
            Some(Origin::Column(inner)) => {
                let Some(info) = self.terms.get(inner.0 as usize).copied() else { return (None, None) };
                let term = self.term(info.class, info.type_oid, query.owner);
                query.links.push(Fact::Equal { left: term, right: inner, strict: false });
                (Some(inner), Some(term))
            }
            Some(Origin::Constants(class, type_oid, sources)) => {
                let term = self.term(class, type_oid, query.owner);
                query.links.push(Fact::OneOf { term, sources });
                (None, Some(term))
            }
        }
    }

    // VALUES and set operations

    fn values(&mut self, select: &'a SelectStmt) -> Result<Query, Stop> {
        let owner = self.owner()?;
        let mut parts = Parts::default();
        let mut rows = Vec::new();
        let width = values_width(&select.values_lists)?;
        for row in &select.values_lists {
            let Some(Node::List(row)) = &row.node else { continue };
            for value in row.items.iter().filter_map(|node| node.node.as_ref()) {
                self.expression(value, &mut parts)?;
            }
            rows.push(&row.items);
        }
        self.tail(select, &mut parts)?;
        let mut query = Query::new(owner, Body::Values(Parts::default()));
        query.open = width.is_none();
        for at in 0..width.unwrap_or(0) {
            let origin = self.values_column(&rows, at);
            let (_, term) = self.output(&mut query, origin);
            query.columns.push(OutputColumn { name: Some(format!("column{}", at + 1)), term });
        }
        query.body = Body::Values(parts);
        Ok(query)
    }

    /// A column of VALUES whose every value is a constant of one class.
    fn values_column(&mut self, rows: &[&'a Vec<Wrapped>], at: usize) -> Option<Origin> {
        let value = |row: &&'a Vec<Wrapped>| row.get(at).and_then(|node| node.node.as_ref());
        let (class, type_oid) = constant_class(value(rows.first()?)?)?;
        let mut sources = Vec::new();
        for row in rows {
            let node = value(row)?;
            if constant_class(node)?.0 != class {
                return None;
            }
            sources.push(self.source(node, class, type_oid)?);
        }
        Some(Origin::Constants(class, type_oid, sources))
    }

    fn set_operation(&mut self, select: &'a SelectStmt) -> Result<Query, Stop> {
        let (Some(left), Some(right)) = (&select.larg, &select.rarg) else {
            return Err(Refusal::unsupported("this set operation cannot be analysed").into());
        };
        let (left, right) = (self.select(left)?, self.select(right)?);
        let kind = match select.op() {
            AstSet::SetopIntersect => SetKind::Intersect,
            AstSet::SetopExcept => SetKind::Except,
            AstSet::SetopUnion | AstSet::SetopNone | AstSet::Undefined => SetKind::Union,
        };
        let owner = self.owner()?;
        let mut query = Query::new(owner, Body::Values(Parts::default()));
        self.scopes.push(Scope { uncertain: true, ..Scope::default() });
        let tail = self.tail(select, &mut query.extra);
        self.scopes.pop();
        tail?;
        let (mut left_links, mut right_links) = (Vec::new(), Vec::new());
        let aligned = !left.open && !right.open && left.columns.len() == right.columns.len();
        for (l, r) in left.columns.iter().zip(&right.columns) {
            let term = match (l.term, r.term) {
                (Some(l), Some(r)) if aligned => self.merged(owner, l, r),
                _ => None,
            };
            if let (Some(term), Some(l), Some(r)) = (term, l.term, r.term) {
                left_links.push(Fact::Equal { left: term, right: l, strict: false });
                right_links.push(Fact::Equal { left: term, right: r, strict: false });
            }
            query.columns.push(OutputColumn { name: l.name.clone(), term });
        }
        query.open = !aligned;
        query.pushable = true;
        let exports = self.set_exports(&query, kind, &left, &right);
        let all = select.all;
        query.body =
            Body::SetOperation(Box::new(SetOperation { kind, all, left, right, left_links, right_links, exports }));
        Ok(query)
    }

    /// The output column over two columns of one type.
    fn merged(&mut self, owner: super::ir::Owner, left: Term, right: Term) -> Option<Term> {
        let left = *self.terms.get(left.0 as usize)?;
        let right = *self.terms.get(right.0 as usize)?;
        (left.class == right.class && left.class != Class::Padded).then(|| self.term(left.class, left.type_oid, owner))
    }

    /// The values that an output column is one of, if that is known in the branches that matter.
    fn set_exports(&self, query: &Query, kind: SetKind, left: &Query, right: &Query) -> Vec<Fact> {
        let values = |query: &Query| -> Vec<Option<Vec<KeySource>>> {
            let mut facts = Vec::new();
            hold::query_facts(query, &self.terms, &self.leaves, &mut facts);
            let solver = Solver::new(self.terms.len(), &facts);
            let known = |column: &OutputColumn| solver.values(column.term?).map(<[KeySource]>::to_vec);
            query.columns.iter().map(known).collect()
        };
        let (left, right) = (values(left), values(right));
        let mut facts = Vec::new();
        for ((column, left), right) in query.columns.iter().zip(left).zip(right) {
            let sources = match (kind, left, right) {
                (SetKind::Union, Some(mut left), Some(right)) => {
                    left.extend(right);
                    Some(left)
                }
                (SetKind::Union, _, _) => None,
                (SetKind::Intersect, left, right) => left.or(right),
                (SetKind::Except, left, _) => left,
            };
            if let (Some(term), Some(sources)) = (column.term, sources) {
                facts.push(Fact::OneOf { term, sources });
            }
        }
        facts
    }
}

/// How many values each row of VALUES has; `None` where `(value).*` stands for as many as the value's type has fields.
///
/// # Errors
/// They have not all the same number, which a server says.
pub fn values_width(lists: &[Wrapped]) -> Result<Option<usize>, Stop> {
    let rows = || {
        lists.iter().filter_map(|row| match &row.node {
            Some(Node::List(row)) => Some(&row.items),
            _ => None,
        })
    };
    if rows().flatten().filter_map(|item| item.node.as_ref()).any(is_expanded) {
        return Ok(None);
    }
    let width = rows().next().map_or(0, Vec::len);
    if rows().all(|row| row.len() == width) { Ok(Some(width)) } else { Err(Stop::Fails) }
}

/// Whether it is `value.*` or `(value).*`.
pub fn is_expanded(value: &Node) -> bool {
    let last = match value {
        Node::ColumnRef(column) => column.fields.last(),
        Node::AIndirection(of) => of.indirection.last(),
        _ => None,
    };
    matches!(last.and_then(|node| node.node.as_ref()), Some(Node::AStar(_)))
}

fn plain_target(target: &Wrapped) -> Option<&ResTarget> {
    let Some(Node::ResTarget(target)) = &target.node else { return None };
    if is_expanded(names::inner(&target.val)?) { None } else { Some(target) }
}

/// The name of an output column, where it is written or that of a column (FigureColname, parse_target.c).
fn output_name(target: &ResTarget, value: &Node) -> Option<String> {
    if !target.name.is_empty() {
        return Some(target.name.clone());
    }
    match value {
        Node::ColumnRef(column) => names::string(column.fields.last()?).map(str::to_owned),
        Node::TypeCast(cast) => match names::inner(&cast.arg)? {
            Node::ColumnRef(column) => names::string(column.fields.last()?).map(str::to_owned),
            _ => None,
        },
        _ => None,
    }
}

/// The class of a constant by itself: its type when nothing else gives it one.
fn constant_class(node: &Node) -> Option<(Class, Oid)> {
    use pg_query::protobuf::a_const::Val;
    match node {
        Node::AConst(_) => match names::constant(node)? {
            Val::Ival(_) => Some((Class::Integer, oid::INT4)),
            Val::Fval(value) => key::integer(&value.fval).map(|_| (Class::Integer, oid::INT8)),
            Val::Sval(_) => Some((Class::Text, oid::TEXT)),
            Val::Boolval(_) | Val::Bsval(_) => None,
        },
        Node::TypeCast(cast) => {
            let (name, false) = names::plain_type(cast.type_name.as_ref()?)? else { return None };
            let type_oid = key::type_oid(name)?;
            Some((Class::of_type(type_oid)?, type_oid))
        }
        _ => None,
    }
}
