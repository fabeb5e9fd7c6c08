//! Sub-selects that give one value for the whole statement, as `(SELECT avg(total) FROM orders)` in a condition: the value is computed
//! first and is a parameter of what comes later, so that the condition can be decided on the shards.
//!
//! Only totals: they are one row whatever there is to read, and of types whose values are the same everywhere. Computed though no row may
//! ask for it, as parts are read though no row may need them.

use std::collections::BTreeSet;

use pg_query::protobuf::{
    AExprKind, CoalesceExpr, FuncCall, List, SelectStmt, SetOperation, SubLink, SubLinkType, a_const::Val,
};

use super::engine::Engine;
use super::part::Parts;
use super::reference::{self, Content};
use super::{node, plan, reduce};
use crate::plan::Target;
use crate::plan::builder::Builder;
use crate::plan::built_in::oid;
use crate::plan::ir::Stop;
use crate::sql::{self, Node, edit, names};

/// A value that is computed before the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its number as a parameter, counted from 1.
    pub parameter: usize,
    /// The query for it, over the parts.
    pub text: String,
    /// The sub-select: it tells the type.
    pub original: String,
    /// Its parts, and other values in its text, are of this wave or an earlier one.
    pub wave: usize,
}

/// A value while the statement is being taken apart.
pub struct Early {
    parameter: usize,
    original: String,
    query: SelectStmt,
}

impl Engine<'_, '_> {
    /// Puts parameters in place of such sub-selects in a condition.
    pub fn early_values(&mut self, node: &mut Node) -> Result<(), Stop> {
        if self.parts.first_value == 0 {
            return Ok(());
        }
        let Node::SubLink(link) = node else {
            return edit::children(node, &mut |child| match child {
                Node::SelectStmt(_) => Ok(()),
                child => self.early_values(child),
            });
        };
        if link.sub_link_type() != SubLinkType::ExprSublink {
            return Ok(());
        }
        let Some(Node::SelectStmt(query)) = names::inner(&link.subselect) else { return Ok(()) };
        if let Some(parameter) = self.early_value(query)? {
            *node = node::parameter(parameter);
        }
        Ok(())
    }

    fn early_value(&mut self, query: &SelectStmt) -> Result<Option<usize>, Stop> {
        if !is_total(query) || !self.total(query)? {
            return Ok(None);
        }
        let content = Content::of(&mut Node::SelectStmt(Box::new(query.clone())))?;
        if content.tables.is_empty() || !content.closed() || !self.steady(&content)? {
            return Ok(None);
        }
        // What every shard can compute by itself stays where it is.
        if self.parts.target(query)? == Some(Target::Any) {
            return Ok(None);
        }
        let Some(original) = edit::print(query) else { return Ok(None) };
        let mut query = query.clone();
        self.query(&mut query, false)?;
        let parameter = self.parts.first_value + self.early.len();
        self.parts.values += 1;
        self.early.push(Early { parameter, original, query });
        Ok(Some(parameter))
    }

    /// Its one output is computed of totals by what can hardly fail.
    fn total(&self, query: &SelectStmt) -> Result<bool, Stop> {
        let [target] = query.target_list.as_slice() else { return Ok(false) };
        let Some(Node::ResTarget(target)) = &target.node else { return Ok(false) };
        let mut found = false;
        let Some(value) = names::inner(&target.val) else { return Ok(false) };
        Ok(self.totals(value, &mut found)? && found)
    }

    fn totals(&self, node: &Node, found: &mut bool) -> Result<bool, Stop> {
        match node {
            Node::AConst(_) => Ok(matches!(names::constant(node), Some(Val::Ival(_) | Val::Fval(_)))),
            Node::FuncCall(call) => {
                *found = true;
                self.one_total(call)
            }
            Node::CoalesceExpr(e) => {
                for node in e.args.iter().filter_map(|node| node.node.as_ref()) {
                    if !self.totals(node, found)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::AExpr(e) if e.kind() == AExprKind::AexprOp => {
                let (Some(left), Some(right)) = (names::inner(&e.lexpr), names::inner(&e.rexpr)) else {
                    return Ok(false);
                };
                let fits = match names::operator(&e.name) {
                    Some(("+" | "-" | "*", _)) => true,
                    Some(("/", _)) => is_some_number(right),
                    _ => false,
                };
                Ok(fits && self.totals(left, found)? && self.totals(right, found)?)
            }
            _ => Ok(false),
        }
    }

    fn one_total(&self, call: &FuncCall) -> Result<bool, Stop> {
        let (Some((None | Some("pg_catalog"), name)), None) = (names::qualified(&call.funcname), &call.over) else {
            return Ok(false);
        };
        if Builder::new(self.context).is_overloaded(name) {
            return Ok(false);
        }
        let argument = call.args.first().and_then(|node| node.node.as_ref());
        let type_oid = argument.and_then(|argument| self.known.type_of(argument));
        Ok(match name {
            "count" => true,
            "sum" | "avg" => type_oid.is_some(),
            "min" | "max" => {
                type_oid.is_some_and(|of| reduce::one_spelling(of) || matches!(of, oid::NUMERIC | oid::FLOAT8))
            }
            _ => false,
        })
    }
}

/// One row without conditions on groups.
fn is_total(query: &SelectStmt) -> bool {
    query.op() == SetOperation::SetopNone
        && query.with_clause.is_none()
        && query.group_clause.is_empty()
        && query.having_clause.is_none()
        && query.distinct_clause.is_empty()
        && query.window_clause.is_empty()
        && query.sort_clause.is_empty()
        && query.limit_count.is_none()
        && query.limit_offset.is_none()
        && query.locking_clause.is_empty()
        && query.values_lists.is_empty()
        && !query.from_clause.is_empty()
}

fn is_some_number(node: &Node) -> bool {
    match names::constant(node) {
        Some(Val::Ival(value)) => value.ival != 0,
        Some(Val::Fval(value)) => value.fval.bytes().any(|digit| matches!(digit, b'1'..=b'9')),
        _ => false,
    }
}

/// The statement as it looks to the prover, to whom the value of such a parameter is not known; `None` if it has none.
pub fn opaque(select: &SelectStmt, parts: &Parts<'_>) -> Result<Option<SelectStmt>, Stop> {
    let first = parts.first_value;
    if parts.values == 0 {
        return Ok(None);
    }
    let mut tree = Node::SelectStmt(Box::new(select.clone()));
    let mut found = false;
    reference::substitute(&mut tree, &mut |node| match node {
        Node::ParamRef(parameter) if usize::try_from(parameter.number).is_ok_and(|number| number >= first) => {
            found = true;
            let args = vec![node::wrap(node::yes()), node::wrap(node::yes())];
            Some(Node::CoalesceExpr(Box::new(CoalesceExpr { args, ..CoalesceExpr::default() })))
        }
        _ => None,
    })?;
    match tree {
        Node::SelectStmt(select) if found => Ok(Some(*select)),
        _ => Ok(None),
    }
}

/// The statement and the queries for values as one tree, for what looks at all places where a part is used.
pub fn together(select: SelectStmt, early: &[Early]) -> Node {
    let queries = early.iter().map(|early| node::wrap(Node::SelectStmt(Box::new(early.query.clone()))));
    let items = std::iter::once(node::wrap(Node::SelectStmt(Box::new(select)))).chain(queries).collect();
    Node::List(List { items })
}

/// The same apart again; parts are told their waves.
pub fn apart(tree: Node, early: Vec<Early>, parts: &mut Parts<'_>) -> Result<(SelectStmt, Vec<Value>), Stop> {
    let Node::List(list) = tree else { return Err(plan::unprintable()) };
    let mut queries = list.items.into_iter().filter_map(|item| match item.node {
        Some(Node::SelectStmt(query)) => Some(*query),
        _ => None,
    });
    let rest = queries.next().ok_or_else(plan::unprintable)?;
    let mut values: Vec<Value> = Vec::new();
    let mut read: BTreeSet<usize> = BTreeSet::new();
    for (early, query) in early.into_iter().zip(queries) {
        let Early { parameter, original, .. } = early;
        let text = edit::print(&query).ok_or_else(plan::unprintable)?;
        let after = |text: &str| {
            let waves = values.iter().filter(|value| uses(text, value.parameter)).map(|value| value.wave + 1);
            waves.max().unwrap_or(0)
        };
        let own: Vec<usize> = (0..parts.made.len())
            .filter(|at| parts.made.get(*at).is_some_and(|part| text.contains(&format!("pg_temp.{} ", part.name))))
            .collect();
        let wave = own.iter().filter_map(|at| parts.made.get(*at)).map(|part| after(&part.text)).max().unwrap_or(0);
        let shared =
            own.iter().filter(|at| read.contains(at)).filter_map(|at| parts.made.get(*at)).map(|part| part.wave);
        let wave = wave.max(after(&text)).max(shared.max().unwrap_or(0));
        for at in own {
            if let Some(part) = parts.made.get_mut(at).filter(|_| read.insert(at)) {
                part.wave = wave;
            }
        }
        values.push(Value { parameter, text, original, wave });
    }
    let last = values.iter().map(|value| value.wave + 1).max().unwrap_or(0);
    for (at, part) in parts.made.iter_mut().enumerate() {
        if !read.contains(&at) {
            part.wave = last;
        }
    }
    let waves: Vec<usize> = parts.made.iter().map(|part| part.wave).collect();
    for part in &mut parts.made {
        let wave = part.wave;
        part.reducers.retain(|reducer| waves.get(reducer.source).is_some_and(|source| *source <= wave));
    }
    Ok((rest, values))
}

/// Whether a text has `$parameter`. In a literal it counts too: that costs a wave.
pub fn uses(text: &str, parameter: usize) -> bool {
    let name = format!("${parameter}");
    text.match_indices(&name).any(|(at, _)| !text[at + name.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

/// A part's text with the sub-selects where their values would be: to be explained, not to be run. As it is if that cannot be.
pub fn explained(text: &str, values: &[Value]) -> String {
    let with = || -> Option<String> {
        let mut tree = statement(text)?;
        let originals: Vec<(usize, Node)> =
            values.iter().map(|value| Some((value.parameter, statement(&value.original)?))).collect::<Option<_>>()?;
        let replaced: Result<(), Stop> = reference::substitute(&mut tree, &mut |node| {
            let Node::ParamRef(parameter) = node else { return None };
            let number = usize::try_from(parameter.number).ok()?;
            let (_, original) = originals.iter().find(|(parameter, _)| *parameter == number)?;
            let sub_link_type = SubLinkType::ExprSublink as i32;
            let subselect = node::boxed(original.clone());
            Some(Node::SubLink(Box::new(SubLink { sub_link_type, subselect, ..SubLink::default() })))
        });
        replaced.ok()?;
        match &tree {
            Node::SelectStmt(select) => edit::print(select),
            _ => None,
        }
    };
    if values.is_empty() { text.to_owned() } else { with().unwrap_or_else(|| text.to_owned()) }
}

fn statement(text: &str) -> Option<Node> {
    sql::parse(text).ok()?.statements.pop()?.tree?.stmt?.node
}
