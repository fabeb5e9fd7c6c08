//! `currval` and `lastval`: what the session has drawn, as far as it is of the transaction. Only a server that has drawn for it can say so;
//! which one that is, the session finds out (`session/drawn.rs`).

use std::ops::Range;

use pg_query::protobuf::{FuncCall, Node as Wrapped, RangeVar, SelectStmt};

use crate::catalog::{Column, ColumnDefault};
use crate::plan::builder::Builder;
use crate::plan::function::unremembered;
use crate::plan::ir::Stop;
use crate::plan::rewrite::{Computed, Edit, Piece, Values, When};
use crate::plan::{Access, Context, Output, Route, Target};
use crate::sql::{Node, names, statements, tokens, walk};

/// The route of a statement that asks for such numbers; `None` for any other.
pub fn plan(node: &Node, (text, start): (&str, usize), context: &Context<'_>) -> Result<Option<Route>, Stop> {
    let lower = text.to_ascii_lowercase();
    if !lower.contains("currval") && !lower.contains("lastval") {
        return Ok(None);
    }
    let supported = matches!(
        node,
        Node::SelectStmt(_) | Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_)
    );
    let mut calls = Calls::default();
    if !supported || calls.look(&mut node.clone()).is_err() || calls.found.is_empty() {
        return Ok(None);
    }
    let shadowed = |name: &&str| context.catalog.routines.contains_key(*name);
    if calls.unfit || ["currval", "lastval"].iter().any(shadowed) {
        return Err(unremembered().into());
    }
    if calls.draws || calls.written.iter().any(|(schema, name)| calls.may_be_drawn_by(schema, name, context)) {
        return Err(unremembered().into());
    }
    let alone = matches!(node, Node::SelectStmt(select) if is_alone(select));
    if calls.labels && !alone {
        return Err(unremembered().into());
    }
    let mut places = Vec::with_capacity(calls.found.len());
    for location in &calls.found {
        let place = location.checked_sub(start).and_then(|at| place(text, at));
        places.push(place.ok_or_else(unremembered)?);
    }
    places.sort_by_key(|place| place.start);
    places.dedup();
    let mut computed = Computed {
        expressions: Vec::new(),
        edits: Vec::new(),
        draws: false,
        values: Values::Remembered,
        statement_bytes: text.len(),
        when: When::Always,
    };
    for place in places {
        let expression = text.get(place.clone()).unwrap_or_default().to_owned();
        let known = computed.expressions.iter().position(|known| *known == expression);
        let value = known.unwrap_or(computed.expressions.len());
        if known.is_none() {
            computed.expressions.push(expression);
        }
        if !alone {
            let (open, close) = (Piece::Text("(".to_owned()), Piece::Text("::pg_catalog.int8)".to_owned()));
            computed.edits.push(Edit { range: place, pieces: vec![open, Piece::Value(value), close] });
        }
    }
    Ok(Some(Route { access: Access::Write, target: Target::Computed(Box::new(computed)), output: Output::Rows }))
}

/// Calls in a statement.
#[derive(Default)]
struct Calls {
    /// Where they begin.
    found: Vec<usize>,
    /// One has arguments that are not written out.
    unfit: bool,
    /// One gives an output column its name.
    labels: bool,
    /// The sequences asked for, without their schemas; `None` for any.
    sequences: Vec<Option<String>>,
    /// The statement draws itself, or may: what is asked for would be what it has drawn.
    draws: bool,
    /// Schemas and names of tables that it writes.
    written: Vec<(String, String)>,
}

impl Calls {
    fn look(&mut self, node: &mut Node) -> Result<(), walk::Unknown> {
        match node {
            Node::FuncCall(call) if is_asking(call) => {
                self.unfit |= !call.args.iter().filter_map(|node| node.node.as_ref()).all(is_constant);
                self.found.extend(usize::try_from(call.location));
                let name = call.args.first().and_then(|argument| sequence(argument.node.as_ref()?));
                self.sequences.push(name);
                return Ok(());
            }
            Node::FuncCall(call) => {
                self.draws |= names::qualified(&call.funcname).is_none_or(|(_, name)| !is_quiet(name));
            }
            Node::InsertStmt(insert) => self.written.extend(insert.relation.as_ref().map(names_of)),
            Node::UpdateStmt(update) => {
                let default = |target: &Wrapped| match &target.node {
                    Some(Node::ResTarget(target)) => {
                        matches!(names::inner(&target.val), Some(Node::SetToDefault(_) | Node::MultiAssignRef(_)))
                    }
                    _ => true,
                };
                if update.target_list.iter().any(default) {
                    self.written.extend(update.relation.as_ref().map(names_of));
                }
            }
            Node::MergeStmt(merge) => self.written.extend(merge.relation.as_ref().map(names_of)),
            Node::ResTarget(target) if target.name.is_empty() => {
                self.labels |= names::inner(&target.val).is_some_and(names_column);
            }
            _ => {}
        }
        statements::children(node, &mut |child| self.look(child))
    }

    /// Whether a default of a table may draw from a sequence that is asked for.
    fn may_be_drawn_by(&self, schema: &str, name: &str, context: &Context<'_>) -> bool {
        let schema = (!schema.is_empty()).then_some(schema);
        let builder = Builder::new(context);
        let Some(relation) = builder.relation(schema, name) else { return false };
        let drawn = |column: &Column| match &column.default {
            ColumnDefault::Sequence => Some(column.draws.to_lowercase()),
            ColumnDefault::Expression(text) if text.contains("nextval") => Some(text.to_lowercase()),
            ColumnDefault::Expression(_) | ColumnDefault::None => None,
        };
        relation.columns.iter().filter_map(drawn).any(|drawn| {
            let same = |name: &Option<String>| {
                name.as_ref().is_none_or(|name| drawn.is_empty() || drawn.contains(&name.to_lowercase()))
            };
            self.sequences.iter().any(same)
        })
    }
}

fn names_of(table: &RangeVar) -> (String, String) {
    (table.schemaname.clone(), table.relname.clone())
}

/// The name in the argument of `currval`, without its schema.
fn sequence(argument: &Node) -> Option<String> {
    match argument {
        Node::TypeCast(cast) => sequence(names::inner(&cast.arg)?),
        _ => {
            let name = names::string_constant(argument)?.rsplit('.').next()?;
            Some(name.trim_matches('"').to_owned()).filter(|name| !name.is_empty())
        }
    }
}

/// Functions that are known not to draw: what statements on keys usually have.
fn is_quiet(name: &str) -> bool {
    matches!(
        name,
        "now"
            | "lower"
            | "upper"
            | "coalesce"
            | "concat"
            | "length"
            | "abs"
            | "round"
            | "count"
            | "sum"
            | "max"
            | "min"
    )
}

fn is_asking(call: &FuncCall) -> bool {
    let known = |name: &str| matches!(name, "currval" | "lastval");
    names::qualified(&call.funcname)
        .is_some_and(|(schema, name)| known(name) && schema.is_none_or(|schema| schema == "pg_catalog"))
}

/// *Source*: parse_target.c, FigureColnameInternal: through casts and collations.
fn names_column(node: &Node) -> bool {
    match node {
        Node::FuncCall(call) => is_asking(call),
        Node::TypeCast(cast) => names::inner(&cast.arg).is_some_and(names_column),
        Node::CollateClause(clause) => names::inner(&clause.arg).is_some_and(names_column),
        _ => false,
    }
}

/// Constants, casts of them, and calls with nothing else.
fn is_constant(node: &Node) -> bool {
    match node {
        Node::AConst(_) => true,
        Node::TypeCast(cast) => names::inner(&cast.arg).is_some_and(is_constant),
        Node::FuncCall(call) => {
            let serial = names::qualified(&call.funcname).is_some_and(|(_, name)| name == "pg_get_serial_sequence");
            serial && call.args.iter().filter_map(|node| node.node.as_ref()).all(is_constant)
        }
        _ => false,
    }
}

/// A SELECT of expressions and nothing else.
fn is_alone(select: &SelectStmt) -> bool {
    let reads = |node: &Node| {
        let mut node = node.clone();
        let mut found = false;
        let _: Result<(), walk::Unknown> = reads_tables(&mut node, &mut found);
        found
    };
    select.from_clause.is_empty()
        && select.where_clause.is_none()
        && select.with_clause.is_none()
        && select.larg.is_none()
        && select.values_lists.is_empty()
        && select.into_clause.is_none()
        && !select.target_list.iter().filter_map(|target| target.node.as_ref()).any(reads)
}

/// Whether there is more in an expression than constants, operators, casts and calls of these functions.
fn reads_tables(node: &mut Node, found: &mut bool) -> Result<(), walk::Unknown> {
    *found |= match node {
        Node::SubLink(_) | Node::ColumnRef(_) | Node::ParamRef(_) => true,
        Node::FuncCall(call) => !is_asking(call),
        _ => false,
    };
    if matches!(node, Node::FuncCall(_)) {
        return Ok(());
    }
    statements::children(node, &mut |child| reads_tables(child, found))
}

/// The bytes of the call that begins at a place.
fn place(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let words = tokens::words(rest)?;
    let mut depth = 0usize;
    for word in words {
        match word.text.as_str() {
            "(" => depth += 1,
            ")" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at..at + word.range.end);
                }
            }
            ";" => return None,
            _ => {}
        }
    }
    None
}
