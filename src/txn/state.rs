//! How a client's transaction stands: one enum, changed here only.

use std::collections::HashSet;
use std::sync::Arc;

use shardmap::ShardId;

use super::log::Log;
use crate::pool::settings::Settings;
use crate::wire::reply::Status;

/// A client's transaction.
#[derive(Debug, Default)]
pub enum Transaction {
    /// Outside a block: each statement is its own transaction.
    #[default]
    Idle,
    /// In a block.
    Open(Block),
    /// In a block in which something failed: nothing but its end, or a rollback to a savepoint, is accepted.
    Failed(Block),
}

/// A block.
#[derive(Debug)]
pub struct Block {
    /// What late shards are told.
    pub log: Log,
    /// Who began it.
    pub kind: BlockKind,
    /// READ ONLY was said.
    pub read_only: bool,
    /// Who was written.
    pub writes: Writes,
    /// DDL ran in it: the catalog does not know yet what it made.
    pub changed_catalog: bool,
    /// Its servers have been asked for the numbers of the types made in it.
    pub numbered: bool,
    /// The words of the DDL that ran in it.
    pub ddl_words: HashSet<String>,
    /// A server that had enlisted is gone, and what was done on it with it: only the end is left.
    pub lost_server: bool,
}

/// Who began a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// The client's BEGIN.
    Explicit,
    /// Several statements in one Query message. *Source*: manual, "Multiple Statements in a Simple Query".
    Implicit,
}

/// Which shards a transaction has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// None.
    #[default]
    Nothing,
    /// One.
    One(ShardId),
    /// All, by DDL or COPY.
    Everywhere,
}

impl Writes {
    /// After a write on one shard; `None` when that makes a second shard written, which cannot commit as one yet.
    pub fn and(self, shard: ShardId) -> Option<Writes> {
        match self {
            Writes::Nothing => Some(Writes::One(shard)),
            Writes::One(before) => (before == shard).then_some(self),
            Writes::Everywhere => Some(self),
        }
    }
}

impl Transaction {
    /// Idle -> Open.
    pub fn begin(&mut self, kind: BlockKind, text: String, read_only: bool, settings: Arc<Settings>) {
        let log = Log::new(text, settings);
        let writes = Writes::default();
        let ddl_words = HashSet::new();
        *self = Transaction::Open(Block {
            log,
            kind,
            read_only,
            writes,
            changed_catalog: false,
            numbered: false,
            ddl_words,
            lost_server: false,
        });
    }

    /// Open -> Failed; Idle and Failed stay.
    pub fn fail(&mut self) {
        *self = match std::mem::take(self) {
            Transaction::Open(block) | Transaction::Failed(block) => Transaction::Failed(block),
            Transaction::Idle => Transaction::Idle,
        };
    }

    /// Failed -> Open, after ROLLBACK TO.
    pub fn recover(&mut self) {
        *self = match std::mem::take(self) {
            Transaction::Open(block) | Transaction::Failed(block) => Transaction::Open(block),
            Transaction::Idle => Transaction::Idle,
        };
    }

    /// Any -> Idle; the block, if there was one.
    pub fn end(&mut self) -> Option<Block> {
        match std::mem::take(self) {
            Transaction::Open(block) | Transaction::Failed(block) => Some(block),
            Transaction::Idle => None,
        }
    }

    /// The block, open or failed.
    pub fn block(&self) -> Option<&Block> {
        match self {
            Transaction::Open(block) | Transaction::Failed(block) => Some(block),
            Transaction::Idle => None,
        }
    }

    /// The block, open or failed.
    pub fn block_mut(&mut self) -> Option<&mut Block> {
        match self {
            Transaction::Open(block) | Transaction::Failed(block) => Some(block),
            Transaction::Idle => None,
        }
    }

    /// In a failed block.
    pub fn has_failed(&self) -> bool {
        matches!(self, Transaction::Failed(_))
    }

    /// What ReadyForQuery says.
    pub fn status(&self) -> Status {
        match self {
            Transaction::Idle => Status::Idle,
            Transaction::Open(_) => Status::Open,
            Transaction::Failed(_) => Status::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_written_shard_is_one_too_many() {
        let one = Writes::Nothing.and(ShardId(1));
        assert_eq!(one, Some(Writes::One(ShardId(1))));
        assert_eq!(Writes::One(ShardId(1)).and(ShardId(1)), one);
        assert_eq!(Writes::One(ShardId(1)).and(ShardId(2)), None);
    }

    #[test]
    fn a_block_fails_recovers_and_ends() {
        let mut transaction = Transaction::default();
        transaction.fail();
        assert_eq!(transaction.status(), Status::Idle);
        transaction.begin(BlockKind::Explicit, "BEGIN".into(), false, Arc::default());
        transaction.fail();
        assert_eq!(transaction.status(), Status::Failed);
        transaction.recover();
        assert_eq!(transaction.status(), Status::Open);
        assert!(transaction.end().is_some() && transaction.end().is_none());
    }
}
