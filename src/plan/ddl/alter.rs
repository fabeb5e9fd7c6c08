//! ALTER TABLE and RENAME: what would change where a table's rows live, or fill them on each shard for itself.

use pg_query::protobuf::{AlterTableCmd, AlterTableStmt, AlterTableType, ObjectType, RangeVar, RenameStmt};

use super::constraint::{check_constraint, is_nondeterministic};
use super::fill::{check_added, check_bound, check_moment, check_using};
use super::table::{Table, as_table, column, column_constraints, column_type, existing, is_table, key_of, same_rows};
use crate::catalog::{Column, Relation, RelationKind, Rules, key_type};
use crate::plan::ir::Stop;
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
    // With the columns that the other commands give it.
    if alter.cmds.iter().any(is_no_inherit) { stays(&relation, &table.columns, context) } else { Ok(()) }
}

fn is_no_inherit(node: &pg_query::protobuf::Node) -> bool {
    matches!(&node.node, Some(Node::AlterTableCmd(command)) if command.subtype() == AlterTableType::AtDropInherit)
}

fn check_command(
    table: &mut Table<'_>,
    relation: &Relation,
    command: &AlterTableCmd,
    context: &Context<'_>,
) -> Result<(), Stop> {
    let is_key = key_to_be(table, context.rules) == Some(command.name.as_str());
    let definition = names::inner(&command.def);
    match (command.subtype(), definition) {
        (AlterTableType::AtAddColumn, Some(Node::ColumnDef(definition))) => {
            let added = column(definition);
            if command.missing_ok && table.columns.iter().any(|known| known.name == added.name) {
                return Ok(());
            }
            check_added(table, definition, &added, context)?;
            table.columns.push(added);
            let kind = context.rules.kind(table.schema, table.name, &table.columns);
            same_kind(relation, &kind, &table.columns, context)?;
            column_constraints(table, definition, context)
        }
        (AlterTableType::AtAddConstraint, Some(Node::Constraint(constraint))) => {
            check_constraint(table, constraint, None, context)
        }
        (AlterTableType::AtDropColumn, _) if is_key => Err(key_change(table, &command.name, "dropping").into()),
        (AlterTableType::AtAlterColumnType, Some(Node::ColumnDef(definition))) if table.key().is_none() || !is_key => {
            let changed = Column { name: command.name.clone(), ..column(definition) };
            if let Some(using) = names::inner(&definition.raw_default) {
                check_using(table, &changed, using, context)?;
            }
            table.columns.iter_mut().filter(|known| known.name == changed.name).for_each(|known| {
                known.type_oid = changed.type_oid;
            });
            Ok(())
        }
        (AlterTableType::AtColumnDefault, Some(default)) => check_moment(table, default, Some(&command.name)),
        (AlterTableType::AtAddOf, _) => Err(Refusal::unsupported("ALTER TABLE OF a type is not supported yet").into()),
        (AlterTableType::AtAlterColumnType, Some(Node::ColumnDef(definition))) => {
            let (type_oid, typmod, _) = definition.type_name.as_ref().map_or((0, -1, false), column_type);
            let same = key_type(type_oid, typmod).is_some_and(|new| hashes_alike(&table.kind, new));
            // USING could move every row; of texts that are equal some would be elsewhere.
            let collation = definition.coll_clause.as_ref().map_or(&[][..], |clause| &clause.collname);
            if same && definition.raw_default.is_none() && !is_nondeterministic(collation, context) {
                Ok(())
            } else {
                Err(key_change(table, &command.name, "changing the type of").into())
            }
        }
        (AlterTableType::AtAttachPartition, Some(Node::PartitionCmd(partition))) => {
            check_bound(table, partition.bound.as_ref())?;
            let child = alterable(partition.name.as_ref(), context);
            child.map_or(Ok(()), |child| same_rows(&as_table(&child), relation))
        }
        (AlterTableType::AtDetachPartition, Some(Node::PartitionCmd(partition))) => {
            alterable(partition.name.as_ref(), context).map_or(Ok(()), |child| stays(&child, &child.columns, context))
        }
        (AlterTableType::AtAddInherit, Some(Node::RangeVar(parent))) => {
            existing(Some(parent), context).map_or(Ok(()), |parent| same_rows(table, &parent))
        }
        _ => Ok(()),
    }
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

/// The key, also where it cannot be hashed: without that column the table would be of another kind.
fn key_to_be<'t>(table: &'t Table<'_>, rules: &'t Rules) -> Option<&'t str> {
    let unusable = matches!(table.kind, RelationKind::Unusable { .. });
    let ruled = || rules.key_of(table.schema, table.name).filter(|_| unusable);
    table.key().or_else(|| ruled().filter(|key| table.columns.iter().any(|column| column.name == *key)))
}

fn key_change(table: &Table<'_>, key: &str, verb: &str) -> Refusal {
    Refusal::unsupported(format!("{verb} the sharding key \"{key}\" of \"{}\" is not supported", table.name))
        .hint("Make a new table and move the rows.")
}

pub fn check_rename(rename: &RenameStmt, context: &Context<'_>) -> Result<(), Stop> {
    if rename.rename_type() == ObjectType::ObjectSchema {
        return check_rename_schema(&rename.subname, &rename.newname, context);
    }
    let Some(relation) = alterable(rename.relation.as_ref(), context) else { return Ok(()) };
    match rename.rename_type() {
        ObjectType::ObjectColumn => {
            let table = as_table(&relation);
            if key_to_be(&table, context.rules) == Some(rename.subname.as_str()) {
                return Err(key_change(&table, &rename.subname, "renaming").into());
            }
            let mut columns = relation.columns.clone();
            columns.iter_mut().filter(|column| column.name == rename.subname).for_each(|column| {
                column.name.clone_from(&rename.newname);
            });
            let kind = context.rules.kind(&relation.schema, &relation.name, &columns);
            same_kind(&relation, &kind, &columns, context)
        }
        // ALTER INDEX renames tables too. Source: tablecmds.c, RangeVarCallbackForAlterRelation.
        ObjectType::ObjectTable | ObjectType::ObjectIndex => {
            let kind = context.rules.kind(&relation.schema, &rename.newname, &relation.columns);
            same_kind(&relation, &kind, &relation.columns, context)
        }
        _ => Ok(()),
    }
}

/// Rules may name the schema.
fn check_rename_schema(old: &str, new: &str, context: &Context<'_>) -> Result<(), Stop> {
    let rules = context.rules;
    for relation in context.catalog.schemas.get(old).into_iter().flat_map(std::collections::HashMap::values) {
        if rules.rule(old, &relation.name) != rules.rule(new, &relation.name) && is_table(relation) {
            same_kind(relation, &rules.kind(new, &relation.name, &relation.columns), &relation.columns, context)?;
        }
    }
    Ok(())
}

/// A partition or child that leaves its parent is what its own name and columns make it.
fn stays(relation: &Relation, columns: &[Column], context: &Context<'_>) -> Result<(), Stop> {
    if follows_parent(relation, columns, context.rules) {
        return Err(Refusal::unsupported(format!(
            "\"{}\" would be of another kind than its parent, whose rows it holds",
            relation.name
        ))
        .hint(format!("Give [tables.{}] in the configuration the same key or kind.", relation.name))
        .into());
    }
    Ok(())
}

/// A partition or child that would be of another kind by itself: its own name says nothing.
fn follows_parent(relation: &Relation, columns: &[Column], rules: &Rules) -> bool {
    let own = rules.kind(&relation.schema, &relation.name, columns);
    relation.is_child && !is_same(&relation.kind, &relation.columns, &own, columns)
}

/// The rows would have to move.
pub fn same_kind(
    relation: &Relation,
    kind: &RelationKind,
    columns: &[Column],
    context: &Context<'_>,
) -> Result<(), Stop> {
    // A child's rows live where its root's do; its own columns say only by which of them it is sharded.
    let of_root = relation.is_child && matches!(relation.kind, RelationKind::Home | RelationKind::Reference);
    let same = of_root
        || is_same(&relation.kind, &relation.columns, kind, columns)
        || follows_parent(relation, &relation.columns, context.rules);
    // What could not be used before, for want of a key, may become what it likes.
    let unusable = matches!(relation.kind, RelationKind::Unusable { .. });
    let table = as_table(relation);
    let free = unusable && key_to_be(&table, context.rules).is_none_or(|key| key_of(kind, columns) == Some(key));
    if same || free {
        return Ok(());
    }
    Err(Refusal::unsupported(format!(
        "this would change where the rows of \"{}\" live, which is not supported yet",
        relation.name
    ))
    .hint("Make a new table and move the rows, or give the table a rule of its own in the configuration.")
    .into())
}

/// Whether rows of both kinds are found in the same way.
fn is_same(old: &RelationKind, old_columns: &[Column], new: &RelationKind, new_columns: &[Column]) -> bool {
    match (old, new) {
        (RelationKind::Sharded { .. }, RelationKind::Sharded { .. }) => {
            key_of(old, old_columns) == key_of(new, new_columns)
        }
        (old, new) => std::mem::discriminant(old) == std::mem::discriminant(new),
    }
}
