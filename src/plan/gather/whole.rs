//! The plan that always works: each table is shipped with its columns that the statement might mean, and the statement runs over the
//! copies.

use std::collections::HashMap;
use std::sync::Arc;

use pg_query::protobuf::RangeVar;

use super::node;
use super::part::Parts;
use super::survey::{self, Survey};
use super::{group, row, view};
use crate::catalog::{Oid, Relation, RelationKind};
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::{Context, Refusal};
use crate::sql::{Node, edit, names};

/// `anyarray`: some columns of system views are declared with it, and no table can be (pg_type.dat).
const ANYARRAY: Oid = 2277;

/// Tables of a statement by [`RangeVar::location`].
pub type Tables = HashMap<i32, Arc<Relation>>;

/// Ships every table that `node` names and puts the parts in their places.
pub fn ship(node: &mut Node, context: &Context<'_>, parts: &mut Parts<'_>) -> Result<(), Stop> {
    let builder = Builder::new(context);
    let mut tables = Tables::new();
    view::number(node)?;
    view::relations(node, &builder, &mut |item, relation| {
        readable(relation)?;
        if let Node::RangeVar(name) = item {
            tables.insert(name.location, relation.clone());
        }
        Ok(())
    })?;
    let mut survey = Survey::default();
    survey.node(node)?;
    without_schemas(node)?;
    row::expand(node, &tables)?;
    group::complete(node, &tables, &survey)?;
    view::relations(node, &builder, &mut |item, relation| {
        let Node::RangeVar(name) = item else { return Ok(()) };
        let all = survey::in_full(&survey, name);
        let columns = relation.columns.iter().filter(|column| all || survey.mentioned.contains(&column.name));
        if columns.clone().any(|column| column.type_oid == ANYARRAY) {
            return Err(Refusal::unsupported(format!(
                "columns of type anyarray of \"{}\" are not supported in a query over several shards",
                relation.name
            ))
            .into());
        }
        let columns: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
        let part = table(name, relation, &columns, parts)?;
        let mut copy = node::relation("pg_temp", &part, names::alias_or_name(name));
        if let (Some(copied), Some(alias)) = (&mut copy.alias, name.alias.take()) {
            copied.colnames = alias.colnames;
        }
        *name = copy;
        Ok(())
    })
}

fn readable(relation: &Relation) -> Result<(), Refusal> {
    match &relation.kind {
        RelationKind::Sequence => Err(Refusal::unsupported(format!(
            "reading sequence \"{}\" in a query over several shards is not supported",
            relation.name
        ))),
        RelationKind::Unusable { reason } => Err(crate::plan::from::unusable(relation, reason)),
        RelationKind::Sharded { .. }
        | RelationKind::Reference
        | RelationKind::Home
        | RelationKind::System
        | RelationKind::View { .. } => Ok(()),
    }
}

/// A part that reads these columns of a table; one constant where only rows are counted.
fn table(name: &RangeVar, relation: &Relation, columns: &[&str], parts: &mut Parts<'_>) -> Result<String, Stop> {
    let mut targets: Vec<_> = columns.iter().map(|column| node::target(node::column(&[column]), "")).collect();
    if targets.is_empty() {
        targets.push(node::target(node::yes(), "row"));
    }
    let mut from = node::relation(&relation.schema, &relation.name, "");
    from.inh = name.inh;
    let select = node::select(targets, vec![node::wrap(Node::RangeVar(from))]);
    match parts.target(&select)? {
        Some(target) => parts.add(select, target),
        None => Err(Refusal::unsupported(format!(
            "reading \"{}\" in a query over several shards is not supported",
            relation.name
        ))
        .into()),
    }
}

/// `schema.table.column` -> `table.column`: copies are in no schema of the user's.
pub fn without_schemas(node: &mut Node) -> Result<(), Stop> {
    if let Node::ColumnRef(column) = node {
        let extra = column.fields.len().saturating_sub(2);
        column.fields.drain(..extra);
    }
    edit::children(node, &mut without_schemas)
}
