//! Functions and procedures of users' with their bodies, for `plan` to read what a call of one would do.
//!
//! Called by `load`. Aggregates and window functions are not among them.

use super::LoadError;
use super::rows::TextRow;

/// What is asked of each. *Source*: manual of PostgreSQL 15, 53.39 (`pg_proc`).
pub(super) const ROUTINES: &str = "
    SELECT p.proname::text, n.nspname::text, p.prokind = 'p',
        CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN l.lanname::text ELSE '' END,
        CASE WHEN l.lanname IN ('sql', 'plpgsql')
            THEN coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) ELSE '' END,
        coalesce(pg_catalog.array_to_json(p.proconfig), '[]'), p.prosecdef,
        pg_catalog.array_to_json(ARRAY(
            SELECT CASE WHEN tn.nspname = 'pg_catalog' THEN t.typname::text ELSE '' END
            FROM pg_catalog.unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY a(type, at)
            LEFT JOIN pg_catalog.pg_type t ON t.oid = a.type LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
            ORDER BY a.at)),
        coalesce(pg_catalog.array_to_json(p.proargnames), '[]'),
        coalesce(pg_catalog.array_to_json(p.proargmodes::text[]), '[]'),
        p.pronargdefaults, coalesce(pg_catalog.pg_get_expr(p.proargdefaults, 0), '')
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.prokind IN ('f', 'p') AND p.oid >= 16384 AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
    ORDER BY p.oid";

/// A function or procedure of a user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routine {
    /// `pg_namespace.nspname`.
    pub schema: String,
    /// `pg_proc.proname`.
    pub name: String,
    /// It is called with CALL.
    pub procedure: bool,
    /// In what its body is written.
    pub language: Language,
    /// Its body.
    pub body: String,
    /// Its settings, `name=value`.
    pub settings: Vec<String>,
    /// It runs with its owner's rights.
    pub definer: bool,
    /// All of them, in order.
    pub parameters: Vec<Parameter>,
    /// So many of the last ones that take values have a default.
    pub defaults: usize,
    /// Those defaults, with commas between them.
    pub default_text: String,
}

/// A language that the gateway may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `sql`.
    Sql,
    /// `plpgsql`.
    PlPgSql,
    /// Any other: the body is not known.
    Other,
}

/// A parameter of a routine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Empty when it has none.
    pub name: String,
    /// `pg_type.typname`; empty for types outside of `pg_catalog`.
    pub type_name: String,
    /// IN, INOUT or VARIADIC: it takes a value.
    pub takes: bool,
    /// OUT, INOUT or TABLE: it gives one.
    pub gives: bool,
    /// VARIADIC.
    pub variadic: bool,
}

/// A row of [`ROUTINES`].
pub(super) fn routine(row: &TextRow) -> Result<Routine, LoadError> {
    let language: String = row.get(3)?;
    let (types, names): (Vec<String>, Vec<String>) = (row.get(7)?, row.get(8)?);
    let modes: Vec<String> = row.get(9)?;
    // Source: pg_proc.h, PROARGMODE_*.
    let parameter = |(at, type_name): (usize, String)| {
        let mode = modes.get(at).map_or("i", String::as_str);
        let name = names.get(at).cloned().unwrap_or_default();
        let (takes, gives) = (matches!(mode, "i" | "b" | "v"), matches!(mode, "o" | "b" | "t"));
        Parameter { name, type_name, takes, gives, variadic: mode == "v" }
    };
    Ok(Routine {
        name: row.get(0)?,
        schema: row.get(1)?,
        procedure: row.get(2)?,
        language: match language.as_str() {
            "sql" => Language::Sql,
            "plpgsql" => Language::PlPgSql,
            _ => Language::Other,
        },
        body: row.get(4)?,
        settings: row.get(5)?,
        definer: row.get(6)?,
        parameters: types.into_iter().enumerate().map(parameter).collect(),
        defaults: usize::try_from(row.get::<i32>(10)?).unwrap_or(0),
        default_text: row.get(11)?,
    })
}
