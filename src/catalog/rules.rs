//! What kind of relation a table is, by the configuration and its columns. One function for the catalog's loader, which asks it
//! for the tables that exist, and for `plan`, which asks it for those that a statement would make.

use std::collections::BTreeMap;

use super::{Column, KeyType, Oid, RelationKind};
use crate::config::TableRule;

/// The configuration's say on tables: `[sharding] key` and `[tables.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// A table with a column of this name is sharded by it, unless a rule says otherwise.
    pub key: String,
    /// By name as written: `schema.name` or `name`; the former wins.
    pub tables: BTreeMap<String, TableRule>,
}

/// Built-in types that can be keys. *Source*: pg_type.dat.
const INT8: Oid = 20;
const INT2: Oid = 21;
const INT4: Oid = 23;
const TEXT: Oid = 25;
const BPCHAR: Oid = 1042;
const VARCHAR: Oid = 1043;
const UUID: Oid = 2950;

/// `VARHDRSZ`: what `typmod` of `varchar(n)` and `char(n)` is above n.
const TYPMOD_HEADER: i32 = 4;

impl Rules {
    /// The kind of an ordinary or partitioned table with these columns. Views and sequences are the caller's to tell apart;
    /// a partition is of its parent's kind.
    pub fn kind(&self, schema: &str, name: &str, columns: &[Column]) -> RelationKind {
        if matches!(schema, "pg_catalog" | "information_schema" | "pg_toast") {
            return RelationKind::System;
        }
        match self.rule(schema, name) {
            Some(TableRule::Reference) => RelationKind::Reference,
            Some(TableRule::Home) => RelationKind::Home,
            Some(TableRule::Key(key)) => sharded_by(key, columns).unwrap_or_else(|| RelationKind::Unusable {
                reason: format!("table \"{name}\" has no column \"{key}\", which the configuration names as its key"),
            }),
            None => sharded_by(&self.key, columns).unwrap_or(RelationKind::Home),
        }
    }

    /// The name of the column that shards a table of this name, if it has such a column.
    pub fn key_of(&self, schema: &str, name: &str) -> Option<&str> {
        match self.rule(schema, name) {
            Some(TableRule::Reference | TableRule::Home) => None,
            Some(TableRule::Key(key)) => Some(key),
            None => Some(&self.key),
        }
    }

    /// The rule of `[tables.NAME]`, if any.
    pub fn rule(&self, schema: &str, name: &str) -> Option<&TableRule> {
        self.tables.get(&format!("{schema}.{name}")).or_else(|| self.tables.get(name))
    }
}

/// `None` when there is no such column.
fn sharded_by(key: &str, columns: &[Column]) -> Option<RelationKind> {
    let position = columns.iter().position(|column| column.name == key)?;
    let column = columns.get(position)?;
    if column.generated {
        return Some(RelationKind::Unusable {
            reason: format!(
                "key column \"{key}\" is generated, and where a row lives must be known before it is stored"
            ),
        });
    }
    Some(match key_type(column.type_oid, column.typmod) {
        Some(key_type) => RelationKind::Sharded { key: position, key_type },
        None => RelationKind::Unusable {
            reason: format!(
                "key column \"{key}\" is of a type that cannot be hashed; smallint, integer, bigint, text, varchar, char and uuid can"
            ),
        },
    })
}

/// How a column of this type is hashed; `None` if it cannot be.
pub fn key_type(type_oid: Oid, typmod: i32) -> Option<KeyType> {
    let max_chars = u32::try_from(typmod.saturating_sub(TYPMOD_HEADER)).ok().filter(|n| *n > 0);
    match type_oid {
        INT2 | INT4 | INT8 => Some(KeyType::Integer),
        TEXT => Some(KeyType::Text { max_chars: None }),
        VARCHAR => Some(KeyType::Text { max_chars }),
        BPCHAR => Some(KeyType::PaddedText { max_chars: max_chars.unwrap_or(u32::MAX) }),
        UUID => Some(KeyType::Uuid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_oid: Oid, typmod: i32) -> Column {
        Column::new(name.to_owned(), type_oid, typmod)
    }

    fn rules() -> Rules {
        let tables = [
            ("lineitem".to_owned(), TableRule::Key("l_orderkey".to_owned())),
            ("old.lineitem".to_owned(), TableRule::Home),
            ("products".to_owned(), TableRule::Reference),
        ];
        Rules { key: "customer_id".to_owned(), tables: tables.into() }
    }

    #[test]
    fn a_table_with_the_key_column_is_sharded_and_another_is_home() {
        let columns = [column("id", 23, -1), column("customer_id", 1043, 14)];
        let sharded = RelationKind::Sharded { key: 1, key_type: KeyType::Text { max_chars: Some(10) } };
        assert_eq!(rules().kind("public", "orders", &columns), sharded);
        assert_eq!(rules().kind("public", "settings", &columns[..1]), RelationKind::Home);
        assert_eq!(rules().kind("pg_catalog", "orders", &columns), RelationKind::System);
    }

    #[test]
    fn a_rule_by_qualified_name_wins_over_one_by_name_and_over_the_key_column() {
        let columns = [column("l_orderkey", 20, -1), column("customer_id", 20, -1)];
        let sharded = RelationKind::Sharded { key: 0, key_type: KeyType::Integer };
        assert_eq!(rules().kind("public", "lineitem", &columns), sharded);
        assert_eq!(rules().kind("old", "lineitem", &columns), RelationKind::Home);
        assert_eq!(rules().kind("public", "products", &columns), RelationKind::Reference);
    }

    #[test]
    fn a_generated_key_makes_the_table_unusable() {
        let generated = [Column { generated: true, ..column("customer_id", 20, -1) }];
        assert!(matches!(rules().kind("public", "orders", &generated), RelationKind::Unusable { .. }));
        assert_eq!(rules().kind("public", "products", &generated), RelationKind::Reference);
    }

    #[test]
    fn a_key_that_cannot_be_hashed_makes_the_table_unusable() {
        let numeric = [column("customer_id", 1700, -1)];
        assert!(matches!(rules().kind("public", "orders", &numeric), RelationKind::Unusable { .. }));
        assert!(matches!(rules().kind("public", "lineitem", &numeric), RelationKind::Unusable { .. }));
    }
}
