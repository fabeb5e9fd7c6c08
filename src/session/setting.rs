//! SET, RESET, set_config and DISCARD: run on a server, which judges them, and remembered for the next one.

use std::sync::Arc;

use super::failure::Failure;
use super::life::Session;
use super::transaction::verbs::DEFAULT_MODES;
use crate::execute::link::Enlisted;
use crate::execute::plain::Plain;
use crate::plan::{Access, DiscardVerb, Plan, SettingName, SettingVerb};
use crate::pool::expect::Audience;
use crate::pool::settings::{Change, Settings, assignment, literal};
use crate::sql::tokens;
use crate::wire::reply::{self, Report};

/// How a script of several statements begins.
const RESET_ALL_AND: &str = "RESET ALL\n;";

impl Session {
    /// SET and RESET; everything but ReadyForQuery is answered.
    pub(super) async fn setting(&mut self, text: &[u8], verb: &SettingVerb) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(text).trim().to_owned();
        let run = match verb {
            SettingVerb::Reset { name } | SettingVerb::Set { name, to_default: true, .. } => {
                // A pooled server's own default is not what the client asked for when it connected.
                self.startup_assignment(name, is_local(verb)).unwrap_or_else(|| text.clone())
            }
            SettingVerb::ResetAll => self.reset_all_script(&text),
            SettingVerb::Set { .. } | SettingVerb::Characteristics(_) => text.clone(),
        };
        self.check_encoding(&run)?;
        self.check_log_room(&text)?;
        self.check_settings_room(&changed(self.current_settings(), verb, &text))?;
        if let (Some("transaction_read_only"), Some(block)) = (named(verb), self.transaction.block_mut()) {
            // To whatever it is set: a standby would not take READ WRITE.
            block.read_only = false;
        }
        self.run_setting(&run).await?;
        let aside = self.link.servers.iter().any(|enlisted| enlisted.needs_sync);
        if aside && (matches!(verb, SettingVerb::ResetAll) || named(verb) == Some("client_encoding")) {
            self.note_unheard_encoding();
        }
        let isolation = self.transaction.block().map(|block| block.log.isolation());
        let style = self.reported_date_style(verb);
        let changed = |settings: &Settings| match &style {
            Some(style) => settings.with("datestyle", Change::Value(style.clone())),
            None => changed(settings, verb, &text),
        };
        self.remember(changed, Lasts::of(named(verb), is_local(verb)), run);
        if let (Some("transaction_isolation"), Some(before)) = (named(verb), isolation) {
            self.follow_isolation(before).await?;
        }
        let tag = match verb {
            SettingVerb::Set { .. } | SettingVerb::Characteristics(_) => "SET",
            SettingVerb::Reset { .. } | SettingVerb::ResetAll => "RESET",
        };
        reply::complete(&mut self.link.client.outbound, tag);
        Ok(())
    }

    /// What became of DateStyle, of which a SET may give a part alone; `None` in the middle of a pipeline, when servers do not say.
    fn reported_date_style(&self, verb: &SettingVerb) -> Option<String> {
        let resets = matches!(verb, SettingVerb::Set { to_default: true, .. } | SettingVerb::Reset { .. });
        if named(verb) != Some("datestyle") || resets || self.link.servers.iter().any(|enlisted| enlisted.needs_sync) {
            return None;
        }
        let told = &self.link.servers.first()?.server.parameters;
        told.iter().find(|(name, _)| name.eq_ignore_ascii_case("datestyle")).map(|(_, value)| value.clone())
    }

    /// Runs it where the session's servers are, or on one taken for it.
    async fn run_setting(&mut self, text: &str) -> Result<(), Failure> {
        if self.link.servers.is_empty() {
            self.enlist_any(Access::Read).await?;
        }
        for at in 0..self.link.servers.len() {
            self.run_aside(at, text, at == 0).await?;
        }
        Ok(())
    }

    /// Runs a statement of the gateway's own on one server; `audible`: the client gets its notices.
    async fn run_aside(&mut self, at: usize, text: &str, audible: bool) -> Result<(), Failure> {
        if self.transaction.block().is_some() {
            self.join(at).await?;
        }
        self.send_aside(at, text);
        let mut plain = Plain { show_side_effects: audible, ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        self.note(&plain);
        self.pass_on_hidden_error(&plain)
    }

    /// Sends a statement of the gateway's own without ending an implicit transaction that a pipeline has under way.
    fn send_aside(&mut self, at: usize, text: &str) {
        let several = self.link.servers.len() > 1;
        let enlisted = &mut self.link.servers[at];
        enlisted.only_asked = false;
        let aside = enlisted.needs_sync && self.transaction.block().is_none();
        // It may be undone with its implicit transaction, or be refused by another server.
        enlisted.server.unsettled |= self.transaction.block().is_none() && (aside || several);
        if aside {
            enlisted.server.send_extended(text.as_bytes());
            enlisted.server.send_flush();
        } else if text.starts_with(RESET_ALL_AND) {
            enlisted.server.send_query(text.as_bytes(), Audience::Gateway);
        } else {
            self.send_sparing(at, text.as_bytes(), Audience::Gateway);
        }
    }

    /// A query sets settings on one server: the session's others are told before they are spoken to again, and those that come later.
    pub(super) async fn spread_settings(&mut self, at: usize, names: &[SettingName]) -> Result<(), Failure> {
        let in_block = self.transaction.block().is_some();
        self.link.servers[at].server.unsettled |= !in_block;
        self.drain().await?;
        if self.link.servers[at].needs_sync && names.iter().any(|setting| setting.name == "client_encoding") {
            self.note_unheard_encoding();
        }
        let values = Box::pin(self.values_set(at, names)).await?;
        for (setting, value) in names.iter().zip(values) {
            let Some(value) = value else { continue };
            let lasts = Lasts::of(Some(&setting.name), setting.local);
            if !in_block && lasts != Lasts::Session {
                continue;
            }
            let run = assignment(&setting.name, &value, setting.local);
            let change = |settings: &Settings| settings.with(&setting.name, Change::Value(value.clone()));
            self.check_encoding(&value)?;
            self.check_log_room(&run)?;
            self.check_settings_room(&change(self.current_settings()))?;
            for other in (0..self.link.servers.len()).filter(|other| *other != at) {
                self.run_aside(other, &run, false).await?;
            }
            self.remember(change, lasts, run);
        }
        let Enlisted { server, needs_sync, .. } = &mut self.link.servers[at];
        server.unsettled &= in_block || *needs_sync;
        Ok(())
    }

    /// What a query has made of settings: its constants, or else what the server says; `None` of one that the server does not know.
    async fn values_set(&mut self, at: usize, names: &[SettingName]) -> Result<Vec<Option<String>>, Failure> {
        if names.iter().all(|setting| setting.value.is_some()) {
            return Ok(names.iter().map(|setting| setting.value.clone()).collect());
        }
        let calls: Vec<String> = names
            .iter()
            .map(|setting| format!("pg_catalog.current_setting({}, true)", literal(&setting.name)))
            .collect();
        self.send_aside(at, &format!("SELECT {}", calls.join(",")));
        let mut plain = Plain { keep_row: true, ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        self.pass_on_hidden_error(&plain)?;
        Ok(plain.row)
    }

    /// What is set is said again to other servers: as UTF-8, and with what was set before it in the same transaction.
    fn check_encoding(&self, text: &str) -> Result<(), Failure> {
        let encoding = |settings: &Settings| settings.text_of("client_encoding").map(str::to_owned);
        let before = match self.transaction.block() {
            Some(block) => block.log.settings_before(),
            None => self.pipeline.settings_before.as_ref().unwrap_or(&self.settings),
        };
        if text.is_ascii() || (self.reported.utf8 && encoding(before) == encoding(self.current_settings())) {
            return Ok(());
        }
        let text = "characters of another encoding than UTF8 in what changes settings are not supported";
        Err(Report::error("0A000", text)
            .with_hint("SET client_encoding TO UTF8 first, in a transaction of its own.")
            .into())
    }

    /// Keeps what was set: for the session, for the block until it commits, or for the block only.
    fn remember(&mut self, change: impl Fn(&Settings) -> Settings, lasts: Lasts, run: String) {
        match (self.transaction.block_mut(), lasts) {
            (Some(block), Lasts::Mode) => block.log.push_mode(run),
            (Some(block), Lasts::Session | Lasts::Transaction) => {
                block.log.push(run);
                block.log.set_effective(Arc::new(change(block.log.effective())));
                if lasts == Lasts::Session {
                    block.log.set_settings(Arc::new(change(block.log.settings())));
                }
            }
            (None, Lasts::Mode | Lasts::Transaction) => {}
            (None, Lasts::Session) => {
                self.pipeline.settings_before.get_or_insert_with(|| self.settings.clone());
                self.settings = Arc::new(change(&self.settings));
                for enlisted in &mut self.link.servers {
                    enlisted.server.settings = self.settings.clone();
                    enlisted.server.unsettled &= enlisted.needs_sync;
                }
            }
        }
    }

    fn startup_assignment(&self, name: &str, local: bool) -> Option<String> {
        self.settings.startup_value(name).map(|value| assignment(name, value, local))
    }

    fn reset_all_script(&self, text: &str) -> String {
        let startup = self.settings.reset_all(true).script_from(&Settings::default());
        if startup.is_empty() { text.to_owned() } else { format!("{RESET_ALL_AND}{startup}") }
    }

    /// DISCARD. Servers are cleaned when they change hands, so nothing need be sent.
    pub(super) async fn discard(&mut self, verb: DiscardVerb, text: &[u8]) -> Result<(), Failure> {
        match verb {
            DiscardVerb::All => {
                if self.transaction.block().is_some() {
                    // Source: xact.c, PreventInTransactionBlock.
                    return Err(Report::error("25001", "DISCARD ALL cannot run inside a transaction block").into());
                }
                self.end_held_cursors().await;
                let before = self.settings.clone();
                let script = before.reset_all(true).script_from(&before);
                if !script.is_empty() && *before != before.reset_all(true) {
                    // So that the client hears of parameters that change.
                    self.check_encoding(&script)?;
                    self.run_setting(&script).await?;
                    self.remember(|settings| settings.reset_all(true), Lasts::Session, String::new());
                }
                self.names.forget_named_statements();
                reply::complete(&mut self.link.client.outbound, "DISCARD ALL");
            }
            DiscardVerb::Other => {
                let words = tokens::words(&String::from_utf8_lossy(text)).unwrap_or_default();
                let what = words.get(1).map_or(String::new(), |word| word.text.to_ascii_uppercase());
                self.note_drawn_elsewhere();
                let tag = format!("DISCARD {}", what.replace("TEMPORARY", "TEMP"));
                reply::complete(&mut self.link.client.outbound, &tag);
            }
        }
        Ok(())
    }
}

/// How long what was set stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    /// Until it is set again.
    Session,
    /// As long as the transaction.
    Transaction,
    /// Likewise, as it is a mode of the transaction, however it is set.
    Mode,
}

impl Lasts {
    fn of(name: Option<&str>, local: bool) -> Self {
        match name {
            Some("transaction_isolation" | "transaction_read_only" | "transaction_deferrable") => Lasts::Mode,
            _ if local => Lasts::Transaction,
            _ => Lasts::Session,
        }
    }
}

/// The setting that a verb is about, unless there are several.
fn named(verb: &SettingVerb) -> Option<&str> {
    match verb {
        SettingVerb::Set { name, .. } | SettingVerb::Reset { name } => Some(name),
        SettingVerb::ResetAll | SettingVerb::Characteristics(_) => None,
    }
}

/// SET LOCAL.
fn is_local(verb: &SettingVerb) -> bool {
    matches!(verb, SettingVerb::Set { local: true, .. })
}

/// What a SET, a RESET or a query that sets things does to its transaction alone.
pub(super) fn concerns_transaction(plan: &Plan) -> bool {
    let lasts = |name, local| Lasts::of(name, local) != Lasts::Session;
    match plan {
        Plan::Setting(verb) => lasts(named(verb), is_local(verb)),
        Plan::SettingQuery(names) => names.iter().any(|setting| lasts(Some(&setting.name), setting.local)),
        _ => false,
    }
}

/// What gives transactions that begin later other modes.
pub(super) fn concerns_next_transaction(plan: &Plan) -> bool {
    match plan {
        Plan::Setting(SettingVerb::Characteristics(_)) => true,
        Plan::Setting(verb) => named(verb).is_some_and(|name| DEFAULT_MODES.contains(&name)),
        Plan::SettingQuery(names) => names.iter().any(|setting| DEFAULT_MODES.contains(&&*setting.name)),
        _ => false,
    }
}

/// The settings after a verb.
fn changed(before: &Settings, verb: &SettingVerb, text: &str) -> Settings {
    match verb {
        SettingVerb::Set { name, to_default: true, .. } | SettingVerb::Reset { name } => {
            let settings = before.without(name);
            if name == "session_authorization" { settings.without_role() } else { settings }
        }
        SettingVerb::Set { name, search_path, .. } => {
            let settings = before.with(name, Change::Statement(text.to_owned(), search_path.clone()));
            if name == "session_authorization" { settings.without_role() } else { settings }
        }
        SettingVerb::Characteristics(defaults) => defaults
            .iter()
            .fold(before.clone(), |settings, (name, value)| settings.with(name, Change::Value(value.clone()))),
        SettingVerb::ResetAll => before.reset_all(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_undoes_what_set_did() {
        let set = SettingVerb::Set { name: "work_mem".into(), local: false, to_default: false, search_path: None };
        let after = changed(&Settings::default(), &set, "SET work_mem TO 1");
        assert_ne!(after, Settings::default());
        assert_eq!(changed(&after, &SettingVerb::Reset { name: "work_mem".into() }, ""), Settings::default());
    }
}
