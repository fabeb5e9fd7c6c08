//! What the admin side asks of the running gateway. `main` passes something that can answer.

use serde::Serialize;

/// The running gateway, seen from outside. Answers at once: nothing here waits for a server.
pub trait Observe: Send + Sync + 'static {
    /// Every pool that has been used.
    fn pools(&self) -> Vec<PoolSample>;
    /// Every shard of the configuration, in its order.
    fn shards(&self) -> Vec<ShardHealth>;
    /// Transactions that are prepared on some shard, as recovery has seen them last.
    fn in_doubt(&self) -> Vec<TransactionSample>;
    /// Clients connected, those that are still logging in included.
    fn clients(&self) -> usize;
    /// No new clients are taken: the gateway is stopping.
    fn is_draining(&self) -> bool;
}

/// One pool at one moment. *Words*: PgBouncer's SHOW POOLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSample {
    /// The shard's name.
    pub shard: String,
    /// `host:port`.
    pub server: String,
    /// The client's user.
    pub user: String,
    /// The database on the server.
    pub database: String,
    /// Servers lent to clients.
    pub servers_active: usize,
    /// Servers connected and not lent.
    pub servers_idle: usize,
    /// Servers at the most.
    pub servers_max: usize,
    /// Clients in the queue.
    pub clients_waiting: usize,
}

/// A transaction over several shards that is prepared on one of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransactionSample {
    /// The shard on which it is prepared.
    pub shard: String,
    /// As `pg_prepared_xacts` has it.
    pub name: String,
    /// Its database there.
    pub database: String,
    /// Who prepared it.
    pub owner: String,
    /// Since it was prepared.
    pub age_seconds: f64,
    /// The shard that knows what becomes of it.
    pub decision_shard: String,
}

/// A shard's servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardHealth {
    /// The shard's name.
    pub name: String,
    /// Its primary.
    pub primary: ServerHealth,
    /// Its replicas.
    pub replicas: Vec<ServerHealth>,
}

/// A server, as last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerHealth {
    /// `host:port`.
    pub address: String,
    /// It answers. True until it is known not to: recovery, which asks every primary each second, has had no answer, or a client
    /// was lent no server of it; and it has not answered since.
    pub up: bool,
}
