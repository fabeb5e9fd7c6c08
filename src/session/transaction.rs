//! Transaction control: BEGIN is answered here and travels lazily; its end goes to every enlisted shard.

use std::sync::Arc;

use super::failure::Failure;
use super::life::Session;
use crate::execute::fault::LinkFault;
use crate::execute::relay::Plain;
use crate::plan::TransactionVerb;
use crate::pool::expect::Audience;
use crate::pool::settings::Settings;
use crate::txn::state::{Block, BlockKind, Transaction, Writes};
use crate::wire::reply::{self, Report, Status};

impl Session {
    /// BEGIN, COMMIT, SAVEPOINT and the like; everything but ReadyForQuery is answered.
    pub(super) async fn transaction_verb(&mut self, text: &[u8], verb: &TransactionVerb) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(text).trim().to_owned();
        match verb {
            TransactionVerb::Begin { read_only } => self.begin(text, *read_only),
            TransactionVerb::Commit { chain } => return self.commit(*chain).await,
            TransactionVerb::Rollback { chain } => return self.rollback(*chain).await,
            TransactionVerb::Savepoint(name) => return self.savepoint(name, text).await,
            TransactionVerb::Release(name) => return self.release_savepoint(name, text).await,
            TransactionVerb::RollbackTo(name) => return self.rollback_to(name, text).await,
            TransactionVerb::Modes => return self.modes(text).await,
        }
        Ok(())
    }

    fn begin(&mut self, text: String, read_only: Option<bool>) {
        let tag = if text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("start")) {
            "START TRANSACTION"
        } else {
            "BEGIN"
        };
        let enlisted = !self.link.servers.is_empty();
        match &mut self.transaction {
            Transaction::Idle => {
                self.transaction.begin(BlockKind::Explicit, text, read_only == Some(true), self.settings.clone());
            }
            // BEGIN behind other statements of one Query makes their implicit block explicit.
            Transaction::Open(block) if block.kind == BlockKind::Implicit => {
                block.kind = BlockKind::Explicit;
                block.read_only = read_only == Some(true);
                if !enlisted {
                    block.log.set_begin(text);
                }
            }
            // Source: xact.c, BeginTransactionBlock.
            Transaction::Open(_) | Transaction::Failed(_) => {
                self.warn(Report::warning("25001", "there is already a transaction in progress"));
            }
        }
        reply::complete(&mut self.link.client.outbound, tag);
    }

    async fn commit(&mut self, chain: bool) -> Result<(), Failure> {
        let explicit = self.explicit_block();
        if chain && !explicit {
            return Err(not_in_block("COMMIT AND CHAIN"));
        }
        let modes = self.transaction.block().map(|block| (block.log.begin().to_owned(), block.read_only));
        let failed = self.transaction.has_failed();
        if !explicit {
            warn_no_transaction(self);
        }
        let tag = if failed {
            self.rollback_servers().await?;
            "ROLLBACK"
        } else {
            self.commit_block().await?;
            "COMMIT"
        };
        self.chain(chain, modes);
        reply::complete(&mut self.link.client.outbound, tag);
        Ok(())
    }

    async fn rollback(&mut self, chain: bool) -> Result<(), Failure> {
        let explicit = self.explicit_block();
        if chain && !explicit {
            return Err(not_in_block("ROLLBACK AND CHAIN"));
        }
        if !explicit {
            warn_no_transaction(self);
        }
        let modes = self.transaction.block().map(|block| (block.log.begin().to_owned(), block.read_only));
        self.rollback_servers().await?;
        self.chain(chain, modes);
        reply::complete(&mut self.link.client.outbound, "ROLLBACK");
        Ok(())
    }

    /// Sends a warning of the gateway's own, unless the client wants none.
    pub(super) fn warn(&mut self, warning: Report) {
        let level = self.current_settings().text_of("client_min_messages").unwrap_or_default().to_lowercase();
        if !["error", "fatal", "panic"].iter().any(|level_above| level.contains(level_above)) {
            warning.write(&mut self.link.client.outbound);
        }
    }

    fn explicit_block(&self) -> bool {
        self.transaction.block().is_some_and(|block| block.kind == BlockKind::Explicit)
    }

    fn chain(&mut self, chain: bool, modes: Option<(String, bool)>) {
        if let (true, Some((begin, read_only))) = (chain, modes) {
            self.transaction.begin(BlockKind::Explicit, begin, read_only, self.settings.clone());
        }
    }

    /// Commits the block on all its servers and ends it: readers first, then those that wrote, one after the other.
    ///
    /// # Errors
    /// The first writer failed: nothing is committed. A later one failed (DDL and COPY only): the message says who committed.
    pub(super) async fn commit_block(&mut self) -> Result<(), Failure> {
        let Some(block) = self.transaction.end() else { return Ok(()) };
        let result = self.commit_servers(&block).await;
        match &result {
            Ok(()) => self.adopt_committed(block.log.settings()),
            Err(_) => self.roll_back_open().await?,
        }
        self.names.portals.clear();
        self.names.cursors.clear();
        if block.changed_catalog {
            self.refresh_catalog().await;
        }
        self.release().await;
        result
    }

    async fn commit_servers(&mut self, block: &Block) -> Result<(), Failure> {
        let writes = |shard| match block.writes {
            Writes::Nothing => false,
            Writes::One(written) => written == shard,
            Writes::Everywhere => true,
        };
        let mut writers = Vec::new();
        for at in 0..self.link.servers.len() {
            if writes(self.link.servers[at].shard) && !self.link.servers[at].replica {
                writers.push(at);
            } else {
                self.link.servers[at].server.send_query(b"COMMIT", Audience::Gateway);
            }
        }
        // What only read has nothing to lose; its errors do not matter.
        let mut plain = Plain { show_side_effects: writers.is_empty(), ..Plain::default() };
        self.link.relay(&mut plain).await?;
        if writers.is_empty() {
            self.note(&plain);
        }
        let mut committed = Vec::new();
        for at in writers {
            let shard = self.link.servers[at].shard;
            self.link.servers[at].server.send_query(b"COMMIT", Audience::Gateway);
            let mut plain = Plain { show_side_effects: true, keep_tags: true, ..Plain::default() };
            match self.link.relay(&mut plain).await {
                // Some shards have it for good: the client must not be told that nothing was kept.
                Err(LinkFault::Server { shard, cause }) if !committed.is_empty() => {
                    let name = self.gateway.shard_name(shard);
                    let text =
                        format!("committed on {}; whether on \"{name}\" is not known: {cause}", committed.join(", "));
                    return Err(Report::error("40003", text)
                        .with_hint("Look at the shards not named before you repeat the statement.")
                        .into());
                }
                result => result?,
            };
            self.note(&plain);
            if committed.is_empty() {
                self.pass_on_hidden_error(&plain)?;
            } else if plain.hidden_error.is_some() {
                return Err(Report::error(
                    "40003",
                    format!(
                        "the transaction was committed on {} and failed on \"{}\"",
                        committed.join(", "),
                        self.gateway.shard_name(shard)
                    ),
                )
                .with_hint(
                    "Run \"pgbraid check\" and repeat the statement; DDL can be made repeatable with IF NOT EXISTS.",
                )
                .into());
            }
            committed.push(format!("\"{}\"", self.gateway.shard_name(shard)));
        }
        Ok(())
    }

    /// The session's settings have become these, on its servers too.
    fn adopt_committed(&mut self, settings: &Arc<Settings>) {
        self.settings = settings.clone();
        for enlisted in &mut self.link.servers {
            if enlisted.begun {
                enlisted.server.settings = settings.clone();
            }
        }
    }

    /// Rolls the block back on all its servers and ends it; without a block, does nothing.
    pub(super) async fn rollback_servers(&mut self) -> Result<(), Failure> {
        self.transaction.end();
        self.roll_back_open().await?;
        self.release().await;
        Ok(())
    }

    async fn roll_back_open(&mut self) -> Result<(), Failure> {
        self.link.servers.retain(|enlisted| !enlisted.server.is_broken());
        for enlisted in &mut self.link.servers {
            if enlisted.server.expects.status != Status::Idle {
                enlisted.server.send_query(b"ROLLBACK", Audience::Gateway);
            }
        }
        let mut plain = Plain { show_side_effects: true, ..Plain::default() };
        if let Err(failure) = self.link.relay(&mut plain).await {
            // A server that is lost has rolled back by itself.
            let failure = Failure::from(failure);
            if !matches!(failure, Failure::Link(LinkFault::Server { .. })) {
                return Err(failure);
            }
            self.give_back().await;
        }
        self.note(&plain);
        Ok(())
    }

    async fn savepoint(&mut self, name: &str, text: String) -> Result<(), Failure> {
        if !self.explicit_block() {
            return Err(not_in_block("SAVEPOINT"));
        }
        self.tell_servers(&text).await?;
        if let Some(block) = self.transaction.block_mut() {
            block.log.savepoint(name.to_owned(), text);
        }
        reply::complete(&mut self.link.client.outbound, "SAVEPOINT");
        Ok(())
    }

    async fn release_savepoint(&mut self, name: &str, text: String) -> Result<(), Failure> {
        if !self.explicit_block() {
            return Err(not_in_block("RELEASE SAVEPOINT"));
        }
        self.tell_servers(&text).await?;
        if self.transaction.block_mut().is_some_and(|block| !block.log.release(name)) {
            return Err(no_savepoint(name));
        }
        let savepoints = self.savepoints();
        self.merges.iter_mut().for_each(|held| held.savepoints = held.savepoints.min(savepoints));
        reply::complete(&mut self.link.client.outbound, "RELEASE");
        Ok(())
    }

    async fn rollback_to(&mut self, name: &str, text: String) -> Result<(), Failure> {
        if !self.explicit_block() {
            return Err(not_in_block("ROLLBACK TO SAVEPOINT"));
        }
        if self.transaction.block().is_some_and(|block| block.lost_server) {
            return Err(
                Report::error("25P02", "a server of this transaction was lost, so it can only be rolled back").into()
            );
        }
        self.tell_servers(&text).await?;
        if self.transaction.block_mut().is_some_and(|block| !block.log.rollback_to(name)) {
            return Err(no_savepoint(name));
        }
        self.transaction.recover();
        self.end_held_since(self.savepoints()).await;
        reply::complete(&mut self.link.client.outbound, "ROLLBACK");
        Ok(())
    }

    /// SET TRANSACTION, SET CONSTRAINTS. The tag is the server's.
    async fn modes(&mut self, text: String) -> Result<(), Failure> {
        let tag = if text.to_ascii_lowercase().contains("constraints") { "SET CONSTRAINTS" } else { "SET" };
        if self.transaction.block().is_none() {
            // Outside a block PostgreSQL warns and does nothing. Source: xact.c, CheckTransactionBlock.
            let verb = if tag == "SET" { "SET TRANSACTION" } else { tag };
            self.warn(Report::warning("25P01", format!("{verb} can only be used in transaction blocks")));
        } else {
            self.tell_servers(&text).await?;
            if let Some(block) = self.transaction.block_mut() {
                block.log.push(text);
            }
        }
        reply::complete(&mut self.link.client.outbound, tag);
        Ok(())
    }

    /// Runs a statement that acts on the block on every enlisted server; the client sees notices and parameters of the first,
    /// and the first error.
    pub(super) async fn tell_servers(&mut self, text: &str) -> Result<(), Failure> {
        let mut first = true;
        for at in 0..self.link.servers.len() {
            self.link.servers[at].server.send_query(text.as_bytes(), Audience::Gateway);
            let mut plain = Plain { show_side_effects: first, ..Plain::default() };
            self.relay_in_block(&mut plain).await?;
            self.note(&plain);
            self.pass_on_hidden_error(&plain)?;
            first = false;
        }
        Ok(())
    }

    /// Reads the catalog anew, because DDL ran.
    pub(super) async fn refresh_catalog(&mut self) {
        if let Err(error) = self.catalog.refresh().await {
            tracing::warn!(%error, "the catalog could not be read after DDL; it will be as soon as the shard answers");
        }
    }
}

/// *Source*: xact.c, EndTransactionBlock, UserAbortTransactionBlock.
fn warn_no_transaction(session: &mut Session) {
    session.warn(Report::warning("25P01", "there is no transaction in progress"));
}

/// *Source*: xact.c, RequireTransactionBlock.
fn not_in_block(verb: &str) -> Failure {
    Report::error("25P01", format!("{verb} can only be used in transaction blocks")).into()
}

/// *Source*: xact.c, RollbackToSavepoint.
fn no_savepoint(name: &str) -> Failure {
    Report::error("3B001", format!("savepoint \"{name}\" does not exist")).into()
}
