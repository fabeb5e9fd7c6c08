//! The largest pieces of a query that distribute run on the shards; this is the walk over its levels.

use std::collections::BTreeMap;

use pg_query::protobuf::{Node as Wrapped, SelectStmt, SetOperation, SubLinkType};

use super::part::Parts;
use super::qualify::{self, Known};
use super::reference::{self, Content, Reference};
use super::value::{self, Early, Value};
use super::{collation, node};
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::plan::scope::SYSTEM_COLUMNS;
use crate::plan::{Context, Refusal, Target};
use crate::sql::{self, Node, edit, names};

/// One statement being taken apart.
pub struct Engine<'p, 'c> {
    pub context: &'c Context<'c>,
    pub known: Known,
    pub parts: &'p mut Parts<'c>,
    /// Columns of pieces -> columns of the parts that hold them.
    pub moved: BTreeMap<Reference, Node>,
    /// By table: conditions on what is shipped of it.
    pub hoisted: BTreeMap<String, Vec<Node>>,
    /// Sub-selects whose value is computed first.
    pub early: Vec<Early>,
}

/// A query is not taken apart in this way.
pub fn unfit() -> Stop {
    Refusal::unsupported("this query cannot be taken apart for several shards").into()
}

/// Puts parts in place of what distributes in `select`.
///
/// # Errors
/// When the statement is not understood; `select` and `parts` are then of no use.
pub fn split<'c>(select: &mut SelectStmt, context: &'c Context<'c>, parts: &mut Parts<'c>) -> Result<Vec<Value>, Stop> {
    let builder = Builder::new(context);
    if !builder.system_operators() {
        return Err(unfit());
    }
    let known = qualify::qualify(select, context).map_err(|qualify::Unsure| unfit())?;
    if let Node::SelectStmt(plain) = sql::same::without_places(Node::SelectStmt(Box::new(std::mem::take(select)))) {
        *select = *plain;
    }
    let mut engine =
        Engine { context, known, parts, moved: BTreeMap::new(), hoisted: BTreeMap::new(), early: Vec::new() };
    engine.query(select, true)?;
    if !engine.hoisted.is_empty() {
        return Err(unfit());
    }
    let (moved, early) = (engine.moved, engine.early);
    let mut tree = value::together(std::mem::take(select), &early);
    let replaced = reference::substitute(&mut tree, &mut |node| {
        let (item, column) = reference::of(node)?;
        moved.get(&(item.to_owned(), column.to_owned())).cloned()
    });
    replaced?;
    super::lookup::note(&mut tree, &engine.known, engine.parts)?;
    super::reduce::note(&mut tree, &engine.known, engine.parts)?;
    super::once::note(&mut tree, &engine.known, engine.parts)?;
    let (rest, values) = value::apart(tree, early, engine.parts)?;
    *select = rest;
    Ok(values)
}

impl Engine<'_, '_> {
    /// A query at any place; `top` for the statement itself, of which it is known that it does not distribute.
    pub fn query(&mut self, select: &mut SelectStmt, top: bool) -> Result<(), Stop> {
        if !top && self.whole(select)? {
            return Ok(());
        }
        if let Some(with) = &mut select.with_clause {
            for cte in &mut with.ctes {
                if let Some(Node::CommonTableExpr(cte)) = &mut cte.node
                    && let Some(Node::SelectStmt(query)) = cte.ctequery.as_mut().and_then(|query| query.node.as_mut())
                {
                    self.query(query, false)?;
                }
            }
        }
        if select.op() != SetOperation::SetopNone {
            for side in [&mut select.larg, &mut select.rarg].into_iter().flatten() {
                if collation::within_outputs(side, &self.known)? {
                    return Err(unfit());
                }
                self.query(side, false)?;
            }
            return self.sublinks_of(&mut select.limit_count).and_then(|()| self.sublinks_of(&mut select.limit_offset));
        }
        if select.from_clause.is_empty() {
            return self.all_sublinks(select);
        }
        super::group::complete_level(select, &self.known)?;
        if let Some(condition) = select.where_clause.as_mut().and_then(|node| node.node.as_mut()) {
            self.early_values(condition)?;
        }
        if self.peel(select, top)? {
            return Ok(());
        }
        self.pieces(select)
    }

    /// A query that runs on the shards as it is.
    fn whole(&mut self, select: &mut SelectStmt) -> Result<bool, Stop> {
        if !select.sort_clause.is_empty()
            || !shippable_outputs(select)
            || !collation::determined_outputs(select, &self.known)?
        {
            return Ok(false);
        }
        let content = Content::of_select(select)?;
        if content.tables.is_empty() || !content.closed() || !self.steady(&content)? {
            return Ok(false);
        }
        let Some(target) = self.parts.target(select)? else { return Ok(false) };
        let labels: Vec<String> = leftmost(select).target_list.iter().map(label).collect();
        let columns = distinct(&labels);
        let item = self.known.fresh("q");
        let named = columns.iter().map(|column| node::target(node::column(&[&item, column]), ""));
        let tree = Node::SelectStmt(Box::new(select.clone()));
        let outer = node::select(named.collect(), vec![node::wrap(node::subselect(tree, &item, &columns))]);
        let part = self.parts.add(outer, target)?;
        let item = self.known.fresh(&part);
        self.note_types(select, &item, &columns);
        // Of several queries together it is one that columns have.
        let written: Vec<Option<Node>> = collation::outputs(&select.target_list).cloned().map(Some).collect();
        let targets = columns.iter().zip(&labels).zip(written.into_iter().chain(std::iter::repeat(None)));
        let targets = targets.map(|((column, label), value)| {
            let column = node::column(&[&item, column]);
            node::target(value.map_or(column.clone(), |value| collation::written(&value, column)), label)
        });
        let targets = targets.collect();
        *select = node::select(targets, vec![node::wrap(Node::RangeVar(node::relation("pg_temp", &part, &item)))]);
        Ok(true)
    }

    /// Types of the columns of a part, as far as the query that it is tells them.
    fn note_types(&mut self, select: &SelectStmt, item: &str, columns: &[String]) {
        if select.op() != SetOperation::SetopNone {
            return;
        }
        for (target, column) in select.target_list.iter().zip(columns) {
            let Some(Node::ResTarget(target)) = &target.node else { continue };
            if let Some(type_oid) = names::inner(&target.val).and_then(|value| self.known.type_of(value)) {
                self.known.types.insert((item.to_owned(), column.clone()), type_oid);
            }
        }
    }

    /// Whether a table can have it as a column.
    pub fn is_column(&self, value: &Node) -> Result<bool, Stop> {
        Ok(shippable(value) && collation::determined(value, &self.known)?)
    }

    /// Whether functions in it give the same wherever and whenever in the statement they are called.
    pub fn steady(&self, content: &Content) -> Result<bool, Stop> {
        let builder = Builder::new(self.context);
        for (schema, name) in &content.functions {
            match builder.call(schema.as_deref(), name)?.0 {
                Call::Steady | Call::Aggregate | Call::Window => {}
                Call::Identity
                | Call::Fresh
                | Call::Unique
                | Call::Changing
                | Call::Sequence
                | Call::TransactionLock
                | Call::Missing => {
                    return Ok(false);
                }
            }
            if name == "statement_timestamp" {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the sub-selects apart that stand in an expression.
    pub fn sublinks(&mut self, node: &mut Node) -> Result<(), Stop> {
        if let Node::SubLink(link) = node {
            if let Some(test) = link.testexpr.as_mut().and_then(|node| node.node.as_mut()) {
                self.sublinks(test)?;
            }
            if let Some(Node::SelectStmt(query)) = link.subselect.as_mut().and_then(|node| node.node.as_mut()) {
                return self.query(query, false);
            }
            return Ok(());
        }
        edit::children(node, &mut |child| self.sublinks(child))
    }

    fn sublinks_of(&mut self, node: &mut Option<Box<Wrapped>>) -> Result<(), Stop> {
        node.as_mut().and_then(|node| node.node.as_mut()).map_or(Ok(()), |node| self.sublinks(node))
    }

    /// Those of a level everywhere but in FROM, WITH and WHERE.
    pub fn all_sublinks(&mut self, select: &mut SelectStmt) -> Result<(), Stop> {
        let from = std::mem::take(&mut select.from_clause);
        let with = select.with_clause.take();
        let result = edit::select(select, &mut |child| self.sublinks(child));
        select.from_clause = from;
        select.with_clause = with;
        result
    }

    /// The route of the rows of some FROM items under some conditions, if they distribute. The nodes are lent to the prover, which
    /// costs less than copies, and are in their places again afterwards.
    pub fn rows(&self, lent: Lent<'_>, outputs: Vec<Wrapped>) -> Result<Option<Target>, Stop> {
        self.rows_once(lent, outputs, Vec::new())
    }

    /// The same of each row once, if `distinct` says so as a SELECT does.
    pub fn rows_once(
        &self,
        (mut items, mut conditions): Lent<'_>,
        outputs: Vec<Wrapped>,
        distinct: Vec<Wrapped>,
    ) -> Result<Option<Target>, Stop> {
        let outputs = if outputs.is_empty() { vec![node::target(node::yes(), "row")] } else { outputs };
        let from = items.iter_mut().map(|item| node::taken(item)).collect();
        let mut asked = select(from, conditions.iter_mut().map(|condition| node::taken(condition)).collect(), outputs);
        asked.distinct_clause = distinct;
        let target = self.parts.target(&asked);
        for (place, item) in items.into_iter().zip(asked.from_clause) {
            item.node.into_iter().for_each(|node| *place = node);
        }
        let back = match asked.where_clause.and_then(|condition| condition.node) {
            Some(Node::BoolExpr(all)) if conditions.len() > 1 => {
                all.args.into_iter().filter_map(|node| node.node).collect()
            }
            only => only.into_iter().collect::<Vec<Node>>(),
        };
        for (place, condition) in conditions.into_iter().zip(back) {
            *place = condition;
        }
        target
    }
}

/// FROM items and conditions on their rows.
pub type Lent<'n> = (Vec<&'n mut Node>, Vec<&'n mut Node>);

/// Rows of some FROM items under some conditions.
pub fn select(from: Vec<Node>, conditions: Vec<Node>, outputs: Vec<Wrapped>) -> SelectStmt {
    let mut select = node::select(outputs, from.into_iter().map(node::wrap).collect());
    select.where_clause = super::condition::all(conditions);
    select
}

/// The query whose select list names the output columns.
pub fn leftmost(select: &SelectStmt) -> &SelectStmt {
    let mut select = select;
    while let Some(left) = &select.larg {
        select = left;
    }
    select
}

/// The name of an output column.
pub fn label(target: &Wrapped) -> String {
    match &target.node {
        Some(Node::ResTarget(target)) => target.name.clone(),
        _ => String::new(),
    }
}

/// Different names for columns, their own where possible.
pub fn distinct(labels: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (at, label) in labels.iter().enumerate() {
        let plain = !label.is_empty()
            && label != "?column?"
            && !SYSTEM_COLUMNS.contains(&label.as_str())
            && !found.contains(label);
        let mut name = if plain { label.clone() } else { format!("c{}", at + 1) };
        while found.contains(&name) || (!plain && labels.contains(&name)) {
            name.push('_');
        }
        found.push(name);
    }
    found
}

/// Whether a table can have these output columns: not a row of no type (`record`), nor a constant whose type another query decides.
fn shippable_outputs(select: &SelectStmt) -> bool {
    if let (Some(left), Some(right)) = (&select.larg, &select.rarg) {
        return shippable_outputs(left) && shippable_outputs(right);
    }
    select.values_lists.is_empty()
        && !select.target_list.is_empty()
        && select.target_list.iter().all(|target| match &target.node {
            Some(Node::ResTarget(target)) => names::inner(&target.val).is_some_and(shippable),
            _ => false,
        })
}

/// The same for one column.
pub fn shippable(node: &Node) -> bool {
    let all = |nodes: &[Wrapped]| nodes.iter().filter_map(|node| node.node.as_ref()).all(operand);
    match node {
        Node::ColumnRef(_)
        | Node::BoolExpr(_)
        | Node::NullTest(_)
        | Node::BooleanTest(_)
        | Node::TypeCast(_)
        | Node::AIndirection(_)
        | Node::XmlSerialize(_)
        | Node::SqlvalueFunction(_)
        | Node::GroupingFunc(_) => true,
        Node::AConst(_) => names::string_constant(node).is_none() && !names::is_null(node),
        Node::AExpr(e) => [&e.lexpr, &e.rexpr].into_iter().filter_map(names::inner).all(operand),
        Node::CollateClause(e) => names::inner(&e.arg).is_some_and(shippable),
        Node::CaseExpr(e) => {
            let result = |when: &Wrapped| match &when.node {
                Some(Node::CaseWhen(when)) => names::inner(&when.result).is_some_and(operand),
                _ => false,
            };
            e.args.iter().all(result) && names::inner(&e.defresult).is_none_or(operand)
        }
        Node::CoalesceExpr(e) => all(&e.args),
        Node::MinMaxExpr(e) => all(&e.args),
        Node::AArrayExpr(e) => !e.elements.is_empty() && all(&e.elements),
        Node::SubLink(link) => match (link.sub_link_type(), names::inner(&link.subselect)) {
            (SubLinkType::ExistsSublink | SubLinkType::AnySublink | SubLinkType::AllSublink, _) => true,
            (_, Some(Node::SelectStmt(query))) => shippable_outputs(query),
            _ => false,
        },
        Node::FuncCall(call) => {
            let system = matches!(names::qualified(&call.funcname), Some((None | Some("pg_catalog"), name))
                if !RECORDS.iter().any(|entry| name.starts_with(entry)));
            system && call.args.iter().filter_map(|node| node.node.as_ref()).all(operand)
        }
        _ => false,
    }
}

/// Something to compute with: anything but a row and what could be one.
fn operand(node: &Node) -> bool {
    matches!(node, Node::AConst(_) | Node::ParamRef(_) | Node::List(_)) || shippable(node)
}

/// Functions of pg_catalog that return rows of no declared type, nothing, or sets of several columns.
const RECORDS: [&str; 10] = [
    "json_each",
    "jsonb_each",
    "json_to_record",
    "jsonb_to_record",
    "json_populate",
    "jsonb_populate",
    "pg_sleep",
    "pg_",
    "aclexplode",
    "ts_",
];
