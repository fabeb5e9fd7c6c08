//! Where a relation's rows live, by the configuration and the relation's columns. Pure.
//!
//! Called by `load` for every table it reads, and by planning's tests.

use std::collections::BTreeMap;

use crate::catalog::{Column, KeyType, Oid, RelationKind};
use crate::config::TableRule;

/// `pg_type.oid` of the types whose values can be hashed. *Source*: PostgreSQL 15, `src/include/catalog/pg_type.dat`.
mod oid {
    use super::Oid;

    pub const INT8: Oid = 20;
    pub const INT2: Oid = 21;
    pub const INT4: Oid = 23;
    pub const TEXT: Oid = 25;
    pub const BPCHAR: Oid = 1042;
    pub const VARCHAR: Oid = 1043;
    pub const UUID: Oid = 2950;
}

/// Type modifiers of varchar(n) and char(n) are n + 4. *Source*: PostgreSQL 15, `varchar.c`, `anychar_typmodin`.
const TYPMOD_HEADER: i32 = 4;

/// What decides a table's kind: the key column's name and the configuration's rules for single tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `[sharding] key`.
    pub key: String,
    /// `[tables.NAME]`, by `schema.name` or, for all schemas, `name`.
    pub tables: BTreeMap<String, TableRule>,
}

impl Rules {
    /// The rule that the configuration has for a table; the one with the schema goes before.
    pub fn rule(&self, schema: &str, name: &str) -> Option<&TableRule> {
        self.tables.get(&format!("{schema}.{name}")).or_else(|| self.tables.get(name))
    }

    /// Where the rows of an ordinary or partitioned table live.
    pub fn kind(&self, schema: &str, name: &str, columns: &[Column]) -> RelationKind {
        if is_system(schema) {
            return RelationKind::System;
        }
        match self.rule(schema, name) {
            Some(TableRule::Reference) => RelationKind::Reference,
            Some(TableRule::Home) => RelationKind::Home,
            Some(TableRule::Key(key)) => sharded(key, columns).unwrap_or_else(|| RelationKind::Unusable {
                reason: format!(
                    "the configuration names \"{key}\" as the key of \"{schema}.{name}\", which has no such column"
                ),
            }),
            None => sharded(&self.key, columns).unwrap_or(RelationKind::Home),
        }
    }
}

/// Schemas about which each shard answers for itself.
pub fn is_system(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema" | "pgbraid")
}

/// Sharded by the column of this name, unusable if its type cannot be hashed, `None` if there is no such column.
fn sharded(key: &str, columns: &[Column]) -> Option<RelationKind> {
    let (index, column) = columns.iter().enumerate().find(|(_, column)| column.name == key)?;
    Some(match key_type(column) {
        Some(key_type) => RelationKind::Sharded { key: index, key_type },
        None => RelationKind::Unusable {
            reason: format!(
                "values of key column \"{key}\" cannot be hashed: its type must be an integer, text, varchar, char or uuid"
            ),
        },
    })
}

/// How a column's values are hashed, if they can be.
pub fn key_type(column: &Column) -> Option<KeyType> {
    let limit = column.typmod.checked_sub(TYPMOD_HEADER).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    match column.type_oid {
        oid::INT2 | oid::INT4 | oid::INT8 => Some(KeyType::Integer),
        oid::TEXT => Some(KeyType::Text { max_chars: None }),
        oid::VARCHAR => Some(KeyType::Text { max_chars: limit }),
        // `bpchar` without a length: blanks at the end do not count, and there is no limit.
        oid::BPCHAR => Some(KeyType::PaddedText { max_chars: limit.unwrap_or(u32::MAX) }),
        oid::UUID => Some(KeyType::Uuid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ColumnDefault;

    fn column(name: &str, type_oid: Oid, typmod: i32) -> Column {
        Column { name: name.to_owned(), type_oid, typmod, default: ColumnDefault::None, generated: false }
    }

    fn rules(tables: &[(&str, TableRule)]) -> Rules {
        let tables = tables.iter().map(|(name, rule)| ((*name).to_owned(), rule.clone())).collect();
        Rules { key: "customer_id".to_owned(), tables }
    }

    #[test]
    fn a_table_with_the_key_column_is_sharded_and_any_other_is_home() {
        let columns = [column("id", oid::INT4, -1), column("customer_id", oid::INT8, -1)];
        let expected = RelationKind::Sharded { key: 1, key_type: KeyType::Integer };
        assert_eq!(rules(&[]).kind("public", "orders", &columns), expected);
        assert_eq!(rules(&[]).kind("public", "settings", &columns[..1]), RelationKind::Home);
        assert_eq!(rules(&[]).kind("pg_catalog", "orders", &columns), RelationKind::System);
    }

    #[test]
    fn a_rule_goes_before_the_key_column_and_its_schema_before_its_name() {
        let columns = [column("customer_id", oid::INT8, -1), column("l_orderkey", oid::UUID, -1)];
        let rules = rules(&[
            ("lineitem", TableRule::Key("l_orderkey".to_owned())),
            ("old.lineitem", TableRule::Home),
            ("products", TableRule::Reference),
        ]);
        let by_order = RelationKind::Sharded { key: 1, key_type: KeyType::Uuid };
        assert_eq!(rules.kind("public", "lineitem", &columns), by_order);
        assert_eq!(rules.kind("old", "lineitem", &columns), RelationKind::Home);
        assert_eq!(rules.kind("public", "products", &columns), RelationKind::Reference);
    }

    #[test]
    fn keys_that_cannot_be_hashed_make_a_table_unusable() {
        let numeric = rules(&[]).kind("public", "t", &[column("customer_id", 1700, -1)]);
        assert!(matches!(numeric, RelationKind::Unusable { .. }), "{numeric:?}");
        let absent = rules(&[("t", TableRule::Key("nope".to_owned()))]).kind("public", "t", &[]);
        assert!(matches!(absent, RelationKind::Unusable { .. }), "{absent:?}");
    }

    #[test]
    fn lengths_of_texts_come_from_the_type_modifier() {
        let of = |type_oid, typmod| key_type(&column("k", type_oid, typmod));
        assert_eq!(of(oid::VARCHAR, 24), Some(KeyType::Text { max_chars: Some(20) }));
        assert_eq!(of(oid::VARCHAR, -1), Some(KeyType::Text { max_chars: None }));
        assert_eq!(of(oid::BPCHAR, 5), Some(KeyType::PaddedText { max_chars: 1 }));
        assert_eq!(of(oid::BPCHAR, i32::MIN), Some(KeyType::PaddedText { max_chars: u32::MAX }));
        assert_eq!(of(18, -1), None);
    }
}
