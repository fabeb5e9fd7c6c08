//! Transaction control: BEGIN is answered here and travels lazily; its end goes to every enlisted shard.

use crate::execute::fault::LinkFault;
use crate::execute::plain::Plain;
use crate::plan::{Access, NO_PREPARED_TRANSACTIONS, TransactionVerb};
use crate::pool::expect::Audience;
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::life::Session;
use crate::sql::tokens;
use crate::txn::state::{BlockKind, Transaction};
use crate::wire::reply::{self, Report, Status};

impl Session {
    /// BEGIN, COMMIT, SAVEPOINT and the like; everything but ReadyForQuery is answered.
    pub(in crate::session) async fn transaction_verb(
        &mut self,
        text: &[u8],
        verb: &TransactionVerb,
    ) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(text).trim().to_owned();
        if matches!(
            verb,
            TransactionVerb::Begin { .. }
                | TransactionVerb::Savepoint(_)
                | TransactionVerb::Modes { .. }
                | TransactionVerb::Constraints { .. }
        ) {
            self.check_log_room(&text)?;
        }
        match verb {
            TransactionVerb::Begin { read_only } => return self.begin(text, *read_only).await,
            TransactionVerb::Commit { chain } => return self.commit(*chain).await,
            TransactionVerb::Rollback { chain } => return self.rollback(*chain).await,
            TransactionVerb::Savepoint(name) => return self.savepoint(name, text).await,
            TransactionVerb::Release(name) => return self.release_savepoint(name, text).await,
            TransactionVerb::RollbackTo(name) => return self.rollback_to(name, text).await,
            TransactionVerb::Modes { read_only } => return self.modes(text, *read_only).await,
            TransactionVerb::Prepare => return self.prepare_transaction().await,
            TransactionVerb::Constraints { all } => return self.constraints(text, *all).await,
        }
    }

    /// BEGIN outside a block; it goes to no server yet.
    pub(in crate::session) fn begin_explicit(&mut self, text: &[u8], read_only: bool) {
        let text = String::from_utf8_lossy(text).trim().to_owned();
        reply::complete(&mut self.link.client.outbound, begin_tag(&text));
        self.transaction.begin(BlockKind::Explicit, text, read_only, self.settings.clone());
    }

    async fn begin(&mut self, text: String, read_only: Option<bool>) -> Result<(), Failure> {
        let tag = begin_tag(&text);
        let implicit = self.in_implicit_block();
        if implicit && !self.transaction.has_failed() {
            // Its servers are in a block already; they take the modes all the same. Source: utility.c, TRANS_STMT_BEGIN.
            self.tell(&text, Audible::Nowhere).await?;
        }
        match &mut self.transaction {
            Transaction::Idle => {
                let read_only = read_only == Some(true);
                self.transaction.begin(BlockKind::Explicit, text, read_only, self.settings.clone());
            }
            // BEGIN behind other statements of one Query makes their implicit block explicit.
            Transaction::Open(block) if block.kind == BlockKind::Implicit => {
                block.kind = BlockKind::Explicit;
                block.read_only = read_only == Some(true);
                block.log.set_begin(text);
            }
            // Source: xact.c, BeginTransactionBlock.
            Transaction::Open(_) | Transaction::Failed(_) => {
                self.warn(Report::warning("25001", "there is already a transaction in progress"));
                self.enlist_behind_savepoint().await?;
                self.tell(&text, Audible::Nowhere).await?;
                self.note_modes(text, read_only).await?;
            }
        }
        reply::complete(&mut self.link.client.outbound, tag);
        Ok(())
    }

    /// COMMIT.
    pub(in crate::session) async fn commit(&mut self, chain: bool) -> Result<(), Failure> {
        let explicit = self.explicit_block();
        if chain && !explicit {
            return Err(needs_block("COMMIT AND CHAIN"));
        }
        let modes = self.modes_to_chain(chain).await?;
        let failed = self.transaction.has_failed();
        if !explicit {
            warn_no_transaction(self);
        }
        let tag = if failed {
            Box::pin(self.rollback_servers()).await?;
            "ROLLBACK"
        } else {
            self.commit_block().await?;
            "COMMIT"
        };
        self.chain(modes);
        reply::complete(&mut self.link.client.outbound, tag);
        Ok(())
    }

    async fn rollback(&mut self, chain: bool) -> Result<(), Failure> {
        let explicit = self.explicit_block();
        if chain && !explicit {
            return Err(needs_block("ROLLBACK AND CHAIN"));
        }
        if !explicit {
            warn_no_transaction(self);
        }
        let modes = self.modes_to_chain(chain).await?;
        self.rollback_servers().await?;
        self.chain(modes);
        reply::complete(&mut self.link.client.outbound, "ROLLBACK");
        Ok(())
    }

    /// PREPARE TRANSACTION: the block ends, as one that PostgreSQL cannot prepare does, the implicit one of a script or a pipeline too: PostgreSQL
    /// prepares or commits it. *Source*: xact.c, PrepareTransactionBlock.
    async fn prepare_transaction(&mut self) -> Result<(), Failure> {
        if self.transaction.block().is_none() && !self.wrote_outside_block() {
            warn_no_transaction(self);
        } else {
            let failed = self.transaction.has_failed();
            self.rollback_servers().await?;
            if !failed {
                return Err(Report::error("0A000", NO_PREPARED_TRANSACTIONS).into());
            }
        }
        reply::complete(&mut self.link.client.outbound, "ROLLBACK");
        Ok(())
    }

    /// Sends a warning of the gateway's own, unless the client wants none.
    pub(in crate::session) fn warn(&mut self, warning: Report) {
        let level = self.current_settings().text_of("client_min_messages").unwrap_or_default().to_lowercase();
        if !["error", "fatal", "panic"].iter().any(|level_above| level.contains(level_above)) {
            warning.write(&mut self.link.client.outbound);
        }
    }

    fn explicit_block(&self) -> bool {
        self.transaction.block().is_some_and(|block| block.kind == BlockKind::Explicit)
    }

    /// The modes of the block that AND CHAIN begins anew: those of the one that ends. *Source*: xact.c, SaveTransactionCharacteristics.
    async fn modes_to_chain(&mut self, chain: bool) -> Result<Option<Chained>, Failure> {
        let failed = self.transaction.has_failed();
        let Some(block) = self.transaction.block().filter(|_| chain) else { return Ok(None) };
        let (before, after) = (block.log.settings_before(), block.log.settings());
        if !failed && DEFAULT_MODES.iter().any(|name| before.text_of(name) != after.text_of(name)) {
            return Box::pin(self.modes_in_force()).await.map(Some);
        }
        let (begin, behind) = block.log.modes(failed);
        let behind = behind.into_iter().map(str::to_owned).collect();
        Ok(Some(Chained { begin: begin.to_owned(), behind, read_only: block.read_only && !failed }))
    }

    /// A BEGIN that says all modes of the block, which says some of them by defaults that have changed since.
    async fn modes_in_force(&mut self) -> Result<Chained, Failure> {
        let at = self.enlist_any(Access::Read).await?;
        let begin = self.one_value(at, MODES_IN_FORCE, &[], Wire::Simple).await?;
        let read_only = self.transaction.block().is_some_and(|block| block.read_only);
        Ok(Chained { begin: String::from_utf8_lossy(&begin).into_owned(), behind: Vec::new(), read_only })
    }

    fn chain(&mut self, modes: Option<Chained>) {
        let Some(Chained { begin, behind, read_only }) = modes else { return };
        self.transaction.begin(BlockKind::Explicit, begin, read_only, self.settings.clone());
        if let Some(block) = self.transaction.block_mut() {
            block.log.inherit(behind);
        }
    }

    /// Rolls the block back on all its servers and ends it; without a block, does nothing.
    pub(in crate::session) async fn rollback_servers(&mut self) -> Result<(), Failure> {
        self.transaction.end();
        self.roll_back_open().await?;
        self.release().await;
        Ok(())
    }

    pub(super) async fn roll_back_open(&mut self) -> Result<(), Failure> {
        self.link.servers.retain(|enlisted| !enlisted.server.is_broken());
        // A pipeline that an error has ended skips everything up to Sync, a ROLLBACK too.
        let mut synced = false;
        for enlisted in self.link.servers.iter_mut().filter(|enlisted| enlisted.begun && enlisted.needs_sync) {
            enlisted.needs_sync = false;
            enlisted.server.send_sync(Audience::Gateway);
            synced = true;
        }
        if synced {
            self.relay_to_end(&mut Plain::default()).await?;
        }
        for enlisted in &mut self.link.servers {
            if enlisted.server.expects.status != Status::Idle {
                enlisted.server.send_query(b"ROLLBACK", Audience::Gateway);
            }
        }
        let mut plain = Plain { show_side_effects: true, ..Plain::default() };
        self.relay_to_end(&mut plain).await?;
        self.note(&plain);
        self.undo_reported(1);
        Ok(())
    }

    /// Relays a rollback: a server that is lost has rolled back by itself.
    async fn relay_to_end(&mut self, plain: &mut Plain) -> Result<(), Failure> {
        match self.link.relay(plain).await {
            Ok(_) => Ok(()),
            Err(LinkFault::Server { .. }) => {
                self.give_back().await;
                Ok(())
            }
            Err(fault) => Err(fault.into()),
        }
    }

    async fn savepoint(&mut self, name: &str, text: String) -> Result<(), Failure> {
        if !self.explicit_block() {
            return Err(needs_block("SAVEPOINT"));
        }
        self.tell_savepoint(&text).await?;
        if let Some(block) = self.transaction.block_mut() {
            block.log.savepoint(name.to_owned(), text);
        }
        reply::complete(&mut self.link.client.outbound, "SAVEPOINT");
        Ok(())
    }

    async fn release_savepoint(&mut self, name: &str, text: String) -> Result<(), Failure> {
        if !self.explicit_block() {
            return Err(needs_block("RELEASE SAVEPOINT"));
        }
        self.tell_savepoint(&text).await?;
        if let Some(block) = self.transaction.block_mut() {
            let before = block.log.release(name).ok_or_else(|| no_savepoint(name))?;
            self.names.portals.each(|portal| portal.log_length = portal.log_length.min(before));
        }
        let savepoints = self.savepoints();
        self.merges.iter_mut().for_each(|held| held.savepoints = held.savepoints.min(savepoints));
        self.merge_reported();
        reply::complete(&mut self.link.client.outbound, "RELEASE");
        Ok(())
    }

    async fn rollback_to(&mut self, name: &str, text: String) -> Result<(), Failure> {
        if !self.explicit_block() {
            return Err(needs_block("ROLLBACK TO SAVEPOINT"));
        }
        if self.transaction.block().is_some_and(|block| block.lost_server) {
            return Err(
                Report::error("25P02", "a server of this transaction was lost, so it can only be rolled back").into()
            );
        }
        self.tell_savepoint(&text).await?;
        if self.transaction.block_mut().is_some_and(|block| !block.log.rollback_to(name)) {
            return Err(no_savepoint(name));
        }
        if let Some(block) = self.transaction.block_mut() {
            block.seen = None;
        }
        self.undo_reported_here();
        self.transaction.recover();
        // Source: portalmem.c, AtSubCleanup_Portals.
        let length = self.log_length();
        self.names.portals.retain(|_, portal| portal.log_length < length);
        self.end_held_since(self.savepoints()).await;
        reply::complete(&mut self.link.client.outbound, "ROLLBACK");
        Ok(())
    }

    /// How long the log of the block is.
    pub(in crate::session) fn log_length(&self) -> usize {
        self.transaction.block().map_or(0, |block| block.log.length())
    }

    /// SET TRANSACTION.
    async fn modes(&mut self, text: String, read_only: Option<bool>) -> Result<(), Failure> {
        if self.transaction.block().is_none() {
            // Outside a block PostgreSQL warns and does nothing. Source: xact.c, CheckTransactionBlock.
            self.warn(Report::warning("25P01", "SET TRANSACTION can only be used in transaction blocks"));
        } else {
            self.enlist_behind_savepoint().await?;
            self.tell_servers(&text).await?;
            self.note_modes(text, read_only).await?;
        }
        reply::complete(&mut self.link.client.outbound, "SET");
        Ok(())
    }

    /// Behind a savepoint not all modes can be changed: a server is to say so. *Source*: variable.c, check_XactIsoLevel and the like.
    async fn enlist_behind_savepoint(&mut self) -> Result<(), Failure> {
        if self.link.servers.is_empty() && self.savepoints() > 0 {
            Box::pin(self.enlist_any(Access::ReadPrimary)).await?;
        }
        Ok(())
    }

    /// The block has got other modes, of which its servers know.
    async fn note_modes(&mut self, text: String, read_only: Option<bool>) -> Result<(), Failure> {
        let Some(block) = self.transaction.block_mut() else { return Ok(()) };
        let before = block.log.isolation();
        block.log.push_mode(text);
        block.read_only = read_only.unwrap_or(block.read_only);
        self.follow_isolation(before).await
    }

    /// SET CONSTRAINTS.
    async fn constraints(&mut self, text: String, all: bool) -> Result<(), Failure> {
        if !all && self.link.servers.is_empty() {
            // A shard says whether there is such a constraint, and, outside a block, the warning.
            self.enlist_any(Access::ReadPrimary).await?;
        }
        if self.transaction.block().is_none() && all {
            self.warn(Report::warning("25P01", "SET CONSTRAINTS can only be used in transaction blocks"));
        } else {
            self.tell_servers(&text).await?;
        }
        if let Some(block) = self.transaction.block_mut() {
            block.log.push_constraints(text);
        }
        reply::complete(&mut self.link.client.outbound, "SET CONSTRAINTS");
        Ok(())
    }

    /// Runs a statement that acts on the block on every enlisted server; the client sees notices and parameters of the first,
    /// and the first error.
    pub(in crate::session) async fn tell_servers(&mut self, text: &str) -> Result<(), Failure> {
        self.tell(text, Audible::First).await
    }

    /// The same for what makes and ends savepoints: once one server has done it and another has not, a name may mean another
    /// savepoint to each of them, and only the whole block can be rolled back.
    async fn tell_savepoint(&mut self, text: &str) -> Result<(), Failure> {
        let told = self.tell_servers(text).await;
        let first = self.link.servers.first().filter(|_| self.link.servers.len() > 1);
        if told.is_err()
            && first.is_some_and(|enlisted| enlisted.server.expects.status == Status::Open)
            && let Some(block) = self.transaction.block_mut()
        {
            block.lost_server = true;
        }
        told
    }

    async fn tell(&mut self, text: &str, notices: Audible) -> Result<(), Failure> {
        let mut first = notices == Audible::First;
        for at in 0..self.link.servers.len() {
            self.send_sparing(at, text.as_bytes(), Audience::Gateway);
            let mut plain = Plain { show_side_effects: first, ..Plain::default() };
            self.relay_in_block(&mut plain).await?;
            self.note(&plain);
            self.pass_on_hidden_error(&plain)?;
            first = false;
        }
        Ok(())
    }

    /// Reads the catalog anew, because DDL ran; a busy shard is waited for: it has just answered, and what it made has new numbers.
    pub(in crate::session) async fn refresh_catalog(&mut self) {
        if let Err(error) = self.catalog.refresh_numbers().await {
            tracing::warn!(%error, "the catalog could not be read after DDL; it will be as soon as the shard answers");
        }
    }
}

/// Settings of which new transactions have their modes.
pub(in crate::session) const DEFAULT_MODES: [&str; 3] =
    ["default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"];

/// A BEGIN that says the modes of the transaction that asks.
const MODES_IN_FORCE: &str = "SELECT 'BEGIN ISOLATION LEVEL ' || pg_catalog.current_setting('transaction_isolation') \
    || CASE pg_catalog.current_setting('transaction_read_only') WHEN 'on' THEN ', READ ONLY' ELSE ', READ WRITE' END \
    || CASE pg_catalog.current_setting('transaction_deferrable') WHEN 'on' THEN ', DEFERRABLE' ELSE ', NOT DEFERRABLE' END";

/// How a chained block begins.
struct Chained {
    begin: String,
    /// Further modes.
    behind: Vec<String>,
    read_only: bool,
}

/// Whose notices the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audible {
    /// The first server's.
    First,
    /// Nobody's.
    Nowhere,
}

/// The tag of a statement that begins a block.
pub(in crate::session) fn begin_tag(text: &str) -> &'static str {
    let starts = match text.as_bytes().first() {
        // A comment stands before it.
        Some(b'/' | b'-') => {
            tokens::words(text).is_some_and(|words| words.first().is_some_and(|word| word.text == "start"))
        }
        _ => text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("start")),
    };
    if starts { "START TRANSACTION" } else { "BEGIN" }
}

/// *Source*: xact.c, EndTransactionBlock, UserAbortTransactionBlock.
fn warn_no_transaction(session: &mut Session) {
    session.warn(Report::warning("25P01", "there is no transaction in progress"));
}

/// *Source*: xact.c, RequireTransactionBlock.
pub(in crate::session) fn needs_block(what: &str) -> Failure {
    Report::error("25P01", format!("{what} can only be used in transaction blocks")).into()
}

/// *Source*: xact.c, RollbackToSavepoint.
fn no_savepoint(name: &str) -> Failure {
    Report::error("3B001", format!("savepoint \"{name}\" does not exist")).into()
}
