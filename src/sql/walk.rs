//! Visits the expressions directly below an expression, for every kind of node the grammar can put into one.

use pg_query::protobuf::{self as ast, Node as Wrapped, node::Node};

use super::names::inner;

/// The kind of node cannot be walked: the statement cannot be analysed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

/// Calls `visit` for each child of `node` that is an expression, in order. Sub-selects are the caller's affair: for a
/// SubLink only its test expression is visited; for a function call, its window definition too.
///
/// # Errors
/// [`Unknown`] for a node that is no expression of the raw grammar, and what `visit` returns.
pub fn children<'t, E: From<Unknown>>(
    node: &'t Node,
    visit: &mut dyn FnMut(&'t Node) -> Result<(), E>,
) -> Result<(), E> {
    match node {
        Node::AConst(_)
        | Node::ParamRef(_)
        | Node::ColumnRef(_)
        | Node::AStar(_)
        | Node::SetToDefault(_)
        | Node::SqlvalueFunction(_)
        | Node::CurrentOfExpr(_)
        | Node::MergeSupportFunc(_)
        | Node::String(_)
        | Node::Integer(_)
        | Node::Float(_)
        | Node::Boolean(_)
        | Node::BitString(_)
        | Node::TypeName(_) => Ok(()),
        Node::AExpr(e) => both(&e.lexpr, &e.rexpr, visit),
        Node::BoolExpr(e) => list(&e.args, visit),
        Node::TypeCast(e) => one(&e.arg, visit),
        Node::CollateClause(e) => one(&e.arg, visit),
        Node::FuncCall(e) => {
            list(&e.args, visit)?;
            list(&e.agg_order, visit)?;
            one(&e.agg_filter, visit)?;
            e.over.as_ref().map_or(Ok(()), |window| self::window(window, visit))
        }
        Node::WindowDef(e) => window(e, visit),
        Node::NamedArgExpr(e) => one(&e.arg, visit),
        Node::AIndices(e) => both(&e.lidx, &e.uidx, visit),
        Node::AIndirection(e) => {
            one(&e.arg, visit)?;
            list(&e.indirection, visit)
        }
        Node::AArrayExpr(e) => list(&e.elements, visit),
        Node::RowExpr(e) => list(&e.args, visit),
        Node::List(e) => list(&e.items, visit),
        Node::CaseExpr(e) => {
            one(&e.arg, visit)?;
            list(&e.args, visit)?;
            one(&e.defresult, visit)
        }
        Node::CaseWhen(e) => both(&e.expr, &e.result, visit),
        Node::CoalesceExpr(e) => list(&e.args, visit),
        Node::MinMaxExpr(e) => list(&e.args, visit),
        Node::NullTest(e) => one(&e.arg, visit),
        Node::BooleanTest(e) => one(&e.arg, visit),
        Node::SubLink(e) => one(&e.testexpr, visit),
        Node::ResTarget(e) => {
            one(&e.val, visit)?;
            list(&e.indirection, visit)
        }
        Node::MultiAssignRef(e) => one(&e.source, visit),
        Node::SortBy(e) => one(&e.node, visit),
        Node::GroupingSet(e) => list(&e.content, visit),
        Node::GroupingFunc(e) => list(&e.args, visit),
        Node::IndexElem(e) => one(&e.expr, visit),
        Node::XmlExpr(e) => {
            list(&e.named_args, visit)?;
            list(&e.args, visit)
        }
        Node::XmlSerialize(e) => one(&e.expr, visit),
        Node::DefElem(e) => one(&e.arg, visit),
        _ => json(node, visit),
    }
}

/// The JSON constructors and query functions of PostgreSQL 16 and later.
fn json<'t, E: From<Unknown>>(node: &'t Node, visit: &mut dyn FnMut(&'t Node) -> Result<(), E>) -> Result<(), E> {
    match node {
        Node::JsonIsPredicate(e) => one(&e.expr, visit),
        Node::JsonValueExpr(e) => value(Some(e), visit),
        Node::JsonArgument(e) => value(e.val.as_deref(), visit),
        Node::JsonKeyValue(e) => key_value(e, visit),
        Node::JsonParseExpr(e) => value(e.expr.as_deref(), visit),
        Node::JsonScalarExpr(e) => one(&e.expr, visit),
        Node::JsonSerializeExpr(e) => value(e.expr.as_deref(), visit),
        Node::JsonObjectConstructor(e) => list(&e.exprs, visit),
        Node::JsonArrayConstructor(e) => list(&e.exprs, visit),
        Node::JsonObjectAgg(e) => {
            e.arg.as_ref().map_or(Ok(()), |pair| key_value(pair, visit))?;
            aggregate(e.constructor.as_deref(), visit)
        }
        Node::JsonArrayAgg(e) => {
            value(e.arg.as_deref(), visit)?;
            aggregate(e.constructor.as_deref(), visit)
        }
        Node::JsonFuncExpr(e) => {
            value(e.context_item.as_deref(), visit)?;
            one(&e.pathspec, visit)?;
            list(&e.passing, visit)?;
            behavior(e.on_empty.as_deref(), visit)?;
            behavior(e.on_error.as_deref(), visit)
        }
        _ => Err(Unknown.into()),
    }
}

/// The parts of a window definition.
///
/// # Errors
/// As [`children`].
pub fn window<'t, E: From<Unknown>>(
    window: &'t ast::WindowDef,
    visit: &mut dyn FnMut(&'t Node) -> Result<(), E>,
) -> Result<(), E> {
    list(&window.partition_clause, visit)?;
    list(&window.order_clause, visit)?;
    both(&window.start_offset, &window.end_offset, visit)
}

fn aggregate<'t, E: From<Unknown>>(
    constructor: Option<&'t ast::JsonAggConstructor>,
    visit: &mut dyn FnMut(&'t Node) -> Result<(), E>,
) -> Result<(), E> {
    let Some(constructor) = constructor else { return Ok(()) };
    one(&constructor.agg_filter, visit)?;
    list(&constructor.agg_order, visit)?;
    constructor.over.as_ref().map_or(Ok(()), |definition| window(definition, visit))
}

fn value<'t, E: From<Unknown>>(
    value: Option<&'t ast::JsonValueExpr>,
    visit: &mut dyn FnMut(&'t Node) -> Result<(), E>,
) -> Result<(), E> {
    value.map_or(Ok(()), |value| one(&value.raw_expr, visit))
}

fn key_value<'t, E: From<Unknown>>(
    pair: &'t ast::JsonKeyValue,
    visit: &mut dyn FnMut(&'t Node) -> Result<(), E>,
) -> Result<(), E> {
    one(&pair.key, visit)?;
    value(pair.value.as_deref(), visit)
}

fn behavior<'t, E: From<Unknown>>(
    behavior: Option<&'t ast::JsonBehavior>,
    visit: &mut dyn FnMut(&'t Node) -> Result<(), E>,
) -> Result<(), E> {
    behavior.map_or(Ok(()), |behavior| one(&behavior.expr, visit))
}

fn both<'t, E>(
    first: &'t Option<Box<Wrapped>>,
    second: &'t Option<Box<Wrapped>>,
    visit: &mut dyn FnMut(&'t Node) -> Result<(), E>,
) -> Result<(), E> {
    one(first, visit)?;
    one(second, visit)
}

fn one<'t, E>(node: &'t Option<Box<Wrapped>>, visit: &mut dyn FnMut(&'t Node) -> Result<(), E>) -> Result<(), E> {
    inner(node).map_or(Ok(()), visit)
}

fn list<'t, E>(nodes: &'t [Wrapped], visit: &mut dyn FnMut(&'t Node) -> Result<(), E>) -> Result<(), E> {
    nodes.iter().filter_map(|node| node.node.as_ref()).try_for_each(visit)
}
