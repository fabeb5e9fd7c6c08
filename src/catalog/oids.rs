//! Numbers of users' types and relations. Each shard hands out its own, so that one type may have as many numbers as there
//! are shards; clients know those of the home shard, where their questions about the catalog are answered.
//!
//! Here: what one shard has ([`Numbers`]), and how it translates ([`OidMap`]). `shards` keeps them fresh; `pool::renumber` applies
//! them to what servers say.

use std::collections::HashMap;

use crate::catalog::Oid;
use crate::wire::embedded::{FIRST_NORMAL_OID, Shape, Shapes};

/// One row per type and per relation of users: `t` or `r`, number, schema, name, kind, and what it is made of. An array goes by
/// its element's name: its own may have more or fewer underscores, by what was there first. PostgreSQL 13 has no
/// `rngmultitypid`. Temporary objects are not supported by the gateway.
pub const NUMBERS: &str = "
    SELECT 't', t.oid, n.nspname, coalesce(e.typname, t.typname), CASE WHEN e.oid IS NOT NULL THEN 'A' ELSE t.typtype END,
        coalesce(r.rngsubtype, m.rngtypid, t.typbasetype)
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
    LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
    LEFT JOIN pg_catalog.pg_range m ON t.typtype = 'm' AND pg_catalog.to_jsonb(m) ->> 'rngmultitypid' = t.oid::text
    WHERE t.oid >= 16384 AND n.nspname !~ '^(pgbraid$|pg_(toast|temp_|toast_temp_))'
    UNION ALL
    SELECT 'r', c.oid, n.nspname, c.relname, c.relkind, 0
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^(pgbraid$|pg_(toast|temp_|toast_temp_))'";

/// A text that changes whenever [`NUMBERS`], or what sequences there are and who draws from them, may say something else:
/// relations other than sequences have a type of their own.
pub const NUMBERS_FINGERPRINT: &str = "
    SELECT pg_catalog.concat_ws('/',
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(t.oid::bigint, t.xmin::text::bigint))
            FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
            WHERE t.oid >= 16384 AND n.nspname !~ '^(pgbraid$|pg_(toast|temp_|toast_temp_))'),
        (SELECT pg_catalog.sum(pg_catalog.hashtextextended(nspname::text, oid::bigint))
            FROM pg_catalog.pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'),
        (SELECT pg_catalog.sum(pg_catalog.hashtextextended(relname::text, oid::bigint * 31 + relnamespace::bigint))
            FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind = 'S' AND relpersistence <> 't'),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(seqrelid::bigint, xmin::text::bigint)) FROM pg_catalog.pg_sequence),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(oid::bigint, xmin::text::bigint)) FROM pg_catalog.pg_attrdef))";

/// What names a type or a relation on every shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Name {
    /// `pg_type.typtype` and `A` for arrays: types of different kinds are not the same, whatever they are called.
    kind: char,
    schema: String,
    name: String,
}

/// The numbers that one shard has given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    types: HashMap<Name, (Oid, Shape)>,
    relations: HashMap<(String, String), Oid>,
}

impl Numbers {
    /// From the rows of [`NUMBERS`] in text format; rows that are none of its are left out.
    pub fn of<'r>(rows: impl Iterator<Item = [Option<&'r str>; 6]>) -> Numbers {
        let mut numbers = Numbers::default();
        for [what, oid, schema, name, kind, inner] in rows {
            let (Some(oid), Some(schema), Some(name)) = (oid.and_then(|oid| oid.parse().ok()), schema, name) else {
                continue;
            };
            let (schema, name) = (schema.to_owned(), name.to_owned());
            if what == Some("r") {
                numbers.relations.insert((schema, name), oid);
                continue;
            }
            let kind = kind.and_then(|kind| kind.chars().next()).unwrap_or(' ');
            let inner = inner.and_then(|inner| inner.parse().ok()).unwrap_or(0);
            numbers.types.insert(Name { kind, schema, name }, (oid, shape(kind, inner)));
        }
        numbers
    }

    /// Types that have another number here than there, by name; and how many.
    pub fn differences(&self, other: &Numbers) -> Vec<String> {
        let differ = |(name, (oid, _)): &(&Name, &(Oid, Shape))| {
            name.kind != 'A' && other.types.get(name).is_some_and(|(theirs, _)| theirs != oid)
        };
        let mut names: Vec<String> =
            self.types.iter().filter(differ).map(|(name, _)| format!("{}.{}", name.schema, name.name)).collect();
        names.sort_unstable();
        names
    }
}

/// *Source*: manual of PostgreSQL 15, 53.64, typtype.
fn shape(kind: char, inner: Oid) -> Shape {
    match kind {
        'A' => Shape::Array,
        'c' => Shape::Composite,
        'd' => Shape::Domain(inner),
        'r' => Shape::Range(inner),
        'm' => Shape::Multirange(inner),
        _ => Shape::Plain,
    }
}

/// Numbers of one side with those of the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbering(HashMap<Oid, (Oid, Shape), foldhash::fast::RandomState>);

impl Numbering {
    /// The other side's number of a type; `None` if it has none. Built-in types have the same everywhere.
    pub fn number(&self, oid: Oid) -> Option<Oid> {
        if oid < FIRST_NORMAL_OID { Some(oid) } else { self.0.get(&oid).map(|(other, _)| *other) }
    }
}

impl Shapes for Numbering {
    fn users(&self, oid: Oid) -> Option<Shape> {
        self.0.get(&oid).map(|(_, shape)| *shape)
    }
}

/// How the numbers of a shard that is not the home shard translate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidMap {
    same: bool,
    incoming: Numbering,
    outgoing: Numbering,
    relations: HashMap<Oid, Oid, foldhash::fast::RandomState>,
}

impl OidMap {
    /// Between a shard and the home shard. Without the numbers of both, no type of users has a translation.
    pub fn between(shard: Option<&Numbers>, home: Option<&Numbers>) -> OidMap {
        let (Some(shard), Some(home)) = (shard, home) else { return OidMap::default() };
        let mut map = OidMap { same: shard == home, ..OidMap::default() };
        for (name, (theirs, shape)) in &shard.types {
            if let Some((ours, our_shape)) = home.types.get(name) {
                map.incoming.0.insert(*theirs, (*ours, *shape));
                map.outgoing.0.insert(*ours, (*theirs, *our_shape));
            }
        }
        for (name, theirs) in &shard.relations {
            if let Some(ours) = home.relations.get(name) {
                map.relations.insert(*theirs, *ours);
            }
        }
        map
    }

    /// Both have the same types with the same numbers. Numbers that are not known are found out all the same.
    pub fn is_same(&self) -> bool {
        self.same
    }

    /// From the shard's numbers to the home shard's.
    pub fn incoming(&self) -> &Numbering {
        &self.incoming
    }

    /// From the home shard's numbers to the shard's.
    pub fn outgoing(&self) -> &Numbering {
        &self.outgoing
    }

    /// The home shard's number of a relation; 0, "no relation", if it has none.
    pub fn relation(&self, oid: Oid) -> Oid {
        if oid < FIRST_NORMAL_OID { oid } else { self.relations.get(&oid).copied().unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(rows: &[[&str; 6]]) -> Numbers {
        Numbers::of(rows.iter().map(|row| row.map(Some)))
    }

    fn home() -> Numbers {
        numbers(&[
            ["t", "17000", "public", "mood", "e", "0"],
            ["t", "17001", "public", "mood", "A", "0"],
            ["t", "17002", "public", "small", "d", "23"],
            ["r", "17003", "public", "orders", "r", "0"],
        ])
    }

    #[test]
    fn numbers_translate_by_name_in_both_directions() {
        let shard = numbers(&[
            ["t", "18000", "public", "mood", "e", "0"],
            ["t", "17000", "public", "mood", "A", "0"],
            ["r", "18003", "public", "orders", "r", "0"],
        ]);
        let map = OidMap::between(Some(&shard), Some(&home()));
        assert!(!map.is_same());
        assert_eq!(map.incoming().number(18000), Some(17000));
        assert_eq!(map.incoming().number(17000), Some(17001));
        assert_eq!(map.outgoing().number(17001), Some(17000));
        assert_eq!(map.outgoing().number(17002), None);
        assert_eq!(map.incoming().number(23), Some(23));
        assert_eq!((map.relation(18003), map.relation(1259), map.relation(18004)), (17003, 1259, 0));
        assert_eq!(home().differences(&shard), ["public.mood"]);
    }

    #[test]
    fn types_of_different_kinds_are_not_the_same() {
        let shard = numbers(&[["t", "17000", "public", "mood", "d", "25"]]);
        let map = OidMap::between(Some(&shard), Some(&home()));
        assert_eq!(map.incoming().number(17000), None);
    }

    #[test]
    fn equal_shards_are_the_same_and_still_know_what_they_know() {
        let map = OidMap::between(Some(&home()), Some(&home()));
        assert!(map.is_same());
        assert_eq!(map.incoming().number(17000), Some(17000));
        assert_eq!(map.incoming().number(17009), None);
    }

    #[test]
    fn a_shard_never_read_has_no_types_of_users() {
        let map = OidMap::between(None, Some(&home()));
        assert!(!map.is_same());
        assert_eq!((map.incoming().number(17000), map.incoming().number(25)), (None, Some(25)));
    }
}
