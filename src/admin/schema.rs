//! A shard's schema as text, object by object, so that shards can be compared and differences named.

use std::collections::BTreeMap;
use std::fmt;

use tokio_postgres::Client;

/// What is defined, in the order in which differences are worth reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Extension,
    Schema,
    Type,
    Relation,
    Column,
    Constraint,
    Index,
    View,
    Trigger,
    Function,
}

/// All objects of users by kind and qualified name, with what defines each.
pub(super) type Schema = BTreeMap<(Kind, String), String>;

/// An object that two shards do not have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// `None`: not there.
    pub(super) here: Option<String>,
    pub(super) there: Option<String>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Extension => "extension",
            Kind::Schema => "schema",
            Kind::Type => "type",
            Kind::Relation => "relation",
            Kind::Column => "column",
            Kind::Constraint => "constraint",
            Kind::Index => "index",
            Kind::View => "view",
            Kind::Trigger => "trigger",
            Kind::Function => "function",
        })
    }
}

/// An empty search path makes PostgreSQL's functions qualify every name.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL lock_timeout = '5s'";

/// Schemas of users: PostgreSQL keeps `pg_` for itself.
macro_rules! users {
    ($schema:literal) => {
        concat!($schema, " !~ '^pg_' AND ", $schema, " NOT IN ('information_schema', 'pgbraid')")
    };
}

/// Each gives (name, definition). Lengths of bodies are kept in check by hashing them.
const QUERIES: [(Kind, &str); 10] = [
    (Kind::Extension, "SELECT extname::text, 'version ' || extversion FROM pg_catalog.pg_extension"),
    (Kind::Schema, concat!("SELECT nspname::text, '' FROM pg_catalog.pg_namespace WHERE ", users!("nspname"))),
    (
        Kind::Type,
        concat!(
            "SELECT t.oid::pg_catalog.regtype::text, CASE t.typtype
                WHEN 'e' THEN 'enum ' || coalesce((SELECT pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                    FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid), '')
                WHEN 'd' THEN pg_catalog.concat_ws(' ', 'domain', pg_catalog.format_type(t.typbasetype, t.typtypmod),
                    CASE WHEN t.typnotnull THEN 'NOT NULL' END, 'DEFAULT ' || t.typdefault)
                WHEN 'c' THEN 'composite'
                WHEN 'r' THEN 'range'
                ELSE 'type' END
            FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
            LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
            WHERE t.typtype IN ('e', 'd', 'c', 'r') AND (t.typrelid = 0 OR c.relkind = 'c') AND ",
            users!("n.nspname")
        ),
    ),
    (
        Kind::Relation,
        concat!(
            "SELECT c.oid::pg_catalog.regclass::text, pg_catalog.concat_ws(' ',
                CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
                CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' ELSE 'composite type' END,
                CASE WHEN c.relkind = 'p' THEN 'BY ' || pg_catalog.pg_get_partkeydef(c.oid) END,
                CASE WHEN c.relispartition THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid) END,
                CASE WHEN c.relrowsecurity THEN 'with row security' END)
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND c.relpersistence <> 't' AND ",
            users!("n.nspname")
        ),
    ),
    (
        Kind::Column,
        concat!(
            "SELECT c.oid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(a.attname),
                pg_catalog.concat_ws(' ', pg_catalog.format_type(a.atttypid, a.atttypmod),
                'in place ' || pg_catalog.rank() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
                CASE WHEN l.oid IS NOT NULL AND a.attcollation <> t.typcollation THEN 'COLLATE ' || l.collname END,
                CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                CASE WHEN a.attidentity <> '' THEN 'IDENTITY' END,
                CASE WHEN a.attgenerated <> '' THEN 'GENERATED AS' WHEN d.oid IS NOT NULL THEN 'DEFAULT' END,
                pg_catalog.pg_get_expr(d.adbin, d.adrelid))
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
            LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
            LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND c.relpersistence <> 't' AND ",
            users!("n.nspname")
        ),
    ),
    (
        Kind::Constraint,
        concat!(
            "SELECT CASE WHEN o.conrelid <> 0 THEN o.conrelid::pg_catalog.regclass::text
                    ELSE o.contypid::pg_catalog.regtype::text END || '.' || pg_catalog.quote_ident(o.conname),
                pg_catalog.pg_get_constraintdef(o.oid)
            FROM pg_catalog.pg_constraint o JOIN pg_catalog.pg_namespace n ON n.oid = o.connamespace
            WHERE o.contype IN ('c', 'f', 'p', 'u', 'x') AND ",
            users!("n.nspname")
        ),
    ),
    (
        Kind::Index,
        concat!(
            "SELECT i.indrelid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(c.relname),
                pg_catalog.pg_get_indexdef(c.oid) || CASE WHEN i.indisvalid THEN '' ELSE ' (not valid)' END
            FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relpersistence <> 't' AND ",
            users!("n.nspname")
        ),
    ),
    (
        Kind::View,
        concat!(
            "SELECT c.oid::pg_catalog.regclass::text, pg_catalog.pg_get_viewdef(c.oid)
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('v', 'm') AND c.relpersistence <> 't' AND ",
            users!("n.nspname")
        ),
    ),
    (
        Kind::Trigger,
        concat!(
            "SELECT t.tgrelid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(t.tgname),
                pg_catalog.pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'D' THEN ' (disabled)' ELSE '' END
            FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE NOT t.tgisinternal AND c.relpersistence <> 't' AND ",
            users!("n.nspname")
        ),
    ),
    (
        Kind::Function,
        concat!(
            "SELECT p.oid::pg_catalog.regprocedure::text, pg_catalog.concat_ws(' ',
                CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' WHEN 'w' THEN 'window function' ELSE 'function' END,
                CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
                'returning ' || pg_catalog.pg_get_function_result(p.oid),
                'with a body of hash ' || pg_catalog.left(pg_catalog.md5(CASE WHEN p.prokind IN ('f', 'p') THEN pg_catalog.pg_get_functiondef(p.oid) END), 8))
            FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE ",
            users!("n.nspname")
        ),
    ),
];

/// Reads a shard's schema under one snapshot.
///
/// # Errors
/// When a query fails.
///
/// # Cancel safety
/// Not cancel safe: a future dropped half-way leaves the connection in a transaction.
pub(super) async fn read(client: &Client) -> Result<Schema, tokio_postgres::Error> {
    client.batch_execute(BEGIN).await?;
    let mut schema = Schema::new();
    for (kind, query) in QUERIES {
        for row in client.query_typed(query, &[]).await? {
            let definition: Option<String> = row.try_get(1)?;
            schema.insert((kind, row.try_get(0)?), definition.unwrap_or_default());
        }
    }
    client.batch_execute("ROLLBACK").await?;
    Ok(schema)
}

/// What two shards do not have alike, by kind and name. What belongs to a relation that only one of them has is not told again.
pub(super) fn differences(here: &Schema, there: &Schema) -> Vec<Difference> {
    let mut found: Vec<Difference> = Vec::new();
    let names: std::collections::BTreeSet<&(Kind, String)> = here.keys().chain(there.keys()).collect();
    for key in names {
        let (a, b) = (here.get(key), there.get(key));
        if a != b && !follows(&found, key) {
            let (kind, name) = key.clone();
            found.push(Difference { kind, name, here: a.cloned(), there: b.cloned() });
        }
    }
    found
}

/// Whether an object is part of a relation, schema or type already found to be on one side only.
fn follows(found: &[Difference], (kind, name): &(Kind, String)) -> bool {
    found.iter().filter(|difference| difference.here.is_none() || difference.there.is_none()).any(|difference| {
        let part = name.strip_prefix(&difference.name).is_some_and(|rest| rest.starts_with('.'));
        part || (*kind == Kind::View && difference.kind == Kind::Relation && *name == difference.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(objects: &[(Kind, &str, &str)]) -> Schema {
        objects.iter().map(|(kind, name, text)| ((*kind, (*name).to_owned()), (*text).to_owned())).collect()
    }

    #[test]
    fn a_missing_table_is_one_difference_whatever_it_has() {
        let here = schema(&[
            (Kind::Relation, "public.t", "table"),
            (Kind::Column, "public.t.a", "integer"),
            (Kind::Column, "public.tt.a", "integer"),
        ]);
        let there = schema(&[(Kind::Column, "public.tt.a", "bigint")]);
        let found = differences(&here, &there);
        let names: Vec<_> = found.iter().map(|difference| difference.name.as_str()).collect();
        assert_eq!(names, ["public.t", "public.tt.a"]);
    }

    #[test]
    fn equal_schemas_have_no_differences() {
        let here = schema(&[(Kind::Relation, "public.t", "table")]);
        assert_eq!(differences(&here, &here), []);
    }
}
