//! What servers say of their parameters, and what of it the client has been told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::gateway::Welcome;
use super::life::Session;
use crate::execute::plain::{Parameter, Plain};
use crate::wire::reply;

/// Parameters the client has been told, as far as the gateway must know them.
#[derive(Debug)]
pub(super) struct Reported {
    /// What the client was told when it connected.
    pub at_start: Option<Arc<Welcome>>,
    /// What it has been told since.
    pub values: HashMap<String, String>,
    /// What it is to be told before ReadyForQuery.
    pub pending: BTreeMap<String, String>,
    /// `client_encoding` is UTF8 or SQL_ASCII.
    pub utf8: bool,
    /// `standard_conforming_strings` is on: backslashes in literals are what they seem to the planner.
    pub conforming_strings: bool,
}

impl Reported {
    /// What a parameter is now, if the client has heard or will hear of it.
    pub fn now(&self, name: &str) -> Option<&String> {
        self.pending.get(name).or_else(|| self.value(name))
    }

    /// What the client has been told last.
    fn value(&self, name: &str) -> Option<&String> {
        let first = || self.at_start.as_ref()?.parameters.iter().find(|(known, _)| known == name);
        self.values.get(name).or_else(|| first().map(|(_, value)| value))
    }
}

impl Session {
    /// Sends ReadyForQuery, and before it what has changed of the parameters. *Source*: postgres.c, ReportChangedGUCOptions.
    pub(super) fn ready(&mut self) {
        let out = &mut self.link.client.outbound;
        for (name, value) in std::mem::take(&mut self.reported.pending) {
            if self.reported.value(&name) != Some(&value) {
                reply::parameter_status(out, &name, &value);
                self.reported.values.insert(name, value);
            }
        }
        reply::ready(out, self.transaction.status());
    }

    /// Takes note of what servers said.
    pub(super) fn note(&mut self, plain: &Plain) {
        plain.error.iter().for_each(|sqlstate| self.count_error(sqlstate));
        for columns in &plain.described {
            let name = self.pipeline.describing.pop_front().unwrap_or_default();
            self.names.statements.change(&name, |prepared| prepared.described = columns.as_deref().map(Arc::from));
        }
        for Parameter { name, value, told } in &plain.parameters {
            if *told {
                self.reported.values.insert(name.clone(), value.clone());
                self.reported.pending.remove(name);
            } else {
                self.reported.pending.insert(name.clone(), value.clone());
            }
            self.note_parameter(name, value);
        }
    }

    /// A few parameters change what a text means to the planner.
    pub(super) fn note_parameter(&mut self, name: &str, value: &str) {
        match name {
            "client_encoding" => {
                self.reported.utf8 = matches!(value, "UTF8" | "SQL_ASCII");
                self.scope = None;
            }
            "standard_conforming_strings" => self.reported.conforming_strings = value == "on",
            _ => {}
        }
    }
}
