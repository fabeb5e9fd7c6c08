//! DDL on tables that would promise what several shards cannot keep (uniqueness without the key, references to rows of other
//! shards), or change where a table's rows live.

use pg_query::protobuf::{
    ColumnDef, ConstrType, Constraint, CreateSchemaStmt, CreateStmt, Node as Wrapped, ObjectType, RangeVar,
    RoleSpecType, TableLikeClause, TypeName,
};

use super::alter::{check_alter, check_rename, same_kind};
use super::constraint::{check_constraint, check_index, is_nondeterministic};
use super::earlier::Earlier;
use super::fill::{check_bound, check_domain};
use super::frozen;
use crate::catalog::{Column, ColumnDefault, Oid, Relation, RelationKind};
use crate::plan::builder::Builder;
use crate::plan::built_in::oid;
use crate::plan::ir::Stop;
use crate::plan::key;
use crate::plan::{Context, Refusal};
use crate::sql::{Node, names};

/// A table as it will be.
pub struct Table<'t> {
    pub schema: &'t str,
    pub name: &'t str,
    pub columns: Vec<Column>,
    pub primary_key: Vec<String>,
    pub kind: RelationKind,
}

/// Refuses what must not be.
pub fn check(node: &Node, context: &Context<'_>) -> Result<(), Stop> {
    frozen::check(node, context)?;
    match node {
        Node::CreateStmt(create) => check_create(create, context),
        Node::CreateForeignTableStmt(create) => {
            create.base_stmt.as_ref().map_or(Ok(()), |create| check_create(create, context))
        }
        Node::CreateSchemaStmt(schema) => check_schema(schema, context),
        Node::CreateDomainStmt(create) => {
            check_domain(create.type_name.as_ref(), create.constraints.iter().filter_map(|node| node.node.as_ref()))
        }
        Node::AlterDomainStmt(alter) => check_domain(None, names::inner(&alter.def).into_iter()),
        Node::IndexStmt(index) => check_index(index, context),
        Node::AlterTableStmt(alter) => check_alter(alter, context),
        Node::RenameStmt(rename) => check_rename(rename, context),
        Node::AlterObjectSchemaStmt(alter) if alter.object_type() == ObjectType::ObjectTable => {
            let Some(relation) = existing(alter.relation.as_ref(), context) else { return Ok(()) };
            let kind = context.rules.kind(&alter.newschema, &relation.name, &relation.columns);
            same_kind(&relation, &kind, &relation.columns, context)
        }
        _ => Ok(()),
    }
}

pub fn existing(name: Option<&RangeVar>, context: &Context<'_>) -> Option<std::sync::Arc<Relation>> {
    let relation = Builder::new(context).table(name?).cloned()?;
    is_table(&relation).then_some(relation)
}

/// Neither a view nor a sequence, nor PostgreSQL's own.
pub fn is_table(relation: &Relation) -> bool {
    match relation.kind {
        RelationKind::Sharded { .. } | RelationKind::Reference | RelationKind::Home | RelationKind::Unusable { .. } => {
            true
        }
        RelationKind::System | RelationKind::View { .. } | RelationKind::Sequence => false,
    }
}

// CREATE SCHEMA

/// Its elements are made in it, and may name each other: what the catalog does not have yet cannot be judged.
fn check_schema(create: &CreateSchemaStmt, context: &Context<'_>) -> Result<(), Stop> {
    let owner = create.authrole.as_ref().map(|role| match role.roletype() {
        RoleSpecType::RolespecCstring => role.rolename.as_str(),
        _ => context.role,
    });
    let name = if create.schemaname.is_empty() { owner.unwrap_or_default() } else { create.schemaname.as_str() };
    let path: Vec<String> = std::iter::once(name.to_owned()).chain(context.search_path.iter().cloned()).collect();
    let context = Context { search_path: &path, ..*context };
    let mut earlier = Earlier::default();
    for node in create.schema_elts.iter().filter_map(|node| node.node.as_ref()) {
        earlier.note(node);
    }
    for node in create.schema_elts.iter().filter_map(|node| node.node.as_ref()) {
        if let Some(named) = earlier.decides(node) {
            return Err(Refusal::unsupported(format!(
                "what CREATE SCHEMA makes cannot be checked against \"{named}\", which it makes too"
            ))
            .hint("CREATE SCHEMA first, then its tables, indexes and constraints.")
            .into());
        }
        check(node, &context)?;
    }
    Ok(())
}

// CREATE TABLE

fn check_create(create: &CreateStmt, context: &Context<'_>) -> Result<(), Stop> {
    let Some(name) = &create.relation else { return Ok(()) };
    if create.if_not_exists && existing(Some(name), context).is_some() {
        return Ok(());
    }
    if create.of_typename.is_some() {
        return Err(Refusal::unsupported("CREATE TABLE OF a type is not supported yet")
            .hint("List the columns.")
            .into());
    }
    let default_schema = context.search_path.first().map_or("public", String::as_str);
    let schema = if name.schemaname.is_empty() { default_schema } else { name.schemaname.as_str() };
    let mut columns = Vec::new();
    for parent in &create.inh_relations {
        if let Some(Node::RangeVar(parent)) = &parent.node {
            columns.extend(existing(Some(parent), context).map_or_else(Vec::new, |parent| parent.columns.clone()));
        }
    }
    for node in &create.table_elts {
        match &node.node {
            Some(Node::ColumnDef(definition)) => columns.push(column(definition)),
            Some(Node::TableLikeClause(like)) => {
                let relation = liked(like, context)?;
                let generated = like.options & LIKE_GENERATED != 0;
                let copied = |column: &Column| Column { generated: column.generated && generated, ..column.clone() };
                columns.extend(relation.columns.iter().map(copied));
            }
            _ => {}
        }
    }
    let kind = kind_of_new(create, (schema, &name.relname), &columns, context);
    check_key_collation(create, key_of(&kind, &columns), context)?;
    let primary_key = primary_key(create);
    let table = Table { schema, name: &name.relname, columns, primary_key, kind };
    if let RelationKind::Unusable { reason } = &table.kind {
        return Err(Refusal::unsupported(format!("table \"{}\" could not be used: {reason}", table.name)).into());
    }
    check_bound(&table, create.partbound.as_ref())?;
    for parent in &create.inh_relations {
        if let Some(Node::RangeVar(parent)) = &parent.node
            && let Some(parent) = existing(Some(parent), context)
        {
            same_rows(&table, &parent)?;
        }
    }
    for node in &create.table_elts {
        if let Some(Node::TableLikeClause(like)) = &node.node {
            check_like(&table, like, context)?;
        }
    }
    for node in create.table_elts.iter().chain(&create.constraints) {
        match &node.node {
            Some(Node::ColumnDef(definition)) => column_constraints(&table, definition, context)?,
            Some(Node::Constraint(constraint)) => check_constraint(&table, constraint, None, context)?,
            _ => {}
        }
    }
    Ok(())
}

/// A partition or child is of its parent's kind, as the catalog has it of those that there are, unless the configuration names it.
fn kind_of_new(
    create: &CreateStmt,
    (schema, name): (&str, &str),
    columns: &[Column],
    context: &Context<'_>,
) -> RelationKind {
    let own = context.rules.kind(schema, name, columns);
    let parent = create.inh_relations.iter().find_map(|parent| match &parent.node {
        Some(Node::RangeVar(parent)) => existing(Some(parent), context),
        _ => None,
    });
    let Some(parent) = parent.filter(|_| context.rules.rule(schema, name).is_none()) else { return own };
    match &parent.kind {
        RelationKind::Sharded { key_type, .. } => {
            let key = key_of(&parent.kind, &parent.columns);
            let key = columns.iter().position(|column| Some(column.name.as_str()) == key);
            key.map_or(own, |key| RelationKind::Sharded { key, key_type: *key_type })
        }
        kind => kind.clone(),
    }
}

/// CREATE_TABLE_LIKE_GENERATED, parsenodes.h.
const LIKE_GENERATED: u32 = 1 << 4;

/// Texts that are equal must be of one hash.
fn check_key_collation(create: &CreateStmt, key: Option<&str>, context: &Context<'_>) -> Result<(), Stop> {
    let collated = |node: &Wrapped| match &node.node {
        Some(Node::ColumnDef(column)) if Some(column.colname.as_str()) == key => {
            column.coll_clause.as_ref().is_some_and(|clause| is_nondeterministic(&clause.collname, context))
        }
        _ => false,
    };
    if !create.table_elts.iter().any(collated) {
        return Ok(());
    }
    Err(Refusal::unsupported(format!(
        "the sharding key \"{}\" has a nondeterministic collation, in which texts of different hashes are equal",
        key.unwrap_or_default()
    ))
    .hint("Give the key a deterministic collation.")
    .into())
}

/// What LIKE takes the columns of: a table, a view, or one of PostgreSQL's own.
fn liked(like: &TableLikeClause, context: &Context<'_>) -> Result<std::sync::Arc<Relation>, Stop> {
    let name = like.relation.as_ref().ok_or(Stop::Fails)?;
    let found = Builder::new(context).table(name).cloned();
    found.ok_or_else(|| {
        Refusal::unsupported(format!("LIKE \"{}\": no table or view of that name is known", name.relname))
            .hint("List the columns.")
            .into()
    })
}

/// CREATE_TABLE_LIKE_INDEXES, parsenodes.h.
const LIKE_INDEXES: u32 = 1 << 6;

/// INCLUDING INDEXES copies unique ones, which have the key of the table they were made for.
fn check_like(table: &Table<'_>, like: &TableLikeClause, context: &Context<'_>) -> Result<(), Stop> {
    let Some(key) = table.key().filter(|_| like.options & LIKE_INDEXES != 0) else { return Ok(()) };
    let Some(source) = existing(like.relation.as_ref(), context) else { return Ok(()) };
    if key_of(&source.kind, &source.columns) == Some(key) {
        return Ok(());
    }
    Err(Refusal::unsupported(format!(
        "unique indexes of \"{}\" without the sharding key \"{key}\" of \"{}\" cannot be enforced across shards",
        source.name, table.name
    ))
    .hint(format!("Leave out INCLUDING INDEXES, and add constraints that have {key}."))
    .into())
}

/// A partition or child holds rows of its parent: they must be found by the same key.
pub fn same_rows(table: &Table<'_>, parent: &Relation) -> Result<(), Stop> {
    let same = match (&table.kind, &parent.kind) {
        (RelationKind::Sharded { .. }, RelationKind::Sharded { .. }) => {
            table.key() == key_of(&parent.kind, &parent.columns)
        }
        (mine, theirs) => std::mem::discriminant(mine) == std::mem::discriminant(theirs),
    };
    if same {
        return Ok(());
    }
    Err(Refusal::unsupported(format!(
        "\"{}\" would not be of the same kind as \"{}\", whose rows it is to hold",
        table.name, parent.name
    ))
    .hint(format!("Give [tables.{}] in the configuration the same key or kind.", table.name))
    .into())
}

/// The columns of a new table's primary key.
fn primary_key(create: &CreateStmt) -> Vec<String> {
    let is_primary = |constraint: &Constraint| constraint.contype() == ConstrType::ConstrPrimary;
    for node in create.table_elts.iter().chain(&create.constraints) {
        match &node.node {
            Some(Node::ColumnDef(definition)) => {
                let mut constraints = definition.constraints.iter();
                if constraints.any(|node| matches!(&node.node, Some(Node::Constraint(own)) if is_primary(own))) {
                    return vec![definition.colname.clone()];
                }
            }
            Some(Node::Constraint(constraint)) if is_primary(constraint) => {
                let columns = names::strings(&constraint.keys).unwrap_or_default();
                return columns.into_iter().map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    Vec::new()
}

pub fn column(definition: &ColumnDef) -> Column {
    let (type_oid, typmod, serial) = definition.type_name.as_ref().map_or((0, -1, false), column_type);
    let is = |kind: ConstrType| {
        definition
            .constraints
            .iter()
            .any(|node| matches!(&node.node, Some(Node::Constraint(constraint)) if constraint.contype() == kind))
    };
    let (identity, generated) = (is(ConstrType::ConstrIdentity), is(ConstrType::ConstrGenerated));
    let default = match default_of(definition) {
        _ if serial || identity => ColumnDefault::Sequence,
        Some(node) if draws_number(node) => ColumnDefault::Sequence,
        Some(_) => ColumnDefault::Expression(String::new()),
        None => ColumnDefault::None,
    };
    Column { default, generated, ..Column::new(definition.colname.clone(), type_oid, typmod) }
}

pub fn default_of(definition: &ColumnDef) -> Option<&Node> {
    definition.constraints.iter().find_map(|node| match &node.node {
        Some(Node::Constraint(constraint)) if constraint.contype() == ConstrType::ConstrDefault => {
            names::inner(&constraint.raw_expr)
        }
        _ => None,
    })
}

fn draws_number(node: &Node) -> bool {
    let mut found = matches!(node, Node::FuncCall(call) if names::qualified(&call.funcname).is_some_and(|(_, name)| name == "nextval"));
    let visited: Result<(), crate::sql::walk::Unknown> = crate::sql::walk::children(node, &mut |child| {
        found |= draws_number(child);
        Ok(())
    });
    found || visited.is_err()
}

/// Type, modifier, and whether it is a serial. Types that cannot be keys are 0.
pub fn column_type(name: &TypeName) -> (Oid, i32, bool) {
    let Some(parts) = names::strings(&name.names) else { return (0, -1, false) };
    let text = match parts.as_slice() {
        [text] | ["pg_catalog", text] if name.array_bounds.is_empty() && !name.setof => *text,
        _ => return (0, -1, false),
    };
    let serial = match text {
        "bigserial" | "serial8" => Some(oid::INT8),
        "serial" | "serial4" => Some(oid::INT4),
        "smallserial" | "serial2" => Some(oid::INT2),
        _ => None,
    };
    let typmod = match names::type_modifiers(name).as_deref() {
        Some([length]) => length.saturating_add(4),
        _ => -1,
    };
    (serial.or_else(|| key::type_oid(text)).unwrap_or(0), typmod, serial.is_some())
}

pub fn column_constraints(table: &Table<'_>, definition: &ColumnDef, context: &Context<'_>) -> Result<(), Stop> {
    for node in &definition.constraints {
        if let Some(Node::Constraint(constraint)) = &node.node {
            check_constraint(table, constraint, Some(&definition.colname), context)?;
        }
    }
    Ok(())
}

impl Table<'_> {
    pub fn key(&self) -> Option<&str> {
        key_of(&self.kind, &self.columns)
    }
}

pub fn key_of<'c>(kind: &RelationKind, columns: &'c [Column]) -> Option<&'c str> {
    match kind {
        RelationKind::Sharded { key, .. } => columns.get(*key).map(|column| column.name.as_str()),
        _ => None,
    }
}

pub fn as_table(relation: &Relation) -> Table<'_> {
    Table {
        schema: &relation.schema,
        name: &relation.name,
        columns: relation.columns.clone(),
        primary_key: relation.primary_key.clone(),
        kind: relation.kind.clone(),
    }
}
