//! What a routine's body runs, and the schemas in which its names are looked up.

use std::collections::HashSet;

use super::plpgsql;
use crate::catalog::{Language, Routine};
use crate::sql;

/// Settings of a function that say nothing of where its rows are. `search_path` is followed.
const HARMLESS: [&str; 10] = [
    "client_min_messages",
    "enable_seqscan",
    "idle_in_transaction_session_timeout",
    "jit",
    "lock_timeout",
    "log_statement",
    "plan_cache_mode",
    "statement_timeout",
    "timezone",
    "work_mem",
];

/// The schemas of its own in which its names are looked up.
pub fn search_path(routine: &Routine) -> Result<Option<Vec<String>>, &'static str> {
    let mut path = None;
    for setting in &routine.settings {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        match name.to_ascii_lowercase().as_str() {
            "search_path" => {
                let schema = |name: &str| {
                    let name = name.trim();
                    let plain = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(name);
                    let known = !plain.is_empty() && !plain.contains(['"', '$']);
                    known.then(|| if plain == name { name.to_lowercase() } else { plain.to_owned() })
                };
                let schemas: Option<Vec<String>> = match value {
                    "" | "\"\"" => Some(Vec::new()),
                    value => value.split(',').map(schema).collect(),
                };
                path = Some(schemas.ok_or("its search_path is not understood")?);
            }
            name if HARMLESS.contains(&name) => {}
            _ => return Err("it has a setting of its own that may change what its statements mean"),
        }
    }
    if routine.definer && path.is_none() {
        return Err("it is SECURITY DEFINER without a search_path of its own");
    }
    Ok(path)
}

/// What a body runs, its variables, and those it gives values.
type Read = (Vec<String>, HashSet<String>, HashSet<String>);

pub fn body(routine: &Routine) -> Result<Read, String> {
    let mut read = match routine.language {
        Language::Other => return Err("it is not written in SQL or PL/pgSQL".to_owned()),
        Language::PlPgSql => {
            let body = plpgsql::read(&routine.body)?;
            (body.pieces, body.variables, body.assigned)
        }
        Language::Sql => {
            (sql_pieces(&routine.body).ok_or("its body is not plain SQL")?, HashSet::new(), HashSet::new())
        }
    };
    if routine.defaults > 0 {
        read.0.push(format!("SELECT {}", routine.default_text));
    }
    Ok(read)
}

/// The statements of a body in SQL, also of one that PostgreSQL prints: `BEGIN ATOMIC ... END`, `RETURN expression`.
fn sql_pieces(body: &str) -> Option<Vec<String>> {
    let trimmed = body.trim();
    let word = |word: &str| trimmed.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let text = if word("begin atomic") {
        let inner = trimmed.get("begin atomic".len()..)?;
        inner.get(..inner.len().checked_sub("end".len())?)?.to_owned()
    } else if word("return ") {
        format!("SELECT {}", trimmed.get("return ".len()..)?)
    } else {
        body.to_owned()
    };
    let script = sql::parse(&text).ok()?;
    script.statements.iter().map(|statement| text.get(statement.range.clone()).map(str::to_owned)).collect()
}
