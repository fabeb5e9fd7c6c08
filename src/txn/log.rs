//! What a transaction block has done to its own frame (BEGIN, modes, savepoints, SET), to be replayed on each shard that
//! enlists later.

use std::borrow::Cow;
use std::sync::Arc;

use crate::pool::settings::Settings;

/// The log of one block.
#[derive(Clone, Debug)]
pub struct Log {
    entries: Vec<Entry>,
    /// How many of them, from the first, say the modes of the block before, which AND CHAIN has kept.
    inherited: usize,
    /// What COMMIT makes the session's settings, if they have changed.
    settings: Option<Arc<Settings>>,
    /// The settings in force in the block, SET LOCAL included, if they have changed.
    effective: Option<Arc<Settings>>,
    /// As they were before it.
    before: Arc<Settings>,
    /// What the entries take, about.
    bytes: usize,
}

/// What the statements of a block see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each what is committed when it begins: READ COMMITTED.
    Statement,
    /// All the same: REPEATABLE READ.
    Transaction,
    /// All the same, and as if nobody else were there: SERIALIZABLE.
    Serializable,
    /// The same, of a moment that PostgreSQL chooses by waiting: SERIALIZABLE READ ONLY DEFERRABLE.
    Deferrable,
}

#[derive(Clone, Debug)]
enum Entry {
    /// BEGIN, SET, SET LOCAL ...: text as the client wrote it.
    Statement(String),
    /// What makes it another kind of transaction: SET TRANSACTION, SET LOCAL transaction_read_only, BEGIN with modes behind BEGIN.
    Mode(String),
    /// SET CONSTRAINTS.
    Constraints(String),
    /// SAVEPOINT; the settings are those to which rolling back to it returns.
    Savepoint { name: String, text: String, settings: Arc<Settings>, effective: Arc<Settings> },
}

impl Log {
    /// Of a block that begins with this statement, in a session with these settings.
    pub fn new(begin: String, settings: Arc<Settings>) -> Self {
        let bytes = begin.len() + size_of::<Entry>();
        let entries = vec![Entry::Statement(begin)];
        Log { entries, inherited: 0, before: settings, effective: None, settings: None, bytes }
    }

    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn add(&mut self, entry: Entry) {
        self.bytes += self.weight(&entry);
        self.entries.push(entry);
    }

    /// What an entry takes; settings that are those from before the block are no further copy.
    fn weight(&self, entry: &Entry) -> usize {
        let others = |settings: &Arc<Settings>| if Arc::ptr_eq(settings, &self.before) { 0 } else { settings.bytes() };
        size_of::<Entry>()
            + match entry {
                Entry::Statement(text) | Entry::Mode(text) | Entry::Constraints(text) => text.len(),
                Entry::Savepoint { name, text, settings, effective } => {
                    name.len() + text.len() + others(settings) + others(effective)
                }
            }
    }

    fn weigh_again(&mut self) {
        self.bytes = self.entries.iter().map(|entry| self.weight(entry)).sum();
    }

    /// One simple-protocol script that brings a fresh server, which has the settings from before, into the block.
    pub fn replay(&self) -> Cow<'_, str> {
        if let [Entry::Statement(begin)] = self.entries.as_slice() {
            return begin.into();
        }
        let texts: Vec<&str> = self
            .entries
            .iter()
            .map(|entry| match entry {
                Entry::Statement(text)
                | Entry::Mode(text)
                | Entry::Constraints(text)
                | Entry::Savepoint { text, .. } => text.as_str(),
            })
            .collect();
        // On lines of their own: a text may end with a comment.
        texts.join("\n;").into()
    }

    /// The SETs of the block, for a server that has the settings from before and a transaction of its own: modes and savepoints are left out.
    pub fn settings_replay(&self) -> Vec<&str> {
        let texts = self.entries.iter().skip(1).filter_map(|entry| match entry {
            Entry::Statement(text) => Some(text.as_str()),
            Entry::Mode(_) | Entry::Constraints(_) | Entry::Savepoint { .. } => None,
        });
        texts.collect()
    }

    /// What its modes have been said by: BEGIN, and what came behind it. An error has undone what was said since the last savepoint, or,
    /// without one, since the block began. *Source*: xact.c, SaveTransactionCharacteristics; guc.c, AtEOXact_GUC.
    pub fn modes(&self, failed: bool) -> (&str, Vec<&str>) {
        let savepoint = self.entries.iter().rposition(|entry| matches!(entry, Entry::Savepoint { .. }));
        let end = if failed { savepoint.unwrap_or(self.inherited) } else { self.entries.len() };
        let mut said = self.entries.iter().take(end);
        let begin = match said.next() {
            Some(Entry::Statement(text)) => text,
            _ => "BEGIN",
        };
        let behind = said.filter_map(|entry| match entry {
            Entry::Mode(text) => Some(text.as_str()),
            Entry::Statement(_) | Entry::Constraints(_) | Entry::Savepoint { .. } => None,
        });
        (begin, behind.collect())
    }

    /// The block has these modes, beside those of BEGIN, from the block before it.
    pub fn inherit(&mut self, modes: Vec<String>) {
        modes.into_iter().for_each(|text| self.push_mode(text));
        self.inherited = self.entries.len();
    }

    /// Replaces BEGIN, because an implicit block became an explicit one with modes of its own.
    pub fn set_begin(&mut self, begin: String) {
        if let Some(first) = self.entries.first_mut() {
            *first = Entry::Statement(begin);
        }
        self.weigh_again();
    }

    /// Nothing but BEGIN has happened.
    pub fn is_only_begin(&self) -> bool {
        self.entries.len() == 1
    }

    /// What its statements see, by its modes and the defaults it began with. Words in comments count too: a snapshot of all
    /// shards that nobody asked for costs a moment, one that is missing shows what was never there.
    pub fn isolation(&self) -> Isolation {
        let (begin, behind) = self.modes(false);
        isolation(std::iter::once(begin).chain(behind), &self.before)
    }

    /// Adds a statement that changes settings.
    pub fn push(&mut self, text: String) {
        self.add(Entry::Statement(text));
    }

    /// Adds a statement that changes the transaction itself.
    pub fn push_mode(&mut self, text: String) {
        self.add(Entry::Mode(text));
    }

    /// Adds SET CONSTRAINTS.
    pub fn push_constraints(&mut self, text: String) {
        self.add(Entry::Constraints(text));
    }

    /// The session's settings have become these.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.settings = Some(settings);
    }

    /// The settings in force have become these, for the transaction only.
    pub fn set_effective(&mut self, settings: Arc<Settings>) {
        self.effective = Some(settings);
    }

    /// The settings in force.
    pub fn effective(&self) -> &Arc<Settings> {
        self.effective.as_ref().unwrap_or(&self.before)
    }

    /// The settings that COMMIT makes the session's.
    pub fn settings(&self) -> &Arc<Settings> {
        self.settings.as_ref().unwrap_or(&self.before)
    }

    /// The settings to which ROLLBACK returns, and which a server must have before the log is replayed on it.
    pub fn settings_before(&self) -> &Arc<Settings> {
        &self.before
    }

    /// SAVEPOINT.
    pub fn savepoint(&mut self, name: String, text: String) {
        let (settings, effective) = (self.settings().clone(), self.effective().clone());
        self.add(Entry::Savepoint { name, text, settings, effective });
    }

    /// How many statements it has.
    pub fn length(&self) -> usize {
        self.entries.len()
    }

    /// How many of them there are up to the last savepoint.
    pub fn savepoint_length(&self) -> usize {
        let savepoint = self.entries.iter().rposition(|entry| matches!(entry, Entry::Savepoint { .. }));
        savepoint.map_or(0, |at| at + 1)
    }

    /// How many savepoints there are.
    pub fn savepoints(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Savepoint { .. })).count()
    }

    /// RELEASE: forgets the savepoint and those after it, keeps what was set since. How much comes before it; `None` when there is none
    /// of this name.
    pub fn release(&mut self, name: &str) -> Option<usize> {
        let at = self.position(name)?;
        let mut index = 0;
        self.entries.retain(|entry| {
            let keep = index < at || !matches!(entry, Entry::Savepoint { .. });
            index += 1;
            keep
        });
        self.weigh_again();
        Some(at)
    }

    /// ROLLBACK TO: forgets what came after the savepoint, which stays. False when there is none of this name.
    pub fn rollback_to(&mut self, name: &str) -> bool {
        let Some(at) = self.position(name) else { return false };
        if let Some(Entry::Savepoint { settings, effective, .. }) = self.entries.get(at) {
            self.settings = Some(settings.clone());
            self.effective = Some(effective.clone());
        }
        self.entries.truncate(at + 1);
        self.weigh_again();
        true
    }

    /// The most recent savepoint of the name wins, as in xact.c, RollbackToSavepoint.
    fn position(&self, name: &str) -> Option<usize> {
        self.entries.iter().rposition(|entry| matches!(entry, Entry::Savepoint { name: found, .. } if found == name))
    }
}

/// What the statements of a transaction see that begins in a session with these settings.
pub fn default_isolation(settings: &Settings) -> Isolation {
    if settings.is_empty() { Isolation::Statement } else { isolation(std::iter::empty(), settings) }
}

fn isolation<'a>(texts: impl Iterator<Item = &'a str> + Clone, settings: &'a Settings) -> Isolation {
    let level = settings.text_of("default_transaction_isolation");
    let said = |word: &str| texts.clone().chain(level).any(|text| contains_word(text, word));
    let is_default = |name: &str| {
        let said_off = |text: &str| ["off", "false"].iter().any(|word| contains_word(text, word));
        settings.text_of(name).is_some_and(|text| !said_off(text))
    };
    let deferrable = || said("deferrable") || is_default("default_transaction_deferrable");
    let read_only = || said("read only") || said("read_only") || is_default("default_transaction_read_only");
    match said("serializable") {
        true if !said("not deferrable") && deferrable() && read_only() => Isolation::Deferrable,
        true => Isolation::Serializable,
        false if said("repeatable") => Isolation::Transaction,
        false => Isolation::Statement,
    }
}

/// Whether a text has a word in it, whatever its case.
fn contains_word(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::settings::Change;

    fn log() -> Log {
        Log::new("BEGIN".into(), Arc::new(Settings::default()))
    }

    #[test]
    fn a_late_shard_is_told_everything_in_order() {
        let mut log = log();
        log.push("SET LOCAL work_mem TO '1MB'".into());
        log.savepoint("a".into(), "SAVEPOINT a".into());
        assert_eq!(log.replay(), "BEGIN\n;SET LOCAL work_mem TO '1MB'\n;SAVEPOINT a");
    }

    #[test]
    fn what_a_block_sees_is_read_from_what_was_said_and_set() {
        let mut said = log();
        assert_eq!(said.isolation(), Isolation::Statement);
        said.push_mode("set transaction Isolation level REPEATABLE read".into());
        assert_eq!(said.isolation(), Isolation::Transaction);
        let change = Change::Value("serializable".into());
        let settings = Arc::new(Settings::default().with("default_transaction_isolation", change));
        assert_eq!(Log::new("BEGIN".into(), settings.clone()).isolation(), Isolation::Serializable);
        assert_eq!(default_isolation(&settings), Isolation::Serializable);
        assert_eq!(Log::new("BEGIN READ ONLY DEFERRABLE".into(), settings.clone()).isolation(), Isolation::Deferrable);
        let mut later = log();
        later.set_effective(settings);
        assert_eq!(later.isolation(), Isolation::Statement, "defaults are those of later transactions");
    }

    #[test]
    fn an_error_undoes_modes_said_since_the_last_savepoint() {
        let mut log = log();
        assert_eq!(log.modes(true), ("BEGIN", vec![]));
        log.inherit(vec!["SET TRANSACTION READ ONLY".into()]);
        log.push_mode("SET TRANSACTION DEFERRABLE".into());
        assert_eq!(log.modes(true), ("BEGIN", vec!["SET TRANSACTION READ ONLY"]));
        log.push_constraints("SET CONSTRAINTS ALL DEFERRED".into());
        log.savepoint("a".into(), "SAVEPOINT a".into());
        log.push_mode("SET TRANSACTION READ WRITE".into());
        assert_eq!(log.modes(true).1.len(), 2);
        assert_eq!(log.modes(false).1.len(), 3);
    }

    #[test]
    fn rolling_back_to_a_savepoint_keeps_it_and_forgets_what_follows() {
        let mut log = log();
        log.savepoint("a".into(), "SAVEPOINT a".into());
        log.savepoint("b".into(), "SAVEPOINT b".into());
        log.set_settings(Arc::new(Settings::default().with("x", Change::Value("1".into()))));
        assert!(log.rollback_to("a"));
        assert!(!log.rollback_to("b"));
        assert_eq!(log.replay(), "BEGIN\n;SAVEPOINT a");
        assert!(log.settings().is_empty());
    }

    #[test]
    fn releasing_keeps_settings_made_since() {
        let mut log = log();
        log.savepoint("a".into(), "SAVEPOINT a".into());
        log.push("SET x TO 1".into());
        log.savepoint("b".into(), "SAVEPOINT b".into());
        assert!(log.release("a").is_some());
        assert_eq!(log.replay(), "BEGIN\n;SET x TO 1");
        assert!(log.release("a").is_none());
    }

    #[test]
    fn what_it_takes_follows_what_it_holds() {
        let mut log = log();
        let empty = log.bytes();
        log.savepoint("a".into(), "SAVEPOINT a".into());
        log.set_settings(Arc::new(Settings::default().with("x", Change::Value("1".repeat(1000)))));
        let one = log.bytes();
        log.savepoint("b".into(), "SAVEPOINT b".into());
        assert!(log.bytes() > one + 1000, "a savepoint keeps the settings to return to");
        assert!(log.rollback_to("a"));
        assert_eq!(log.bytes(), one);
        assert!(log.release("a").is_some());
        assert!(log.bytes() <= empty + size_of::<Entry>());
    }

    #[test]
    fn of_two_savepoints_of_one_name_the_later_is_meant() {
        let mut log = log();
        log.savepoint("a".into(), "SAVEPOINT a".into());
        log.savepoint("a".into(), "SAVEPOINT a".into());
        assert!(log.release("a").is_some());
        assert_eq!(log.replay(), "BEGIN\n;SAVEPOINT a");
    }
}
