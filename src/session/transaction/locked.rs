//! Tables that a block has locked against everybody else, by TRUNCATE or LOCK TABLE: a merge server, which is outside the block, would wait for
//! the block, and the block for it.

use crate::catalog::RelationKind;
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::type_numbers::words;
use crate::sql::tokens::behind_comments;
use crate::wire::reply::Report;

impl Session {
    /// Notes what a statement locks, if it is one that does.
    pub(in crate::session) fn note_locks(&mut self, text: &[u8]) {
        let start = behind_comments(text);
        let is = |word: &[u8]| start.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if !is(b"truncate") && !is(b"lock") {
            return;
        }
        let Some(block) = self.transaction.block_mut() else { return };
        let words = words(text);
        // Source: manual of PostgreSQL 15, 13.3.1: a reader waits for no weaker mode.
        let weak = is(b"lock") && words.contains("mode") && !(words.contains("access") && words.contains("exclusive"));
        if !weak {
            block.locked.extend(words);
        }
    }

    /// Checks that a merge server may look at what a text names.
    ///
    /// # Errors
    /// It would wait for this block.
    pub(in crate::session) fn check_unlocked(&self, text: &[u8]) -> Result<(), Failure> {
        let Some(block) = self.transaction.block().filter(|block| !block.locked.is_empty()) else { return Ok(()) };
        let words = words(text);
        let all = block.locked.contains("cascade");
        let catalog = self.catalog.load();
        let relations = catalog.schemas.values().flat_map(std::collections::HashMap::values);
        let stands_in_the_way = |name: &str, kind: &RelationKind| {
            let view = matches!(kind, RelationKind::View { .. });
            words.contains(name) && (all || view || block.locked.contains(name))
        };
        for relation in relations.filter(|relation| relation.kind != RelationKind::System) {
            if stands_in_the_way(&relation.name.to_lowercase(), &relation.kind) {
                let name = &relation.name;
                let text = format!(
                    "the rows of several shards cannot be merged: this transaction may have locked \"{name}\" against all others"
                );
                return Err(Report::error("0A000", text)
                    .with_hint("DELETE instead of TRUNCATE, take a weaker lock, or commit first.")
                    .into());
            }
        }
        Ok(())
    }
}
