//! GROUP BY a primary key lets a query use the table's other columns. Copies have no primary key: the columns are added to GROUP BY,
//! which changes no group.

use pg_query::protobuf::{AExprKind, Node as Wrapped, SelectStmt};

use super::node;
use super::qualify::Known;
use super::reference::Content;
use super::survey::{self, Survey};
use super::whole::Tables;
use crate::catalog::Oid;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// json, xml, point, line, path, polygon, lseg, box, circle, refcursor, jsonpath, txid_snapshot and pg_snapshot have no equality to group by
/// (pg_opclass.dat), nor have their arrays.
const UNGROUPABLE: [Oid; 26] = [
    114, 142, 600, 628, 602, 604, 601, 603, 718, 1790, 4072, 2970, 5038, 199, 143, 1017, 629, 1019, 1027, 1018, 1020,
    719, 2201, 4073, 2949, 5039,
];

/// Completes GROUP BY clauses everywhere in `node`.
pub fn complete(node: &mut Node, tables: &Tables, survey: &Survey) -> Result<(), Stop> {
    if let Node::SelectStmt(select) = node {
        level(select, tables, survey);
    }
    edit::children(node, &mut |child| complete(child, tables, survey))
}

fn level(select: &mut SelectStmt, tables: &Tables, survey: &Survey) {
    let mut added = Vec::new();
    for table in survey::tables(select.from_clause.iter().filter_map(|node| node.node.as_ref())) {
        let given = table.alias.as_ref().is_some_and(|alias| !alias.colnames.is_empty());
        let Some(relation) = tables.get(&table.location).filter(|_| !given) else { continue };
        let shown = names::alias_or_name(table);
        if relation.primary_key.is_empty()
            || !relation.primary_key.iter().all(|key| select.group_clause.iter().any(|item| is(item, shown, key)))
        {
            continue;
        }
        let all = survey::in_full(survey, table);
        let others = relation.columns.iter().filter(|column| {
            (all || survey.mentioned.contains(&column.name)) && !UNGROUPABLE.contains(&column.type_oid)
        });
        let missing = others.filter(|column| !select.group_clause.iter().any(|item| is(item, shown, &column.name)));
        added.extend(missing.map(|column| node::wrap(node::column(&[shown, &column.name]))));
    }
    select.group_clause.extend(added);
}

/// The same for one level of a qualified tree: the columns that are used.
pub fn complete_level(select: &mut SelectStmt, known: &Known) -> Result<(), Stop> {
    if select.group_clause.is_empty() {
        return Ok(());
    }
    let mut used = Content::default();
    let parts = [&select.target_list, &select.sort_clause, &select.distinct_clause, &select.window_clause];
    for item in parts.into_iter().flatten().chain(select.having_clause.as_deref()).filter_map(|item| item.node.as_ref())
    {
        used.add(&mut item.clone())?;
    }
    let mut added = Vec::new();
    for (table, column) in &used.columns {
        let Some(relation) = known.tables.get(table) else { continue };
        let grouped = |column: &String| select.group_clause.iter().any(|item| is(item, table, column));
        let type_oid = known.types.get(&(table.clone(), column.clone()));
        if !relation.primary_key.is_empty()
            && relation.primary_key.iter().all(grouped)
            && !grouped(column)
            && type_oid.is_some_and(|type_oid| !UNGROUPABLE.contains(type_oid))
        {
            added.push(node::wrap(node::column(&[table, column])));
        }
    }
    select.group_clause.extend(added);
    Ok(())
}

fn is(item: &Wrapped, table: &str, column: &str) -> bool {
    let Some(Node::ColumnRef(reference)) = &item.node else { return false };
    match names::strings(&reference.fields).unwrap_or_default().as_slice() {
        [only] => *only == column,
        [.., qualifier, last] => *qualifier == table && *last == column,
        [] => false,
    }
}

/// Whether an expression is certain to stay one about columns. Where PostgreSQL finds that one is a constant, grouping sets leave it as it is in
/// outputs but the first, instead of NULL (up to 17): a column in its place would not do. *Source*: set_upper_references, setrefs.c.
pub fn lasts(node: &Node) -> bool {
    let operands =
        |all: &[&Node]| all.iter().any(|node| lasts(node)) && all.iter().all(|node| lasts(node) || plain(node));
    match node {
        Node::ColumnRef(_) => true,
        Node::AExpr(e) if e.kind() == AExprKind::AexprOp => {
            operands(&[&e.lexpr, &e.rexpr].into_iter().filter_map(names::inner).collect::<Vec<_>>())
        }
        Node::FuncCall(call) => operands(&call.args.iter().filter_map(|node| node.node.as_ref()).collect::<Vec<_>>()),
        Node::TypeCast(cast) => names::inner(&cast.arg).is_some_and(lasts),
        Node::CollateClause(clause) => names::inner(&clause.arg).is_some_and(lasts),
        _ => false,
    }
}

/// A constant that is not NULL.
fn plain(node: &Node) -> bool {
    match node {
        Node::AConst(_) => !names::is_null(node),
        Node::TypeCast(cast) => names::inner(&cast.arg).is_some_and(plain),
        _ => false,
    }
}
