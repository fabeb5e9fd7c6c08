//! What users' types are made of: the types of PostgreSQL's own that are behind domains, arrays, composites and ranges. `load` reads it;
//! `plan` asks it what a text means that is read as such a type.

use std::collections::HashMap;

use super::Oid;
use super::load::LoadError;
use super::rows::TextRow;

/// For each type that it knows, what reading a text as one comes to: one or more types of PostgreSQL's own, in no order. An enum and the base types of
/// extensions stand as text, unless they are dates.
///
/// Row types of tables are left out, and arrays of them: who asks for what is not here must expect anything.
pub(super) const QUESTION: &str = "
    WITH RECURSIVE made(type, part) AS (
        SELECT t.oid, t.oid FROM pg_catalog.pg_type t
        LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
        LEFT JOIN pg_catalog.pg_class c ON c.oid = coalesce(e.typrelid, t.typrelid)
        WHERE t.oid >= 16384 AND t.typtype <> 'p' AND coalesce(c.relkind, 'c') = 'c'
        UNION
        SELECT m.type, x.part FROM made m JOIN pg_catalog.pg_type t ON t.oid = m.part
        CROSS JOIN LATERAL (
            SELECT t.typbasetype WHERE t.typtype = 'd'
            UNION ALL SELECT t.typelem WHERE t.typtype = 'b' AND t.typcategory = 'A'
            UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r
                WHERE t.typtype = 'r' AND r.rngtypid = t.oid
                OR t.typtype = 'm' AND pg_catalog.to_jsonb(r) ->> 'rngmultitypid' = t.oid::text
        ) x(part)
    )
    SELECT m.type, u.typname::text, CASE WHEN t.typtype = 'b' AND t.oid < 16384 THEN t.oid::int8
        WHEN t.typtype = 'b' AND t.typcategory = 'D' THEN 1114 WHEN t.typtype IN ('b', 'e') THEN 25 ELSE 0 END
    FROM made m JOIN pg_catalog.pg_type u ON u.oid = m.type JOIN pg_catalog.pg_type t ON t.oid = m.part
    WHERE t.typtype IN ('b', 'e', 'p') AND (t.typtype <> 'b' OR t.typcategory <> 'A')
    GROUP BY 1, 2, 3";

/// What users' types are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeOf {
    by_oid: HashMap<Oid, Vec<Oid>>,
    by_name: HashMap<String, Vec<Oid>>,
}

impl MadeOf {
    /// A row of [`QUESTION`].
    pub(super) fn add(&mut self, row: &TextRow) -> Result<(), LoadError> {
        self.insert(row.get(0)?, &row.get::<String>(1)?, row.get(2)?);
        Ok(())
    }

    /// A type is made of another, which is one of PostgreSQL's own.
    pub fn insert(&mut self, of: Oid, name: &str, part: Oid) {
        self.by_oid.entry(of).or_default().push(part);
        self.by_name.entry(name.to_owned()).or_default().push(part);
    }

    /// Whether a type is certainly made of nothing but types for which this is so; a type of PostgreSQL's own is made of itself.
    pub fn is_all(&self, of: Oid, is: impl Fn(Oid) -> bool) -> bool {
        is(of) || self.by_oid.get(&of).is_some_and(|parts| parts.iter().all(|part| is(*part)))
    }

    /// The same of all users' types of an unqualified name; `false` where there is none.
    pub fn is_all_named(&self, name: &str, is: impl Fn(Oid) -> bool) -> bool {
        self.by_name.get(name).is_some_and(|parts| parts.iter().all(|part| is(*part)))
    }
}
