//! Tables that a block has locked against everybody else, by TRUNCATE, LOCK TABLE or DDL: a merge server, which is outside the block, would
//! wait for the block, and the block for it, so that it is not to name them (see `gather::uncommitted`).

use crate::session::life::Session;
use crate::session::type_numbers::words;
use crate::sql::tokens::behind_comments;

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

    /// Notes the tables that a statement locks, whatever it begins with.
    pub(in crate::session) fn note_locked(&mut self, text: &[u8]) {
        if let Some(block) = self.transaction.block_mut() {
            block.locked.extend(words(text));
        }
    }

    /// Notes what DDL that has run may have locked.
    pub(in crate::session) fn note_altered(&mut self, text: &[u8]) {
        // Source: manual of PostgreSQL 15, 13.3.1: what these lock may be read.
        const READABLE: [&[u8]; 6] = [b"create", b"comment", b"grant", b"revoke", b"analyze", b"vacuum"];
        let start = behind_comments(text);
        let is = |word: &[u8]| start.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        // Source: DefineRelation, tablecmds.c: a new partition locks its parent; CreatePolicy, policy.c, and DefineQueryRewrite,
        // rewriteDefine.c: policies and rules lock their table.
        let words = words(text);
        let locks = ["partition", "policy", "rule"].iter().any(|word| words.contains(*word));
        if locks || !READABLE.iter().any(|word| is(word)) {
            self.note_locked(text);
        }
    }
}
