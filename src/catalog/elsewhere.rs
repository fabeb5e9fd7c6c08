//! Finds relations whose rows cannot be read or written without evaluating what may read other tables: policies of row security,
//! and functions of the user's in constraints, defaults, generated columns, indexes and domains. On a shard they would read that
//! shard's part. Likewise what changes the server's session, which is lent to others afterwards.
//!
//! Called by `load`. PostgreSQL's own record of dependencies says who calls whom; what a function reads is guessed from its
//! words, on the safe side. A function that calls another one is not followed.

use std::collections::HashMap;

use crate::catalog::rows::TextRow;
use crate::catalog::{LoadError, Oid, RelationKind};

/// Words that statements about tables have, as a condition on `pg_proc p` and `pg_language l`. FROM of expressions (`EXTRACT(... FROM
/// ...)`, `IS DISTINCT FROM`) does not count. *Source*: manual of PostgreSQL 15, 9.2, 9.4, 9.9.
macro_rules! reads_tables {
    () => {
        "pg_catalog.regexp_replace(coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc),
            '\\m(extract|substring|trim|overlay)\\s*\\([^()]*\\mfrom\\M|\\mdistinct\\s+from\\M', '', 'gi')
        ~* '\\m(from|insert|update|delete|merge|execute|perform|table|copy|call)\\M'"
    };
}
pub(super) use reads_tables;

/// Built-in functions that change what a server keeps for its session, in an expression as PostgreSQL prints it. It records no dependency
/// on what is built in. *Source*: manual of PostgreSQL 15, 9.27.
macro_rules! changes_session {
    () => {
        "~ '\\m(set_config|setseed|pg_notify|pg_(try_)?advisory_(un)?lock(_shared)?|pg_advisory_unlock_all)\\('"
    };
}

/// Relation, whether by reading it, and the relation that is read (0 when it is not known which).
pub(super) const EVALUATED: &str = concat!(
    "WITH RECURSIVE reading(oid) AS (
        SELECT p.oid FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE l.lanname NOT IN ('internal', 'c') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND ",
    reads_tables!(),
    "), calling(classid, objid) AS (
        SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
        WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid IN (SELECT r.oid FROM reading r)
        OR d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND d.refobjid IN (
            SELECT o.oid FROM pg_catalog.pg_operator o JOIN reading r ON r.oid = o.oprcode)
        UNION ALL SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid FROM pg_catalog.pg_attrdef d
        WHERE pg_catalog.pg_get_expr(d.adbin, d.adrelid) ",
    changes_session!(),
    "
        UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid FROM pg_catalog.pg_type t
        WHERE t.typtype = 'd' AND pg_catalog.pg_get_expr(t.typdefaultbin, 0) ",
    changes_session!(),
    "
        UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid FROM pg_catalog.pg_constraint k
        WHERE k.contype = 'c' AND pg_catalog.pg_get_constraintdef(k.oid) ",
    changes_session!(),
    "
    ), parts(type, part) AS (
        SELECT t.oid, t.typbasetype FROM pg_catalog.pg_type t WHERE t.typbasetype <> 0
        UNION ALL SELECT t.oid, t.typelem FROM pg_catalog.pg_type t WHERE t.typelem <> 0
        UNION ALL SELECT c.reltype, a.atttypid FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid WHERE c.relkind = 'c'
    ), types(oid) AS (
        SELECT k.contypid FROM pg_catalog.pg_constraint k JOIN calling c ON c.objid = k.oid
            WHERE c.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.contypid <> 0
        UNION SELECT c.objid FROM calling c WHERE c.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
        UNION SELECT p.type FROM parts p JOIN types t ON t.oid = p.part
    )
    SELECT k.conrelid, false, 0::oid FROM pg_catalog.pg_constraint k JOIN calling c ON c.objid = k.oid
        WHERE c.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.conrelid <> 0
    UNION SELECT d.adrelid, false, 0::oid FROM pg_catalog.pg_attrdef d JOIN calling c ON c.objid = d.oid
        WHERE c.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
    UNION SELECT i.indrelid, false, 0::oid FROM pg_catalog.pg_index i JOIN calling c ON c.objid = i.indexrelid
        WHERE c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    UNION SELECT a.attrelid, false, 0::oid FROM pg_catalog.pg_attribute a JOIN types t ON t.oid = a.atttypid
        WHERE NOT a.attisdropped
    UNION SELECT p.polrelid, true, 0::oid FROM pg_catalog.pg_policy p
        JOIN pg_catalog.pg_class r ON r.oid = p.polrelid AND r.relrowsecurity JOIN calling c ON c.objid = p.oid
        WHERE c.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
    UNION SELECT p.polrelid, true, d.refobjid FROM pg_catalog.pg_policy p
        JOIN pg_catalog.pg_class r ON r.oid = p.polrelid AND r.relrowsecurity JOIN pg_catalog.pg_depend d ON d.objid = p.oid
        WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> p.polrelid"
);

/// Roles to whom a table's policies do not apply. *Source*: manual of PostgreSQL 15, 5.8, "Row Security Policies".
pub(super) const EXEMPT: &str = "
    SELECT c.oid, pg_catalog.json_agg(r.rolname::text)
    FROM pg_catalog.pg_class c CROSS JOIN pg_catalog.pg_roles r
    WHERE c.relrowsecurity AND (r.rolsuper OR r.rolbypassrls
        OR NOT c.relforcerowsecurity AND pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE'))
    GROUP BY c.oid";

/// What evaluates what may read other tables.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// Relations whose policies may read the other ones; 0 stands for any.
    policies: HashMap<Oid, Vec<Oid>>,
    exempt: HashMap<Oid, Vec<String>>,
    /// Relations whose rows cannot be written without.
    written: Vec<Oid>,
}

impl Elsewhere {
    /// From the answers to [`EVALUATED`] and [`EXEMPT`].
    pub(super) fn read(evaluated: &[TextRow], exempt: &[TextRow]) -> Result<Elsewhere, LoadError> {
        let mut found = Elsewhere::default();
        for row in evaluated {
            found.add(row)?;
        }
        for row in exempt {
            found.exempt.insert(row.get(0)?, row.get(1)?);
        }
        Ok(found)
    }

    fn add(&mut self, row: &TextRow) -> Result<(), LoadError> {
        let oid: Oid = row.get(0)?;
        match row.get(1)? {
            true => self.policies.entry(oid).or_default().push(row.get(2)?),
            false => self.written.push(oid),
        }
        Ok(())
    }

    /// Whether writing a row evaluates it.
    pub(super) fn is_written(&self, oid: Oid) -> bool {
        self.written.contains(&oid)
    }

    /// Of a relation with row security: the roles to whom its policies do not apply.
    pub(super) fn exempt(&self, oid: Oid) -> Option<Vec<String>> {
        self.exempt.get(&oid).cloned()
    }

    /// Whether a relation's policies may read what is not on the shard.
    pub(super) fn guarded(&self, oid: Oid, kinds: &HashMap<Oid, RelationKind>) -> bool {
        let home = matches!(kinds.get(&oid), Some(RelationKind::Home));
        let is_here = |read: &Oid| match kinds.get(read) {
            Some(RelationKind::Reference | RelationKind::System) => true,
            Some(RelationKind::Home | RelationKind::Sequence) => home,
            Some(RelationKind::Sharded { .. } | RelationKind::View { .. } | RelationKind::Unusable { .. }) | None => {
                false
            }
        };
        self.policies.get(&oid).is_some_and(|reads| !reads.iter().all(is_here))
    }
}
