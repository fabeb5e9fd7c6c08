//! The commits over several shards that this gateway has under way, and which shards are known to be able to take part.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use shardmap::ShardId;
use tokio::sync::Notify;

use super::in_doubt::InDoubt;
use super::install::{self, NotReady};
use super::name::{TransactionName, literal};
use crate::config::{Config, ServerAddress};
use crate::topology;

/// Shared by all clients of a gateway.
#[derive(Debug)]
pub struct Commits {
    /// Of this process: transactions are named by it.
    id: String,
    last: AtomicU64,
    active: Mutex<HashSet<String>>,
    /// By database: its cluster's id and the shards that are ready.
    ready: Mutex<HashMap<String, Ready>>,
    /// Prepared on some shard, as recovery has seen it last, and when.
    in_doubt: Mutex<(Vec<InDoubt>, Option<Instant>)>,
    left_over: Notify,
}

#[derive(Debug, Default)]
struct Ready {
    cluster: Option<Arc<str>>,
    shards: HashSet<ShardId>,
}

/// A commit under way; while it is held, this gateway's recovery leaves the transaction alone.
#[derive(Debug)]
pub struct Active {
    commits: Arc<Commits>,
    name: TransactionName,
    secret: Secret,
}

/// Who knows it may decide the transaction. Never shown.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Commits {
    /// Of a gateway that has just started.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> std::io::Result<Commits> {
        Ok(Commits {
            id: install::random_id()?,
            last: AtomicU64::new(0),
            active: Mutex::default(),
            ready: Mutex::default(),
            in_doubt: Mutex::default(),
            left_over: Notify::new(),
        })
    }

    /// Begins a commit in a database, with this shard's as the decision. `None` when [`Commits::check`] has not been called
    /// for it.
    pub fn begin(self: &Arc<Self>, database: &str, decision_shard: String) -> Option<Active> {
        let cluster = lock(&self.ready).get(database)?.cluster.clone()?.to_string();
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let secret = format!("{}{}", install::random_id().ok()?, install::random_id().ok()?);
        let transaction = format!("{}.{number}.{}", self.id, proof(&secret));
        lock(&self.active).insert(transaction.clone());
        let name = TransactionName { cluster, decision_shard, transaction };
        Some(Active { commits: self.clone(), name, secret: Secret(secret) })
    }

    /// Of this gateway, in the names of its transactions.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a transaction is one of this gateway's own: then whether its commit is under way.
    pub fn is_own(&self, transaction: &str) -> Option<bool> {
        let (id, _) = transaction.split_once('.')?;
        (id == self.id).then(|| lock(&self.active).contains(transaction))
    }

    /// Something was left for recovery.
    pub fn leave(&self) {
        self.left_over.notify_one();
    }

    /// These are prepared on the shards now.
    pub fn note_in_doubt(&self, found: Vec<InDoubt>) {
        *lock(&self.in_doubt) = (found, Some(Instant::now()));
    }

    /// What was prepared on the shards at the last look, with the ages that it has now.
    pub fn in_doubt(&self) -> Vec<InDoubt> {
        let (found, seen) = lock(&self.in_doubt).clone();
        let since = seen.map(|seen| seen.elapsed()).unwrap_or_default();
        found.into_iter().map(|found| InDoubt { age: found.age + since, ..found }).collect()
    }

    /// Returns when something is left for recovery.
    pub async fn left_over(&self) {
        self.left_over.notified().await;
    }

    /// Databases in which shards have committed as one, with their clusters' ids.
    pub fn databases(&self) -> Vec<(String, Arc<str>)> {
        let ready = lock(&self.ready);
        ready.iter().filter_map(|(name, ready)| Some((name.clone(), ready.cluster.clone()?))).collect()
    }

    /// What is known of a database may be of another one that had its name before: it is asked anew.
    pub fn forget(&self, database: &str) {
        lock(&self.ready).remove(database);
    }

    /// Nothing is known of a database, not even what was before.
    pub fn is_forgotten(&self, database: &str) -> bool {
        !lock(&self.ready).contains_key(database)
    }

    /// Whether these shards can commit as one in a database; asks those that are not known yet. Databases other than the
    /// configuration's own, which `pgbraid init` does not know, are prepared here.
    ///
    /// # Errors
    /// See [`NotReady`].
    pub async fn check(
        &self,
        config: &Config,
        database: &str,
        shards: impl Iterator<Item = ShardId>,
    ) -> Result<(), NotReady> {
        let unknown: Vec<ShardId> = {
            let ready = lock(&self.ready);
            let known = ready.get(database).map(|ready| &ready.shards);
            shards.filter(|shard| known.is_none_or(|known| !known.contains(shard))).collect()
        };
        for shard in unknown {
            let before = lock(&self.ready).get(database).and_then(|ready| ready.cluster.clone());
            let cluster = self.ask(config, database, shard, before.as_deref()).await?;
            let mut ready = lock(&self.ready);
            let ready = ready.entry(database.to_owned()).or_default();
            ready.cluster.get_or_insert_with(|| cluster.into());
            ready.shards.insert(shard);
        }
        Ok(())
    }

    /// The id of the cluster, of which this shard is one.
    async fn ask(
        &self,
        config: &Config,
        database: &str,
        shard: ShardId,
        expected: Option<&str>,
    ) -> Result<String, NotReady> {
        let Some(entry) = config.shards.get(usize::from(shard.0)) else {
            return Err(NotReady::Silent { shard: shard.0.to_string(), cause: "it is not configured".to_owned() });
        };
        let name = entry.name.clone();
        let address = &entry.primary;
        let of_database = on_server(config, address, database);
        let connected = topology::connect(address, of_database).await;
        let client = connected.map_err(|error| NotReady::Silent { shard: name.clone(), cause: error.to_string() })?;
        let silent = |error| install::silent(&name, &error);
        let facts = install::facts(&client).await.map_err(silent)?;
        if facts.prepared_max == 0 {
            return Err(NotReady::PreparesNothing(name));
        }
        let slot = usize::from(shard.0);
        let found = match (facts.cluster, of_database, expected) {
            // By an older release. What needs the rest says so.
            (Some(cluster), Some(_), _) if !facts.complete => {
                if let Err(error) = install::install(&client, slot, &cluster).await {
                    tracing::warn!(shard = name, database, %error, "not all of the schema pgbraid could be installed");
                }
                cluster
            }
            (Some(cluster), _, _) => cluster,
            // Made through the gateway, with CREATE DATABASE.
            (None, Some(database), expected) => {
                let id = match expected {
                    Some(id) => id.to_owned(),
                    None => {
                        let main = topology::connect(address, None).await;
                        let main =
                            main.map_err(|error| NotReady::Silent { shard: name.clone(), cause: error.to_string() })?;
                        let id = install::cluster(&main).await.map_err(silent)?;
                        id.ok_or_else(|| NotReady::NotInstalled(name.clone()))?
                    }
                };
                install::install(&client, slot, &id).await.map_err(|error| NotReady::MayNotInstall {
                    shard: name.clone(),
                    database: database.to_owned(),
                    cause: topology::describe(&error),
                })?
            }
            (None, None, _) => return Err(NotReady::NotInstalled(name)),
        };
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(NotReady::OtherCluster { shard: name, found, expected: expected.to_owned() });
        }
        let longest = format!("{}.{}.{}", self.id, u64::MAX, proof(""));
        let longest = TransactionName { cluster: found, decision_shard: name, transaction: longest };
        if longest.fits() { Ok(longest.cluster) } else { Err(NotReady::NameTooLong(longest.decision_shard)) }
    }
}

/// A database's name on a server, as clients know it by its name on the home shard; `None` for that of the address.
pub fn on_server<'a>(config: &Config, address: &ServerAddress, database: &'a str) -> Option<&'a str> {
    let home = config.shards.get(usize::from(config.sharding.home.0));
    let main = home.is_some_and(|home| home.primary.database == database) || address.database == database;
    (!main).then_some(database)
}

impl Active {
    /// Its name on the shards.
    pub fn name(&self) -> &TransactionName {
        &self.name
    }

    /// What the decision shard is to run in its transaction. See `schema.sql`. The value is NULL, and nothing is done, if that has become
    /// READ ONLY: a function that returns void gives no value to go by.
    pub fn decide(&self) -> String {
        let (transaction, _) = self.name.transaction.rsplit_once('.').unwrap_or_default();
        format!(
            "SELECT CASE WHEN pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'off' \
             THEN pgbraid.decide({}, {}) IS NULL END",
            literal(transaction),
            literal(&self.secret.0)
        )
    }
}

/// What a secret's transaction is named with, so that only who knows the secret can decide it: half of its SHA-256.
fn proof(secret: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, secret.as_bytes());
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Drop for Active {
    fn drop(&mut self) {
        lock(&self.commits.active).remove(&self.name.transaction);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
