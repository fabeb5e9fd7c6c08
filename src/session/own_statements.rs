//! What `pg_prepared_statements` shows: the statements that the client has prepared, under its own names.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::failure::Failure;
use super::gather::described::Wire;
use super::life::Session;
use super::statement::{Origin, Prepared};
use crate::plan::Values;
use crate::wire::name::Name;

impl Session {
    /// What the gateway knows, as the only value of a statement that asks for it, if it does; `at`: a server that can be asked for types.
    pub(super) async fn own_value(
        &mut self,
        values: Values,
        at: usize,
        wire: Wire,
    ) -> Result<Option<Option<String>>, Failure> {
        match values {
            Values::Computed | Values::Remembered => Ok(None),
            Values::InDoubt => Ok(Some(Some(self.in_doubt()))),
            Values::Prepared => Ok(Some(Some(self.prepared_statements(at, wire).await?))),
        }
    }

    /// A list of objects; the unnamed statement is none of them. *Source*: prepare.c, pg_prepared_statement.
    async fn prepared_statements(&mut self, at: usize, wire: Wire) -> Result<String, Failure> {
        let named = self.names.statements.iter().filter(|(name, _)| !name.is_empty());
        let named: Vec<(Name, Prepared)> =
            named.map(|(name, prepared)| (name.clone(), Prepared::clone(prepared))).collect();
        let mut rows = Vec::new();
        for (name, prepared) in named {
            let types = match &prepared.resolved_types {
                Some(types) => types.to_vec(),
                None if !prepared.compiled.text.contains(&b'$') => Vec::new(),
                None => {
                    let compiled = &prepared.compiled;
                    self.ask_of(at, &[&compiled.text], &compiled.types, wire).await?.pop().unwrap_or_default().0
                }
            };
            let made = prepared.made.unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
            let text = prepared.source.as_deref().unwrap_or(&prepared.compiled.text);
            rows.push(json!({
                "name": String::from_utf8_lossy(&name),
                "statement": String::from_utf8_lossy(text),
                "made": made.as_secs_f64(),
                "parameter_types": types.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "from_sql": prepared.origin == Origin::Sql,
            }));
        }
        Ok(serde_json::Value::Array(rows).to_string())
    }
}

/// When a statement of this name is made; the unnamed one is never shown.
pub(super) fn made_now(name: &[u8]) -> Option<SystemTime> {
    (!name.is_empty()).then(SystemTime::now)
}
