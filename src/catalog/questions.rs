//! What a shard is asked about its catalog: the texts of the queries, and their order in one message. `load` reads the answers.

use super::bodies::closed;
use super::elsewhere::{EVALUATED, EXEMPT, reads_tables};
use super::made_of;
use super::routines::ROUTINES;

/// Before the transaction changes it: the default search path, and where it comes from.
pub(super) const SETTINGS: &str = "
    SELECT pg_catalog.current_setting('server_encoding'), s.reset_val, s.boot_val, s.source,
        pg_catalog.has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')
        AND pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE')
    FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'";

/// The configuration files' search path, needed where the control user's own hides it.
pub(super) const FILE_SEARCH_PATH: &str = "
    SELECT f.setting FROM pg_catalog.pg_file_settings f
    WHERE f.name = 'search_path' AND f.error IS NULL ORDER BY f.seqno DESC LIMIT 1";

/// An empty search path makes `pg_get_viewdef` and `pg_get_expr` qualify every name. `pg_get_viewdef` locks the tables of a
/// view, so that another's unfinished ALTER TABLE would hold it up for ever. *Source*: PostgreSQL 15, `ruleutils.c`,
/// `get_query_def`.
pub(super) const BEGIN: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL lock_timeout = '2s'";

/// Settings of roles and of the database, the weakest first. *Source*: manual of PostgreSQL 15, ALTER ROLE, "Notes".
pub(super) const ROLE_SETTINGS: &str = "
    SELECT coalesce(r.rolname, '')::text, pg_catalog.substr(c.setting, pg_catalog.length('search_path=') + 1)
    FROM pg_catalog.pg_db_role_setting s
    CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) c(setting)
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
    WHERE c.setting LIKE 'search\\_path=%' AND (s.setrole = 0 OR r.oid IS NOT NULL)
        AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
    ORDER BY s.setrole <> 0, s.setdatabase <> 0";

pub(super) const SCHEMAS: &str = "
    SELECT n.nspname::text FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast|temp_|toast_temp_)'";

/// A trigger may do anything on the shard where it runs, unless its function is known to touch nothing but the row: those built in
/// (`tsvector_update_trigger`, `suppress_redundant_updates_trigger`), and of contrib's `spi` those that stamp a column, unless that
/// is the key: none that is built in stamps a column of a type that keys can have. The others
/// there draw numbers (`autoinc`) or read tables (`refint`). One in PL/pgSQL is known by its words (see `bodies`), if it changes columns
/// of NEW one by one and returns NEW, OLD, or NULL where that does not suppress the row. *Source*: manual of PostgreSQL 15, 9.28, 43.10
/// and F.39; `pg_trigger.h`, `TRIGGER_TYPE_BEFORE`.
pub(super) const RELATIONS: &str = concat!(
    "WITH ",
    closed!(),
    ", stamping(trigger, relation, body, built_in) AS (
        SELECT t.oid, t.tgrelid,
            CASE WHEN l.lanname = 'internal' THEN '' ELSE coalesce(f.body,
                pg_catalog.substring(pg_catalog.lower(pg_catalog.pg_get_triggerdef(t.oid)), 'execute function .*$')) END,
            l.lanname = 'internal'
        FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
        JOIN pg_catalog.pg_language l ON l.oid = p.prolang LEFT JOIN closed f ON f.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
        AND (l.lanname = 'internal' OR l.lanname = 'c' AND p.prosrc IN ('moddatetime', 'insert_username')
            OR (t.tgtype & 2 = 0 OR f.body !~ 'return\\s+null')
            AND f.body !~ '\\mnew\\s*:?=|\\minto\\s+(strict\\s+)?new\\M|\\mreturn\\M(?!\\s+(new|old|null)\\s*;)'
            AND f.body !~ '\\malias\\M|\\mfor(each)?\\s+new\\M|\\m(new|into|strict|for|return)\\s*(--|/\\*)|,\\s*new\\M\\s*[,;=]')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.objid = t.oid AND d.refobjid >= 16384
            AND d.refobjid <> t.tgfoid
            AND d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass))
    )
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind,
        CASE WHEN c.relkind IN ('v', 'm') AND c.oid >= 16384 THEN pg_catalog.pg_get_viewdef(c.oid) END,
        EXISTS (SELECT FROM pg_catalog.pg_rewrite w
            WHERE w.ev_class = c.oid AND w.ev_type <> '1' AND w.ev_enabled <> 'D')
        OR EXISTS (SELECT FROM pg_catalog.pg_trigger t
            WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
            AND t.oid NOT IN (SELECT s.trigger FROM stamping s)),
        pg_catalog.array_to_json(ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index i
            CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY k(attnum, position)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE i.indrelid = c.oid AND i.indisprimary AND k.position <= i.indnkeyatts ORDER BY k.position)),
        coalesce((SELECT pg_catalog.json_agg(s.body) FROM stamping s WHERE s.relation = c.oid), '[]'),
        CASE WHEN c.relkind = 'v' AND NOT EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) o
            WHERE o.option_name = 'security_invoker' AND o.option_value::bool) THEN pg_catalog.pg_get_userbyid(c.relowner)::text END,
        EXISTS (SELECT FROM stamping s WHERE s.relation = c.oid AND NOT s.built_in)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)' AND c.oid >= $first"
);

/// A column's own default goes before its domain's; a default that uses a sequence depends on it, or names it at run time.
pub(super) const COLUMNS: &str = "
    SELECT a.attrelid, a.attname::text, a.atttypid, a.atttypmod, a.attgenerated <> '',
        a.attidentity <> '' OR coalesce(pg_catalog.strpos(d.expression, 'nextval(') > 0, false)
            OR EXISTS (SELECT FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_class s ON s.oid = p.refobjid
                WHERE p.classid = d.classid AND p.objid = d.oid
                AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.relkind = 'S'),
        d.expression,
        coalesce(l.collisdeterministic, true),
        pg_catalog.quote_ident(tn.nspname) || '.' || pg_catalog.quote_ident(t.typname),
        CASE WHEN a.attidentity <> '' AND pg_catalog.has_schema_privilege(cn.oid, 'USAGE')
            THEN pg_catalog.format('pg_catalog.nextval(%L)', pg_catalog.pg_get_serial_sequence(
            pg_catalog.format('%I.%I', cn.nspname, c.relname), a.attname)) ELSE coalesce(d.expression, '') END,
        a.attidentity = 'a', a.attcollation,
        CASE l.collprovider WHEN 'c' THEN l.collcollate IN ('C', 'POSIX')
            WHEN 'd' THEN (SELECT db.datcollate IN ('C', 'POSIX')
                    AND coalesce(pg_catalog.to_jsonb(db) ->> 'datlocprovider', 'c') = 'c'
                FROM pg_catalog.pg_database db WHERE db.datname = pg_catalog.current_database())
            ELSE false END,
        a.attidentity <> ''
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN LATERAL (
        SELECT ad.oid, 'pg_catalog.pg_attrdef'::pg_catalog.regclass AS classid,
            pg_catalog.pg_get_expr(ad.adbin, ad.adrelid) AS expression
        FROM pg_catalog.pg_attrdef ad WHERE ad.adrelid = a.attrelid AND ad.adnum = a.attnum AND a.atthasdef
        UNION ALL SELECT t.oid, 'pg_catalog.pg_type'::pg_catalog.regclass, pg_catalog.pg_get_expr(t.typdefaultbin, 0)
        WHERE NOT a.atthasdef AND t.typtype = 'd' AND t.typdefaultbin IS NOT NULL
    ) d ON true
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND c.oid >= $first
    ORDER BY a.attrelid, a.attnum";

pub(super) const INHERITANCE: &str = "SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i";

/// Foreign keys that change the referencing rows, whose triggers fire then: the referenced table, the referencing one.
pub(super) const CASCADES: &str = "
    SELECT r.confrelid, r.conrelid FROM pg_catalog.pg_constraint r
    WHERE r.contype = 'f' AND (r.confdeltype IN ('c', 'n', 'd') OR r.confupdtype IN ('c', 'n', 'd'))";

/// Overloads that differ in nothing the gateway asks about are one.
/// A function whose body has a word that statements about tables have is not believed when it says that it is immutable.
pub(super) const FUNCTIONS: &str = concat!(
    "WITH ",
    closed!(),
    " SELECT DISTINCT p.proname::text, n.nspname::text,
        CASE WHEN l.lanname NOT IN ('internal', 'c') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND ",
    reads_tables!(),
    " THEN 'v'::\"char\" ELSE p.provolatile END,
        p.prokind,
        l.lanname IN ('internal', 'c'), p.proretset, p.oid IN (SELECT f.oid FROM closed f)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE n.nspname !~ '^pg_(toast|temp_|toast_temp_)' AND p.oid >= $first"
);

/// Schemas with operators over PostgreSQL's own types that may be chosen instead of one of pg_catalog with the same name, as they match the types
/// more exactly; whether there is an `=` of keys among them (int2, int4, int8, text, varchar, bpchar, uuid). *Source*: manual of PostgreSQL
/// 15, 10.2.
pub(super) const OPERATORS: &str = "
    SELECT n.nspname::text, pg_catalog.bool_or(o.oprname = '='
        AND o.oprleft IN (20, 21, 23, 25, 1042, 1043, 2950) AND o.oprright IN (20, 21, 23, 25, 1042, 1043, 2950))
    FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    LEFT JOIN pg_catalog.pg_type l ON l.oid = o.oprleft JOIN pg_catalog.pg_type r ON r.oid = o.oprright
    WHERE n.nspname <> 'pg_catalog' AND o.oprleft < 16384 AND o.oprright < 16384
        AND EXISTS (SELECT FROM pg_catalog.pg_operator s
            LEFT JOIN pg_catalog.pg_type sl ON sl.oid = s.oprleft JOIN pg_catalog.pg_type sr ON sr.oid = s.oprright
            WHERE s.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace AND s.oprname = o.oprname
            AND sl.typcategory IS NOT DISTINCT FROM l.typcategory AND sr.typcategory = r.typcategory)
    GROUP BY n.nspname";

/// Domains with a default, and nondeterministic collations, which have none.
pub(super) const TYPES: &str = "
    SELECT t.typname::text, pg_catalog.pg_get_expr(t.typdefaultbin, 0) FROM pg_catalog.pg_type t
    WHERE t.typtype = 'd' AND t.typdefaultbin IS NOT NULL
    UNION ALL SELECT l.collname::text, NULL FROM pg_catalog.pg_collation l WHERE NOT l.collisdeterministic";

/// What is asked, in this order. `$first` stands for the least number of relations and functions to be told of.
pub(super) const QUESTIONS: [&str; 12] = [
    RELATIONS,
    COLUMNS,
    INHERITANCE,
    CASCADES,
    FUNCTIONS,
    SCHEMAS,
    EVALUATED,
    EXEMPT,
    ROUTINES,
    OPERATORS,
    TYPES,
    made_of::QUESTION,
];

/// Numbers from here up are users' objects. *Source*: PostgreSQL 15, `access/transam.h`, `FirstNormalObjectId`.
pub(super) const FIRST_NORMAL_OID: &str = "16384";

/// The name of the savepoint under which a block's server is asked.
pub(super) const SAVEPOINT: &str = "pgbraid_catalog";
