//! Finishes what a dead gateway, or a lost shard, has left between PREPARE and COMMIT PREPARED; cleans the decision table.
//!
//! Safe beside other gateways and their commits: what is finished already is no error, and a commit under way is waited for on its
//! decision row. Runs on control connections, whose user must be the one that prepared or a superuser. The gateway runs it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::commits::{Commits, on_server};
use super::in_doubt::{InDoubt, list};
use super::name::TransactionName;
use super::protocol::{HOLD_OFF, HOLD_ON};
use super::resolve::{self, Decision};
use crate::config::{Config, ServerAddress};
use crate::topology;

/// Shards are asked this often what is prepared on them: a scan of a table in shared memory.
const INTERVAL: Duration = Duration::from_secs(1);

/// What another gateway has prepared so long ago is looked at: commits take milliseconds, and one that takes longer is waited for.
const AGE_MIN: Duration = Duration::from_secs(1);

/// Decision tables are cleaned every so many rounds.
const CLEAN_ROUNDS: u32 = 30;

/// Rows that say committed are kept so long after nothing is prepared any more, for gateways that lost the connection on which
/// they committed and ask. More than [`super::protocol`]'s five minutes and the session's twenty seconds.
const COMMIT_KEPT: Duration = Duration::from_secs(600);

/// Rows that say aborted are kept so long, for gateways that are about to write one that says committed.
const ABORT_KEPT: Duration = Duration::from_secs(3600);

/// A query of recovery's own that takes longer has met a server that hangs.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Recovery of one gateway.
pub struct Recovery {
    commits: Arc<Commits>,
    /// One for each shard, to the database of its address.
    clients: HashMap<usize, Client>,
    cluster: Option<String>,
    rounds: u32,
    /// Told once each.
    complained: HashSet<String>,
}

impl Recovery {
    /// For the gateway with these commits.
    pub fn new(commits: Arc<Commits>) -> Self {
        Recovery { commits, clients: HashMap::new(), cluster: None, rounds: 0, complained: HashSet::new() }
    }

    /// Goes on for ever, with the configuration as it is at each round. `seen` is told which primaries answer and which do not.
    ///
    /// # Cancel safety
    /// Cancel safe: what was begun is finished by the next recovery.
    pub async fn run(mut self, config: impl Fn() -> Arc<Config>, seen: impl Fn(&ServerAddress, bool)) {
        loop {
            self.round(&config(), &seen).await;
            let nudged = self.commits.left_over();
            tokio::select! {
                () = nudged => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Looks at every shard once and finishes what can be.
    async fn round(&mut self, config: &Config, seen: &impl Fn(&ServerAddress, bool)) {
        self.connect(config, seen).await;
        // Without one nothing is prepared; whether the shards answer is asked all the same.
        let cluster = self.cluster(config).await.unwrap_or_default();
        let asked = self.clients.iter().map(|(shard, client)| {
            let cluster = &cluster;
            async move { (*shard, tokio::time::timeout(QUERY_TIMEOUT, list(client, *shard, cluster)).await) }
        });
        let mut prepared = Vec::new();
        let mut complete = !cluster.is_empty() && self.clients.len() == config.shards.len();
        for (shard, result) in join_all(asked).await {
            let up = match result {
                Ok(Ok(found)) => {
                    prepared.extend(found);
                    Some(true)
                }
                // The next round's connection tells.
                Ok(Err(_)) => None,
                Err(_) => Some(false),
            };
            if let (Some(up), Some(shard)) = (up, config.shards.get(shard)) {
                seen(&shard.primary, up);
            }
            if up != Some(true) {
                complete = false;
                self.clients.remove(&shard);
            }
        }
        metrics::gauge!("pgbraid_prepared_transactions").set(prepared.len() as f64);
        let oldest = prepared.iter().map(|found| found.age).max().unwrap_or_default();
        metrics::gauge!("pgbraid_prepared_oldest_seconds").set(oldest.as_secs_f64());
        self.commits.note_in_doubt(prepared.clone());
        let left: Vec<&InDoubt> = prepared.iter().filter(|found| self.is_left(found)).collect();
        let mut decisions: HashMap<TransactionName, Decision> = HashMap::new();
        for found in &left {
            self.recover(config, found, &mut decisions).await;
        }
        self.rounds = self.rounds.wrapping_add(1);
        if complete && self.rounds % CLEAN_ROUNDS == 1 {
            self.clean(config, &prepared).await;
        }
    }

    /// Nobody is known to be at work on it.
    fn is_left(&self, found: &InDoubt) -> bool {
        let Some(name) = TransactionName::parse(&found.name) else { return false };
        match self.commits.is_own(&name.transaction) {
            Some(under_way) => !under_way,
            None => found.age >= AGE_MIN,
        }
    }

    async fn connect(&mut self, config: &Config, seen: &impl Fn(&ServerAddress, bool)) {
        self.clients.retain(|shard, client| !client.is_closed() && *shard < config.shards.len());
        let missing = config.shards.iter().enumerate().filter(|(at, _)| !self.clients.contains_key(at));
        let opened = missing
            .map(|(at, shard)| async move { (at, &shard.primary, topology::connect(&shard.primary, None).await) });
        for (at, address, client) in join_all(opened).await {
            match client {
                Ok(client) => {
                    self.clients.insert(at, client);
                }
                Err(error) => error.is_up().into_iter().for_each(|up| seen(address, up)),
            }
        }
    }

    /// The cluster's id, from whichever shard has it.
    async fn cluster(&mut self, config: &Config) -> Option<String> {
        if self.cluster.is_none() {
            for at in 0..config.shards.len() {
                let Some(client) = self.clients.get(&at) else { continue };
                if let Some(Some(id)) = limited(super::install::cluster(client)).await {
                    self.cluster = Some(id);
                    break;
                }
            }
        }
        self.cluster.clone()
    }

    async fn recover(&mut self, config: &Config, found: &InDoubt, known: &mut HashMap<TransactionName, Decision>) {
        let Some(name) = TransactionName::parse(&found.name) else { return };
        let decision = match known.get(&name) {
            Some(decision) => *decision,
            None => match self.decision(config, found, &name).await {
                Ok(decision) => {
                    known.insert(name.clone(), decision);
                    decision
                }
                Err(problem) => return self.complain(&found.name, &problem),
            },
        };
        let verb = match decision {
            Decision::Committed => "COMMIT",
            Decision::Aborted => "ROLLBACK",
            Decision::UnderWay => return,
        };
        match self.finish(config, found, &format!("{verb} PREPARED {}", name.literal())).await {
            Ok(true) => {
                metrics::counter!("pgbraid_recovered_transactions_total").increment(1);
                tracing::info!(transaction = found.name, verb, "a transaction that was left prepared is finished");
            }
            Ok(false) => {}
            Err(problem) => self.complain(&found.name, &problem),
        }
    }

    /// Asks the decision shard, or decides there.
    async fn decision(&self, config: &Config, found: &InDoubt, name: &TransactionName) -> Result<Decision, String> {
        let shard = config.shards.iter().find(|shard| shard.name == name.decision_shard);
        let shard = shard.ok_or_else(|| {
            format!("its decision shard \"{}\" is not in the configuration: put it back", name.decision_shard)
        })?;
        // Databases have one name on all servers, but for those that the configuration names.
        let own = config.shards.get(found.shard).is_some_and(|own| own.primary.database == found.database);
        let database = if own { None } else { on_server(config, &shard.primary, &found.database) };
        let client = topology::connect(&shard.primary, database).await.map_err(|error| error.to_string())?;
        match tokio::time::timeout(QUERY_TIMEOUT, resolve::decide(&client, &name.transaction)).await {
            Ok(Ok(decision)) => Ok(decision),
            Ok(Err(error)) => Err(topology::describe(&error)),
            Err(_) => Err(format!("shard \"{}\" does not answer", shard.name)),
        }
    }

    /// Runs COMMIT PREPARED or ROLLBACK PREPARED where it is prepared; false when another was faster.
    async fn finish(&mut self, config: &Config, found: &InDoubt, text: &str) -> Result<bool, String> {
        let Some(shard) = config.shards.get(found.shard) else { return Ok(false) };
        let own = shard.primary.database == found.database;
        let client = match own {
            true => self.clients.remove(&found.shard),
            false => {
                let connected = topology::connect(&shard.primary, Some(&found.database)).await;
                Some(connected.map_err(|error| error.to_string())?)
            }
        };
        let Some(client) = client else { return Ok(false) };
        let mut held = false;
        let result = tokio::time::timeout(QUERY_TIMEOUT, held_off(&client, text, &mut held)).await;
        // What is cut off goes on and may take the lock all the same: it is given back with the connection.
        if own && !held {
            self.clients.insert(found.shard, client);
        }
        match result {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => match error.code() {
                // Another gateway has finished it, or is doing so. Source: twophase.c, LockGXact.
                Some(code) if *code == SqlState::UNDEFINED_OBJECT => Ok(false),
                Some(code) if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => Ok(false),
                Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Err(format!(
                    "{}: user \"{}\" of the shard's URL must be \"{}\" or a superuser",
                    topology::describe(&error),
                    shard.primary.user,
                    found.owner
                )),
                _ => Err(topology::describe(&error)),
            },
            Err(_) => Err(format!("shard \"{}\" does not answer", shard.name)),
        }
    }

    /// Deletes rows of transactions that are over. `prepared`: on all shards, asked before the rows are looked at would be too
    /// early for new ones, but the rows that are looked at are old.
    async fn clean(&mut self, config: &Config, prepared: &[InDoubt]) {
        let open: Vec<String> = prepared
            .iter()
            .filter_map(|found| TransactionName::parse(&found.name))
            .map(|name| name.transaction)
            .collect();
        let mut databases: Vec<Option<String>> = vec![None];
        for (database, _) in self.commits.databases() {
            let other = config.shards.iter().all(|shard| on_server(config, &shard.primary, &database).is_some());
            databases.extend(other.then_some(Some(database)));
        }
        for (at, shard) in config.shards.iter().enumerate() {
            for database in &databases {
                let other = match database {
                    None => None,
                    Some(name) => match topology::connect(&shard.primary, Some(name)).await {
                        Ok(client) => Some(client),
                        // It was dropped, most likely.
                        Err(_) => continue,
                    },
                };
                let Some(client) = other.as_ref().or(self.clients.get(&at)) else { continue };
                if limited(delete_old(client, &open)).await.is_none() {
                    tracing::debug!(shard = shard.name, "the decision table could not be cleaned");
                }
            }
        }
    }

    fn complain(&mut self, name: &str, problem: &str) {
        metrics::counter!("pgbraid_recovery_failures_total").increment(1);
        if self.complained.insert(name.to_owned()) {
            tracing::warn!(
                transaction = name,
                "a transaction that was left prepared cannot be finished yet: {problem}"
            );
        }
        if self.complained.len() > COMPLAINTS_MAX {
            self.complained.clear();
        }
    }
}

/// Names of transactions that are remembered so that each is complained of once.
const COMPLAINTS_MAX: usize = 10_000;

/// Deletes rows old enough, except those of transactions that are prepared somewhere.
async fn delete_old(client: &Client, open: &[String]) -> Result<u64, tokio_postgres::Error> {
    let query = "DELETE FROM pgbraid.decision WHERE txn <> ALL ($1::text[]) AND decided < pg_catalog.clock_timestamp()
        - CASE WHEN committed THEN $2::float8 ELSE $3::float8 END * interval '1 second'";
    let (commits, aborts) = (COMMIT_KEPT.as_secs_f64(), ABORT_KEPT.as_secs_f64());
    client.execute(query, &[&open, &commits, &aborts]).await
}

/// Finishes while no snapshot of all shards is taken. `held`: whether the lock may still be held when this ends, or is dropped.
async fn held_off(client: &Client, text: &str, held: &mut bool) -> Result<(), tokio_postgres::Error> {
    let (off, on) = (String::from_utf8_lossy(HOLD_OFF), String::from_utf8_lossy(HOLD_ON));
    *held = true;
    client.batch_execute(&off).await?;
    let result = client.batch_execute(text).await;
    client.batch_execute(&on).await?;
    *held = false;
    result
}

/// A query's result; `None` when it failed or took too long.
async fn limited<T>(query: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Option<T> {
    tokio::time::timeout(QUERY_TIMEOUT, query).await.ok()?.ok()
}
