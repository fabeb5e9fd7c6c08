//! Starts a gateway from a configuration file, and keeps it until it is told to stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::http::{self, Http};
use super::metrics::Metrics;
use super::observe::{Observe, PoolSample, ServerHealth, ShardHealth, TransactionSample};
use crate::auth::{Found, Lookup, LookupError, LookupFuture};
use crate::config::{self, Config};
use crate::session::accept::Door;
use crate::session::gateway::Gateway;
use crate::session::serve::{Running, start};
use crate::topology::{self, ControlError, MapFile, MapFileError};
use crate::txn::name::TransactionName;

/// Why a gateway did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Mistakes in the configuration.
    #[error(transparent)]
    Config(#[from] config::ConfigErrors),
    /// The map's file.
    #[error(transparent)]
    Map(#[from] MapFileError),
    /// Certificates.
    #[error(transparent)]
    Door(#[from] crate::session::accept::DoorError),
    /// Connections for the auth query.
    #[error("[auth] query: {0}")]
    Control(#[from] ControlError),
    /// An address cannot be listened on, or signals not be received.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A gateway with its HTTP side.
pub struct Served {
    /// The gateway.
    pub running: Running,
    /// Where metrics and health are, if configured.
    pub http_address: Option<SocketAddr>,
    http: Option<(tokio::task::JoinHandle<()>, oneshot::Sender<()>)>,
    path: PathBuf,
    lookup: Arc<AuthQuery>,
}

/// Reads the configuration and starts what it says.
///
/// # Errors
/// See [`ServeError`]. Shards that cannot be reached are none: statements that need them fail until they can.
pub async fn serve(path: &Path) -> Result<Served, ServeError> {
    crate::net::raise_descriptor_limit();
    let config = config::load(path)?;
    let map = MapFile::new(&config).load_or_create()?;
    let lookup = Arc::new(AuthQuery { servers: ArcSwapOption::new(AuthQuery::servers(&config)?.map(Arc::new)) });
    let door = Arc::new(Door::new(&config, Some(lookup.clone()))?);
    let http_listen = config.gateway.http_listen;
    let gateway = Arc::new(Gateway::new(config, map)?);
    let metrics = Arc::new(Metrics::new());
    if metrics.install().is_err() {
        tracing::warn!("the process has a metrics recorder already; rare events are counted there");
    }
    tokio::spawn(metrics.upkeep());
    let running = start(gateway.clone(), door).await?;
    let mut served = Served { running, http_address: None, http: None, path: path.to_owned(), lookup };
    if let Some(address) = http_listen {
        let listener = tokio::net::TcpListener::bind(address).await?;
        served.http_address = Some(listener.local_addr()?);
        let (stop, stopped) = oneshot::channel();
        let http = Http { metrics, counters: gateway.counters.clone(), gateway };
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            if let Err(error) = http::serve(listener, http, stopped).await {
                tracing::error!(%error, "HTTP ended");
            }
        });
        served.http = Some((task, stop));
    }
    Ok(served)
}

impl Served {
    /// Where clients connect.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.running.addresses
    }

    /// Serves until SIGTERM or SIGINT; SIGHUP reads the configuration again.
    ///
    /// # Errors
    /// The system does not deliver signals.
    pub async fn until_signal(self) -> Result<(), ServeError> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.reload(),
            }
        }
        tracing::info!("draining");
        self.stop().await;
        Ok(())
    }

    /// Takes over what can change while running; a configuration with mistakes changes nothing.
    pub fn reload(&self) {
        let config = match config::load(&self.path) {
            Ok(config) => config,
            Err(errors) => return tracing::error!("the configuration was not reloaded: {errors}"),
        };
        let gateway = &self.running.gateway;
        if let Err(error) = gateway.check_reload(&config) {
            return tracing::error!("the configuration was not reloaded: {error}");
        }
        let lookup = match AuthQuery::servers(&config) {
            Ok(lookup) => lookup,
            Err(error) => return tracing::error!("the configuration was not reloaded: {error}"),
        };
        if let Err(error) = self.running.door.reload(&config) {
            return tracing::error!(%error, "the configuration was not reloaded");
        }
        let running = gateway.config.load_full();
        let ignored = [
            ("`listen` in [gateway]", config.gateway.listen != running.gateway.listen),
            ("`http_listen` in [gateway]", config.gateway.http_listen != running.gateway.http_listen),
            ("`threads` in [gateway]", config.gateway.threads != running.gateway.threads),
            ("`plans_max` in [limits]", config.limits.plans_max != running.limits.plans_max),
        ];
        for (key, _) in ignored.iter().filter(|(_, differs)| *differs) {
            tracing::warn!("{key} stays as it was until the gateway is restarted");
        }
        match gateway.reload(config) {
            Ok(()) => {
                self.lookup.servers.store(lookup.map(Arc::new));
                tracing::info!("the configuration was reloaded");
            }
            Err(error) => tracing::error!(%error, "the configuration was reloaded in part"),
        }
    }

    /// Drains and stops.
    pub async fn stop(self) {
        self.running.stop().await;
        if let Some((task, stop)) = self.http {
            drop(stop);
            drop(task.await);
        }
    }
}

/// Looks users up on the home shard.
struct AuthQuery {
    /// Replaced on SIGHUP; `None` without a query: then nobody is found.
    servers: ArcSwapOption<AuthServers>,
}

/// Control connections, and what is asked on them.
struct AuthServers {
    pool: deadpool_postgres::Pool,
    query: String,
}

impl AuthQuery {
    fn servers(config: &Config) -> Result<Option<AuthServers>, ControlError> {
        let home = config.shards.get(usize::from(config.sharding.home.0));
        let (Some(query), Some(home)) = (config.auth.query.clone(), home) else { return Ok(None) };
        Ok(Some(AuthServers { pool: topology::pool(&home.primary)?, query }))
    }
}

impl Lookup for AuthQuery {
    fn look_up<'a>(&'a self, user: &'a str) -> LookupFuture<'a> {
        Box::pin(async move {
            let failed = |error: &dyn std::fmt::Display| LookupError(format!("the auth query failed: {error}"));
            let Some(servers) = self.servers.load_full() else { return Ok(None) };
            let client = servers.pool.get().await.map_err(|error| failed(&error))?;
            let row = client.query_opt(&servers.query, &[&user]).await.map_err(|error| failed(&error))?;
            let Some(row) = row else { return Ok(None) };
            let verifier = row.try_get(1).map_err(|error| failed(&error))?;
            Ok(Some(Found { verifier }))
        })
    }
}

impl Observe for Gateway {
    fn pools(&self) -> Vec<PoolSample> {
        let config = self.config.load();
        let pools = self.pools.load().status();
        let sample = |(target, status): (Arc<crate::pool::connect::Target>, crate::pool::queue::Status)| {
            let serves =
                |shard: &&config::Shard| shard.primary == target.address || shard.replicas.contains(&target.address);
            PoolSample {
                shard: config.shards.iter().find(serves).map(|shard| shard.name.clone()).unwrap_or_default(),
                server: format!("{}:{}", target.address.host, target.address.port),
                user: target.user.clone(),
                database: target.database.clone(),
                servers_active: status.size.saturating_sub(status.available),
                servers_idle: status.available,
                servers_max: status.max_size,
                clients_waiting: status.waiting,
            }
        };
        pools.into_iter().map(sample).collect()
    }

    fn shards(&self) -> Vec<ShardHealth> {
        let health = |address: &config::ServerAddress| ServerHealth {
            address: format!("{}:{}", address.host, address.port),
            up: self.is_up(address),
        };
        let config = self.config.load();
        let shard = |shard: &config::Shard| ShardHealth {
            name: shard.name.clone(),
            primary: health(&shard.primary),
            replicas: shard.replicas.iter().map(health).collect(),
        };
        config.shards.iter().map(shard).collect()
    }

    fn in_doubt(&self) -> Vec<TransactionSample> {
        let config = self.config.load();
        let name = |at: usize| config.shards.get(at).map(|shard| shard.name.clone()).unwrap_or_default();
        let sample = |found: crate::txn::in_doubt::InDoubt| TransactionSample {
            shard: name(found.shard),
            decision_shard: TransactionName::parse(&found.name).map(|name| name.decision_shard).unwrap_or_default(),
            name: found.name,
            database: found.database,
            owner: found.owner,
            age_seconds: found.age.as_secs_f64(),
        };
        self.commits.in_doubt().into_iter().map(sample).collect()
    }

    fn clients(&self) -> usize {
        self.clients.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn is_draining(&self) -> bool {
        self.drains()
    }
}
