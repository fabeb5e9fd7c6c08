//! What all clients of a gateway share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use shardmap::{ShardId, ShardMap};
use tokio::sync::{OnceCell, watch};

use super::cancel::Cancels;
use super::databases;
use super::plans::compiled::Plans;
use super::plans::scope::Scopes;
use crate::catalog::{CatalogHandle, CatalogVersion, LoadError, Rules};
use crate::config::{self, Config, Reads, ServerAddress, ServerTls, User};
use crate::counters::Counters;
use crate::net::client_config;
use crate::pool::connect::Target;
use crate::pool::lend::{Lent, ServerPool};
use crate::pool::pools::{CheckoutError, Pools, Purpose};
use crate::pool::settings::Settings;
use crate::topology;
use crate::txn::commits::Commits;

/// Different start-up settings remembered; one more is asked of a server again.
const WELCOMES_MAX: usize = 1_000;

/// Catalog versions between one opening of a database and the next: a change a millisecond for 34 years.
const VERSIONS_PER_DATABASE: u64 = 1 << 40;

/// A database's catalog, once it has been read.
type Database = OnceCell<Arc<CatalogHandle>>;

/// On what the parameters reported at the start of a session depend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WelcomeKey {
    /// Changes with ALTER ROLE ... SET too.
    pub catalog: CatalogVersion,
    /// Role on the servers.
    pub user: String,
    /// Database.
    pub database: String,
    /// Of the start-up packet.
    pub settings: Arc<Settings>,
}

/// What sessions of a [`WelcomeKey`] share.
#[derive(Debug)]
pub struct Welcome {
    /// What a server reports at the start of such a session.
    pub parameters: Box<[(String, String)]>,
    /// Those of the key: sessions that share them need not compare them when they take each other's servers.
    pub settings: Arc<Settings>,
}

/// See [`Gateway::check_reload`].
#[derive(Clone, Copy, Debug)]
struct Fixed {
    shards: u16,
    home: ShardId,
}

/// What a session has seen last of something that is replaced as a whole: to see that it has not been costs one comparison.
pub type Seen<T> = arc_swap::Cache<Arc<ArcSwap<T>>, Arc<T>>;

/// Shared by all clients.
pub struct Gateway {
    /// Replaced on SIGHUP.
    pub config: Arc<ArcSwap<Config>>,
    /// What no reload changes.
    fixed: Fixed,
    /// Replaced when buckets move.
    pub map: Arc<ArcSwap<ShardMap>>,
    /// Data-path servers.
    pub pools: Arc<ArcSwap<Pools>>,
    /// What tables that do not exist yet will be.
    pub rules: ArcSwap<Rules>,
    /// Compiled statements.
    pub plans: Plans,
    /// What they were compiled under.
    pub scopes: Scopes,
    /// What clients are told when they connect.
    pub welcomes: Cache<WelcomeKey, Arc<Welcome>>,
    /// Cancel keys.
    pub cancels: Cancels,
    /// Commits on several shards.
    pub commits: Arc<Commits>,
    /// True when the gateway shuts down: sessions end at the end of their transaction.
    pub draining: watch::Sender<bool>,
    /// The same, to be read without a lock.
    drains: AtomicBool,
    /// Sums for the metrics.
    pub counters: Arc<Counters>,
    /// Servers that did not answer when they were last asked for a connection.
    down: std::sync::Mutex<HashSet<ServerAddress>>,
    /// `down` is not empty: read without the lock.
    any_down: AtomicBool,
    /// Clients connected.
    pub clients: AtomicUsize,
    /// TLS towards servers, by what the configuration says of it: certificates are read once.
    tls: std::sync::Mutex<HashMap<ServerTls, Option<Arc<rustls::ClientConfig>>>>,
    databases: std::sync::Mutex<HashMap<String, Arc<Database>>>,
    /// Databases opened so far: each gets versions of its own.
    opened: AtomicU64,
    /// Where catalogs are read.
    primaries: Arc<ArcSwap<Vec<ServerAddress>>>,
    turns: AtomicUsize,
    /// Some client has asked for a number that was drawn: see `drawn`.
    pub numbers_asked: AtomicBool,
    /// Merge servers that may be held by cursors and portals at once: half of what one shard may have, so that others find some.
    pub held_merges: Arc<tokio::sync::Semaphore>,
}

/// What a reloaded configuration must not change.
#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be changed while the gateway runs: restart it")]
pub struct NeedsRestart(&'static str);

/// Whether pools made by one configuration are right by another: the same settings and addresses, and no user whose role,
/// password or number of servers has changed. A new user needs no new pools.
fn same_pools(before: &Config, after: &Config) -> bool {
    let settings = |config: &Config| {
        // Sessions look at `multiplex` themselves.
        let config::Pool { max, merge_max, multiplex: _, min, idle_timeout, lifetime, wait_timeout, connect_timeout } =
            config.pool;
        (max, merge_max, min, idle_timeout, lifetime, wait_timeout, connect_timeout, config.limits.prepared_max)
    };
    let same_shards = before.shards.len() == after.shards.len()
        && before.shards.iter().zip(&after.shards).all(|(a, b)| a.primary == b.primary && a.replicas == b.replicas);
    let same_user = |a: &User, b: &User| {
        (&a.name, &a.secret, &a.server_user, &a.server_password, a.pool_max)
            == (&b.name, &b.secret, &b.server_user, &b.server_password, b.pool_max)
    };
    let kept = |user: &User| after.users.iter().any(|other| same_user(user, other));
    settings(before) == settings(after) && same_shards && before.users.iter().all(kept)
}

/// What decides a table's kind.
pub fn rules(config: &Config) -> Rules {
    Rules { key: config.sharding.key.clone(), tables: config.tables.clone() }
}

/// Which of a shard's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The primary.
    Primary,
    /// The replica at this place of its list.
    Replica(usize),
    /// The primary, by connections that are for merging only: who waits for one waits for nobody who waits himself.
    Merge,
}

impl Gateway {
    /// With a map that fits the configuration.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(config: Config, map: ShardMap) -> std::io::Result<Self> {
        let pools = Pools::new(config.pool.clone(), config.limits.prepared_max);
        Ok(Gateway {
            commits: Arc::new(Commits::new()?),
            map: Arc::new(ArcSwap::from_pointee(map)),
            rules: ArcSwap::from_pointee(rules(&config)),
            pools: Arc::new(ArcSwap::from_pointee(pools)),
            plans: Plans::new(config.limits.plans_max),
            scopes: Scopes::default(),
            welcomes: Cache::new(WELCOMES_MAX),
            cancels: Cancels::default(),
            draining: watch::Sender::new(false),
            drains: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            counters: Arc::default(),
            down: std::sync::Mutex::default(),
            any_down: AtomicBool::new(false),
            tls: std::sync::Mutex::default(),
            databases: std::sync::Mutex::default(),
            opened: AtomicU64::new(0),
            primaries: Arc::new(ArcSwap::from_pointee(databases::primaries(&config))),
            turns: AtomicUsize::new(0),
            numbers_asked: AtomicBool::new(false),
            held_merges: Arc::new(tokio::sync::Semaphore::new((config.pool.merge_max / 2).max(1))),
            fixed: Fixed { shards: u16::try_from(config.shards.len()).unwrap_or(u16::MAX), home: config.sharding.home },
            config: Arc::new(ArcSwap::from_pointee(config)),
        })
    }

    /// The catalog of a database, read when it is asked for the first time.
    pub async fn catalog(&self, database: &str) -> Result<Arc<CatalogHandle>, LoadError> {
        let cell = self.databases().entry(database.to_owned()).or_default().clone();
        let opening = cell.get_or_try_init(|| async {
            let opened = self.opened.fetch_add(1, Ordering::Relaxed);
            let before = CatalogVersion(opened.wrapping_mul(VERSIONS_PER_DATABASE));
            let config = self.config.load_full();
            let (rules, home) = (rules(&config), config.sharding.home);
            let handle =
                databases::open(before, rules, self.primaries.clone(), home, self.commits.clone(), database).await?;
            databases::follow_search_paths(&handle, self.pools.clone());
            Ok(Arc::new(handle))
        });
        let result = opening.await.cloned();
        if result.is_err() {
            // Names of databases that do not exist are not kept.
            let mut databases = self.databases();
            if databases.get(database).is_some_and(|kept| Arc::ptr_eq(kept, &cell) && !kept.initialized()) {
                databases.remove(database);
            }
        }
        result
    }

    fn databases(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Database>>> {
        self.databases.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Forgets a database, because it was dropped.
    pub async fn forget(&self, database: &str) {
        self.databases().remove(database);
        self.pools.load().close_idle(database);
    }

    /// Gives up the gateway's own connections to a database, if no client uses it: it is to be copied or renamed.
    pub fn leave(&self, database: &str) {
        let mut databases = self.databases();
        let used = |kept: &Arc<Database>| kept.get().is_none_or(|catalog| Arc::strong_count(catalog) > 1);
        // Clients' catalogs would not follow what new ones change in another.
        if !databases.get(database).is_some_and(used) {
            databases.remove(database);
            self.pools.load().close_idle(database);
        }
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        usize::from(self.fixed.shards)
    }

    /// All shards, in the order of the configuration.
    pub fn each_shard(&self) -> impl Iterator<Item = ShardId> + Clone + use<> {
        (0..self.fixed.shards).map(ShardId)
    }

    /// The shard whose turn it is: spreads over shards what any of them can do.
    pub fn next_shard(&self) -> ShardId {
        let turn = self.next_turn() % self.shards().max(1);
        self.each_shard().nth(turn).unwrap_or(self.fixed.home)
    }

    /// The shard behind this one; behind the last one the first.
    pub fn shard_after(&self, shard: ShardId) -> ShardId {
        let next = shard.0.saturating_add(1);
        ShardId(if next < self.fixed.shards { next } else { 0 })
    }

    /// The home shard.
    pub fn home(&self) -> ShardId {
        self.fixed.home
    }

    /// A shard's name, for messages.
    pub fn shard_name(&self, shard: ShardId) -> String {
        let config = self.config.load();
        config.shards.get(usize::from(shard.0)).map_or_else(|| shard.0.to_string(), |shard| shard.name.clone())
    }

    /// Counts up: spreads clients over shards and reads over replicas.
    fn next_turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The replica whose turn it is for a user's reads on a shard; the primary where the policy or the shard says so.
    pub fn reader(&self, shard: ShardId, user: &User) -> Role {
        self.reader_at(shard, user, || self.next_turn())
    }

    /// The same, and its turn is not over: for who may not get a server of it. *See* [`Gateway::end_turn`].
    pub fn reader_now(&self, shard: ShardId, user: &User) -> Role {
        self.reader_at(shard, user, || self.turns.load(Ordering::Relaxed))
    }

    /// A server of [`Gateway::reader_now`] is used.
    pub fn end_turn(&self, role: Role) {
        if let Role::Replica(_) = role {
            self.next_turn();
        }
    }

    fn reader_at(&self, shard: ShardId, user: &User, turn: impl FnOnce() -> usize) -> Role {
        if user.reads == Reads::Primary {
            return Role::Primary;
        }
        let replicas = self.config.load().shards.get(usize::from(shard.0)).map_or(0, |shard| shard.replicas.len());
        if replicas > 0 {
            return Role::Replica(turn() % replicas);
        }
        // A user confined to replicas gets none: `pool` says so.
        if user.reads == Reads::Replica { Role::Replica(0) } else { Role::Primary }
    }

    /// What lending a server of a pool says of the server's health. One that refuses a login is up, unless it is starting or
    /// stopping.
    pub fn note_checkout(&self, pool: &ServerPool, lent: &Result<Lent, CheckoutError>) {
        let up = match lent {
            Ok(_) => true,
            Err(CheckoutError::Connect(error)) => {
                let code = error.sqlstate();
                // Source: manual of PostgreSQL 15, appendix A: 57P03 is cannot_connect_now.
                !code.starts_with("08") && code != "57P03"
            }
            Err(CheckoutError::Busy(_) | CheckoutError::NoReplica | CheckoutError::Tls(_) | CheckoutError::Closed) => {
                return;
            }
        };
        if up {
            self.note_up(pool.address());
        } else {
            self.note_server(pool.address(), false);
        }
    }

    /// Sessions end at the end of their transaction from now on.
    pub fn drain(&self) {
        // Who is woken is to see it.
        self.drains.store(true, Ordering::Release);
        self.draining.send_replace(true);
    }

    /// Whether the gateway shuts down.
    pub fn drains(&self) -> bool {
        self.drains.load(Ordering::Acquire)
    }

    /// A server answers.
    pub fn note_up(&self, server: &ServerAddress) {
        if self.any_down.load(Ordering::Relaxed) {
            self.note_server(server, true);
        }
    }

    /// Asks servers that did not answer once more, so that their health is known without clients.
    pub async fn probe_down(&self) {
        let config = self.config.load_full();
        let known: HashSet<&ServerAddress> =
            config.shards.iter().flat_map(|shard| std::iter::once(&shard.primary).chain(&shard.replicas)).collect();
        let down: Vec<ServerAddress> = {
            let mut down = self.down.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            down.retain(|address| known.contains(address));
            self.any_down.store(!down.is_empty(), Ordering::Relaxed);
            down.iter().cloned().collect()
        };
        let probes = down.iter().map(|address| async move {
            let up = topology::connect(address, None).await.map_or_else(|error| error.is_up() == Some(true), |_| true);
            if up {
                self.note_server(address, true);
            }
        });
        futures_util::future::join_all(probes).await;
    }

    /// A server answered, or did not.
    pub fn note_server(&self, address: &ServerAddress, up: bool) {
        let mut down = self.down.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if up {
            down.remove(address);
        } else {
            down.insert(address.clone());
        }
        self.any_down.store(!down.is_empty(), Ordering::Relaxed);
    }

    /// Whether a server answered when it was last asked.
    pub fn is_up(&self, address: &ServerAddress) -> bool {
        !self.down.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(address)
    }

    fn tls(&self, tls: &ServerTls) -> Result<Option<Arc<rustls::ClientConfig>>, CheckoutError> {
        let mut known = self.tls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(config) = known.get(tls) {
            return Ok(config.clone());
        }
        let config = client_config(tls).map_err(|error| CheckoutError::Tls(error.to_string()))?;
        known.insert(tls.clone(), config.clone());
        Ok(config)
    }

    /// Whether a configuration can be taken over while running.
    ///
    /// # Errors
    /// It differs in what decides where rows are: a restart is needed.
    pub fn check_reload(&self, config: &Config) -> Result<(), NeedsRestart> {
        let running = self.config.load();
        let names = |config: &Config| config.shards.iter().map(|shard| shard.name.clone()).collect::<Vec<_>>();
        let fixed = [
            ("the names of [[shard]]", names(config) != names(&running)),
            ("`home` in [sharding]", config.sharding.home != running.sharding.home),
            ("`key` in [sharding]", config.sharding.key != running.sharding.key),
            ("`map` in [sharding]", config.sharding.map != running.sharding.map),
            ("[tables]", config.tables != running.tables),
        ];
        match fixed.into_iter().find(|(_, differs)| *differs) {
            Some((key, _)) => Err(NeedsRestart(key)),
            None => Ok(()),
        }
    }

    /// Takes over a new configuration: sessions use it from their next transaction on. Pools are replaced only if what they
    /// are made of has changed, and databases opened again only if servers have other addresses.
    ///
    /// # Errors
    /// See [`Gateway::check_reload`]; then nothing has changed.
    pub fn reload(&self, config: Config) -> Result<(), NeedsRestart> {
        self.check_reload(&config)?;
        let running = self.config.load_full();
        self.tls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        let same_pools = same_pools(&running, &config);
        let pools = Pools::new(config.pool.clone(), config.limits.prepared_max);
        let primaries = databases::primaries(&config);
        self.config.store(Arc::new(config));
        if primaries != **self.primaries.load() {
            self.primaries.store(Arc::new(primaries));
            self.databases().clear();
        }
        if !same_pools {
            self.pools.swap(Arc::new(pools)).close();
        }
        Ok(())
    }

    /// The pool of a shard's server for a user and database.
    ///
    /// # Errors
    /// The configuration names no such server, or its certificates cannot be read.
    pub fn pool(&self, shard: ShardId, role: Role, user: &User, database: &str) -> Result<ServerPool, CheckoutError> {
        let config = self.config.load();
        let entry = config.shards.get(usize::from(shard.0)).ok_or(CheckoutError::Closed)?;
        let address = match role {
            Role::Primary | Role::Merge => &entry.primary,
            Role::Replica(at) => entry.replicas.get(at).ok_or(CheckoutError::NoReplica)?,
        };
        // The database's name may differ from server to server; clients know it by its name on the home shard.
        let home = config.shards.get(usize::from(config.sharding.home.0)).ok_or(CheckoutError::Closed)?;
        let database = if database == home.primary.database { &address.database } else { database };
        let target = Target {
            tls: self.tls(&address.tls)?,
            address: address.clone(),
            database: database.to_owned(),
            user: user.server_user.clone(),
            password: user.server_password.clone(),
            timeout: config.pool.connect_timeout,
        };
        loop {
            let pools = self.pools.load_full();
            let (purpose, max) = match role {
                Role::Primary | Role::Replica(_) => (Purpose::Transactions, user.pool_max),
                Role::Merge => (Purpose::Merges, config.pool.merge_max),
            };
            match pools.pool(target.clone(), purpose, max) {
                // Replaced this moment.
                Err(CheckoutError::Closed) if !Arc::ptr_eq(&pools, &self.pools.load()) => {}
                result => return result,
            }
        }
    }
}
