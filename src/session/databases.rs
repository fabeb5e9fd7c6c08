//! Opens databases: their catalogs are read from the home shard, or from another one while that is down.

use std::future::Future;
use std::pin::Pin;

use crate::catalog::{CatalogHandle, Connect, ConnectFailure, LoadError};
use crate::config::{Config, ServerAddress};
use crate::topology;

/// Reads a database's catalog and keeps it fresh.
///
/// # Errors
/// No shard can be asked, or the database does not exist.
pub async fn open(config: &Config, database: &str) -> Result<CatalogHandle, LoadError> {
    let rules = super::gateway::rules(config);
    let home = usize::from(config.sharding.home.0);
    let mut addresses: Vec<ServerAddress> = config.shards.iter().map(|shard| shard.primary.clone()).collect();
    let main = addresses.get(home).map(|address| address.database.clone());
    if main.as_deref() != Some(database) {
        addresses.iter_mut().for_each(|address| address.database = database.to_owned());
    }
    let first = home.min(addresses.len());
    addresses.rotate_left(first);
    CatalogHandle::start(rules, Box::new(Servers { addresses })).await
}

/// Primaries in the order in which they are asked.
struct Servers {
    addresses: Vec<ServerAddress>,
}

impl Connect for Servers {
    fn connect(&self) -> Pin<Box<dyn Future<Output = Result<tokio_postgres::Client, ConnectFailure>> + Send + '_>> {
        Box::pin(async {
            let mut last: ConnectFailure = "no shard is configured".into();
            for address in &self.addresses {
                match topology::connect(address, None).await {
                    Ok(client) => return Ok(client),
                    Err(error) => last = error.into(),
                }
            }
            Err(last)
        })
    }
}
