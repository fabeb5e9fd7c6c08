//! A statement that reads several shards sees them at one moment: outside blocks whose isolation sees to it, by the setting
//! `pgbraid.snapshot_reads`.
//!
//! Outside a block the statement gets one of its own, of REPEATABLE READ, whose snapshot [`super::snapshot`] takes. In a block of
//! READ COMMITTED, which may have written, commits on several shards are held off on connections of the gateway's own: until the shards
//! have bound the statement, or, in the simple protocol, until it has run.

use std::sync::Arc;
use std::time::Duration;

use shardmap::ShardId;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::snapshot::{HALF_DONE_INTERVAL, HALF_DONE_MAX, half_done, not_installed};
use crate::config::Reads;
use crate::plan::{Access, setting_boolean};
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::topology;
use crate::txn::commits::on_server;
use crate::txn::log::{Isolation, default_isolation};
use crate::txn::name::TransactionName;
use crate::txn::state::{BlockKind, Writes};
use crate::wire::reply::Report;

/// The setting.
const SNAPSHOT_READS: &str = "pgbraid.snapshot_reads";

/// What makes a statement see one moment.
pub(in crate::session) enum Moment {
    /// Nothing: its block does, or nobody asked for it.
    Usual,
    /// A block of its own, which this statement begins with these words.
    Own(&'static str),
    /// Commits on several shards are to be held off.
    Held,
}

/// A statement that needs longer fails: who commits waits for it, and it may itself wait for what that one has locked.
const HELD_MAX: Duration = Duration::from_secs(10);

/// Keeps commits on several shards off as long as it lives, up to a bound.
pub(in crate::session) struct Held {
    /// Every shard, in order.
    clients: Arc<Vec<Client>>,
    until: Instant,
    /// Lets commits go on when it is time.
    watch: JoinHandle<()>,
    /// What was prepared, and is not committed unless its gateway has lost the connection that keeps it waiting.
    prepared: Vec<(usize, TransactionName)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Session {
    /// What a statement needs that reads several shards.
    ///
    /// # Errors
    /// It cannot be had.
    pub(in crate::session) fn moment(&self, access: Access) -> Result<Moment, Failure> {
        if access == Access::Write || self.gateway.shards() < 2 {
            return Ok(Moment::Usual);
        }
        let block = self.transaction.block();
        let isolation = block.map_or_else(|| default_isolation(&self.settings), |block| block.log.isolation());
        let asked = || self.current_settings().text_of(SNAPSHOT_READS).is_some_and(is_on);
        match isolation {
            Isolation::Statement if asked() => {}
            Isolation::Statement => return Ok(Moment::Usual),
            // Its snapshot is taken already.
            Isolation::Transaction | Isolation::Serializable | Isolation::Deferrable if block.is_some() => {
                return Ok(Moment::Usual);
            }
            Isolation::Transaction | Isolation::Serializable | Isolation::Deferrable => {}
        }
        if self.user.reads == Reads::Replica {
            let text = "replicas cannot be read as of one moment";
            return Err(Report::error("0A000", text)
                .with_hint("SET pgbraid.snapshot_reads = off and read committed, or let the user read primaries.")
                .into());
        }
        // Without a portal, servers have but described statements in this pipeline.
        let unsynced = self.link.servers.iter().any(|enlisted| enlisted.needs_sync);
        let is_first = self.pipeline.writes == Writes::Nothing && (!unsynced || self.names.portals.is_empty());
        match isolation {
            Isolation::Statement if block.is_some() || !is_first => Ok(Moment::Held),
            Isolation::Statement => Ok(Moment::Own("BEGIN ISOLATION LEVEL REPEATABLE READ")),
            _ if is_first => Ok(Moment::Own("BEGIN")),
            _ => Err(Report::error("0A000", "a pipeline cannot get a snapshot of several shards in its middle")
                .with_hint("Send Sync before it, or use BEGIN.")
                .into()),
        }
    }

    /// Begins the block that a statement has for itself, if it is to have one; whether it did.
    pub(in crate::session) fn begin_if_own(&mut self, moment: &Moment) -> bool {
        if let Moment::Own(begin) = moment {
            self.transaction.begin(BlockKind::Implicit, (*begin).to_owned(), false, self.settings.clone());
        }
        matches!(moment, Moment::Own(_))
    }

    /// Holds commits on several shards off.
    ///
    /// # Errors
    /// A shard cannot be reached, or a commit that was left half done cannot be finished.
    pub(in crate::session) async fn hold_commits_off(&self) -> Result<Held, Failure> {
        self.install_in_other_database().await;
        let deadline = Instant::now() + HALF_DONE_MAX;
        loop {
            let held = self.hold_once().await?;
            if !self.any_committed(&held).await? {
                return Ok(held);
            }
            drop(held);
            if Instant::now() > deadline {
                return Err(half_done());
            }
            self.gateway.commits.leave();
            tokio::time::sleep(HALF_DONE_INTERVAL).await;
        }
    }

    /// What was read while commits were held off is of one moment: nothing that was prepared then has been committed since.
    ///
    /// # Errors
    /// It has, by a gateway that had lost a connection; or it took too long.
    pub(in crate::session) async fn confirm_held(&self, held: Held) -> Result<(), Failure> {
        if Instant::now() >= held.until {
            let text = format!("commits on several shards are held off for {} s at the most", HELD_MAX.as_secs());
            return Err(Report::error("54000", text)
                .with_detail("pgbraid.snapshot_reads is on, and the query is in a block of READ COMMITTED.")
                .with_hint("Use REPEATABLE READ, which holds them off for a moment only.")
                .into());
        }
        if !held.prepared.is_empty() && self.any_committed(&held).await? {
            return Err(half_done());
        }
        Ok(())
    }

    async fn hold_once(&self) -> Result<Held, Failure> {
        let config = self.gateway.config.load_full();
        let (mut clients, mut prepared) = (Vec::new(), Vec::new());
        // One after the other, so that those who want the same meet on the first shard and nowhere else.
        for (at, shard) in config.shards.iter().enumerate() {
            let database = on_server(&config, &shard.primary, &self.database);
            let connected = topology::connect(&shard.primary, database).await;
            let client =
                connected.map_err(|error| Report::error("08006", format!("shard \"{}\": {error}", shard.name)))?;
            let row =
                client.query_one("SELECT pgbraid.hold()", &[]).await.map_err(|error| self.held_failure(at, &error))?;
            let list: Option<String> = row.try_get(0).map_err(|error| self.held_failure(at, &error))?;
            let names = list.iter().flat_map(|list| list.lines()).filter_map(TransactionName::parse);
            prepared.extend(names.filter_map(|name| {
                let decides = config.shards.iter().position(|shard| shard.name == name.decision_shard)?;
                Some((decides, name))
            }));
            clients.push(client);
        }
        let (clients, until) = (Arc::new(clients), Instant::now() + HELD_MAX);
        let watched = clients.clone();
        let watch = tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            for client in watched.iter() {
                // Whoever has lost the connection has lost the lock.
                let _ = client.batch_execute("SELECT pg_catalog.pg_advisory_unlock_all()").await;
            }
        });
        Ok(Held { clients, until, watch, prepared })
    }

    async fn any_committed(&self, held: &Held) -> Result<bool, Failure> {
        for (at, client) in held.clients.iter().enumerate() {
            let own = held.prepared.iter().filter(|(decides, _)| *decides == at);
            let own: Vec<&str> = own.map(|(_, name)| name.transaction.as_str()).collect();
            // Asked of all: a connection that was lost has not kept anything off.
            let row = client.query_one("SELECT pgbraid.decided($1)", &[&own]).await;
            let row = row.map_err(|error| self.held_failure(at, &error))?;
            if row.try_get(0).map_err(|error| self.held_failure(at, &error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn held_failure(&self, at: usize, error: &tokio_postgres::Error) -> Failure {
        let missing = [SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_FUNCTION];
        let name = self.gateway.shard_name(ShardId(u16::try_from(at).unwrap_or(u16::MAX)));
        match error.code() {
            Some(code) if missing.contains(code) => {
                self.gateway.commits.forget(&self.database);
                not_installed()
            }
            Some(code) => Report::error(code.code(), format!("shard \"{name}\": {}", topology::describe(error))).into(),
            None => Report::error("08006", format!("shard \"{name}\": {}", topology::describe(error))).into(),
        }
    }
}

/// Whether a setting is on, given its value or the SET statement that ends with it. What is not understood is taken for on: that
/// costs a moment, the other way would show what was never there.
fn is_on(text: &str) -> bool {
    let words = text.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    let value =
        words.rsplit(|c: char| c.is_whitespace() || matches!(c, '=' | '\'' | '"')).find(|word| !word.is_empty());
    value.and_then(setting_boolean).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read_however_it_was_set() {
        for text in ["on", "ON", "1", "SET pgbraid.snapshot_reads = on", "set pgbraid.snapshot_reads to 'yes';", "?"] {
            assert!(is_on(text), "{text}");
        }
        for text in ["off", "0", "SET pgbraid.snapshot_reads=off", "SET LOCAL pgbraid.snapshot_reads TO 'false' ; "] {
            assert!(!is_on(text), "{text}");
        }
    }
}
