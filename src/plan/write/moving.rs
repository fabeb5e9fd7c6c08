//! UPDATE of the sharding key: rows that are taken from where they are and put where their new key says.

use super::move_texts::{Texts, alone, returns_others};
use crate::catalog::{KeyType, Relation, RelationKind, Stamps};
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::key::Class;
use crate::plan::{Computed, KeySource, Keyed, NullKey, Pin, Refusal, Several, Target, When};
use crate::sql::{Node, names};
use crate::wire::reply::ColumnName;

/// An UPDATE that may move rows to other shards, as the DELETE that gives the changed rows and the INSERT that stores them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// DELETE ... RETURNING the rows as they will be, a column each.
    pub take: String,
    /// EXPLAIN of the statement itself: a server checks the rights that it needs.
    pub allowed: String,
    /// Where it runs.
    pub from: Box<Target>,
    /// The statement itself, if all rows and the new key are on one shard.
    pub stays: Option<Box<Target>>,
    /// INSERT INTO ... up to VALUES.
    pub put: String,
    /// A query for no row of these columns.
    pub nothing: String,
    /// RETURNING ..., or nothing.
    pub returning: String,
    /// The key's place among the columns.
    pub key: usize,
    /// How it is hashed.
    pub key_type: KeyType,
    /// A row without a key is refused by any shard.
    pub key_not_null: bool,
    /// The key's column, for messages.
    pub column: ColumnName,
}

/// What the builder notes of a SET of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The value, if it is certain.
    pub source: Option<KeySource>,
    /// Why rows cannot be moved, if some are.
    pub refusal: Option<Refusal>,
}

impl<'a> Builder<'a> {
    /// Notes a SET of the key in an UPDATE.
    pub fn set_key(&mut self, value: &'a Node, relation: &Relation) {
        let RelationKind::Sharded { key, key_type } = relation.kind else { return };
        let Some(column) = relation.columns.get(key) else { return };
        // Of `(a, b) = ...`, if it has a value of its own.
        let own = alone(value);
        let source = own.and_then(|value| self.source(value, Class::of_key(key_type), column.type_oid));
        let refusal = self.unmovable(own, relation, &column.name);
        self.new_keys.push(NewKey { source, refusal });
    }

    /// Why rows cannot be moved to where this value says.
    fn unmovable(&self, own: Option<&Node>, relation: &Relation, column: &str) -> Option<Refusal> {
        if self.text.is_none()
            || matches!(own, Some(Node::SetToDefault(_)))
            || relation.columns.iter().any(|column| column.type_name.is_empty())
        {
            return Some(unmoved(relation, column));
        }
        if relation.cascades {
            return Some(
                Refusal::unsupported(format!(
                    "changing the sharding key \"{column}\" of \"{}\" is not supported: a foreign key's action would change rows of other tables",
                    relation.name
                ))
                .hint("Change the rows of both tables by DELETE and INSERT."),
            );
        }
        let meets = match relation.stamps {
            _ if self.secured(relation) => Some("policies of row security"),
            Stamps::Alike | Stamps::Freely => Some("triggers"),
            Stamps::None => None,
        };
        let meets = meets?;
        let refusal = Refusal::unsupported(format!(
            "changing the sharding key \"{column}\" of \"{}\" is not supported: a moved row is deleted and inserted, and would meet other \
             {meets} than one that is updated",
            relation.name
        ));
        Some(refusal.hint("Change the row by DELETE and INSERT."))
    }

    /// Whether UPDATEs set the key of all rows that are found like this to what it is: they are on one shard, and stay there.
    pub fn keeps_keys(&self, found: &Target) -> bool {
        let Target::Keyed(Keyed { pins, .. }) = found else { return false };
        let is_kept = |new_key: &NewKey| {
            let source = new_key.source.clone().map(|source| self.with_type(source));
            source.is_some_and(|source| are_pinned(pins, &source))
        };
        !self.new_keys.is_empty() && self.new_keys.iter().all(is_kept)
    }

    /// The route of an UPDATE of the key that may change it, whose rows are to be found like this.
    pub fn moved(&self, found: Target) -> Result<Target, Stop> {
        let Some(new_key) = self.new_keys.last() else { return Ok(found) };
        let source = new_key.source.clone().map(|source| self.with_type(source));
        if let Some(refusal) = self.new_keys.iter().find_map(|new_key| new_key.refusal.as_ref()) {
            return Err(refusal.clone().into());
        }
        let found = match found {
            // With the time as a constant it is planned anew.
            Target::Computed(computed) => {
                return Ok(Target::Computed(Box::new(Computed { when: When::Anew, ..*computed })));
            }
            found => found,
        };
        let target = self.writes.first().and_then(|write| self.leaves.get(write.target.0));
        let (Some(text), Some(leaf)) = (self.text, target) else { return Err(unanalysed().into()) };
        let RelationKind::Sharded { key, key_type } = leaf.relation.kind else { return Ok(found) };
        let relation = &leaf.relation;
        let stays = match (&found, source) {
            (Target::Keyed(keyed), Some(source)) => {
                let sources = vec![source];
                let new = Pin { relation: relation.name.clone(), key_type, sources, null: NullKey::refused(relation) };
                let pins = keyed.pins.iter().cloned().chain([new]).collect();
                Some(Box::new(Target::Keyed(Keyed { pins, several: Several::Scatter, ..keyed.clone() })))
            }
            _ => None,
        };
        let column = relation.columns.get(key).map(|column| column.name.clone()).unwrap_or_default();
        if let Target::Keyed(Keyed { several: Several::Refuse(refusal), .. }) = &found {
            return Err(refusal.clone().into());
        }
        let texts = Texts::of(text, relation, key, self).ok_or_else(|| {
            if returns_others(text, relation) {
                returned_elsewhere(relation, &column)
            } else {
                unmoved(relation, &column)
            }
        })?;
        Ok(Target::Moved(Box::new(Move {
            take: texts.take,
            allowed: format!("EXPLAIN {text}"),
            from: Box::new(found),
            stays,
            put: texts.put,
            nothing: texts.nothing,
            returning: texts.returning,
            key: texts.key,
            key_type,
            key_not_null: relation.primary_key.contains(&column),
            column: relation.column_name(&column),
        })))
    }
}

/// A table whose rows include those of others, which may have more columns: what is put into it would be rows of its own.
pub fn with_heirs(relation: &Relation, column: &str) -> Refusal {
    Refusal::unsupported(format!(
        "changing the sharding key \"{column}\" of \"{}\" is not supported: rows of the tables that inherit from it would become its own",
        relation.name
    ))
    .hint("UPDATE ONLY, and then each of the tables that inherit from it.")
}

/// Whether a SET of the key sets it to itself. `rows`: names of rows that have the key of the one that is changed.
pub fn is_itself(value: &Node, key: &str, rows: &[&str]) -> bool {
    let Some(Node::ColumnRef(column)) = alone(value) else { return false };
    match names::strings(&column.fields).as_deref() {
        Some([name]) => *name == key,
        Some([row, name]) => *name == key && rows.contains(row),
        _ => false,
    }
}

/// Whether the rows that are found have this key, which is hashed alike for all.
fn are_pinned(pins: &[Pin], source: &KeySource) -> bool {
    let same = |pin: &Pin| !pin.sources.is_empty() && pin.sources.iter().all(|pinned| pinned == source);
    pins.first().is_some_and(|first| pins.iter().all(|pin| same(pin) && pin.key_type == first.key_type))
}

/// The key's changing that is not supported.
pub fn unmoved(relation: &Relation, column: &str) -> Refusal {
    Refusal::unsupported(format!(
        "changing the sharding key \"{column}\" of a row of \"{}\" is not supported in this form",
        relation.name
    ))
    .hint("Use UPDATE ... SET column = expression, or DELETE the row and INSERT it with the new key.")
}

fn returned_elsewhere(relation: &Relation, column: &str) -> Refusal {
    Refusal::unsupported(format!(
        "RETURNING of an UPDATE that changes the sharding key \"{column}\" of \"{}\" must not name columns of other tables or have sub-selects",
        relation.name
    ))
    .hint("Return the row's own columns, and SELECT the others in the same transaction.")
}

fn unanalysed() -> Refusal {
    Refusal::unsupported("this UPDATE cannot be taken apart").hint("DELETE the row and INSERT it with the new key.")
}
