//! Queries that find one row by its primary key, or none.
//!
//! Whatever their literals are, there is one way to find the row, and they say no more than which it is. So parameters can stand
//! in the literals' places, and a server that has prepared the text need not parse and plan it again. Any other query may be
//! planned better by who sees its literals, or may see its own text (`current_query()`): those stay as they are.
//!
//! Such queries are quick, too, and so are those that parameters give the key: they may wait for each other. *See* `execute::multiplex`.

use pg_query::protobuf::{AExprKind, Alias, BoolExprType, ColumnRef, RangeVar, SelectStmt, SetOperation};

use super::builder::Builder;
use super::{Context, oid};
use crate::catalog::{Column, Oid, Relation, RelationKind};
use crate::sql::erase::{Erased, erased};
use crate::sql::lift::LiteralKind;
use crate::sql::{Node, names};

/// A longer name may have been cut off, at a whole character of up to four bytes, of which each text's client is told.
/// *Source*: pg_config_manual.h, NAMEDATALEN (64, a NUL included); scansup.c, truncate_identifier.
const WHOLE_NAME_BYTES: usize = 59;

/// What a query's columns are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given<'a> {
    /// Literals, which have been erased from it.
    Literals,
    /// Parameters, of these declared types.
    Parameters(&'a [Oid]),
}

/// Whether a statement finds one row at the most; all its literals, or parameters, are compared with columns of the primary key then.
pub fn finds_one_row(statement: &Node, given: Given<'_>, context: &Context<'_>) -> bool {
    let Node::SelectStmt(select) = statement else { return false };
    let Some(table) = only_table(select) else { return false };
    let builder = Builder::new(context);
    let Some(relation) = builder.table(table).filter(|relation| is_plain(relation)) else {
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
    let only_compared =
        names::inner(&select.where_clause).is_some_and(|node| compares(relation, node, given, &mut compared));
    only_compared
        && builder.system_equality()
        && select.target_list.iter().all(|target| target.node.as_ref().is_some_and(shown))
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
                let names = [&table.relname, &table.schemaname];
                let named = table.catalogname.is_empty() && names.into_iter().all(|name| is_whole(name));
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
    table && relation.family.is_none() && relation.exempt.is_none()
}

/// Whether a condition says of columns of the primary key that they equal what is given, and nothing else; appends the columns.
fn compares<'a>(relation: &'a Relation, node: &Node, given: Given<'_>, columns: &mut Vec<&'a str>) -> bool {
    match node {
        Node::BoolExpr(both) if both.boolop() == BoolExprType::AndExpr => {
            both.args.iter().all(|arg| arg.node.as_ref().is_some_and(|node| compares(relation, node, given, columns)))
        }
        Node::AExpr(equal) if equal.kind() == AExprKind::AexprOp => {
            let sides = (names::inner(&equal.lexpr), names::inner(&equal.rexpr));
            let ((Some(Node::ColumnRef(column)), Some(value)) | (Some(value), Some(Node::ColumnRef(column)))) = sides
            else {
                return false;
            };
            let column = column_of(relation, column).filter(|column| {
                names::operator(&equal.name) == Some(("=", false))
                    && relation.primary_key.contains(&column.name)
                    && is_given(value, given, column.type_oid)
            });
            columns.extend(column.map(|column| column.name.as_str()));
            column.is_some()
        }
        _ => false,
    }
}

/// Whether a value is one of those given, and is looked up in an index as it is.
fn is_given(value: &Node, given: Given<'_>, column: Oid) -> bool {
    match (given, value) {
        (Given::Literals, value) => erased(value).is_some_and(|literal| stays_a_value(literal, column)),
        (Given::Parameters(types), Node::ParamRef(parameter)) => {
            let at = usize::try_from(parameter.number).ok().and_then(|number| number.checked_sub(1));
            let declared = at.and_then(|at| types.get(at)).copied().unwrap_or_default();
            // Without a declared type it is of the column's.
            declared == 0 || declared == column || is_integer(declared) && is_integer(column)
        }
        (Given::Parameters(_), _) => false,
    }
}

fn is_integer(of: Oid) -> bool {
    matches!(of, oid::INT2 | oid::INT4 | oid::INT8)
}

/// Whether a parameter in a literal's place is the same value. A string's type is decided when PostgreSQL prepares the text, and stays
/// when the column's is changed, which may not be known here yet: only types whose values are then the same, or an error, will do
/// (not text, which `char(n)` compares otherwise). A number is cast when it is compared: with an integer that cannot fail.
fn stays_a_value(literal: Erased, column: Oid) -> bool {
    let integer = is_integer(column);
    let typed = match literal.kind {
        LiteralKind::Int4 | LiteralKind::Int8 => integer,
        LiteralKind::Text => integer || column == oid::UUID,
        LiteralKind::Decimal => false,
    };
    // A sign belongs to the constant, not to the literal.
    typed && !literal.negative
}

/// The column that is meant, if it is one of the table's: `name.f` may also call a function, and `ctid` is none of them.
fn column_of<'a>(relation: &'a Relation, reference: &ColumnRef) -> Option<&'a Column> {
    let name = names::string(reference.fields.last()?).filter(|name| is_whole(name))?;
    relation.columns.iter().find(|column| column.name == name)
}

fn is_all(reference: &ColumnRef) -> bool {
    matches!(reference.fields.last().and_then(|field| field.node.as_ref()), Some(Node::AStar(_)))
}

fn is_whole(name: &str) -> bool {
    name.len() <= WHOLE_NAME_BYTES
}
