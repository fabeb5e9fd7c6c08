//! Sync: the end of a pipeline, on every server that has had a part in it.

use crate::execute::plain::Plain;
use crate::pool::expect::Audience;
use crate::pool::server::Server;
use crate::session::failure::Failure;
use crate::session::life::Session;

impl Session {
    /// Sync: ends the implicit transaction of the pipeline on every server, and the skipping.
    pub(in crate::session) async fn sync(&mut self) -> Result<(), Failure> {
        if !self.pipeline.skipping {
            let settled = self.settle_parse(None).await;
            self.conclude_extended(settled).await?;
        }
        // What was written on one server is undone by an error on another.
        if self.link.servers.iter().filter(|enlisted| enlisted.needs_sync).count() > 1 && self.wrote_outside_block() {
            self.begin_behind_pipeline();
        }
        let result = match self.sync_servers().await {
            Ok(false) => self.commit_pipeline().await.map(|()| false),
            result => result,
        };
        self.end_sync(result).await
    }

    /// What follows the servers' answers to Sync: ReadyForQuery, unless one of them has said it to the client.
    pub(super) async fn end_sync(&mut self, result: Result<bool, Failure>) -> Result<(), Failure> {
        self.pipeline.skipping |= result.is_err();
        self.end_pipeline();
        match result {
            Ok(true) => {}
            Ok(false) => self.ready(),
            Err(failure) => {
                Box::pin(self.fail(failure)).await?;
                Box::pin(self.end_implicit_block()).await?;
                self.ready();
            }
        }
        self.release_if_idle().await;
        self.link.client.flush().await?;
        Ok(())
    }

    /// The implicit transaction is over: if it failed, what SET did in it is undone, and servers that ran it are not used again.
    pub(in crate::session) fn end_pipeline(&mut self) {
        if !self.pipeline.skipping && self.transaction.is_idle() {
            self.link.servers.iter_mut().for_each(|enlisted| enlisted.server.unsettled = false);
        }
        if let (true, Some(settings)) = (self.pipeline.skipping, self.pipeline.settings_before.take()) {
            self.settings = settings;
            self.undo_reported(0);
        }
        self.keep_reported();
        self.pipeline.clear();
    }

    /// Whether a server's ReadyForQuery was forwarded.
    async fn sync_servers(&mut self) -> Result<bool, Failure> {
        let failed = self.pipeline.skipping;
        let engaged = self.link.servers.iter().filter(|enlisted| enlisted.needs_sync).count();
        if engaged == 0 {
            return Ok(false);
        }
        let in_block = self.transaction.block().is_some();
        // A failure of the gateway's own is none the servers know of.
        let own = failed || self.transaction.has_failed() || self.in_implicit_block() || self.reported.has_news();
        let direct = engaged == 1 && !own;
        for enlisted in self.link.servers.iter_mut().filter(|enlisted| enlisted.needs_sync) {
            enlisted.needs_sync = false;
            let server: &mut Server = &mut enlisted.server;
            if failed && !in_block && !server.expects.skipping {
                // Outside a block, ROLLBACK ends the implicit transaction with a warning.
                // Source: xact.c, UserAbortTransactionBlock, TBLOCK_IMPLICIT_INPROGRESS.
                server.send_extended(b"ROLLBACK");
            }
            server.send_sync(if direct { Audience::Client } else { Audience::Gateway });
        }
        self.answers_to_sync(failed).await?;
        Ok(direct)
    }

    /// Passes on what servers owe up to Sync. `failed`: the pipeline had failed before.
    pub(super) async fn answers_to_sync(&mut self, failed: bool) -> Result<(), Failure> {
        let mut plain = Plain { aliases: std::mem::take(&mut self.pipeline.held), ..Plain::default() };
        plain.skip_described = self.pipeline.describing.iter().all(|name| name.is_empty());
        self.relay_in_block(&mut plain).await?;
        self.note(&plain);
        self.pipeline.held = std::mem::take(&mut plain.aliases);
        if plain.error.is_some() {
            self.pipeline.skipping = true;
            self.restore_names();
        }
        if !failed {
            self.pass_on_hidden_error(&plain)?;
        }
        Ok(())
    }
}
