//! `pgbraid init`: installs the `pgbraid` schema on every shard. Safe to repeat, also while shards are in use.

use thiserror::Error;

use crate::admin::{placement, sequences};
use crate::config::{Config, Shard};
use crate::topology::{self, ControlError, Place};
use crate::txn::install as commits;

/// Why a shard could not be prepared. Those before it, in the order of the configuration, are.
#[derive(Debug, Error)]
pub enum InitError {
    /// No connection.
    #[error("shard {shard}: {source}")]
    Connect {
        /// The shard's name.
        shard: String,
        /// The cause.
        #[source]
        source: ControlError,
    },
    /// The server to be written to is a replica.
    #[error("shard {shard}: {place} is a replica: name its primary in the configuration")]
    Replica {
        /// The shard's name.
        shard: String,
        /// The server.
        place: Place,
    },
    /// The server is older than what the functions need.
    #[error("shard {shard}: {place} runs PostgreSQL {version}: 14 is the oldest that will do")]
    TooOld {
        /// The shard's name.
        shard: String,
        /// The server.
        place: Place,
        /// As the server prints it.
        version: String,
    },
    /// A statement failed.
    #[error("shard {shard}: {}; the user of the shard's URL needs CREATE on the database and must own the schema pgbraid if it is there", topology::describe(.source))]
    Statement {
        /// The shard's name.
        shard: String,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
    /// It belongs to another cluster.
    #[error(
        "shard {shard}: its database belongs to cluster {found}, the shards before it to {expected}: correct the addresses, or drop its schema pgbraid if it is a copy"
    )]
    OtherCluster {
        /// The shard's name.
        shard: String,
        /// Its cluster.
        found: String,
        /// The others'.
        expected: String,
    },
    /// The system gives no random numbers.
    #[error(transparent)]
    Random(#[from] std::io::Error),
    /// The functions do not hash as the gateway does.
    #[error(
        "shard {shard}: pgbraid.bucket gives {found:?} where the gateway gives {expected}: report this, and do not route by it"
    )]
    Misplaced {
        /// The shard's name.
        shard: String,
        /// The gateway's bucket of a sample.
        expected: i32,
        /// The shard's.
        found: Option<i32>,
    },
}

/// Installs what the gateway needs on all shards' primaries, one after another, and prints what it did.
///
/// # Errors
/// At the first shard that cannot be prepared.
pub async fn init(config: &Config) -> Result<(), InitError> {
    let cluster = cluster(config).await?;
    for (slot, shard) in config.shards.iter().enumerate() {
        install(shard, slot, &cluster).await?;
        println!("{}: the schema pgbraid is installed and tested on {}", shard.name, Place::new(&shard.primary, None));
    }
    for sequence in sequences::spread_all(config).await? {
        println!("sequence {sequence}: each shard draws numbers of its own");
    }
    Ok(())
}

/// The id that one of the shards has, or a new one.
async fn cluster(config: &Config) -> Result<String, InitError> {
    for shard in &config.shards {
        let name = || shard.name.clone();
        let connected = topology::connect(&shard.primary, None).await;
        let client = connected.map_err(|source| InitError::Connect { shard: name(), source })?;
        let found = commits::cluster(&client).await;
        if let Some(id) = found.map_err(|source| InitError::Statement { shard: name(), source })? {
            return Ok(id);
        }
    }
    Ok(commits::random_id()?)
}

/// Installs on one shard and tests the result.
async fn install(shard: &Shard, slot: usize, cluster: &str) -> Result<(), InitError> {
    let name = || shard.name.clone();
    let place = Place::new(&shard.primary, None);
    let connected = topology::connect(&shard.primary, None).await;
    let client = connected.map_err(|source| InitError::Connect { shard: name(), source })?;
    let failed = |source| InitError::Statement { shard: name(), source };
    let query = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_version'),
        pg_catalog.current_setting('server_version_num')::integer";
    let row = client.query_one(query, &[]).await.map_err(failed)?;
    if row.try_get(0).map_err(failed)? {
        return Err(InitError::Replica { shard: name(), place });
    }
    if row.try_get::<_, i32>(2).map_err(failed)? < OLDEST {
        return Err(InitError::TooOld { shard: name(), place, version: row.try_get(1).map_err(failed)? });
    }
    let found = commits::install(&client, slot, cluster).await.map_err(failed)?;
    if found != cluster {
        return Err(InitError::OtherCluster { shard: name(), found, expected: cluster.to_owned() });
    }
    match placement::first_misplaced(&client).await.map_err(failed)? {
        Some(wrong) => Err(InitError::Misplaced { shard: name(), expected: wrong.expected, found: wrong.found }),
        None => Ok(()),
    }
}

/// `server_version_num` of the oldest PostgreSQL that has SQL function bodies parsed at creation, and what else is used.
pub(super) const OLDEST: i32 = 140_000;
