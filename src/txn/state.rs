//! How a client's transaction stands: one enum, changed here only.

use std::sync::Arc;

use shardmap::ShardId;

use super::log::Log;
use crate::catalog::Catalog;
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
    /// What statements of a SERIALIZABLE block have read or written.
    pub touched: Touched,
    /// DDL ran in it: the catalog that sessions share does not know yet what it made.
    pub changed_catalog: bool,
    /// What servers set when they log in has changed: those that are there have not.
    pub changed_logins: bool,
    /// Its servers have been asked for the numbers of the types made in it.
    pub numbered: bool,
    /// The catalog as it sees it after its last DDL, once asked for.
    pub seen: Option<Arc<Catalog>>,
    /// A server that had enlisted is gone, and what was done on it with it, or its savepoints are not those of the others: only the
    /// end is left.
    pub lost_server: bool,
    /// Numbers were drawn, or forgotten, of which its servers do not know.
    pub drawn_elsewhere: bool,
    /// Words of its statements that lock out readers (TRUNCATE, LOCK TABLE, DDL), names of tables among them.
    pub locked: std::collections::HashSet<String>,
}

/// Who began a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// The client's BEGIN.
    Explicit,
    /// Several statements in one Query message. *Source*: manual, "Multiple Statements in a Simple Query".
    Implicit,
}

/// Which shards a transaction may have written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// None.
    #[default]
    Nothing,
    /// One.
    One(ShardId),
    /// Several, in order.
    Several(Vec<ShardId>),
    /// All, by DDL or COPY.
    Everywhere,
}

/// Shards whose rows the statements of a SERIALIZABLE block have read or written. Each shard finds the conflicts that it sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    shards: Writes,
    wrote: bool,
}

impl Touched {
    /// Notes that rows of a shard are read or written.
    pub fn add(&mut self, shard: ShardId, writes: bool) {
        self.shards.add(shard);
        self.wrote |= writes;
    }

    /// There may be conflicts that no shard sees whole: rows were written, and there is more than one shard.
    pub fn is_beyond_one_shard(&self) -> bool {
        self.wrote && matches!(self.shards, Writes::Several(_) | Writes::Everywhere)
    }
}

impl Writes {
    /// Notes a write on a shard.
    pub fn add(&mut self, shard: ShardId) {
        match self {
            Writes::Nothing => *self = Writes::One(shard),
            Writes::One(before) if *before == shard => {}
            Writes::One(before) => {
                let before = *before;
                *self = Writes::Several(vec![before.min(shard), before.max(shard)]);
            }
            Writes::Several(shards) => {
                if let Err(at) = shards.binary_search(&shard) {
                    shards.insert(at, shard);
                }
            }
            Writes::Everywhere => {}
        }
    }

    /// Whether this shard may have been written.
    pub fn include(&self, shard: ShardId) -> bool {
        match self {
            Writes::Nothing => false,
            Writes::One(written) => *written == shard,
            Writes::Several(written) => written.binary_search(&shard).is_ok(),
            Writes::Everywhere => true,
        }
    }
}

impl Block {
    /// DDL ran in it: what its servers said before of types and tables is out of date.
    pub fn note_ddl(&mut self, changes_catalog: bool) {
        self.changed_catalog |= changes_catalog;
        self.numbered = false;
        self.seen = None;
    }
}

impl Transaction {
    /// Idle -> Open.
    pub fn begin(&mut self, kind: BlockKind, text: String, read_only: bool, settings: Arc<Settings>) {
        let log = Log::new(text, settings);
        let writes = Writes::default();
        *self = Transaction::Open(Block {
            log,
            kind,
            read_only,
            writes,
            touched: Touched::default(),
            changed_catalog: false,
            changed_logins: false,
            numbered: false,
            seen: None,
            lost_server: false,
            drawn_elsewhere: false,
            locked: std::collections::HashSet::new(),
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

    /// Outside a block.
    pub fn is_idle(&self) -> bool {
        matches!(self, Transaction::Idle)
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
    fn written_shards_are_a_set() {
        let mut writes = Writes::Nothing;
        writes.add(ShardId(2));
        writes.add(ShardId(2));
        assert_eq!(writes, Writes::One(ShardId(2)));
        assert!(writes.include(ShardId(2)) && !writes.include(ShardId(1)));
        for shard in [1, 2, 3, 1] {
            writes.add(ShardId(shard));
        }
        assert_eq!(writes, Writes::Several(vec![ShardId(1), ShardId(2), ShardId(3)]));
        assert!(writes.include(ShardId(3)) && !writes.include(ShardId(0)));
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
