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
    /// `client_encoding` is UTF8 or SQL_ASCII, as far as servers have been heard.
    pub utf8: bool,
    /// `client_encoding` was set behind other messages of a pipeline: no server says to what until Sync.
    pub unheard: bool,
    /// What transactions that are not over have changed, in order.
    pub undo: Vec<Change>,
    /// `standard_conforming_strings` is on: backslashes in literals are what they seem to the planner.
    pub conforming_strings: bool,
}

/// A parameter that has changed in a transaction, which may yet be undone.
#[derive(Debug)]
pub(super) struct Change {
    /// See [`Session::depth`].
    depth: usize,
    name: String,
    before: String,
}

impl Reported {
    /// What a parameter is now, if the client has heard or will hear of it.
    pub fn now(&self, name: &str) -> Option<&String> {
        self.pending.get(name).or_else(|| self.value(name))
    }

    /// The client is to be told something before ReadyForQuery, so that no server's must reach it.
    pub fn has_news(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let pending = std::mem::take(&mut self.pending);
        self.pending = pending.into_iter().filter(|(name, value)| self.value(name) != Some(value)).collect();
        !self.pending.is_empty()
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
        if self.transaction.has_failed() {
            self.undo_reported(self.depth());
        }
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
            if let Some(before) = self.reported.now(name).filter(|before| *before != value) {
                let (depth, before) = (self.depth(), before.clone());
                // What it was before the first change is what it goes back to.
                if !self.reported.undo.iter().any(|change| change.depth == depth && change.name == *name) {
                    self.reported.undo.push(Change { depth, name: name.clone(), before });
                }
            }
            if *told {
                self.reported.values.insert(name.clone(), value.clone());
                self.reported.pending.remove(name);
            } else {
                self.reported.pending.insert(name.clone(), value.clone());
            }
            self.note_parameter(name, value);
        }
    }

    /// How many transactions deep the session is: 0 outside a block, one more for the block and for each savepoint.
    fn depth(&self) -> usize {
        self.transaction.block().map_or(0, |block| 1 + block.log.savepoints())
    }

    /// What has changed at this depth or deeper is what it was: that (sub)transaction is undone, whether or not its servers are
    /// there to say so. *Source*: guc.c, AtEOXact_GUC.
    pub(super) fn undo_reported(&mut self, depth: usize) {
        let Some(first) = self.reported.undo.iter().position(|change| change.depth >= depth) else { return };
        for Change { name, before, .. } in self.reported.undo.split_off(first).into_iter().rev() {
            self.note_parameter(&name, &before);
            self.reported.pending.insert(name, before);
        }
    }

    /// The same, back to the innermost savepoint, or to the beginning of the block.
    pub(super) fn undo_reported_here(&mut self) {
        self.undo_reported(self.depth());
    }

    /// Savepoints were released: what has changed behind them is undone with what is around them.
    pub(super) fn merge_reported(&mut self) {
        let depth = self.depth();
        self.reported.undo.iter_mut().for_each(|change| change.depth = change.depth.min(depth));
    }

    /// What has changed since the last Sync is undone with the block of which it has become a part.
    pub(super) fn take_reported_in(&mut self) {
        self.reported.undo.iter_mut().for_each(|change| change.depth = change.depth.max(1));
    }

    /// Outside a block, what has changed stays; and what was set in the pipeline has been heard of.
    pub(super) fn keep_reported(&mut self) {
        if self.transaction.is_idle() {
            self.reported.undo.clear();
        }
        if self.reported.unheard && !self.link.servers.iter().any(|enlisted| enlisted.needs_sync) {
            self.reported.unheard = false;
            if let Some(encoding) = self.reported.now("client_encoding").cloned() {
                self.note_parameter("client_encoding", &encoding);
            }
        }
    }

    /// `client_encoding` has been set to what no server has said yet: nothing but ASCII is read.
    pub(super) fn note_unheard_encoding(&mut self) {
        self.reported.unheard = true;
        self.reported.utf8 = false;
        self.scope = None;
    }

    /// A few parameters change what a text means to the planner.
    pub(super) fn note_parameter(&mut self, name: &str, value: &str) {
        match name {
            "client_encoding" => {
                self.reported.utf8 = matches!(value, "UTF8" | "SQL_ASCII") && !self.reported.unheard;
                self.scope = None;
            }
            "standard_conforming_strings" => self.reported.conforming_strings = value == "on",
            _ => {}
        }
    }
}
