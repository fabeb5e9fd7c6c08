//! Collations of expressions that become columns of parts: one that is written wins over those of columns, and a column has none that is
//! written (assign_collations_walker, parse_collate.c); nor can a column's be undetermined (CREATE TABLE AS).

use std::collections::BTreeSet;

use pg_query::protobuf::{CollateClause, Node as Wrapped, SelectStmt, SetOperation};

use super::qualify::Known;
use super::{node, reference};
use crate::catalog::Oid;
use crate::plan::built_in::oid;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// The column that holds `value`, with the collation that is written for it.
pub fn written(value: &Node, column: Node) -> Node {
    match value {
        Node::CollateClause(clause) => {
            Node::CollateClause(Box::new(CollateClause { arg: node::boxed(column), ..clause.as_ref().clone() }))
        }
        _ => column,
    }
}

/// Whether a collation is written within it, which [`written`] does not find.
pub fn within(value: &Node, known: &Known) -> Result<bool, Stop> {
    Ok(!matches!(value, Node::CollateClause(_)) && has_collation(value, known) && Found::of(value, known)?.written)
}

/// The same of an output of a query, where another query decides with it on the collation of both.
pub fn within_outputs(select: &SelectStmt, known: &Known) -> Result<bool, Stop> {
    if select.op() != SetOperation::SetopNone {
        return Ok(false);
    }
    for value in outputs(&select.target_list) {
        if within(value, known)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether it is certain to have a collation, as far as it is made of columns of tables.
pub fn determined(value: &Node, known: &Known) -> Result<bool, Stop> {
    if matches!(value, Node::ColumnRef(_) | Node::CollateClause(_)) || !has_collation(value, known) {
        return Ok(true);
    }
    let found = Found::of(value, known)?;
    Ok(found.written || found.columns.len() < 2)
}

/// The same of the outputs of a query, and of those that it combines.
pub fn determined_outputs(select: &SelectStmt, known: &Known) -> Result<bool, Stop> {
    for side in [&select.larg, &select.rarg].into_iter().flatten() {
        if !determined_outputs(side, known)? {
            return Ok(false);
        }
    }
    for value in outputs(&select.target_list) {
        if !determined(value, known)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Values of output columns.
pub fn outputs(targets: &[Wrapped]) -> impl Iterator<Item = &Node> {
    targets.iter().filter_map(|target| match &target.node {
        Some(Node::ResTarget(target)) => names::inner(&target.val),
        _ => None,
    })
}

/// Whether values of its type have one; yes where the type is not known.
fn has_collation(value: &Node, known: &Known) -> bool {
    const WITHOUT: [Oid; 13] = [
        oid::BOOL,
        oid::INT2,
        oid::INT4,
        oid::INT8,
        oid::NUMERIC,
        oid::FLOAT4,
        oid::FLOAT8,
        oid::MONEY,
        oid::DATE,
        oid::TIMESTAMP,
        oid::TIMESTAMPTZ,
        oid::INTERVAL,
        oid::UUID,
    ];
    known.type_of(value).is_none_or(|of| !WITHOUT.contains(&of))
}

/// *Source*: pg_collation.dat.
const DEFAULT: Oid = 100;

/// What decides on the collation of an expression.
#[derive(Default)]
struct Found {
    /// COLLATE.
    written: bool,
    /// Collations of columns, but the default one.
    columns: BTreeSet<Oid>,
}

impl Found {
    fn of(value: &Node, known: &Known) -> Result<Found, Stop> {
        let mut found = Found::default();
        found.add(&mut value.clone(), known)?;
        Ok(found)
    }

    fn add(&mut self, node: &mut Node, known: &Known) -> Result<(), Stop> {
        match node {
            Node::CollateClause(_) => self.written = true,
            // A query's output has its own.
            Node::SelectStmt(_) => return Ok(()),
            _ => {}
        }
        if let Some((item, name)) = reference::of(node)
            && let Some(table) = known.tables.get(item)
            && let Some(column) = table.columns.iter().find(|column| column.name == name)
            && ![0, DEFAULT].contains(&column.collation)
        {
            self.columns.insert(column.collation);
        }
        edit::children(node, &mut |child| self.add(child, known))
    }
}
