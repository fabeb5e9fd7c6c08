//! One snapshot over all shards, for blocks of REPEATABLE READ and above.
//!
//! Before the first statement of such a block, all shards enlist. Whoever commits on several shards is kept off for the moment in
//! which they take their snapshots, so that none shows half of such a commit. A commit that a dead gateway has left half done is
//! found by its prepared part, and waited for until recovery has finished it.

use std::time::Duration;

use shardmap::ShardId;
use tokio::time::Instant;

use crate::execute::link::Enlisted;
use crate::execute::replies::Replies;
use crate::plan::Access;
use crate::pool::expect::Audience;
use crate::session::failure::Failure;
use crate::session::gateway::Role;
use crate::session::life::Session;
use crate::txn::commits::on_server;
use crate::txn::log::Isolation;
use crate::txn::name::{TransactionName, literal};
use crate::txn::pause::{Point, pause};
use crate::txn::state::Writes;
use crate::wire::fields::field;
use crate::wire::reply::Report;

/// Keeps commits on several shards off, on one shard, and says what is prepared there. See `txn/schema.sql`.
const HOLD: &[u8] = b"SELECT pgbraid.hold()";

/// Lets them go on.
const RELEASE: &[u8] = b"SELECT pg_catalog.pg_advisory_unlock(31638869915036005)";

/// The first query of a transaction takes its snapshot.
const LOOK: &[u8] = b"SELECT pgbraid.in_doubt()";

/// For so long a commit is waited for that was left half done.
pub(super) const HALF_DONE_MAX: Duration = Duration::from_secs(30);

/// Recovery is under way meanwhile.
pub(super) const HALF_DONE_INTERVAL: Duration = Duration::from_millis(50);

/// The setting that allows SERIALIZABLE transactions to be so on each shard by itself.
const SERIALIZABLE: &str = "pgbraid.serializable";

/// What is told when recovery does not come.
pub(super) fn half_done() -> Failure {
    let text = "a transaction on several shards was left half done and cannot be finished yet";
    Report::error("40001", text).with_hint("See \"pgbraid status\".").into()
}

/// A shard lacks the functions.
pub(super) fn not_installed() -> Failure {
    let text = "a snapshot of several shards needs functions that a shard does not have";
    Report::error("55000", text).with_hint("Run \"pgbraid init\".").into()
}

impl Session {
    /// Before the first statement of a block: if it is to see all shards at one moment, all of them take their snapshots now.
    ///
    /// # Errors
    /// A shard cannot be reached, or a commit that was left half done cannot be finished.
    pub(in crate::session) async fn take_snapshot(&mut self) -> Result<(), Failure> {
        if self.wants_snapshot() { Box::pin(self.take_shared_snapshot()).await } else { Ok(()) }
    }

    /// The first statement of a block that is to see all shards at one moment has not come yet.
    pub(in crate::session) fn wants_snapshot(&self) -> bool {
        let Some(block) = self.transaction.block() else { return false };
        if self.link.servers.iter().any(|enlisted| enlisted.begun) {
            return false;
        }
        match block.log.isolation() {
            // PostgreSQL chooses the moment, on each shard its own: see `check_second_shard`.
            Isolation::Statement | Isolation::Deferrable => false,
            Isolation::Transaction | Isolation::Serializable => {
                self.gateway.shards() > 1 && self.user.reads != crate::config::Reads::Replica
            }
        }
    }

    /// The isolation level may have changed from `before`: servers that enlisted under the old one have no part in the shared
    /// snapshot. As they took the new level they have run no query yet, so they can be begun anew.
    ///
    /// # Errors
    /// They hold something all the same (LOCK TABLE).
    pub(in crate::session) async fn follow_isolation(&mut self, before: Isolation) -> Result<(), Failure> {
        let Some(block) = self.transaction.block() else { return Ok(()) };
        let shared = matches!(block.log.isolation(), Isolation::Transaction | Isolation::Serializable);
        let begun = self.link.servers.iter().any(|enlisted| enlisted.begun);
        if !shared || !begun || before == block.log.isolation() || self.gateway.shards() < 2 {
            return Ok(());
        }
        if block.writes != Writes::Nothing {
            let text = "the isolation level cannot be raised behind a statement that has locked tables";
            let hint = "Say it in BEGIN: BEGIN ISOLATION LEVEL REPEATABLE READ.";
            return Err(Report::error("0A000", text).with_hint(hint).into());
        }
        Box::pin(self.leave_servers()).await
    }

    async fn take_shared_snapshot(&mut self) -> Result<(), Failure> {
        let Some(block) = self.transaction.block() else { return Ok(()) };
        let replay = block.log.replay().into_owned();
        self.install_in_other_database().await;
        self.enlist_for_snapshot().await?;
        let deadline = Instant::now() + HALF_DONE_MAX;
        while !self.look(replay.as_bytes()).await? {
            if Instant::now() > deadline {
                return Err(half_done());
            }
            self.gateway.commits.leave();
            tokio::time::sleep(HALF_DONE_INTERVAL).await;
        }
        Ok(())
    }

    /// A statement is about to read or write rows of a shard.
    ///
    /// # Errors
    /// The block is SERIALIZABLE, and no shard would see all of its conflicts.
    pub(in crate::session) fn note_touched(&mut self, shard: ShardId, access: Access) -> Result<(), Failure> {
        let Some(block) = self.transaction.block_mut() else { return Ok(()) };
        block.touched.add(shard, access == Access::Write);
        if !block.touched.is_beyond_one_shard() || block.log.isolation() != Isolation::Serializable {
            return Ok(());
        }
        let allowed = block.log.effective().text_of(SERIALIZABLE).is_some_and(|text| text.contains("per_shard"));
        if allowed {
            return Ok(());
        }
        let text = "a SERIALIZABLE transaction that writes can use the rows of one shard only";
        Err(Report::error("0A000", text)
            .with_detail("Each shard finds the conflicts that it sees: write skew over several would not be noticed.")
            .with_hint("Use REPEATABLE READ and lock with SELECT ... FOR UPDATE what must not change, or SET pgbraid.serializable = per_shard.")
            .into())
    }

    /// The same of all shards.
    ///
    /// # Errors
    /// As [`Session::note_touched`].
    pub(in crate::session) fn note_all_touched(&mut self, access: Access) -> Result<(), Failure> {
        self.gateway.each_shard().try_for_each(|shard| self.note_touched(shard, access))
    }

    /// Another shard is to enlist in a block that has one.
    ///
    /// # Errors
    /// The shards would choose the moments that they show apart from each other.
    pub(in crate::session) fn check_second_shard(&self) -> Result<(), Failure> {
        let deferrable = self.transaction.block().is_some_and(|block| block.log.isolation() == Isolation::Deferrable);
        if !deferrable || self.link.servers.is_empty() {
            return Ok(());
        }
        let text = "SERIALIZABLE READ ONLY DEFERRABLE is not supported over several shards";
        Err(Report::error("0A000", text).with_hint("Use REPEATABLE READ READ ONLY.").into())
    }

    /// `pgbraid init` knows the configuration's databases; others get their functions from the gateway. What is missing then is
    /// told by the first question.
    pub(super) async fn install_in_other_database(&self) {
        let config = self.gateway.config.load_full();
        let home = config.shards.get(usize::from(config.sharding.home.0));
        if home.is_some_and(|home| on_server(&config, &home.primary, &self.database).is_some()) {
            let shards = self.gateway.each_shard();
            if let Err(not_ready) = self.gateway.commits.check(&config, &self.database, shards).await {
                tracing::debug!(%not_ready, "no commits on several shards");
            }
        }
    }

    /// A primary of every shard, in order, with the session's settings and outside a transaction.
    async fn enlist_for_snapshot(&mut self) -> Result<(), Failure> {
        self.link.servers.retain(|enlisted| !enlisted.replica);
        for shard in self.gateway.each_shard() {
            if self.link.position(shard).is_some() {
                continue;
            }
            let mut server = self.checkout(shard, Role::Primary).await?;
            self.cancel.add(server.cancel_key());
            let settings = self.transaction.block().map_or(&self.settings, |block| block.log.settings_before());
            server.adopt(settings);
            let own_numbers = self.gateway.forget_numbers(&mut server);
            let enlisted = Enlisted {
                shard,
                server,
                begun: false,
                needs_sync: false,
                replica: false,
                only_asked: false,
                own_numbers,
            };
            self.link.servers.push(enlisted);
        }
        self.link.servers.sort_by_key(|enlisted| enlisted.shard);
        for enlisted in self.link.servers.iter_mut().filter(|enlisted| enlisted.needs_sync) {
            enlisted.needs_sync = false;
            enlisted.server.send_sync(Audience::Gateway);
        }
        self.round().await.map(drop)
    }

    /// Takes the snapshots; false, with everything undone, if they show half of a commit.
    async fn look(&mut self, replay: &[u8]) -> Result<bool, Failure> {
        let count = self.link.servers.len();
        // One shard first, so that those who want the same meet there and nowhere else.
        self.send(0..1, HOLD);
        let first = self.round().await?;
        self.send(1..count, HOLD);
        let rest = self.round().await?;
        pause(Point::Holding).await;
        for enlisted in &mut self.link.servers {
            enlisted.begun = true;
        }
        self.send(0..count, replay);
        self.send(0..count, LOOK);
        let look = self.round().await?;
        let found = |replies: &Replies| {
            let lists = (0..count).filter_map(|at| replies.value(at).map(str::to_owned));
            lists.collect::<Vec<String>>()
        };
        let lists = [found(&first), found(&rest), found(&look)].concat();
        let names: Vec<TransactionName> =
            lists.iter().flat_map(|list| list.lines()).filter_map(TransactionName::parse).collect();
        let half_done = !names.is_empty() && self.any_decided(&names).await?;
        if half_done {
            self.send(0..count, b"ROLLBACK");
        }
        // Seen through: nobody commits on several shards until then, and what follows may wait for others.
        self.send(0..count, RELEASE);
        self.round().await?;
        if half_done {
            self.link.servers.iter_mut().for_each(|enlisted| enlisted.begun = false);
        }
        Ok(!half_done)
    }

    /// Whether one of these prepared transactions is committed in the snapshot of its decision shard.
    async fn any_decided(&mut self, names: &[TransactionName]) -> Result<bool, Failure> {
        for at in 0..self.link.servers.len() {
            let shard = self.gateway.shard_name(self.link.servers[at].shard);
            let own = names.iter().filter(|name| name.decision_shard == shard);
            let own: Vec<String> = own.map(|name| literal(&name.transaction)).collect();
            if !own.is_empty() {
                let text = format!("SELECT pgbraid.decided(ARRAY[{}])", own.join(","));
                self.send(at..at + 1, text.as_bytes());
            }
        }
        let replies = self.round().await?;
        Ok((0..self.link.servers.len()).any(|at| replies.value(at) == Some("t")))
    }

    fn send(&mut self, to: std::ops::Range<usize>, text: &[u8]) {
        for enlisted in self.link.servers.get_mut(to).unwrap_or_default() {
            enlisted.server.send_query(text, Audience::Gateway);
        }
    }

    /// Waits for all answers. After a failure the servers, some of which hold others up, are closed.
    async fn round(&mut self) -> Result<Replies, Failure> {
        let mut replies = Replies::new(self.link.servers.len(), false);
        self.link.collect(&mut replies).await;
        self.note(&replies.plain);
        let lost = (0..self.link.servers.len())
            .find_map(|at| Some((self.link.servers.get(at)?.shard, replies.of(at)?.lost.take()?)));
        let error = replies.plain.hidden_error.take();
        if lost.is_none() && error.is_none() {
            return Ok(replies);
        }
        self.link.servers.iter_mut().for_each(|enlisted| enlisted.server.mark_broken());
        if let Some(body) = error {
            // Functions that are not there yet. Source: manual of PostgreSQL 15, appendix A.
            if matches!(field(&body, b'C'), Some(b"3F000" | b"42883")) {
                self.gateway.commits.forget(&self.database);
                return Err(not_installed());
            }
            return Err(self.tell_error(&body));
        }
        let Some((shard, cause)) = lost else { return Err(Failure::Told) };
        Err(cause.report(&self.gateway.shard_name(shard)).into())
    }
}
