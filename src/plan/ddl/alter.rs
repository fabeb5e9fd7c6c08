//! ALTER TABLE and RENAME: what would change where a table's rows live, or fill them on each shard for itself.

use pg_query::protobuf::{AlterTableCmd, AlterTableStmt, AlterTableType, ColumnDef, ObjectType, RangeVar, RenameStmt};

use super::constraint::check_constraint;
use super::table::{
    Table, as_table, check_default, check_moment, column, column_constraints, column_type, default_of, existing,
    key_of, same_rows,
};
use crate::catalog::{Column, ColumnDefault, Relation, RelationKind, key_type};
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::write::differing::{has_clock, has_moment, reads_moments};
use crate::plan::{Context, Refusal};
use crate::sql::{Node, names};

/// One whose names and columns say where its rows live: those of a materialized view do not.
fn alterable(name: Option<&RangeVar>, context: &Context<'_>) -> Option<std::sync::Arc<Relation>> {
    existing(name, context).filter(|relation| relation.materialized.is_none())
}

pub fn check_alter(alter: &AlterTableStmt, context: &Context<'_>) -> Result<(), Stop> {
    let Some(relation) = alterable(alter.relation.as_ref(), context) else { return Ok(()) };
    let mut table = as_table(&relation);
    for node in &alter.cmds {
        if let Some(Node::AlterTableCmd(command)) = &node.node {
            check_command(&mut table, &relation, command, context)?;
        }
    }
    Ok(())
}

fn check_command(
    table: &mut Table<'_>,
    relation: &Relation,
    command: &AlterTableCmd,
    context: &Context<'_>,
) -> Result<(), Stop> {
    let is_key = table.key() == Some(command.name.as_str());
    let definition = names::inner(&command.def);
    match (command.subtype(), definition) {
        (AlterTableType::AtAddColumn, Some(Node::ColumnDef(definition))) => {
            let added = column(definition);
            if command.missing_ok && table.columns.iter().any(|known| known.name == added.name) {
                return Ok(());
            }
            fills_rows(table, definition, &added)?;
            check_default(table, definition)?;
            table.columns.push(added);
            let kind = context.rules.kind(table.schema, table.name, &table.columns);
            same_kind(relation, &kind, &table.columns)?;
            column_constraints(table, definition, context)
        }
        (AlterTableType::AtAddConstraint, Some(Node::Constraint(constraint))) => {
            check_constraint(table, constraint, None, context)
        }
        (AlterTableType::AtDropColumn, _) if is_key => Err(key_change(table, "dropping").into()),
        (AlterTableType::AtAlterColumnType, Some(Node::ColumnDef(definition))) if is_key => {
            let (type_oid, typmod, _) = definition.type_name.as_ref().map_or((0, -1, false), column_type);
            let same = key_type(type_oid, typmod).is_some_and(|new| hashes_alike(&table.kind, new));
            // USING could move every row.
            if same && definition.raw_default.is_none() {
                Ok(())
            } else {
                Err(key_change(table, "changing the type of").into())
            }
        }
        (AlterTableType::AtAlterColumnType, Some(Node::ColumnDef(definition))) => {
            names::inner(&definition.raw_default).map_or(Ok(()), |using| check_using(table, relation, using, context))
        }
        (AlterTableType::AtColumnDefault, Some(default)) => {
            let column = relation.columns.iter().find(|column| column.name == command.name);
            let steady = column.is_some_and(|column| !reads_moments(column));
            Ok(check_moment(table, &command.name, default, steady)?)
        }
        (AlterTableType::AtAttachPartition, Some(Node::PartitionCmd(partition))) => {
            let child = alterable(partition.name.as_ref(), context);
            child.map_or(Ok(()), |child| same_rows(&as_table(&child), relation))
        }
        (AlterTableType::AtAddInherit, Some(Node::RangeVar(parent))) => {
            existing(Some(parent), context).map_or(Ok(()), |parent| same_rows(table, &parent))
        }
        _ => Ok(()),
    }
}

/// Each shard computes the new values for itself.
fn check_using(table: &Table<'_>, relation: &Relation, using: &Node, context: &Context<'_>) -> Result<(), Stop> {
    let type_of = |node: &Node| {
        let Node::ColumnRef(column) = node else { return None };
        let name = names::strings(&column.fields)?.pop()?;
        Some(relation.columns.iter().find(|column| column.name == name)?.type_oid)
    };
    let differs = match table.kind {
        RelationKind::Reference => Builder::new(context).may_differ(using, &type_of)?,
        RelationKind::Sharded { .. } => has_clock(using) || has_moment(using),
        _ => false,
    };
    if !differs {
        return Ok(());
    }
    Err(Refusal::unsupported(format!("this USING may give rows of \"{}\" another value on each shard", table.name))
        .hint("Add a column, fill it with values that are computed once, and drop the old one; read dates from texts by to_date or to_timestamp.")
        .into())
}

/// int2 to int8, varchar to text: the value and its hash stay.
fn hashes_alike(kind: &RelationKind, new: crate::catalog::KeyType) -> bool {
    use crate::catalog::KeyType;
    let RelationKind::Sharded { key_type, .. } = kind else { return false };
    match (key_type, new) {
        (KeyType::Integer, KeyType::Integer) | (KeyType::Uuid, KeyType::Uuid) => true,
        (KeyType::Text { max_chars: old }, KeyType::Text { max_chars: new }) => match (old, new) {
            (_, None) => true,
            (Some(old), Some(new)) => *old <= new,
            (None, Some(_)) => false,
        },
        _ => false,
    }
}

/// ADD COLUMN gives existing rows its default, on each shard for itself.
fn fills_rows(table: &Table<'_>, definition: &ColumnDef, added: &Column) -> Result<(), Refusal> {
    let reference = table.kind == RelationKind::Reference;
    let sharded = matches!(table.kind, RelationKind::Sharded { .. });
    let tells_time = default_of(definition).is_some_and(has_clock);
    let constant = default_of(definition).is_none_or(|node| {
        matches!(node, Node::AConst(_))
            || matches!(node, Node::TypeCast(cast) if matches!(names::inner(&cast.arg), Some(Node::AConst(_))))
    });
    let why = match &added.default {
        ColumnDefault::Sequence if reference || sharded => "would number existing rows on each shard for itself",
        ColumnDefault::Expression(_) if reference && !constant => "may give existing rows another value on each shard",
        ColumnDefault::Expression(_) if sharded && tells_time => "would give existing rows each shard's own time",
        _ => return Ok(()),
    };
    Err(Refusal::unsupported(format!("the default of the new column \"{}\" of \"{}\" {why}", added.name, table.name))
        .hint("Add the column without the default, fill it, then set the default."))
}

fn key_change(table: &Table<'_>, verb: &str) -> Refusal {
    Refusal::unsupported(format!(
        "{verb} the sharding key \"{}\" of \"{}\" is not supported",
        table.key().unwrap_or_default(),
        table.name
    ))
    .hint("Make a new table and move the rows.")
}

pub fn check_rename(rename: &RenameStmt, context: &Context<'_>) -> Result<(), Stop> {
    let Some(relation) = alterable(rename.relation.as_ref(), context) else { return Ok(()) };
    match rename.rename_type() {
        ObjectType::ObjectColumn => {
            let table = as_table(&relation);
            if table.key() == Some(rename.subname.as_str()) {
                return Err(key_change(&table, "renaming").into());
            }
            let mut columns = relation.columns.clone();
            columns.iter_mut().filter(|column| column.name == rename.subname).for_each(|column| {
                column.name.clone_from(&rename.newname);
            });
            let kind = context.rules.kind(&relation.schema, &relation.name, &columns);
            same_kind(&relation, &kind, &columns)
        }
        ObjectType::ObjectTable => {
            let kind = context.rules.kind(&relation.schema, &rename.newname, &relation.columns);
            same_kind(&relation, &kind, &relation.columns)
        }
        _ => Ok(()),
    }
}

/// The rows would have to move.
pub fn same_kind(relation: &Relation, kind: &RelationKind, columns: &[Column]) -> Result<(), Stop> {
    let same = match (&relation.kind, kind) {
        (RelationKind::Sharded { .. }, RelationKind::Sharded { .. }) => {
            key_of(&relation.kind, &relation.columns) == key_of(kind, columns)
        }
        (old, new) => std::mem::discriminant(old) == std::mem::discriminant(new),
    };
    // What could not be used before may become what it likes.
    if same || matches!(relation.kind, RelationKind::Unusable { .. }) {
        return Ok(());
    }
    Err(Refusal::unsupported(format!(
        "this would change where the rows of \"{}\" live, which is not supported yet",
        relation.name
    ))
    .hint("Make a new table and move the rows, or give the table a rule of its own in the configuration.")
    .into())
}
