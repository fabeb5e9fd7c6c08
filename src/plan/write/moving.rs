//! UPDATE of the sharding key: rows that are taken from where they are and put where their new key says.

use super::move_texts::{Texts, alone, returns_others};
use crate::catalog::{KeyType, Relation, RelationKind, Stamps};
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::key::Class;
use crate::plan::{Computed, Keyed, NullKey, Pin, Refusal, Several, Target, When};
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
    pub sources: Option<Vec<crate::plan::KeySource>>,
}

impl<'a> Builder<'a> {
    /// Notes a SET of the key in an UPDATE; refuses it where rows cannot be moved.
    pub fn set_key(&mut self, value: &'a Node, relation: &Relation) -> Result<(), Stop> {
        let RelationKind::Sharded { key, key_type } = relation.kind else { return Ok(()) };
        let Some(column) = relation.columns.get(key) else { return Ok(()) };
        // Of `(a, b) = ...`, if it has a value of its own.
        let own = alone(value);
        if self.text.is_none()
            || matches!(own, Some(Node::SetToDefault(_)))
            || relation.columns.iter().any(|column| column.type_name.is_empty())
        {
            return Err(unmoved(relation, &column.name).into());
        }
        if relation.cascades {
            return Err(Refusal::unsupported(format!(
                "changing the sharding key \"{}\" of \"{}\" is not supported: a foreign key's action would change rows of other tables",
                column.name, relation.name
            ))
            .hint("Change the rows of both tables by DELETE and INSERT.")
            .into());
        }
        let meets = match relation.stamps {
            _ if self.secured(relation) => Some("policies of row security"),
            Stamps::Alike | Stamps::Freely => Some("triggers"),
            Stamps::None => None,
        };
        if let Some(meets) = meets {
            return Err(Refusal::unsupported(format!(
                "changing the sharding key \"{}\" of \"{}\" is not supported: a moved row is deleted and inserted, and would meet other \
                 {meets} than one that is updated",
                column.name, relation.name
            ))
            .hint("Change the row by DELETE and INSERT.")
            .into());
        }
        let source = own.and_then(|value| self.source(value, Class::of_key(key_type), column.type_oid));
        let sources = source.map(|source| vec![source]);
        self.new_key = Some(NewKey { sources });
        Ok(())
    }

    /// The route of an UPDATE of the key, whose rows are to be found like this.
    pub fn moved(&self, found: Target) -> Result<Target, Stop> {
        let Some(new_key) = &self.new_key else { return Ok(found) };
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
        let stays = match (&found, &new_key.sources) {
            (Target::Keyed(keyed), Some(sources)) => {
                let sources = sources.iter().cloned().map(|source| self.with_type(source)).collect();
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

/// Whether a SET of the key sets it to itself.
pub fn is_itself(value: &Node, key: &str) -> bool {
    match value {
        Node::ColumnRef(column) => {
            names::strings(&column.fields).is_some_and(|fields| fields.last().is_some_and(|name| *name == key))
                && column.fields.len() == 1
        }
        _ => false,
    }
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
