//! Changes syntax trees: visits every node below a node, also whole statements, and prints a tree as text again.

use pg_query::DeparseOptions;
use pg_query::protobuf::{self as ast, Node as Wrapped, ParseResult, RawStmt, SelectStmt, node::Node};

use super::walk::Unknown;

/// A visitor of nodes.
pub type Visit<'v, E> = &'v mut dyn FnMut(&mut Node) -> Result<(), E>;

/// Calls `visit` for each child of `node`: expressions, FROM items, WITH queries, sub-selects.
///
/// # Errors
/// [`Unknown`] for a node that no SELECT of the raw grammar holds, and what `visit` returns.
pub fn children<E: From<Unknown>>(node: &mut Node, visit: Visit<'_, E>) -> Result<(), E> {
    match node {
        Node::SelectStmt(e) => select(e, visit),
        Node::CommonTableExpr(e) => {
            one(&mut e.ctequery, visit)?;
            e.cycle_clause.as_mut().map_or(Ok(()), |cycle| {
                one(&mut cycle.cycle_mark_value, visit)?;
                one(&mut cycle.cycle_mark_default, visit)
            })
        }
        Node::RangeVar(_)
        | Node::LockingClause(_)
        | Node::ColumnDef(_)
        | Node::AConst(_)
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
        Node::RangeSubselect(e) => one(&mut e.subquery, visit),
        Node::RangeFunction(e) => list(&mut e.functions, visit),
        Node::JoinExpr(e) => {
            one(&mut e.larg, visit)?;
            one(&mut e.rarg, visit)?;
            one(&mut e.quals, visit)
        }
        Node::RangeTableSample(e) => {
            one(&mut e.relation, visit)?;
            list(&mut e.args, visit)?;
            one(&mut e.repeatable, visit)
        }
        Node::RangeTableFunc(e) => {
            one(&mut e.docexpr, visit)?;
            one(&mut e.rowexpr, visit)?;
            list(&mut e.namespaces, visit)?;
            list(&mut e.columns, visit)
        }
        Node::RangeTableFuncCol(e) => {
            one(&mut e.colexpr, visit)?;
            one(&mut e.coldefexpr, visit)
        }
        _ => expression(node, visit),
    }
}

/// Calls `visit` for each child of a query, as [`children`] does.
///
/// # Errors
/// What `visit` returns.
pub fn select<E>(e: &mut SelectStmt, visit: Visit<'_, E>) -> Result<(), E> {
    if let Some(with) = &mut e.with_clause {
        list(&mut with.ctes, visit)?;
    }
    statement(&mut e.larg, visit)?;
    statement(&mut e.rarg, visit)?;
    list(&mut e.from_clause, visit)?;
    one(&mut e.where_clause, visit)?;
    list(&mut e.target_list, visit)?;
    list(&mut e.distinct_clause, visit)?;
    list(&mut e.group_clause, visit)?;
    one(&mut e.having_clause, visit)?;
    list(&mut e.window_clause, visit)?;
    list(&mut e.values_lists, visit)?;
    list(&mut e.sort_clause, visit)?;
    one(&mut e.limit_offset, visit)?;
    one(&mut e.limit_count, visit)?;
    list(&mut e.locking_clause, visit)
}

/// A statement that is not held as a node is made one for the visit.
fn statement<E>(select: &mut Option<Box<SelectStmt>>, visit: Visit<'_, E>) -> Result<(), E> {
    let Some(inner) = select.take() else { return Ok(()) };
    let mut node = Node::SelectStmt(inner);
    let result = visit(&mut node);
    if let Node::SelectStmt(inner) = node {
        *select = Some(inner);
    }
    result
}

fn expression<E: From<Unknown>>(node: &mut Node, visit: Visit<'_, E>) -> Result<(), E> {
    match node {
        Node::AExpr(e) => both(&mut e.lexpr, &mut e.rexpr, visit),
        Node::BoolExpr(e) => list(&mut e.args, visit),
        Node::TypeCast(e) => one(&mut e.arg, visit),
        Node::CollateClause(e) => one(&mut e.arg, visit),
        Node::FuncCall(e) => {
            list(&mut e.args, visit)?;
            list(&mut e.agg_order, visit)?;
            one(&mut e.agg_filter, visit)?;
            e.over.as_mut().map_or(Ok(()), |definition| window(definition, visit))
        }
        Node::WindowDef(e) => window(e, visit),
        Node::NamedArgExpr(e) => one(&mut e.arg, visit),
        Node::AIndices(e) => both(&mut e.lidx, &mut e.uidx, visit),
        Node::AIndirection(e) => {
            one(&mut e.arg, visit)?;
            list(&mut e.indirection, visit)
        }
        Node::AArrayExpr(e) => list(&mut e.elements, visit),
        Node::RowExpr(e) => list(&mut e.args, visit),
        Node::List(e) => list(&mut e.items, visit),
        Node::CaseExpr(e) => {
            one(&mut e.arg, visit)?;
            list(&mut e.args, visit)?;
            one(&mut e.defresult, visit)
        }
        Node::CaseWhen(e) => both(&mut e.expr, &mut e.result, visit),
        Node::CoalesceExpr(e) => list(&mut e.args, visit),
        Node::MinMaxExpr(e) => list(&mut e.args, visit),
        Node::NullTest(e) => one(&mut e.arg, visit),
        Node::BooleanTest(e) => one(&mut e.arg, visit),
        Node::SubLink(e) => both(&mut e.testexpr, &mut e.subselect, visit),
        Node::ResTarget(e) => {
            one(&mut e.val, visit)?;
            list(&mut e.indirection, visit)
        }
        Node::SortBy(e) => one(&mut e.node, visit),
        Node::GroupingSet(e) => list(&mut e.content, visit),
        Node::GroupingFunc(e) => list(&mut e.args, visit),
        Node::XmlExpr(e) => {
            list(&mut e.named_args, visit)?;
            list(&mut e.args, visit)
        }
        Node::XmlSerialize(e) => one(&mut e.expr, visit),
        Node::DefElem(e) => one(&mut e.arg, visit),
        Node::JsonIsPredicate(e) => one(&mut e.expr, visit),
        _ => json(node, visit),
    }
}

/// The JSON constructors and query functions of PostgreSQL 16 and later.
fn json<E: From<Unknown>>(node: &mut Node, visit: Visit<'_, E>) -> Result<(), E> {
    match node {
        Node::JsonValueExpr(e) => one(&mut e.raw_expr, visit),
        Node::JsonArgument(e) => value(e.val.as_deref_mut(), visit),
        Node::JsonKeyValue(e) => key_value(e, visit),
        Node::JsonParseExpr(e) => value(e.expr.as_deref_mut(), visit),
        Node::JsonScalarExpr(e) => one(&mut e.expr, visit),
        Node::JsonSerializeExpr(e) => value(e.expr.as_deref_mut(), visit),
        Node::JsonObjectConstructor(e) => list(&mut e.exprs, visit),
        Node::JsonArrayConstructor(e) => list(&mut e.exprs, visit),
        Node::JsonObjectAgg(e) => {
            e.arg.as_mut().map_or(Ok(()), |pair| key_value(pair, visit))?;
            aggregate(e.constructor.as_deref_mut(), visit)
        }
        Node::JsonArrayAgg(e) => {
            value(e.arg.as_deref_mut(), visit)?;
            aggregate(e.constructor.as_deref_mut(), visit)
        }
        Node::JsonFuncExpr(e) => {
            value(e.context_item.as_deref_mut(), visit)?;
            one(&mut e.pathspec, visit)?;
            list(&mut e.passing, visit)?;
            behavior(e.on_empty.as_deref_mut(), visit)?;
            behavior(e.on_error.as_deref_mut(), visit)
        }
        _ => Err(Unknown.into()),
    }
}

fn key_value<E>(pair: &mut ast::JsonKeyValue, visit: Visit<'_, E>) -> Result<(), E> {
    one(&mut pair.key, visit)?;
    value(pair.value.as_deref_mut(), visit)
}

fn aggregate<E>(constructor: Option<&mut ast::JsonAggConstructor>, visit: Visit<'_, E>) -> Result<(), E> {
    let Some(constructor) = constructor else { return Ok(()) };
    one(&mut constructor.agg_filter, visit)?;
    list(&mut constructor.agg_order, visit)?;
    constructor.over.as_mut().map_or(Ok(()), |definition| window(definition, visit))
}

fn behavior<E>(behavior: Option<&mut ast::JsonBehavior>, visit: Visit<'_, E>) -> Result<(), E> {
    behavior.map_or(Ok(()), |behavior| one(&mut behavior.expr, visit))
}

fn value<E>(value: Option<&mut ast::JsonValueExpr>, visit: Visit<'_, E>) -> Result<(), E> {
    value.map_or(Ok(()), |value| one(&mut value.raw_expr, visit))
}

fn window<E>(window: &mut ast::WindowDef, visit: Visit<'_, E>) -> Result<(), E> {
    list(&mut window.partition_clause, visit)?;
    list(&mut window.order_clause, visit)?;
    both(&mut window.start_offset, &mut window.end_offset, visit)
}

fn both<E>(first: &mut Option<Box<Wrapped>>, second: &mut Option<Box<Wrapped>>, visit: Visit<'_, E>) -> Result<(), E> {
    one(first, visit)?;
    one(second, visit)
}

fn one<E>(node: &mut Option<Box<Wrapped>>, visit: Visit<'_, E>) -> Result<(), E> {
    node.as_mut().and_then(|node| node.node.as_mut()).map_or(Ok(()), visit)
}

fn list<E>(nodes: &mut [Wrapped], visit: Visit<'_, E>) -> Result<(), E> {
    nodes.iter_mut().filter_map(|node| node.node.as_mut()).try_for_each(visit)
}

/// The text of a SELECT; `None` if what is printed does not mean the same tree.
pub fn print(select: &SelectStmt) -> Option<String> {
    print_owned(select.clone())
}

/// The same of one that is not needed any more.
pub fn print_owned(select: SelectStmt) -> Option<String> {
    let statement = Wrapped { node: Some(Node::SelectStmt(Box::new(select))) };
    print_statement(RawStmt { stmt: Some(Box::new(statement)), ..RawStmt::default() })
}

/// The text of a statement of any kind; `None` if what is printed does not mean the same tree, and for kinds that `same` does
/// not know.
pub fn print_statement(statement: RawStmt) -> Option<String> {
    let tree = ParseResult { version: VERSION, stmts: vec![statement] };
    let text = super::guarded(|| pg_query::deparse(&tree, DeparseOptions::default()))?.ok()?;
    let mut script = super::parse(&text).ok()?;
    let (Some(printed), None) = (script.statements.pop(), script.statements.pop()) else { return None };
    let printed = printed.tree?.stmt?.node?;
    (super::same::without_places(printed) == super::same::without_places(statement_of(tree)?)).then_some(text)
}

/// PG_VERSION_NUM of the parser; the printer does not look at it.
const VERSION: i32 = 180_000;

fn statement_of(tree: ParseResult) -> Option<Node> {
    tree.stmts.into_iter().next()?.stmt?.node
}
