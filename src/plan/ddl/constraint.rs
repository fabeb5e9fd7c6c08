//! Constraints and indexes that would promise what several shards cannot keep: uniqueness without the key, references to rows of other shards.

use pg_query::protobuf::{ConstrType, Constraint, IndexElem, IndexStmt, Node as Wrapped};

use super::fill::check_moments;
use super::table::{Table, as_table, existing, key_of};
use crate::catalog::RelationKind;
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::{Context, Refusal};
use crate::sql::{Node, names};

/// `column` is that of a column constraint.
pub fn check_constraint(
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
    check_moments(table, constraint, column)?;
    match constraint.contype() {
        // USING INDEX: the index was checked when it was made.
        ConstrType::ConstrPrimary | ConstrType::ConstrUnique if constraint.indexname.is_empty() => {
            check_unique(table, &own(&constraint.keys))
        }
        ConstrType::ConstrExclusion => {
            let equal: Vec<_> =
                constraint.exclusions.iter().filter_map(|node| excluded_by_equality(node, context)).collect();
            check_unique(table, &equal)
        }
        ConstrType::ConstrForeign => check_foreign(table, constraint, &own(&constraint.fk_attrs), context),
        _ => Ok(()),
    }
}

fn excluded_by_equality(node: &Wrapped, context: &Context<'_>) -> Option<String> {
    let Some(Node::List(pair)) = &node.node else { return None };
    let [element, operator] = pair.items.as_slice() else { return None };
    match (&element.node, &operator.node) {
        (Some(Node::IndexElem(element)), Some(Node::List(operator)))
            if names::operator(&operator.items).is_some_and(|op| Builder::new(context).equals(op)) =>
        {
            plain_element(element, context)
        }
        _ => None,
    }
}

/// The column of an index, if values that the index takes for equal are of one hash: with a collation or operators of its own they may
/// not be.
fn plain_element(element: &IndexElem, context: &Context<'_>) -> Option<String> {
    let plain = element.opclass.is_empty() && !is_nondeterministic(&element.collation, context);
    plain.then(|| element.name.clone())
}

/// Whether different texts may be equal in the collation of this name.
pub fn is_nondeterministic(name: &[Wrapped], context: &Context<'_>) -> bool {
    let parts = names::strings(name).unwrap_or_default();
    parts.last().is_some_and(|name| context.catalog.nondeterministic.contains(*name))
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
            key_change(table, constraint, columns, "nd").map_or(Ok(()), |(why, hint)| refuse(why, hint))
        }
        (RelationKind::Sharded { .. }, RelationKind::Reference) => {
            key_change(table, constraint, columns, "cnd").map_or(Ok(()), |(why, hint)| refuse(why, hint))
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

/// Why, and what to do instead, if an action of a foreign key changes the sharding key: the row would stay on the shard of its old one.
/// `updates`: the actions of ON UPDATE that do. A key that is referenced cannot be changed where ON UPDATE CASCADE follows it.
fn key_change(
    table: &Table<'_>,
    constraint: &Constraint,
    columns: &[String],
    updates: &str,
) -> Option<(&'static str, &'static str)> {
    let mine = table.key().filter(|mine| columns.iter().any(|column| column == mine))?;
    let set = names::strings(&constraint.fk_del_set_cols).unwrap_or_default();
    if matches!(constraint.fk_del_action.as_str(), "n" | "d") && (set.is_empty() || set.contains(&mine)) {
        return Some(("ON DELETE would change the sharding key", "List the columns to set, without the key."));
    }
    let updated = &constraint.fk_upd_action;
    (!updated.is_empty() && updates.contains(updated.as_str())).then_some((
        "ON UPDATE would change the sharding key",
        "Leave the action out, and change the rows of both tables.",
    ))
}

pub fn check_index(index: &IndexStmt, context: &Context<'_>) -> Result<(), Stop> {
    let Some(relation) = existing(index.relation.as_ref(), context).filter(|_| index.unique) else { return Ok(()) };
    let columns: Vec<_> = index
        .index_params
        .iter()
        .filter_map(|node| match &node.node {
            Some(Node::IndexElem(element)) => plain_element(element, context),
            _ => None,
        })
        .collect();
    check_unique(&as_table(&relation), &columns)
}
