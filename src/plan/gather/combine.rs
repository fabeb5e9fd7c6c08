//! One aggregate -> what the shards compute of it, and how the merge server makes the same value of that.

use pg_query::protobuf::{CoalesceExpr, FuncCall};

use super::aggregate::Partial;
use super::types;
use super::{collation, condition, node};
use crate::catalog::Oid;
use crate::plan::built_in::oid;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit};

/// The combination, `None` if the aggregate needs the rows themselves. `type_oid`: of its first argument, where it is known.
pub fn combine(
    name: &str,
    call: &FuncCall,
    type_oid: Option<Oid>,
    partial: &mut Partial,
) -> Result<Option<Node>, Stop> {
    if call.agg_within_group || call.func_variadic {
        return Ok(None);
    }
    if call.agg_distinct {
        return distinct(call, partial);
    }
    if !call.agg_order.is_empty() {
        return Ok(None);
    }
    Ok(match name {
        "count" => {
            let count = if call.agg_star { call.clone() } else { with_argument(call, "count", |x| x) };
            Some(counted(partial.aggregate(count)))
        }
        "min" | "max" => {
            let column = partial.aggregate(call.clone());
            let argument = call.args.first().and_then(|node| node.node.as_ref());
            Some(aggregate(name, argument.map_or(column.clone(), |argument| collation::written(argument, column))))
        }
        "bool_and" | "bool_or" | "every" | "bit_and" | "bit_or" | "bit_xor" => {
            let column = partial.aggregate(call.clone());
            Some(aggregate(name, column))
        }
        "sum" => type_oid.and_then(types::sum).map(|result| {
            let sum = aggregate("sum", partial.aggregate(with_argument(call, "sum", |x| x)));
            // The sum of the shards' bigint sums is numeric.
            if result == oid::INT8 { cast(sum, "int8") } else { sum }
        }),
        "avg" => average(call, type_oid, partial),
        "variance" | "var_samp" | "var_pop" | "stddev" | "stddev_samp" | "stddev_pop" => {
            spread(name, call, type_oid, partial)
        }
        _ => None,
    })
}

/// What counts of different rows come to.
pub fn counted(counts: Node) -> Node {
    cast(or_zero(aggregate("sum", counts)), "int8")
}

/// Each value once for each group and shard: the parts are grouped by the arguments too. If all are constants they may be grouped by
/// nothing, and have a row where there was none.
fn distinct(call: &FuncCall, partial: &mut Partial) -> Result<Option<Node>, Stop> {
    let mut merged = call.clone();
    let mut grouped = false;
    let mut replace = |node: &mut Node| {
        if !matches!(node, Node::AConst(_) | Node::ParamRef(_)) {
            *node = partial.key(node);
            grouped = true;
        }
    };
    let mut arguments = Node::FuncCall(Box::new(merged.clone()));
    edit::children(&mut arguments, &mut |child| -> Result<(), Stop> {
        match child {
            Node::SortBy(by) => by.node.as_mut().and_then(|node| node.node.as_mut()).into_iter().for_each(&mut replace),
            child => replace(child),
        }
        Ok(())
    })?;
    if let Node::FuncCall(arguments) = arguments {
        merged = *arguments;
    }
    Ok(grouped.then(|| Node::FuncCall(Box::new(merged))))
}

/// sum / count, by the operators that PostgreSQL's final functions use (numeric_avg, interval_avg).
fn average(call: &FuncCall, type_oid: Option<Oid>, partial: &mut Partial) -> Option<Node> {
    let counted = type_oid?;
    let sum = match counted {
        oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC | oid::FLOAT8 | oid::INTERVAL => {
            with_argument(call, "sum", |x| x)
        }
        oid::FLOAT4 => with_argument(call, "sum", |x| cast(x, "float8")),
        _ => return None,
    };
    let sum = aggregate("sum", partial.aggregate(sum));
    let count = aggregate("sum", partial.aggregate(with_argument(call, "count", |x| x)));
    let sum = match counted {
        oid::INT2 | oid::INT4 | oid::INT8 => cast(sum, "numeric"),
        // avg begins with 0, and sum with the first value, which may be -0. Source: float.c, float8_accum and float8pl.
        oid::FLOAT4 | oid::FLOAT8 => condition::operator("+", cast(node::integer(0), "float8"), sum),
        _ => sum,
    };
    let count =
        if matches!(counted, oid::FLOAT4 | oid::FLOAT8 | oid::INTERVAL) { cast(count, "float8") } else { count };
    let some = Node::AExpr(Box::new(pg_query::protobuf::AExpr {
        kind: pg_query::protobuf::AExprKind::AexprNullif as i32,
        name: vec![node::name("=")],
        lexpr: node::boxed(count),
        rexpr: node::boxed(node::integer(0)),
        ..pg_query::protobuf::AExpr::default()
    }));
    Some(condition::operator("/", sum, some))
}

/// Variance and its root from count, sum and sum of squares.
///
/// *Source*: numeric_stddev_internal of numeric.c, PostgreSQL 15: (N * sumX2 - sumX * sumX) / (N * (N - 1)), 0 if the numerator is not
/// positive; the root has the quotient's scale, here rounded from one with 40 digits more.
fn spread(name: &str, call: &FuncCall, type_oid: Option<Oid>, partial: &mut Partial) -> Option<Node> {
    if !matches!(type_oid?, oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC) {
        return None;
    }
    let number = |x: Node| cast(x, "numeric");
    let n = aggregate("sum", partial.aggregate(with_argument(call, "count", |x| x)));
    let sum = aggregate("sum", partial.aggregate(with_argument(call, "sum", number)));
    let square = |x: Node| condition::operator("*", number(x.clone()), number(x));
    let squares = aggregate("sum", partial.aggregate(with_argument(call, "sum", square)));
    let times = |left: &Node, right: &Node| condition::operator("*", left.clone(), right.clone());
    let above = condition::operator("-", times(&n, &squares), times(&sum, &sum));
    let population = name.ends_with("_pop");
    let (fewest, below) = if population {
        (0, times(&n, &n))
    } else {
        (1, times(&n, &condition::operator("-", n.clone(), node::integer(1))))
    };
    let variance = condition::operator("/", above.clone(), below);
    let value = if name.starts_with("std") { root(variance) } else { variance };
    let zero = cast(node::integer(0), "numeric");
    Some(node::case(
        vec![
            (condition::operator("<=", n, node::integer(fewest)), node::null()),
            (condition::operator("<=", above, node::integer(0)), zero),
        ],
        value,
    ))
}

fn root(variance: Node) -> Node {
    let scale = or_zero(call("scale", vec![variance.clone()]));
    let exact = condition::operator("+", scale.clone(), node::integer(40));
    call("round", vec![call("sqrt", vec![call("round", vec![variance, exact])]), scale])
}

fn call(name: &str, arguments: Vec<Node>) -> Node {
    Node::FuncCall(Box::new(node::call(name, arguments)))
}

fn aggregate(name: &str, column: Node) -> Node {
    call(name, vec![column])
}

fn cast(value: Node, type_name: &str) -> Node {
    node::cast(value, &["pg_catalog", type_name], &[])
}

fn or_zero(value: Node) -> Node {
    let args = vec![node::wrap(value), node::wrap(node::integer(0))];
    Node::CoalesceExpr(Box::new(CoalesceExpr { args, ..CoalesceExpr::default() }))
}

/// Another aggregate over the same rows, its argument changed.
fn with_argument(call: &FuncCall, name: &str, change: impl Fn(Node) -> Node) -> FuncCall {
    let argument = call.args.first().and_then(|node| node.node.clone());
    let args = argument.into_iter().map(change).collect();
    FuncCall { agg_filter: call.agg_filter.clone(), ..node::call(name, args) }
}
