//! Opens databases: their catalogs are read from the home shard, or from another one while that is down.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::catalog::{CatalogHandle, CatalogVersion, Connect, ConnectFailure, LoadError, Rules};
use crate::config::{Config, ServerAddress};
use crate::topology;

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
    database: &str,
) -> Result<CatalogHandle, LoadError> {
    CatalogHandle::start_after(before, rules, Box::new(Servers { primaries, database: database.to_owned() })).await
}

/// Primaries in the order in which they are asked, as the configuration has them when it is asked.
struct Servers {
    primaries: Arc<ArcSwap<Vec<ServerAddress>>>,
    database: String,
}

impl Connect for Servers {
    fn connect(&self) -> Pin<Box<dyn Future<Output = Result<tokio_postgres::Client, ConnectFailure>> + Send + '_>> {
        Box::pin(async {
            let mut last: ConnectFailure = "no shard is configured".into();
            let primaries = self.primaries.load_full();
            // The database's name may differ from server to server; clients know it by its name on the home shard.
            let main = primaries.first().is_some_and(|home| home.database == self.database);
            let database = (!main).then_some(self.database.as_str());
            for address in primaries.iter() {
                match topology::connect(address, database).await {
                    Ok(client) => return Ok(client),
                    Err(error) => last = error.into(),
                }
            }
            Err(last)
        })
    }
}
