//! Types of expressions, where they are certain without PostgreSQL's type resolution.

use pg_query::protobuf::{AExprKind, FuncCall, Node as Wrapped, a_const::Val};

use crate::catalog::Oid;
use crate::plan::built_in::oid;
use crate::plan::key;
use crate::sql::{Node, names};

/// Functions whose type is told by their name, if no user's function has it.
pub const FUNCTIONS: [&str; 16] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "abs",
    "round",
    "trunc",
    "ceil",
    "ceiling",
    "floor",
    "length",
    "char_length",
    "row_number",
    "rank",
    "dense_rank",
];

/// What is known besides the expression.
#[derive(Clone, Copy)]
pub struct Columns<'l> {
    /// Looks the type of `item.column` up.
    pub type_of: &'l dyn Fn(&str, &str) -> Option<Oid>,
    /// Those of [`FUNCTIONS`] that may be a user's.
    pub overloaded: &'l [&'static str],
}

/// The type of an expression, `None` where it is not certain.
pub fn of(node: &Node, columns: Columns<'_>) -> Option<Oid> {
    match node {
        Node::ColumnRef(column) => match names::strings(&column.fields)?.as_slice() {
            [item, column] => (columns.type_of)(item, column),
            _ => None,
        },
        Node::AConst(_) => match names::constant(node)? {
            Val::Ival(_) => Some(oid::INT4),
            Val::Fval(value) if key::integer(&value.fval).is_some() => Some(oid::INT8),
            Val::Fval(_) => Some(oid::NUMERIC),
            Val::Boolval(_) => Some(oid::BOOL),
            Val::Sval(_) | Val::Bsval(_) => None,
        },
        Node::TypeCast(cast) => match names::strings(&cast.type_name.as_ref()?.names)?.as_slice() {
            [name] | ["pg_catalog", name] if cast.type_name.as_ref()?.array_bounds.is_empty() => by_name(name),
            _ => None,
        },
        Node::BoolExpr(_) | Node::NullTest(_) | Node::BooleanTest(_) => Some(oid::BOOL),
        Node::CollateClause(e) => of(names::inner(&e.arg)?, columns),
        Node::AExpr(e) if e.kind() == AExprKind::AexprOp => {
            let (name, _) = names::operator(&e.name)?;
            let right = of(names::inner(&e.rexpr)?, columns)?;
            match names::inner(&e.lexpr) {
                Some(left) => operator(name, of(left, columns)?, right),
                None => (matches!(name, "-" | "+") && arithmetic(right, right).is_some()).then_some(right),
            }
        }
        Node::CaseExpr(e) => {
            let results = e.args.iter().filter_map(|when| match &when.node {
                Some(Node::CaseWhen(when)) => names::inner(&when.result),
                _ => None,
            });
            common(results.chain(names::inner(&e.defresult)), columns)
        }
        Node::CoalesceExpr(e) => common(inside(&e.args), columns),
        Node::MinMaxExpr(e) => common(inside(&e.args), columns),
        Node::FuncCall(call) => function(call, columns),
        _ => None,
    }
}

fn inside(nodes: &[Wrapped]) -> impl Iterator<Item = &Node> {
    nodes.iter().filter_map(|node| node.node.as_ref())
}

fn by_name(name: &str) -> Option<Oid> {
    Some(match name {
        "bool" => oid::BOOL,
        "float4" => oid::FLOAT4,
        "float8" => oid::FLOAT8,
        "date" => oid::DATE,
        "timestamp" => oid::TIMESTAMP,
        "timestamptz" => oid::TIMESTAMPTZ,
        "interval" => oid::INTERVAL,
        "money" => oid::MONEY,
        _ => return key::type_oid(name),
    })
}

/// One type for all, NULLs aside; numbers meet at the wider one (select_common_type, parse_coerce.c).
fn common<'n>(nodes: impl Iterator<Item = &'n Node>, columns: Columns<'_>) -> Option<Oid> {
    let mut known = None;
    for node in nodes.filter(|node| !names::is_null(node)) {
        let found = of(node, columns)?;
        known = match known {
            None => Some(found),
            Some(known) if known == found => Some(known),
            Some(known) => Some(arithmetic(known, found)?),
        };
    }
    known
}

/// Numbers in the order in which they are converted to one another.
const NUMBERS: [Oid; 5] = [oid::INT2, oid::INT4, oid::INT8, oid::NUMERIC, oid::FLOAT8];

/// The type of `+`, `-`, `*`, `/` of two numbers, which is also their common type.
fn arithmetic(left: Oid, right: Oid) -> Option<Oid> {
    if left == right && left == oid::FLOAT4 {
        return Some(left);
    }
    let rank = |of: Oid| NUMBERS.iter().position(|number| *number == of);
    let (left, right) = (rank(left)?, rank(right)?);
    NUMBERS.get(left.max(right)).copied()
}

fn operator(name: &str, left: Oid, right: Oid) -> Option<Oid> {
    match (name, left, right) {
        ("=" | "<>" | "<" | ">" | "<=" | ">=", _, _) => Some(oid::BOOL),
        ("-", oid::DATE, oid::DATE) => Some(oid::INT4),
        ("-", oid::TIMESTAMP, oid::TIMESTAMP) | ("-", oid::TIMESTAMPTZ, oid::TIMESTAMPTZ) => Some(oid::INTERVAL),
        ("+" | "-" | "*" | "/", _, _) => arithmetic(left, right),
        ("%", _, _) => arithmetic(left, right).filter(|of| *of != oid::FLOAT8 && *of != oid::FLOAT4),
        _ => None,
    }
}

fn function(call: &FuncCall, columns: Columns<'_>) -> Option<Oid> {
    let (schema, name) = names::qualified(&call.funcname)?;
    match schema {
        Some("pg_catalog") => {}
        None if !columns.overloaded.contains(&name) => {}
        _ => return None,
    }
    let argument = || of(call.args.first()?.node.as_ref()?, columns);
    match name {
        "count" => Some(oid::INT8),
        "sum" => sum(argument()?),
        "avg" => match argument()? {
            oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC => Some(oid::NUMERIC),
            oid::FLOAT4 | oid::FLOAT8 => Some(oid::FLOAT8),
            oid::INTERVAL => Some(oid::INTERVAL),
            _ => None,
        },
        "min" | "max" => argument(),
        "abs" => argument().filter(|of| arithmetic(*of, *of).is_some()),
        "round" | "trunc" | "ceil" | "ceiling" | "floor" => argument().filter(|of| *of == oid::NUMERIC),
        "length" | "char_length" => Some(oid::INT4),
        "row_number" | "rank" | "dense_rank" => Some(oid::INT8),
        _ => None,
    }
}

/// The type of `sum` (pg_aggregate.dat).
pub fn sum(argument: Oid) -> Option<Oid> {
    match argument {
        oid::INT2 | oid::INT4 => Some(oid::INT8),
        oid::INT8 | oid::NUMERIC => Some(oid::NUMERIC),
        oid::FLOAT4 | oid::FLOAT8 | oid::MONEY | oid::INTERVAL => Some(argument),
        _ => None,
    }
}
