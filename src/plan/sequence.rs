//! `setval` of a sequence that each shard draws from for itself: it is set on all shards, each to its own next number.

use pg_query::protobuf::{FuncCall, SelectStmt};

use super::builder::Builder;
use super::ir::Stop;
use super::rewrite::{Computed, Edit, Piece, Values, When};
use super::{Access, Context, Output, Refusal, Route, Target};
use crate::catalog::RelationKind;
use crate::sql::{self, Node, names, walk};

/// What a sequence's name in a call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequence {
    /// Each shard draws from it for itself.
    Own,
    /// Numbers are drawn on the home shard.
    Home,
    /// It will be known when it runs.
    Unknown,
}

/// The route of a statement that sets such a sequence; `None` for any other.
pub fn set(node: &Node, text: &str, context: &Context<'_>) -> Result<Option<Route>, Stop> {
    let statement = matches!(
        node,
        Node::SelectStmt(_) | Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_)
    );
    if !statement || !context.catalog.own_numbers.any() {
        return Ok(None);
    }
    let calls = calls(text);
    if calls.is_empty() {
        return Ok(None);
    }
    let written: Option<Vec<&FuncCall>> = match node {
        Node::SelectStmt(select) => alone(select),
        _ => None,
    };
    let Some(written) = written.filter(|written| written.len() == calls.len()) else {
        let home = |call: &std::ops::Range<usize>| {
            let literal = text.get(call.end..).and_then(|rest| rest.strip_prefix('(')).and_then(first_literal);
            literal.is_some_and(|name| named(&name, context) == Sequence::Home)
        };
        return if calls.iter().all(home) { Ok(None) } else { Err(refusal().into()) };
    };
    let kinds: Vec<_> = written.iter().map(|call| sequence(call, context)).collect();
    if kinds.iter().all(|kind| *kind == Sequence::Home) {
        return Ok(None);
    }
    if kinds.contains(&Sequence::Unknown) || kinds.contains(&Sequence::Home) {
        return Err(refusal().into());
    }
    let installed =
        |call: &&FuncCall| names::qualified(&call.funcname).is_some_and(|(schema, _)| schema == Some("pgbraid"));
    let target = if written.iter().all(installed) {
        Target::Replicated { takes_turn: false }
    } else {
        let edit = |range: &std::ops::Range<usize>| Edit {
            range: range.clone(),
            pieces: vec![Piece::Text("pgbraid.setval".to_owned())],
        };
        Target::Computed(Box::new(Computed {
            expressions: Vec::new(),
            edits: calls.iter().map(edit).collect(),
            draws: false,
            values: Values::Computed,
            statement_bytes: text.len(),
            when: When::Always,
        }))
    };
    Ok(Some(Route { access: Access::Write, target, output: Output::Rows }))
}

fn refusal() -> Refusal {
    Refusal::unsupported("setval of a sequence that every shard draws from is supported in a SELECT of its own only")
        .hint("SELECT setval('name', value), with the sequence's name and a value that reads no table.")
}

/// Where the text says `setval` and an opening parenthesis: its name with the schema's.
fn calls(text: &str) -> Vec<std::ops::Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for (at, word) in lower.match_indices("setval") {
        let end = at + word.len();
        let called = lower.get(end..).is_some_and(|rest| rest.starts_with('('));
        let before = lower.get(..at).unwrap_or_default();
        let start = ["pg_catalog.", "pgbraid."]
            .iter()
            .find(|schema| before.ends_with(**schema))
            .map_or(at, |schema| at - schema.len());
        let inside = lower.get(..start).and_then(|before| before.chars().next_back());
        if called && !inside.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$' || c == '.') {
            found.push(start..end);
        }
    }
    found
}

/// The calls of a SELECT that consists of nothing but calls of `setval` with values.
fn alone(select: &SelectStmt) -> Option<Vec<&FuncCall>> {
    let plain = select.from_clause.is_empty()
        && select.where_clause.is_none()
        && select.with_clause.is_none()
        && select.larg.is_none()
        && select.values_lists.is_empty()
        && select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none();
    if !plain {
        return None;
    }
    let mut found = Vec::new();
    for node in &select.target_list {
        let Some(Node::ResTarget(target)) = &node.node else { return None };
        let Some(Node::FuncCall(call)) = names::inner(&target.val) else { return None };
        let (schema, name) = names::qualified(&call.funcname)?;
        let known = name == "setval" && schema.is_none_or(|schema| matches!(schema, "pg_catalog" | "pgbraid"));
        if !known || !call.args.iter().filter_map(|node| node.node.as_ref()).all(is_value) {
            return None;
        }
        found.push(call.as_ref());
    }
    Some(found)
}

/// Whether an expression reads nothing.
fn is_value(node: &Node) -> bool {
    if matches!(node, Node::ColumnRef(_) | Node::SubLink(_)) {
        return false;
    }
    let mut all = true;
    let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
        all &= is_value(child);
        Ok(())
    });
    all && visited.is_ok()
}

/// The sequence that a call names.
fn sequence(call: &FuncCall, context: &Context<'_>) -> Sequence {
    let Some(argument) = call.args.first().and_then(|node| node.node.as_ref()) else { return Sequence::Unknown };
    let argument = match argument {
        Node::TypeCast(cast) => names::inner(&cast.arg).unwrap_or(argument),
        _ => argument,
    };
    if let Some(name) = names::string_constant(argument) {
        return named(name, context);
    }
    let Node::FuncCall(call) = argument else { return Sequence::Unknown };
    let name = names::qualified(&call.funcname).map(|(_, name)| name);
    let mut arguments = call.args.iter().filter_map(|node| names::string_constant(node.node.as_ref()?));
    match (name, arguments.next(), arguments.next()) {
        (Some("pg_get_serial_sequence"), Some(table), Some(column)) => {
            let Some((schema, name)) = relation_name(table) else { return Sequence::Unknown };
            let Some(relation) = Builder::new(context).relation(schema.as_deref(), &name) else {
                return Sequence::Home;
            };
            match context.catalog.own_numbers.column(&relation.schema, &relation.name, column) {
                true => Sequence::Own,
                false => Sequence::Home,
            }
        }
        _ => Sequence::Unknown,
    }
}

fn named(text: &str, context: &Context<'_>) -> Sequence {
    let Some((schema, name)) = relation_name(text) else { return Sequence::Unknown };
    match Builder::new(context).relation(schema.as_deref(), &name) {
        Some(relation) if relation.kind == RelationKind::Sequence => {
            if context.catalog.own_numbers.sequence(&relation.schema, &relation.name) {
                Sequence::Own
            } else {
                Sequence::Home
            }
        }
        // A server says that there is none.
        _ => Sequence::Home,
    }
}

/// A relation's name as `regclass` reads it.
fn relation_name(text: &str) -> Option<(Option<String>, String)> {
    let script = sql::parse(&format!("TABLE {text}")).ok()?;
    let Some(Node::SelectStmt(select)) = script.statements.first().and_then(sql::Statement::node) else { return None };
    match select.from_clause.first()?.node.as_ref()? {
        Node::RangeVar(name) => {
            Some(((!name.schemaname.is_empty()).then(|| name.schemaname.clone()), name.relname.clone()))
        }
        _ => None,
    }
}

/// The string that a call's arguments begin with.
fn first_literal(arguments: &str) -> Option<String> {
    let rest = arguments.trim_start().strip_prefix('\'')?;
    let end = rest.find('\'')?;
    Some(rest.get(..end)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_with_their_schema() {
        let text = "SELECT pg_catalog.setval('a', 1), SETVAL('b', 2), my_setval('c', 3)";
        let found: Vec<_> = calls(text).into_iter().filter_map(|range| text.get(range)).collect();
        assert_eq!(found, ["pg_catalog.setval", "SETVAL"]);
    }
}
