//! Opens databases: their catalogs are read from the home shard, or from another one while that is down.

use std::sync::Arc;

use arc_swap::ArcSwap;
use shardmap::ShardId;

use crate::catalog::{CatalogHandle, CatalogVersion, Connect, ConnectFailure, Connecting, LoadError, Rules};
use crate::config::{Config, ServerAddress};
use crate::pool::pools::Pools;
use crate::topology;
use crate::txn::commits::Commits;

/// Control addresses of the primaries, the home shard first.
pub fn primaries(config: &Config) -> Vec<ServerAddress> {
    let home = usize::from(config.sharding.home.0);
    let mut addresses: Vec<ServerAddress> = config.shards.iter().map(|shard| shard.primary.clone()).collect();
    let first = home.min(addresses.len());
    addresses.rotate_left(first);
    addresses
}

/// Reads a database's catalog and keeps it fresh. Its versions are above `before`.
///
/// # Errors
/// No shard can be asked, or the database does not exist.
pub async fn open(
    before: CatalogVersion,
    rules: Rules,
    primaries: Arc<ArcSwap<Vec<ServerAddress>>>,
    home: ShardId,
    commits: Arc<Commits>,
    database: &str,
) -> Result<CatalogHandle, LoadError> {
    CatalogHandle::start_after(
        before,
        rules,
        Box::new(Servers { primaries, home: home.0.into(), commits, database: database.to_owned() }),
    )
    .await
}

/// Has servers log in again when the search path that they are given then has changed (ALTER ROLE on a shard): names are looked up
/// by the new one from then on. Ends with the handle.
pub fn follow_search_paths(handle: &CatalogHandle, pools: Arc<ArcSwap<Pools>>) {
    let mut catalogs = handle.subscribe();
    let mut known = catalogs.borrow_and_update().search_paths.clone();
    tokio::spawn(async move {
        while catalogs.changed().await.is_ok() {
            let new = catalogs.borrow_and_update().search_paths.clone();
            if new != known {
                pools.load().renew();
                known = new;
            }
        }
    });
}

/// Primaries in the order in which they are asked, as the configuration has them when it is asked.
struct Servers {
    primaries: Arc<ArcSwap<Vec<ServerAddress>>>,
    home: usize,
    commits: Arc<Commits>,
    database: String,
}

impl Servers {
    /// Primaries, the home shard's first, and the database's name where it is not that of their URLs: it may differ from server to
    /// server, and clients know it by its name on the home shard.
    fn addresses(&self) -> (Arc<Vec<ServerAddress>>, Option<&str>) {
        let primaries = self.primaries.load_full();
        let main = primaries.first().is_some_and(|home| home.database == self.database);
        (primaries, (!main).then_some(self.database.as_str()))
    }
}

impl Connect for Servers {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            // A database that was dropped has lost all its connections: this may be another one of its name.
            self.commits.forget(&self.database);
            let mut last: ConnectFailure = NONE_CONFIGURED.into();
            let (primaries, database) = self.addresses();
            for address in primaries.iter() {
                match topology::connect(address, database).await {
                    Ok(client) => return Ok(client),
                    Err(error) => last = error.into(),
                }
            }
            Err(last)
        })
    }

    fn shards(&self) -> usize {
        self.primaries.load().len()
    }

    fn home(&self) -> usize {
        self.home
    }

    fn connect_shard(&self, shard: usize) -> Connecting<'_> {
        Box::pin(async move {
            let (primaries, database) = self.addresses();
            let count = primaries.len().max(1);
            let address = primaries.get((shard + count - self.home % count) % count).ok_or(NONE_CONFIGURED)?;
            Ok(topology::connect(address, database).await?)
        })
    }
}

const NONE_CONFIGURED: &str = "no shard is configured";
