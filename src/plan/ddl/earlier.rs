//! DDL of several statements that is planned as one: later ones are judged by the catalog as it was before the earlier ones, so that what
//! depends on these must be found.

use std::collections::HashSet;

use pg_query::protobuf::{AlterTableCmd, AlterTableStmt, AlterTableType, ConstrType, CreateStmt, Node as Wrapped};
use pg_query::protobuf::{ObjectType, RangeVar};

use crate::sql::{Node, names};

/// Names of tables that earlier statements have made or changed, without their schemas.
#[derive(Default)]
pub struct Earlier {
    /// Made, dropped or renamed, columns included: nothing is known of them.
    made: HashSet<String>,
    /// Otherwise changed: where their rows live is as it was.
    changed: HashSet<String>,
    /// A schema got another name.
    schema: bool,
}

/// What ALTER TABLE may do to a table of which nothing is known.
const HARMLESS: [AlterTableType; 9] = [
    AlterTableType::AtChangeOwner,
    AlterTableType::AtDropNotNull,
    AlterTableType::AtEnableRowSecurity,
    AlterTableType::AtDisableRowSecurity,
    AlterTableType::AtForceRowSecurity,
    AlterTableType::AtNoForceRowSecurity,
    AlterTableType::AtSetNotNull,
    AlterTableType::AtSetStatistics,
    AlterTableType::AtSetRelOptions,
];

impl Earlier {
    /// Notes what a statement makes or changes.
    pub fn note(&mut self, node: &Node) {
        match node {
            Node::CreateStmt(create) => self.make(create.relation.as_ref()),
            Node::CreateForeignTableStmt(create) => {
                self.make(create.base_stmt.as_ref().and_then(|create| create.relation.as_ref()));
            }
            Node::ViewStmt(create) => self.make(create.view.as_ref()),
            Node::CompositeTypeStmt(create) => self.make(create.typevar.as_ref()),
            Node::CreateSchemaStmt(create) => {
                create.schema_elts.iter().filter_map(|node| node.node.as_ref()).for_each(|node| self.note(node));
            }
            Node::AlterTableStmt(alter) => {
                self.changed.extend(alter.relation.as_ref().map(|name| name.relname.clone()));
            }
            Node::RenameStmt(rename) => {
                self.schema |= rename.rename_type() == ObjectType::ObjectSchema;
                self.make(rename.relation.as_ref());
                self.made.insert(rename.newname.clone());
            }
            Node::AlterObjectSchemaStmt(alter) => self.make(alter.relation.as_ref()),
            Node::DropStmt(drop) => {
                let names = drop.objects.iter().filter_map(|node| match &node.node {
                    Some(Node::List(parts)) => parts.items.last().and_then(names::string),
                    _ => None,
                });
                self.made.extend(names.map(str::to_owned));
                self.schema |= drop.remove_type() == ObjectType::ObjectSchema;
            }
            _ => {}
        }
    }

    fn make(&mut self, name: Option<&RangeVar>) {
        self.made.extend(name.map(|name| name.relname.clone()));
    }

    /// The table among them on which it depends whether a statement may run.
    pub fn decides<'n>(&self, node: &'n Node) -> Option<&'n str> {
        match node {
            Node::CreateStmt(create) => self.touched(&create_names(create)),
            Node::CreateForeignTableStmt(create) => {
                create.base_stmt.as_ref().and_then(|create| self.touched(&create_names(create)))
            }
            Node::CreateSchemaStmt(create) => {
                create.schema_elts.iter().filter_map(|node| node.node.as_ref()).find_map(|node| self.decides(node))
            }
            Node::IndexStmt(index) if index.unique => self.touched(&index.relation.iter().collect::<Vec<_>>()),
            Node::AlterTableStmt(alter) => self.touched(&self.alter_names(alter)),
            Node::RenameStmt(rename) => self.touched(&rename.relation.iter().collect::<Vec<_>>()),
            Node::AlterObjectSchemaStmt(alter) => self.touched(&alter.relation.iter().collect::<Vec<_>>()),
            _ => None,
        }
    }

    fn touched<'n>(&self, names: &[&'n RangeVar]) -> Option<&'n str> {
        let is_touched = |name: &&str| self.schema || self.made.contains(*name) || self.changed.contains(*name);
        names.iter().map(|name| name.relname.as_str()).find(is_touched)
    }

    /// The tables that decide about an ALTER TABLE.
    fn alter_names<'n>(&self, alter: &'n AlterTableStmt) -> Vec<&'n RangeVar> {
        let mut found = Vec::new();
        for node in &alter.cmds {
            let Some(Node::AlterTableCmd(command)) = &node.node else { continue };
            let promises = command_names(command, &mut found);
            let name = alter.relation.as_ref();
            let unknown = name.is_some_and(|name| self.schema || self.made.contains(&name.relname));
            found.extend(name.filter(|_| promises || unknown && !HARMLESS.contains(&command.subtype())));
        }
        found
    }
}

/// The other tables of a command; and whether it promises what depends on its table's key.
fn command_names<'n>(command: &'n AlterTableCmd, found: &mut Vec<&'n RangeVar>) -> bool {
    match names::inner(&command.def) {
        Some(Node::PartitionCmd(partition)) => {
            found.extend(&partition.name);
            true
        }
        Some(Node::RangeVar(parent)) => {
            found.push(parent);
            true
        }
        Some(Node::ColumnDef(definition)) => constraint_names(&definition.constraints, found),
        Some(constraint @ Node::Constraint(_)) => constraint_name(constraint, found),
        _ => false,
    }
}

/// Tables that are referred to; and whether any of the constraints depends on the key.
fn constraint_names<'n>(constraints: &'n [Wrapped], found: &mut Vec<&'n RangeVar>) -> bool {
    let mut promises = false;
    for node in constraints.iter().filter_map(|node| node.node.as_ref()) {
        promises |= constraint_name(node, found);
    }
    promises
}

fn constraint_name<'n>(node: &'n Node, found: &mut Vec<&'n RangeVar>) -> bool {
    let Node::Constraint(constraint) = node else { return false };
    found.extend(&constraint.pktable);
    matches!(
        constraint.contype(),
        ConstrType::ConstrPrimary | ConstrType::ConstrUnique | ConstrType::ConstrExclusion | ConstrType::ConstrForeign
    )
}

/// The other tables that a new one is made after.
fn create_names(create: &CreateStmt) -> Vec<&RangeVar> {
    let own = create.relation.as_ref();
    let mut found: Vec<&RangeVar> = Vec::new();
    for node in create.table_elts.iter().chain(&create.constraints).chain(&create.inh_relations) {
        match &node.node {
            Some(Node::ColumnDef(definition)) => {
                constraint_names(&definition.constraints, &mut found);
            }
            Some(Node::TableLikeClause(like)) => found.extend(&like.relation),
            Some(Node::RangeVar(parent)) => found.push(parent),
            Some(constraint) => {
                constraint_name(constraint, &mut found);
            }
            None => {}
        }
    }
    found.retain(|name| own.is_none_or(|own| own.relname != name.relname));
    // It may not be there any more.
    found.extend(own.filter(|_| create.if_not_exists));
    found
}
