//! Which functions of users' are *closed*: their bodies, in SQL or PL/pgSQL, compute a value from their arguments and touch nothing else.
//!
//! Guessed from words, on the safe side: a body with a word that statements about tables, sequences or sessions have, or that is the
//! name of another function, operator or domain of users', is not closed. Called by `load`.

/// Words of statements and functions that do more than compute: those of tables are in `reads_tables`. *Source*: manual of
/// PostgreSQL 15, 9.17 (sequences), 9.27 (administration), 9.15 (XML), 43.4 and 43.7 (PL/pgSQL), part VI.
macro_rules! does_more {
    () => {
        "(?x)\\m(nextval|setval|currval|lastval|set_config|current_query|set|reset|discard|notify|listen|unlisten|lock|truncate|create|alter|drop
            |grant|revoke|commit|rollback|savepoint|do|prepare|open|fetch|move|refresh|vacuum|analyze|cluster|load|reindex|comment|security
            |dblink\\w*|lo_\\w+|loread|lowrite|txid_\\w+|inet_(client|server)_\\w+|\\w+_to_xml\\w*|ts_stat|ts_rewrite|to_reg\\w+
            |pg_(?!(catalog|typeof|sleep)\\M)\\w+)\\M|u&"
    };
}
pub(super) use does_more;

/// A query `closed(oid, proname, body)` for a WITH.
macro_rules! closed {
    () => {
        concat!(
            "bodies(oid, proname, body) AS (
        SELECT p.oid, p.proname, pg_catalog.lower(coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc))
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        WHERE p.oid >= 16384 AND l.lanname IN ('sql', 'plpgsql') AND p.proconfig IS NULL AND NOT ",
            super::elsewhere::reads_tables!(),
            "), names(oid, name) AS (
        SELECT p.oid, pg_catalog.lower(p.proname) FROM pg_catalog.pg_proc p
            WHERE p.oid >= 16384 AND p.prolang NOT IN (
                SELECT l.oid FROM pg_catalog.pg_language l WHERE l.lanname IN ('internal', 'c'))
        UNION SELECT t.oid, pg_catalog.lower(t.typname) FROM pg_catalog.pg_type t WHERE t.oid >= 16384 AND t.typtype = 'd'
    ), operators(name) AS (
        SELECT o.oprname FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
        JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        WHERE o.oid >= 16384 AND l.lanname NOT IN ('internal', 'c')
    ), closed(oid, proname, body) AS (
        SELECT b.oid, b.proname, b.body FROM bodies b
        WHERE b.body !~ '",
            super::bodies::does_more!(),
            "'
        AND NOT EXISTS (SELECT FROM pg_catalog.regexp_split_to_table(b.body, '[^[:alnum:]_$]+') w(word)
            JOIN names n ON n.name = w.word AND n.oid <> b.oid)
        AND NOT EXISTS (SELECT FROM names n
            WHERE n.name ~ '[^[:alnum:]_$]' AND pg_catalog.strpos(b.body, n.name) > 0)
        AND NOT EXISTS (SELECT FROM operators o WHERE pg_catalog.strpos(b.body, o.name) > 0)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
            JOIN pg_catalog.pg_language l ON l.oid = p.prolang
            WHERE c.oid >= 16384 AND l.lanname NOT IN ('internal', 'c'))
    )"
        )
    };
}
pub(super) use closed;
