//! Which shards a transaction may have written, noted before each write runs; what several of them need of a pipeline.

use shardmap::ShardId;

use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::txn::state::{BlockKind, Writes};
use crate::wire::reply::Report;

impl Session {
    /// Notes that a statement is about to run that may write a shard. To be called before the shard enlists.
    ///
    /// The first write on a second shard turns the implicit transaction of a pipeline into a block, which its Sync commits.
    ///
    /// # Errors
    /// Several shards cannot commit as one here: the reason and the remedy. Nothing has been noted then.
    pub(in crate::session) async fn note_write(&mut self, shard: ShardId) -> Result<(), Failure> {
        if self.note_write_now(shard) {
            return Ok(());
        }
        match self.writes() {
            Writes::Nothing | Writes::Everywhere => {}
            Writes::One(before) => {
                let both = [*before, shard];
                self.several_write(both.into_iter()).await?;
            }
            Writes::Several(_) => self.several_write(std::iter::once(shard)).await?,
        }
        self.writes_mut().add(shard);
        Ok(())
    }

    /// The same without waiting; `false`, and nothing has changed, if it is not the only shard that is written.
    pub(in crate::session) fn note_write_now(&mut self, shard: ShardId) -> bool {
        let writes = self.writes_mut();
        let alone = matches!(writes, Writes::Nothing | Writes::Everywhere) || writes.include(shard);
        if alone {
            writes.add(shard);
        }
        alone
    }

    /// Notes that a statement is about to run that may write every shard.
    ///
    /// # Errors
    /// As [`Session::note_write`].
    pub(in crate::session) async fn note_write_everywhere(&mut self) -> Result<(), Failure> {
        if self.gateway.shards() > 1 {
            self.several_write(self.gateway.each_shard()).await?;
        }
        *self.writes_mut() = Writes::Everywhere;
        Ok(())
    }

    /// The client's transaction is about to write a second shard.
    async fn several_write(&mut self, shards: impl Iterator<Item = ShardId>) -> Result<(), Failure> {
        self.check_commits(shards).await?;
        self.begin_behind_pipeline();
        Ok(())
    }

    /// Whether these shards can commit as one.
    pub(super) async fn check_commits(&self, shards: impl Iterator<Item = ShardId>) -> Result<(), Failure> {
        let config = self.gateway.config.load_full();
        match Box::pin(self.gateway.commits.check(&config, &self.database, shards)).await {
            Ok(()) => Ok(()),
            Err(not_ready) => {
                let (sqlstate, remedy) = not_ready.remedy();
                Err(Report::error(sqlstate, not_ready.to_string()).with_hint(remedy).into())
            }
        }
    }

    /// Outside a block, turns the implicit transactions of a pipeline into one block, which ends with its Sync: the servers could
    /// not be told to prepare them otherwise. *Source*: xact.c, BeginTransactionBlock, TBLOCK_STARTED.
    pub(in crate::session) fn begin_behind_pipeline(&mut self) {
        if self.transaction.block().is_some() {
            return;
        }
        self.take_pipeline_in(BlockKind::Implicit, "BEGIN".to_owned(), false);
        if let Some(block) = self.transaction.block_mut() {
            let used = self.link.servers.iter().map(|enlisted| enlisted.shard);
            used.for_each(|shard| block.touched.add(shard, block.writes.include(shard)));
        }
        for enlisted in self.link.servers.iter_mut().filter(|enlisted| !enlisted.begun) {
            enlisted.begun = true;
            if enlisted.needs_sync {
                enlisted.server.send_extended(b"BEGIN");
            } else {
                enlisted.server.send_begin(b"BEGIN");
            }
        }
    }

    /// Begins a block of which everything since the last Sync is a part: what was written, and what was SET.
    pub(in crate::session) fn take_pipeline_in(&mut self, kind: BlockKind, begin: String, read_only: bool) {
        let before = self.pipeline.settings_before.take().unwrap_or_else(|| self.settings.clone());
        let settings = std::mem::replace(&mut self.settings, before.clone());
        self.transaction.begin(kind, begin, read_only, before.clone());
        self.take_reported_in();
        let Some(block) = self.transaction.block_mut() else { return };
        block.writes = std::mem::take(&mut self.pipeline.writes);
        if settings != before {
            block.log.push(settings.script_from(&before));
            block.log.set_settings(settings.clone());
            block.log.set_effective(settings);
        }
    }

    /// Ends the block that [`Session::note_write`] made of a pipeline, if it did.
    pub(in crate::session) async fn commit_pipeline(&mut self) -> Result<(), Failure> {
        if !self.in_implicit_block() {
            return Ok(());
        }
        if self.pipeline.skipping || self.transaction.has_failed() {
            return self.rollback_servers().await;
        }
        self.commit_block().await
    }

    /// The messages since the last Sync have written, and are no block's.
    pub(in crate::session) fn wrote_outside_block(&self) -> bool {
        self.transaction.block().is_none() && self.pipeline.writes != Writes::Nothing
    }

    /// In a block that the client has not begun.
    pub(in crate::session) fn in_implicit_block(&self) -> bool {
        self.transaction.block().is_some_and(|block| block.kind == BlockKind::Implicit)
    }

    fn writes(&self) -> &Writes {
        self.transaction.block().map_or(&self.pipeline.writes, |block| &block.writes)
    }

    fn writes_mut(&mut self) -> &mut Writes {
        match self.transaction.block_mut() {
            Some(block) => &mut block.writes,
            None => &mut self.pipeline.writes,
        }
    }
}
