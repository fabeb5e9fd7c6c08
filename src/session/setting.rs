//! SET, RESET, set_config and DISCARD: run on a server, which judges them, and remembered for the next one.

use std::sync::Arc;

use super::failure::Failure;
use super::life::Session;
use crate::execute::plain::Plain;
use crate::plan::{Access, DiscardVerb, SettingName, SettingVerb};
use crate::pool::expect::Audience;
use crate::pool::settings::{Change, Settings, assignment, literal};
use crate::sql::tokens;
use crate::wire::reply::{self, Report};

impl Session {
    /// Asks for what queries of this pipeline made of settings.
    pub(super) async fn settle_settings(&mut self) -> Result<(), Failure> {
        let sets = std::mem::take(&mut self.pipeline.sets);
        if self.pipeline.skipping || self.transaction.has_failed() {
            return Ok(());
        }
        for (shard, names) in sets {
            let at = self.enlist(shard, Access::Read).await?;
            self.ask_settings(at, &names).await?;
        }
        Ok(())
    }

    /// SET and RESET; everything but ReadyForQuery is answered.
    pub(super) async fn setting(&mut self, text: &[u8], verb: &SettingVerb) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(text).trim().to_owned();
        let (run, show_rows) = match verb {
            SettingVerb::Reset { name } | SettingVerb::Set { name, to_default: true, .. } => {
                // A pooled server's own default is not what the client asked for when it connected.
                (self.startup_assignment(name, is_local(verb)).unwrap_or_else(|| text.clone()), false)
            }
            SettingVerb::ResetAll => (self.reset_all_script(&text), false),
            SettingVerb::SetConfig { .. } => (text.clone(), true),
            SettingVerb::Set { .. } => (text.clone(), false),
        };
        self.check_log_room(&text)?;
        self.check_settings_room(&changed(self.current_settings(), verb, &text))?;
        if let (Some("transaction_read_only"), Some(block)) = (named(verb), self.transaction.block_mut()) {
            // To whatever it is set: a standby would not take READ WRITE.
            block.read_only = false;
        }
        self.run_setting(&run, show_rows).await?;
        let isolation = self.transaction.block().map(|block| block.log.isolation());
        let style = self.reported_date_style(verb);
        let changed = |settings: &Settings| match &style {
            Some(style) => settings.with("datestyle", Change::Value(style.clone())),
            None => changed(settings, verb, &text),
        };
        self.remember(changed, is_local(verb), run);
        if let (Some("transaction_isolation"), Some(before)) = (named(verb), isolation) {
            self.follow_isolation(before).await?;
        }
        let tag = match verb {
            SettingVerb::Set { .. } => "SET",
            SettingVerb::Reset { .. } | SettingVerb::ResetAll => "RESET",
            SettingVerb::SetConfig { .. } => "SELECT 1",
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
    async fn run_setting(&mut self, text: &str, show_rows: bool) -> Result<(), Failure> {
        if self.link.servers.is_empty() {
            self.enlist_any(Access::Read).await?;
        }
        for at in 0..self.link.servers.len() {
            self.send_aside(at, text);
            let mut plain = Plain { show_side_effects: at == 0, show_rows: show_rows && at == 0, ..Plain::default() };
            self.relay_in_block(&mut plain).await?;
            self.note(&plain);
            self.pass_on_hidden_error(&plain)?;
        }
        Ok(())
    }

    /// Sends a statement of the gateway's own without ending an implicit transaction that a pipeline has under way.
    fn send_aside(&mut self, at: usize, text: &str) {
        let several = self.link.servers.len() > 1;
        let enlisted = &mut self.link.servers[at];
        enlisted.only_asked = false;
        let aside = enlisted.needs_sync && self.transaction.block().is_none() && !text.contains(';');
        // It may be undone with its implicit transaction, or be refused by another server.
        enlisted.server.unsettled |= self.transaction.block().is_none() && (aside || several);
        if aside {
            enlisted.server.send_extended(text.as_bytes());
            enlisted.server.send_flush();
        } else {
            enlisted.server.send_query(text.as_bytes(), Audience::Gateway);
        }
    }

    /// Asks a server what a query made of settings, and remembers it.
    pub(super) async fn ask_settings(&mut self, at: usize, names: &[SettingName]) -> Result<(), Failure> {
        let calls: Vec<String> =
            names.iter().map(|setting| format!("pg_catalog.current_setting({})", literal(&setting.name))).collect();
        let stays = self.transaction.block().is_none();
        self.link.servers[at].server.unsettled |= stays;
        self.link.servers[at].server.send_query(format!("SELECT {}", calls.join(",")).as_bytes(), Audience::Gateway);
        let mut plain = Plain { keep_row: true, ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        self.pass_on_hidden_error(&plain)?;
        for (setting, value) in names.iter().zip(plain.row) {
            let (name, value) = (&setting.name, value.unwrap_or_default());
            let run = assignment(name, &value, setting.local);
            self.remember(|settings| settings.with(name, Change::Value(value.clone())), setting.local, run);
        }
        self.link.servers[at].server.unsettled &= !stays;
        Ok(())
    }

    /// Keeps what was set: for the session, for the block until it commits, or for the block only.
    fn remember(&mut self, change: impl Fn(&Settings) -> Settings, local: bool, run: String) {
        match self.transaction.block_mut() {
            Some(block) => {
                block.log.push(run);
                block.log.set_effective(Arc::new(change(block.log.effective())));
                if !local {
                    block.log.set_settings(Arc::new(change(block.log.settings())));
                }
            }
            None if local => {}
            None => {
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
        if startup.is_empty() { text.to_owned() } else { format!("RESET ALL;{startup}") }
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
                    self.run_setting(&script, false).await?;
                    self.remember(|settings| settings.reset_all(true), false, String::new());
                }
                self.names.statements.clear();
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

/// The setting that a verb is about, unless all are.
fn named(verb: &SettingVerb) -> Option<&str> {
    match verb {
        SettingVerb::Set { name, .. } | SettingVerb::Reset { name } | SettingVerb::SetConfig { name, .. } => Some(name),
        SettingVerb::ResetAll => None,
    }
}

/// For the transaction only.
fn is_local(verb: &SettingVerb) -> bool {
    matches!(verb, SettingVerb::Set { local: true, .. } | SettingVerb::SetConfig { local: true, .. })
}

/// The settings after a verb.
fn changed(before: &Settings, verb: &SettingVerb, text: &str) -> Settings {
    match verb {
        SettingVerb::Set { name, to_default: true, .. } | SettingVerb::Reset { name } => before.without(name),
        SettingVerb::Set { name, search_path, .. } => {
            before.with(name, Change::Statement(text.to_owned(), search_path.clone()))
        }
        SettingVerb::SetConfig { name, value, .. } => before.with(name, Change::Value(value.clone())),
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
