//! DDL on tables that would promise what several shards cannot keep (uniqueness without the key, references to rows of other
//! shards), or change where a table's rows live.

use pg_query::protobuf::{
    AlterTableCmd, AlterTableStmt, AlterTableType, ColumnDef, ConstrType, Constraint, CreateStmt, IndexStmt,
    Node as Wrapped, ObjectType, RangeVar, RenameStmt, TableLikeClause, TypeName,
};

use super::builder::Builder;
use super::ir::Stop;
use super::key;
use super::{Context, Refusal};
use crate::catalog::{Column, ColumnDefault, Oid, Relation, RelationKind, key_type};
use crate::sql::{Node, names};

/// A table as it will be.
struct Table<'t> {
    schema: &'t str,
    name: &'t str,
    columns: Vec<Column>,
    primary_key: Vec<String>,
    kind: RelationKind,
}

/// Refuses what must not be.
pub fn check(node: &Node, context: &Context<'_>) -> Result<(), Stop> {
    match node {
        Node::CreateStmt(create) => check_create(create, context),
        Node::CreateForeignTableStmt(create) => {
            create.base_stmt.as_ref().map_or(Ok(()), |create| check_create(create, context))
        }
        Node::CreateSchemaStmt(schema) => {
            schema.schema_elts.iter().filter_map(|node| node.node.as_ref()).try_for_each(|node| check(node, context))
        }
        Node::IndexStmt(index) => check_index(index, context),
        Node::AlterTableStmt(alter) => check_alter(alter, context),
        Node::RenameStmt(rename) => check_rename(rename, context),
        Node::AlterObjectSchemaStmt(alter) if alter.object_type() == ObjectType::ObjectTable => {
            let Some(relation) = existing(alter.relation.as_ref(), context) else { return Ok(()) };
            let kind = context.rules.kind(&alter.newschema, &relation.name, &relation.columns);
            same_kind(&relation, &kind, &relation.columns)
        }
        _ => Ok(()),
    }
}

fn existing(name: Option<&RangeVar>, context: &Context<'_>) -> Option<std::sync::Arc<Relation>> {
    let name = name?;
    let schema = (!name.schemaname.is_empty()).then_some(name.schemaname.as_str());
    let relation = Builder::new(context).relation(schema, &name.relname).cloned()?;
    let table = match relation.kind {
        RelationKind::Sharded { .. } | RelationKind::Reference | RelationKind::Home | RelationKind::Unusable { .. } => {
            true
        }
        RelationKind::System | RelationKind::View { .. } | RelationKind::Sequence => false,
    };
    table.then_some(relation)
}

/// One whose names and columns say where its rows live: those of a materialized view do not.
fn alterable(name: Option<&RangeVar>, context: &Context<'_>) -> Option<std::sync::Arc<Relation>> {
    existing(name, context).filter(|relation| relation.materialized.is_none())
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
                let relation = existing(like.relation.as_ref(), context);
                columns.extend(relation.map_or_else(Vec::new, |relation| relation.columns.clone()));
            }
            _ => {}
        }
    }
    let kind = context.rules.kind(schema, &name.relname, &columns);
    let primary_key = primary_key(create);
    let table = Table { schema, name: &name.relname, columns, primary_key, kind };
    if let RelationKind::Unusable { reason } = &table.kind {
        return Err(Refusal::unsupported(format!("table \"{}\" could not be used: {reason}", table.name)).into());
    }
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
fn same_rows(table: &Table<'_>, parent: &Relation) -> Result<(), Stop> {
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

fn column(definition: &ColumnDef) -> Column {
    let (type_oid, typmod, serial) = definition.type_name.as_ref().map_or((0, -1, false), column_type);
    let identity = definition.constraints.iter().any(|node| match &node.node {
        Some(Node::Constraint(constraint)) => constraint.contype() == ConstrType::ConstrIdentity,
        _ => false,
    });
    let default = match default_of(definition) {
        _ if serial || identity => ColumnDefault::Sequence,
        Some(node) if draws_number(node) => ColumnDefault::Sequence,
        Some(_) => ColumnDefault::Expression(String::new()),
        None => ColumnDefault::None,
    };
    Column {
        name: definition.colname.clone(),
        type_oid,
        typmod,
        default,
        generated: false,
        type_name: String::new(),
        draws: String::new(),
        always: false,
        collation: 0,
        bytewise: false,
    }
}

fn default_of(definition: &ColumnDef) -> Option<&Node> {
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
fn column_type(name: &TypeName) -> (Oid, i32, bool) {
    let Some(parts) = names::strings(&name.names) else { return (0, -1, false) };
    let text = match parts.as_slice() {
        [text] | ["pg_catalog", text] if name.array_bounds.is_empty() && !name.setof => *text,
        _ => return (0, -1, false),
    };
    let serial = match text {
        "bigserial" | "serial8" => Some(key::oid::INT8),
        "serial" | "serial4" => Some(key::oid::INT4),
        "smallserial" | "serial2" => Some(key::oid::INT2),
        _ => None,
    };
    let typmod = match names::type_modifiers(name).as_deref() {
        Some([length]) => length.saturating_add(4),
        _ => -1,
    };
    (serial.or_else(|| key::type_oid(text)).unwrap_or(0), typmod, serial.is_some())
}

fn column_constraints(table: &Table<'_>, definition: &ColumnDef, context: &Context<'_>) -> Result<(), Stop> {
    for node in &definition.constraints {
        if let Some(Node::Constraint(constraint)) = &node.node {
            check_constraint(table, constraint, Some(&definition.colname), context)?;
        }
    }
    Ok(())
}

impl Table<'_> {
    fn key(&self) -> Option<&str> {
        key_of(&self.kind, &self.columns)
    }
}

fn key_of<'c>(kind: &RelationKind, columns: &'c [Column]) -> Option<&'c str> {
    match kind {
        RelationKind::Sharded { key, .. } => columns.get(*key).map(|column| column.name.as_str()),
        _ => None,
    }
}

// Constraints

/// `column` is that of a column constraint.
fn check_constraint(
    table: &Table<'_>,
    constraint: &Constraint,
    column: Option<&str>,
    context: &Context<'_>,
) -> Result<(), Stop> {
    let own = |list: &[Wrapped]| -> Vec<String> {
        match column {
            Some(column) => vec![column.to_owned()],
            None => names::strings(list).unwrap_or_default().into_iter().map(str::to_owned).collect(),
        }
    };
    match constraint.contype() {
        // USING INDEX: the index was checked when it was made.
        ConstrType::ConstrPrimary | ConstrType::ConstrUnique if constraint.indexname.is_empty() => {
            check_unique(table, &own(&constraint.keys))
        }
        ConstrType::ConstrExclusion => {
            let equal: Vec<_> = constraint.exclusions.iter().filter_map(excluded_by_equality).collect();
            check_unique(table, &equal)
        }
        ConstrType::ConstrForeign => check_foreign(table, constraint, &own(&constraint.fk_attrs), context),
        _ => Ok(()),
    }
}

fn excluded_by_equality(node: &Wrapped) -> Option<String> {
    let Some(Node::List(pair)) = &node.node else { return None };
    let [element, operator] = pair.items.as_slice() else { return None };
    match (&element.node, &operator.node) {
        (Some(Node::IndexElem(element)), Some(Node::List(operator)))
            if names::operator(&operator.items).is_some_and(|(name, _)| name == "=") =>
        {
            Some(element.name.clone())
        }
        _ => None,
    }
}

fn check_unique(table: &Table<'_>, columns: &[String]) -> Result<(), Stop> {
    match table.key() {
        Some(key) if !columns.iter().any(|column| column == key) => Err(Refusal::unsupported(format!(
            "a unique constraint on \"{}\" without its sharding key \"{key}\" cannot be enforced across shards",
            table.name
        ))
        .hint(format!("Add {key} to the constraint's columns."))
        .into()),
        _ => Ok(()),
    }
}

fn check_foreign(
    table: &Table<'_>,
    constraint: &Constraint,
    columns: &[String],
    context: &Context<'_>,
) -> Result<(), Stop> {
    let Some(name) = &constraint.pktable else { return Ok(()) };
    let itself = name.relname == table.name && (name.schemaname.is_empty() || name.schemaname == table.schema);
    let found = existing(Some(name), context);
    let (kind, theirs, primary_key) = match &found {
        _ if itself => (&table.kind, table.columns.as_slice(), &table.primary_key),
        Some(relation) => (&relation.kind, relation.columns.as_slice(), &relation.primary_key),
        None => return Ok(()),
    };
    let refuse = |why: &str, hint: &str| {
        Err(Refusal::unsupported(format!(
            "a foreign key from \"{}\" to \"{}\" cannot be enforced across shards: {why}",
            table.name, name.relname
        ))
        .hint(hint)
        .into())
    };
    match (&table.kind, kind) {
        (RelationKind::Sharded { .. }, RelationKind::Sharded { .. }) => {
            let (mine, theirs) = (table.key().unwrap_or_default(), key_of(kind, theirs).unwrap_or_default());
            // Without a list, the referenced table's primary key is meant.
            let mut referenced = names::strings(&constraint.pk_attrs).unwrap_or_default();
            if referenced.is_empty() {
                referenced.extend(primary_key.iter().map(String::as_str));
            }
            let paired = match referenced.is_empty() {
                // The primary key is not known; only the sharding key can be unique by itself.
                true => columns.len() == 1 && columns.first().is_some_and(|column| column == mine),
                false => columns.iter().zip(&referenced).any(|(column, other)| column == mine && *other == theirs),
            };
            if !paired {
                return refuse(
                    "it does not pair their sharding keys",
                    "Add the sharding key to both sides, and name the referenced columns.",
                );
            }
            let nulled = names::strings(&constraint.fk_del_set_cols).unwrap_or_default();
            let nulls_key = nulled.is_empty() || nulled.contains(&mine);
            if matches!(constraint.fk_del_action.as_str(), "n" | "d") && nulls_key {
                return refuse("ON DELETE would change the sharding key", "List the columns to set, without the key.");
            }
            Ok(())
        }
        (_, RelationKind::Reference) | (RelationKind::Home, RelationKind::Home) => Ok(()),
        (RelationKind::Sharded { .. }, _) => {
            refuse("the referenced rows live on the home shard only", "Make the referenced table a reference table.")
        }
        (_, RelationKind::Sharded { .. }) => {
            refuse("the referenced rows live on several shards", "Give the table the same sharding key.")
        }
        (RelationKind::Reference, _) => refuse(
            "the referenced rows live on the home shard only",
            "Make the referenced table a reference table too.",
        ),
        _ => Ok(()),
    }
}

// CREATE INDEX

fn check_index(index: &IndexStmt, context: &Context<'_>) -> Result<(), Stop> {
    let Some(relation) = existing(index.relation.as_ref(), context).filter(|_| index.unique) else { return Ok(()) };
    let columns: Vec<_> = index
        .index_params
        .iter()
        .filter_map(|node| match &node.node {
            Some(Node::IndexElem(element)) => Some(element.name.clone()),
            _ => None,
        })
        .collect();
    check_unique(&as_table(&relation), &columns)
}

fn as_table(relation: &Relation) -> Table<'_> {
    Table {
        schema: &relation.schema,
        name: &relation.name,
        columns: relation.columns.clone(),
        primary_key: relation.primary_key.clone(),
        kind: relation.kind.clone(),
    }
}

// ALTER TABLE, RENAME

fn check_alter(alter: &AlterTableStmt, context: &Context<'_>) -> Result<(), Stop> {
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
        (AlterTableType::AtAttachPartition, Some(Node::PartitionCmd(partition))) => {
            let child = existing(partition.name.as_ref(), context);
            child.map_or(Ok(()), |child| same_rows(&as_table(&child), relation))
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

/// ADD COLUMN gives existing rows its default, on each shard for itself.
fn fills_rows(table: &Table<'_>, definition: &ColumnDef, added: &Column) -> Result<(), Refusal> {
    let reference = table.kind == RelationKind::Reference;
    let sharded = matches!(table.kind, RelationKind::Sharded { .. });
    let constant = default_of(definition).is_none_or(|node| {
        matches!(node, Node::AConst(_))
            || matches!(node, Node::TypeCast(cast) if matches!(names::inner(&cast.arg), Some(Node::AConst(_))))
    });
    let why = match &added.default {
        ColumnDefault::Sequence if reference || sharded => "would number existing rows on each shard for itself",
        ColumnDefault::Expression(_) if reference && !constant => "may give existing rows another value on each shard",
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

fn check_rename(rename: &RenameStmt, context: &Context<'_>) -> Result<(), Stop> {
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
fn same_kind(relation: &Relation, kind: &RelationKind, columns: &[Column]) -> Result<(), Stop> {
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
