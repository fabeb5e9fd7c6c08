//! Queries that find one row by its primary key, or none.
//!
//! Whatever their literals are, PostgreSQL's plan for them is the same, and nothing in them says more than which row it is. So
//! parameters can stand in the literals' places, and a server that has prepared the text need not parse and plan it again. Any
//! other query may be planned better by who sees its literals, or may see its own text (`current_query()`): those stay as they are.

use pg_query::protobuf::{AExprKind, Alias, BoolExprType, ColumnRef, RangeVar, SelectStmt, SetOperation};

use super::Context;
use super::builder::Builder;
use crate::catalog::{Relation, RelationKind};
use crate::sql::erase::erased;
use crate::sql::lift::LiteralKind;
use crate::sql::{Node, names};

/// A longer name may have been cut off, of which each text's client is told. *Source*: pg_config_manual.h, NAMEDATALEN.
const WHOLE_NAME_BYTES: usize = 62;

/// Whether a statement, from which literals have been erased, finds one row at the most; all its literals are values of columns then.
pub fn finds_one_row(statement: &Node, context: &Context<'_>) -> bool {
    let Node::SelectStmt(select) = statement else { return false };
    let Some(table) = only_table(select) else { return false };
    let builder = Builder::new(context);
    let schema = (!table.schemaname.is_empty()).then_some(table.schemaname.as_str());
    let Some(relation) = builder.relation(schema, &table.relname).filter(|relation| is_plain(relation)) else {
        return false;
    };
    let shown = |node: &Node| match node {
        Node::ResTarget(target) if is_whole(&target.name) => match names::inner(&target.val) {
            Some(Node::ColumnRef(column)) => is_all(column) || column_of(relation, column).is_some(),
            _ => false,
        },
        _ => false,
    };
    let mut compared = Vec::new();
    let only_compared = names::inner(&select.where_clause).is_some_and(|node| compares(relation, node, &mut compared));
    only_compared
        && select.target_list.iter().all(|target| target.node.as_ref().is_some_and(shown))
        && !relation.primary_key.is_empty()
        && relation.primary_key.iter().all(|name| compared.contains(&name.as_str()))
}

/// The table of a query that has nothing but a list of columns, one table and a condition.
fn only_table(select: &SelectStmt) -> Option<&RangeVar> {
    let SelectStmt {
        distinct_clause,
        into_clause: None,
        target_list: _,
        from_clause,
        where_clause: _,
        group_clause,
        group_distinct: false,
        having_clause: None,
        window_clause,
        values_lists,
        sort_clause,
        limit_offset: None,
        limit_count: None,
        limit_option: _,
        locking_clause,
        with_clause: None,
        op,
        all: _,
        larg: None,
        rarg: None,
    } = select
    else {
        return None;
    };
    let lists = [distinct_clause, group_clause, window_clause, values_lists, sort_clause, locking_clause];
    if lists.iter().any(|list| !list.is_empty()) || *op != SetOperation::SetopNone as i32 {
        return None;
    }
    match from_clause.as_slice() {
        [item] => match &item.node {
            Some(Node::RangeVar(table)) => {
                let plain = |alias: &Alias| alias.colnames.is_empty() && is_whole(&alias.aliasname);
                let named = is_whole(&table.relname) && is_whole(&table.schemaname);
                (named && table.inh && table.alias.as_ref().is_none_or(plain)).then_some(table)
            }
            _ => None,
        },
        _ => None,
    }
}

/// A table by itself: what it shows is in its rows, and each of them is found in it alone.
fn is_plain(relation: &Relation) -> bool {
    let table = match relation.kind {
        RelationKind::Sharded { .. } | RelationKind::Home => true,
        RelationKind::Reference
        | RelationKind::System
        | RelationKind::View { .. }
        | RelationKind::Sequence
        | RelationKind::Unusable { .. } => false,
    };
    table && !relation.has_heirs && !relation.is_child && relation.family.is_none() && relation.exempt.is_none()
}

/// Whether a condition says of columns that they equal literals and nothing else; appends the columns.
fn compares<'a>(relation: &'a Relation, node: &Node, columns: &mut Vec<&'a str>) -> bool {
    match node {
        Node::BoolExpr(both) if both.boolop() == BoolExprType::AndExpr => {
            both.args.iter().all(|arg| arg.node.as_ref().is_some_and(|node| compares(relation, node, columns)))
        }
        Node::AExpr(equal) if equal.kind() == AExprKind::AexprOp => {
            let sides = (names::inner(&equal.lexpr), names::inner(&equal.rexpr));
            let ((Some(Node::ColumnRef(column)), Some(value)) | (Some(value), Some(Node::ColumnRef(column)))) = sides
            else {
                return false;
            };
            // A sign belongs to the constant, not to the literal.
            let literal = erased(value).is_some_and(|value| !value.negative && value.kind != LiteralKind::Decimal);
            let name =
                column_of(relation, column).filter(|_| literal && names::operator(&equal.name) == Some(("=", false)));
            columns.extend(name);
            name.is_some()
        }
        _ => false,
    }
}

/// The column that is meant, if it is one of the table's: `name.f` may also call a function, and `ctid` is none of them.
fn column_of<'a>(relation: &'a Relation, reference: &ColumnRef) -> Option<&'a str> {
    let name = names::string(reference.fields.last()?).filter(|name| is_whole(name))?;
    relation.columns.iter().map(|column| column.name.as_str()).find(|column| *column == name)
}

fn is_all(reference: &ColumnRef) -> bool {
    matches!(reference.fields.last().and_then(|field| field.node.as_ref()), Some(Node::AStar(_)))
}

fn is_whole(name: &str) -> bool {
    name.len() <= WHOLE_NAME_BYTES
}
