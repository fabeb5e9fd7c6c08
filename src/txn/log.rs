//! What a transaction block has done to its own frame (BEGIN, modes, savepoints, SET), to be replayed on each shard that
//! enlists later.

use std::borrow::Cow;
use std::sync::Arc;

use crate::pool::settings::Settings;

/// The log of one block.
#[derive(Clone, Debug)]
pub struct Log {
    entries: Vec<Entry>,
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
    /// BEGIN, SET TRANSACTION, SET, SET LOCAL ...: text as the client wrote it.
    Statement(String),
    /// SAVEPOINT; the settings are those to which rolling back to it returns.
    Savepoint { name: String, text: String, settings: Arc<Settings>, effective: Arc<Settings> },
}

impl Log {
    /// Of a block that begins with this statement, in a session with these settings.
    pub fn new(begin: String, settings: Arc<Settings>) -> Self {
        let bytes = begin.len() + size_of::<Entry>();
        let entries = vec![Entry::Statement(begin)];
        Log { entries, before: settings, effective: None, settings: None, bytes }
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
                Entry::Statement(text) => text.len(),
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
                Entry::Statement(text) | Entry::Savepoint { text, .. } => text.as_str(),
            })
            .collect();
        // On lines of their own: a text may end with a comment.
        texts.join("\n;").into()
    }

    /// The SETs of the block, for a server that has the settings from before and a transaction of its own: modes and savepoints are left out.
    pub fn settings_replay(&self) -> Vec<&str> {
        let texts = self.entries.iter().skip(1).filter_map(|entry| match entry {
            Entry::Statement(text) => Some(text.as_str()),
            Entry::Savepoint { .. } => None,
        });
        let is_mode = |text: &&str| {
            let mut words = text.split_whitespace().map(str::to_lowercase);
            words.next().as_deref() == Some("set")
                && matches!(words.next().as_deref(), Some("transaction" | "constraints"))
        };
        texts.filter(|text| !is_mode(text)).collect()
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

    /// The statement that began the block.
    pub fn begin(&self) -> &str {
        match self.entries.first() {
            Some(Entry::Statement(text)) => text,
            Some(Entry::Savepoint { .. }) | None => "BEGIN",
        }
    }

    /// What its statements see, by what has been said before the first of them. Words in comments count too: a snapshot of all
    /// shards that nobody asked for costs a moment, one that is missing shows what was never there.
    pub fn isolation(&self) -> Isolation {
        let texts = self.entries.iter().map(|entry| match entry {
            Entry::Statement(text) | Entry::Savepoint { text, .. } => text.as_str(),
        });
        isolation(texts, self.effective())
    }

    /// Adds a statement that acts on the block itself.
    pub fn push(&mut self, text: String) {
        self.add(Entry::Statement(text));
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

    /// How many savepoints there are.
    pub fn savepoints(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Savepoint { .. })).count()
    }

    /// RELEASE: forgets the savepoint and those after it, keeps what was set since. False when there is none of this name.
    pub fn release(&mut self, name: &str) -> bool {
        let Some(at) = self.position(name) else { return false };
        let mut index = 0;
        self.entries.retain(|entry| {
            let keep = index < at || matches!(entry, Entry::Statement(_));
            index += 1;
            keep
        });
        self.weigh_again();
        true
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
    let said = |word: &[u8]| {
        let names = ["default_transaction_isolation", "transaction_isolation", "session characteristics"];
        let settings = names.into_iter().filter_map(|name| settings.text_of(name));
        texts.clone().chain(settings).any(|text| contains_word(text.as_bytes(), word))
    };
    match said(b"serializable") {
        true if said(b"deferrable") && !said(b"not deferrable") && said(b"read only") => Isolation::Deferrable,
        true => Isolation::Serializable,
        false if said(b"repeatable") => Isolation::Transaction,
        false => Isolation::Statement,
    }
}

/// Whether a text has a word in it, whatever its case.
fn contains_word(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
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
        said.push("set transaction Isolation level REPEATABLE read".into());
        assert_eq!(said.isolation(), Isolation::Transaction);
        let change = Change::Value("serializable".into());
        let settings = Arc::new(Settings::default().with("default_transaction_isolation", change));
        assert_eq!(Log::new("BEGIN".into(), settings.clone()).isolation(), Isolation::Serializable);
        assert_eq!(default_isolation(&settings), Isolation::Serializable);
        assert_eq!(Log::new("BEGIN READ ONLY DEFERRABLE".into(), settings).isolation(), Isolation::Deferrable);
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
        assert!(log.release("a"));
        assert_eq!(log.replay(), "BEGIN\n;SET x TO 1");
        assert!(!log.release("a"));
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
        assert!(log.release("a"));
        assert!(log.bytes() <= empty + size_of::<Entry>());
    }

    #[test]
    fn of_two_savepoints_of_one_name_the_later_is_meant() {
        let mut log = log();
        log.savepoint("a".into(), "SAVEPOINT a".into());
        log.savepoint("a".into(), "SAVEPOINT a".into());
        assert!(log.release("a"));
        assert_eq!(log.replay(), "BEGIN\n;SAVEPOINT a");
    }
}
