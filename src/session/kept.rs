//! What a client makes the gateway keep between messages, and its limits: prepared statements, portals, cursors, what its transaction
//! block has to replay, settings.

use std::collections::HashMap;
use std::ops::Deref;

use super::failure::Failure;
use super::life::Session;
use super::plans::compiled::Compiled;
use super::statement::{Place, Portal, Prepared, Undelivered};
use crate::pool::settings::Settings;
use crate::wire::name::Name;
use crate::wire::reply::Report;

/// What an entry takes beside its text, about.
const ENTRY_BYTES: usize = 256;

/// Settings of one session at the most: a server that changes hands is sent all of them. A start-up packet of 10,000 bytes fits.
const SETTINGS_BYTES_MAX: usize = 1024 * 1024;

/// Takes memory for as long as it is kept.
pub trait Weigh {
    /// How much, about.
    fn bytes(&self) -> usize;
}

impl Weigh for Prepared {
    fn bytes(&self) -> usize {
        let told = [&self.source, &self.described].into_iter().flatten().map(|bytes| bytes.len());
        compiled_bytes(&self.compiled) + told.sum::<usize>()
    }
}

impl Weigh for Portal {
    fn bytes(&self) -> usize {
        // Its statement may have been replaced by another of the same name: it keeps the text alive.
        let bound = match self.place.as_bound() {
            Place::Gather(gathering) => gathering.parameters.bytes(),
            Place::Stepwise { bind, types, .. } => bind.len() + size_of_val(&types[..]),
            _ => 0,
        };
        let explained = self.explained.as_ref().map_or(0, |parameters| parameters.bytes());
        let kept = self.kept.as_ref().map_or(0, |kept| kept.bytes);
        compiled_bytes(&self.compiled) + bound + explained + kept
    }
}

/// The text, and again as much for its plan.
pub(super) fn compiled_bytes(compiled: &Compiled) -> usize {
    2 * compiled.text.len() + 4 * compiled.types.len() + ENTRY_BYTES
}

/// By the client's names. A client that seeks collisions slows down itself alone.
type Named<V> = HashMap<Name, Weighed<V>, foldhash::fast::RandomState>;

/// An entry, and what it took when it was added or last weighed: for as long as it is kept, that is counted.
#[derive(Debug)]
pub struct Weighed<V> {
    entry: V,
    bytes: usize,
}

impl<V> Deref for Weighed<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.entry
    }
}

/// Entries by name, and how much they take.
#[derive(Debug)]
pub struct Kept<V> {
    entries: Named<V>,
    bytes: usize,
}

impl<V> Default for Kept<V> {
    fn default() -> Self {
        Kept { entries: HashMap::default(), bytes: 0 }
    }
}

impl<V> Deref for Kept<V> {
    type Target = Named<V>;

    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

impl<V: Weigh> Kept<V> {
    /// What all entries take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an entry, or replaces it.
    pub fn insert(&mut self, name: Name, entry: V) {
        self.remove(&name);
        let bytes = entry.bytes();
        self.bytes += bytes;
        self.entries.insert(name, Weighed { entry, bytes });
    }

    /// A name as it is kept.
    pub fn name(&self, name: &[u8]) -> Option<Name> {
        self.entries.get_key_value(name).map(|(name, _)| name.clone())
    }

    /// A copy of an entry.
    pub fn copy(&self, name: &[u8]) -> Option<V>
    where
        V: Clone,
    {
        self.entries.get(name).map(|weighed| weighed.entry.clone())
    }

    /// Changes an entry, if there is one, and what it counts.
    pub fn change<R>(&mut self, name: &[u8], change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let weighed = self.entries.get_mut(name)?;
        let changed = change(&mut weighed.entry);
        let bytes = weighed.entry.bytes();
        self.bytes = self.bytes - weighed.bytes + bytes;
        weighed.bytes = bytes;
        Some(changed)
    }

    /// An entry, to be changed. It is counted as before.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        self.entries.get_mut(name).map(|weighed| &mut weighed.entry)
    }

    /// Changes all entries, which are counted as before.
    pub fn each(&mut self, mut change: impl FnMut(&mut V)) {
        self.entries.values_mut().for_each(|weighed| change(&mut weighed.entry));
    }

    /// Removes an entry.
    pub fn remove(&mut self, name: &[u8]) -> Option<V> {
        if self.entries.is_empty() {
            return None;
        }
        let Weighed { entry, bytes } = self.entries.remove(name)?;
        self.bytes -= bytes;
        Some(entry)
    }

    /// Removes all.
    pub fn clear(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        self.entries.clear();
        self.bytes = 0;
    }

    /// Keeps those for which it is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &V) -> bool) {
        let bytes = &mut self.bytes;
        self.entries.retain(|name, entry| {
            let kept = keep(name, entry);
            if !kept {
                *bytes -= entry.bytes;
            }
            kept
        });
    }
}

impl Session {
    /// Whether one more prepared statement may be kept.
    ///
    /// # Errors
    /// `client_statements_max` or `client_bytes_max` is reached.
    pub(super) fn check_statement_room(&self, name: &[u8], text: &[u8]) -> Result<(), Failure> {
        let count = self.names.statements.len() - usize::from(self.names.statements.contains_key(name));
        self.check_count(count, "prepared statements", "Close those that are not needed")?;
        self.check_bytes(2 * text.len() + ENTRY_BYTES)
    }

    /// Whether one more portal or cursor may be kept.
    ///
    /// # Errors
    /// As [`Session::check_statement_room`].
    pub(super) fn check_portal_room(&self, name: &[u8], compiled: Option<&Compiled>) -> Result<(), Failure> {
        let count = self.names.portals.len() + self.names.cursors.len();
        let count = count - usize::from(self.names.portals.contains_key(name)).min(count);
        self.check_count(count, "portals and cursors", "Close those that are not needed")?;
        self.check_bytes(compiled.map_or(ENTRY_BYTES, compiled_bytes))
    }

    /// Whether rows may be kept for Executes to come.
    ///
    /// # Errors
    /// `client_bytes_max` is reached.
    pub(super) fn check_rows_room(&self, kept: &Undelivered) -> Result<(), Failure> {
        if kept.rows.is_empty() { Ok(()) } else { self.check_bytes(kept.bytes) }
    }

    /// Whether one more statement can be noted that late shards of the transaction are to be told.
    ///
    /// # Errors
    /// `client_bytes_max` is reached.
    pub(super) fn check_log_room(&self, text: &str) -> Result<(), Failure> {
        if self.transaction.block().is_none() { Ok(()) } else { self.check_bytes(text.len() + ENTRY_BYTES) }
    }

    /// Whether settings are few enough to be kept.
    ///
    /// # Errors
    /// They are too many or too long.
    pub(super) fn check_settings_room(&self, settings: &Settings) -> Result<(), Failure> {
        let bytes = settings.bytes();
        if bytes <= SETTINGS_BYTES_MAX {
            return Ok(());
        }
        let text = format!("the settings of a session take {bytes} bytes, {SETTINGS_BYTES_MAX} are allowed");
        Err(Report::error("53400", text).with_hint("RESET those that are not needed.").into())
    }

    fn check_count(&self, count: usize, what: &str, remedy: &str) -> Result<(), Failure> {
        let max = self.gateway.config.load().limits.client_statements_max;
        if count < max {
            return Ok(());
        }
        // Source: manual of PostgreSQL 15, appendix A: 53400 is configuration_limit_exceeded.
        Err(Report::error("53400", format!("the client has {count} {what} (client_statements_max)"))
            .with_hint(format!("{remedy}, or raise client_statements_max in [limits]."))
            .into())
    }

    /// What statements, portals and the transaction take.
    pub(super) fn kept_bytes(&self) -> usize {
        let log = self.transaction.block().map_or(0, |block| block.log.bytes());
        self.names.statements.bytes() + self.names.portals.bytes() + log
    }

    fn check_bytes(&self, more: usize) -> Result<(), Failure> {
        let max = self.gateway.config.load().limits.client_bytes_max;
        let kept = self.kept_bytes();
        if kept.saturating_add(more) <= max {
            return Ok(());
        }
        let text = format!("the client's statements and transaction take {kept} bytes (client_bytes_max: {max})");
        Err(Report::error("53400", text)
            .with_hint(
                "Close prepared statements and portals, end the transaction, or raise client_bytes_max in [limits].",
            )
            .into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    impl Weigh for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    #[test]
    fn what_is_removed_in_any_way_counts_no_more() {
        let mut kept = Kept::default();
        kept.insert(Name::from(&b"a"[..]), 1);
        kept.insert(Name::from(&b"b"[..]), 20);
        kept.insert(Name::from(&b"b"[..]), 30);
        kept.insert(Name::from(&b"c"[..]), 400);
        assert_eq!((kept.bytes(), kept.len()), (431, 3));
        kept.change(b"c", |entry| *entry = 40);
        assert_eq!((kept.bytes(), kept.change(b"d", |_| ())), (71, None));
        *kept.get_mut(b"c").unwrap() = 5;
        kept.retain(|name, _| name != b"c");
        assert_eq!(kept.remove(b"a"), Some(1));
        assert_eq!(kept.remove(b"a"), None);
        assert_eq!(kept.bytes(), 30);
        kept.clear();
        assert_eq!(kept.bytes(), 0);
    }
}
