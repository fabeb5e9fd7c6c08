//! Writes down the names of output columns that PostgreSQL would make up, before the expressions that they come from are
//! replaced.

use pg_query::protobuf::{AExprKind, MinMaxOp, SelectStmt, SqlValueFunctionOp as Op, SubLinkType};

use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// Labels the output columns of every query in `node`, where they have a name by rights.
pub fn everywhere(node: &mut Node) -> Result<(), Stop> {
    if let Node::SelectStmt(select) = node {
        targets(select);
    }
    edit::children(node, &mut everywhere)
}

fn targets(select: &mut SelectStmt) {
    for target in &mut select.target_list {
        let Some(Node::ResTarget(target)) = &mut target.node else { continue };
        if !target.name.is_empty() || matches!(names::inner(&target.val), Some(Node::ColumnRef(_)) | None) {
            continue;
        }
        if let Some(label) = names::inner(&target.val).and_then(made_up) {
            target.name = label;
        }
    }
}

/// A labelled output column.
pub fn labelled(target: &pg_query::protobuf::Node) -> Option<(String, Node)> {
    match &target.node {
        Some(Node::ResTarget(target)) => Some((target.name.clone(), names::inner(&target.val)?.clone())),
        _ => None,
    }
}

/// The name PostgreSQL gives the output column of an expression; `None` for `?column?`.
///
/// *Source*: FigureColnameInternal, parse_target.c of PostgreSQL 15.
pub fn made_up(node: &Node) -> Option<String> {
    strength(node).map(|(name, _)| name)
}

/// With whether it is a good one, not just that of a type or of CASE.
fn strength(node: &Node) -> Option<(String, bool)> {
    let good = |name: &str| Some((name.to_owned(), true));
    match node {
        Node::ColumnRef(column) => names::string(column.fields.last()?).and_then(good),
        Node::AIndirection(indirection) => {
            let field = indirection.indirection.iter().rev().find_map(names::string);
            match field {
                Some(field) => good(field),
                None => strength(names::inner(&indirection.arg)?),
            }
        }
        Node::FuncCall(call) => names::qualified(&call.funcname).and_then(|(_, name)| good(name)),
        Node::AExpr(e) if e.kind() == AExprKind::AexprNullif => good("nullif"),
        Node::TypeCast(cast) => match names::inner(&cast.arg).and_then(strength) {
            Some((name, true)) => Some((name, true)),
            weak => {
                let names = cast.type_name.as_ref().and_then(|name| names::strings(&name.names));
                names.and_then(|names| names.last().map(|name| ((*name).to_owned(), false))).or(weak)
            }
        },
        Node::CollateClause(e) => strength(names::inner(&e.arg)?),
        Node::GroupingFunc(_) => good("grouping"),
        Node::SubLink(link) => match link.sub_link_type() {
            SubLinkType::ExistsSublink => good("exists"),
            SubLinkType::ArraySublink => good("array"),
            SubLinkType::ExprSublink => {
                let Some(Node::SelectStmt(select)) = names::inner(&link.subselect) else { return None };
                let mut leftmost = select;
                while let Some(left) = &leftmost.larg {
                    leftmost = left;
                }
                let Some(Node::ResTarget(target)) = &leftmost.target_list.first()?.node else { return None };
                if target.name.is_empty() { strength(names::inner(&target.val)?) } else { good(&target.name) }
            }
            _ => None,
        },
        Node::CaseExpr(e) => match names::inner(&e.defresult).and_then(strength) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".to_owned(), false)),
        },
        Node::AArrayExpr(_) => good("array"),
        Node::RowExpr(_) => good("row"),
        Node::CoalesceExpr(_) => good("coalesce"),
        Node::MinMaxExpr(e) => good(if e.op() == MinMaxOp::IsLeast { "least" } else { "greatest" }),
        Node::SqlvalueFunction(e) => good(value_function(e.op())?),
        _ => None,
    }
}

fn value_function(op: Op) -> Option<&'static str> {
    Some(match op {
        Op::SvfopCurrentDate => "current_date",
        Op::SvfopCurrentTime | Op::SvfopCurrentTimeN => "current_time",
        Op::SvfopCurrentTimestamp | Op::SvfopCurrentTimestampN => "current_timestamp",
        Op::SvfopLocaltime | Op::SvfopLocaltimeN => "localtime",
        Op::SvfopLocaltimestamp | Op::SvfopLocaltimestampN => "localtimestamp",
        Op::SvfopCurrentRole => "current_role",
        Op::SvfopCurrentUser => "current_user",
        Op::SvfopUser => "user",
        Op::SvfopSessionUser => "session_user",
        Op::SvfopCurrentCatalog => "current_catalog",
        Op::SvfopCurrentSchema => "current_schema",
        Op::SqlvalueFunctionOpUndefined => return None,
    })
}
