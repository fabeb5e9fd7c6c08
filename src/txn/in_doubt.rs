//! What is prepared on a shard: between PREPARE and COMMIT PREPARED a transaction is in doubt to whoever looks from outside.
//! Asked by [`super::recovery`], `pgbraid status` and the HTTP side.

use std::time::Duration;

use tokio_postgres::Client;

use super::name::PREFIX;

/// A transaction that is prepared on a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// Place of the shard in the configuration.
    pub shard: usize,
    /// Its database there.
    pub database: String,
    /// As PostgreSQL has it.
    pub name: String,
    /// Since it was prepared.
    pub age: Duration,
    /// Who prepared it.
    pub owner: String,
}

/// A shard's prepared transactions of one cluster.
///
/// # Errors
/// When the query fails.
pub async fn list(client: &Client, shard: usize, cluster: &str) -> Result<Vec<InDoubt>, tokio_postgres::Error> {
    let query = "SELECT gid, database::text, owner::text,
            pg_catalog.greatest(0, extract(epoch FROM pg_catalog.clock_timestamp() - prepared))::float8
        FROM pg_catalog.pg_prepared_xacts WHERE pg_catalog.starts_with(gid, $1) ORDER BY prepared";
    let query = query.replace("pg_catalog.greatest", "greatest");
    let rows = client.query(&query, &[&format!("{PREFIX}{cluster}:")]).await?;
    let read = |row: &tokio_postgres::Row| {
        let age = Duration::try_from_secs_f64(row.try_get(3)?).unwrap_or_default();
        Ok(InDoubt { shard, name: row.try_get(0)?, database: row.try_get(1)?, owner: row.try_get(2)?, age })
    };
    rows.iter().map(read).collect()
}
