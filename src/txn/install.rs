//! What a shard needs to be one of several, commits over all of them above all: installing it, and finding out whether it is there.

use shardmap::BUCKET_SQL;
use thiserror::Error;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalog::sequences::functions_sql;
use crate::topology;
use crate::wire::fields::field;

/// Installs tables and functions for commits; safe to repeat.
const SCHEMA_SQL: &str = include_str!("schema.sql");

/// What a shard says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `max_prepared_transactions`.
    pub prepared_max: i32,
    /// The cluster's id; `None` when `pgbraid init` has not been run on it.
    pub cluster: Option<String>,
    /// It has the other functions too.
    pub complete: bool,
}

/// Why a shard cannot take part in a commit over several shards.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotReady {
    /// `max_prepared_transactions` is 0.
    #[error("shard \"{0}\" has max_prepared_transactions = 0, so no transaction can write on several shards")]
    PreparesNothing(String),
    /// No decision table.
    #[error("shard \"{0}\" does not have the tables that a commit on several shards needs")]
    NotInstalled(String),
    /// A database that `pgbraid init` does not know, in which it cannot be installed.
    #[error("shard \"{shard}\": the schema pgbraid cannot be installed in database \"{database}\": {cause}")]
    MayNotInstall {
        /// The shard.
        shard: String,
        /// The database, by its name there.
        database: String,
        /// What the server said.
        cause: String,
    },
    /// Shards of two clusters.
    #[error("shard \"{shard}\" belongs to cluster {found}, other shards to {expected}")]
    OtherCluster {
        /// The shard.
        shard: String,
        /// Its cluster.
        found: String,
        /// The others'.
        expected: String,
    },
    /// A name PostgreSQL would not take.
    #[error("the name of shard \"{0}\" is too long for a transaction on several shards")]
    NameTooLong(String),
    /// It does not answer.
    #[error("shard \"{shard}\": {cause}")]
    Silent {
        /// The shard.
        shard: String,
        /// Why.
        cause: String,
    },
}

impl NotReady {
    /// SQLSTATE and what to do about it.
    pub fn remedy(&self) -> (&'static str, &'static str) {
        match self {
            NotReady::PreparesNothing(_) => {
                ("55000", "Set max_prepared_transactions to at least max_connections on every shard and restart it.")
            }
            NotReady::NotInstalled(_) => ("55000", "Run \"pgbraid init\"."),
            NotReady::MayNotInstall { .. } => {
                ("55000", "Grant CREATE on the database to the user of the shard's URL in the configuration.")
            }
            NotReady::OtherCluster { .. } => ("55000", "Correct the addresses of the shards in the configuration."),
            NotReady::NameTooLong(_) => ("55000", "Give the shard a shorter name."),
            NotReady::Silent { .. } => ("08006", "Try again when the shard answers."),
        }
    }
}

/// Asks a shard.
///
/// # Errors
/// When a query fails for another reason than that something is not installed.
pub async fn facts(client: &Client) -> Result<Facts, tokio_postgres::Error> {
    let query = "SELECT pg_catalog.current_setting('max_prepared_transactions')::integer,
        pg_catalog.to_regprocedure('pgbraid.decide(text,text)') IS NOT NULL,
        pg_catalog.num_nulls(
            pg_catalog.to_regprocedure('pgbraid.bucket(bigint)'), pg_catalog.to_regprocedure('pgbraid.bucket(text)'),
            pg_catalog.to_regprocedure('pgbraid.bucket(uuid)'), pg_catalog.to_regprocedure('pgbraid.refreshed()'),
            pg_catalog.to_regprocedure('pgbraid.setval(regclass,bigint,boolean)'),
            pg_catalog.to_regprocedure('pgbraid.unique_id()')) = 0";
    let row = client.query_one(query, &[]).await?;
    let (prepared_max, installed) = (row.try_get(0)?, row.try_get::<_, bool>(1)?);
    let cluster = if installed { cluster(client).await? } else { None };
    Ok(Facts { prepared_max, cluster, complete: row.try_get(2)? })
}

/// The id of the cluster that a database is a shard of; `None` when it has been given none.
///
/// # Errors
/// When the query fails for another reason than that there is no such table.
pub async fn cluster(client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    match client.query_opt("SELECT id FROM pgbraid.cluster", &[]).await {
        Ok(row) => row.map(|row| row.try_get(0)).transpose(),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Installs all that the gateway needs on the shard at this place, and gives the database its cluster's id if it has none. Returns
/// the id that it has then; what numbers shards stays as it is if that is another.
///
/// # Errors
/// When a statement fails: the user needs CREATE on the database.
pub async fn install(client: &Client, slot: usize, cluster: &str) -> Result<String, tokio_postgres::Error> {
    client.batch_execute(BUCKET_SQL).await?;
    client.batch_execute(SCHEMA_SQL).await?;
    client.execute("INSERT INTO pgbraid.cluster (id) VALUES ($1) ON CONFLICT DO NOTHING", &[&cluster]).await?;
    let found: String = client.query_one("SELECT id FROM pgbraid.cluster", &[]).await?.try_get(0)?;
    if found == cluster {
        client.batch_execute(&functions_sql(slot)).await?;
    }
    Ok(found)
}

/// A random id: 64 bits in hexadecimal digits.
///
/// # Errors
/// The system gives no random numbers.
pub fn random_id() -> std::io::Result<String> {
    let random = ring::rand::generate::<[u8; 8]>(&ring::rand::SystemRandom::new());
    let random = random.map_err(|_| std::io::Error::other("the system gives no random numbers"))?;
    Ok(format!("{:016x}", u64::from_be_bytes(random.expose())))
}

/// What a failed question to a shard means.
pub fn silent(shard: &str, error: &tokio_postgres::Error) -> NotReady {
    NotReady::Silent { shard: shard.to_owned(), cause: topology::describe(error) }
}

/// Whether an ErrorResponse says that what was installed is there no more.
pub fn is_gone(error: &[u8]) -> bool {
    // Source: manual of PostgreSQL 15, appendix A: no such schema, table, function.
    matches!(field(error, b'C'), Some(b"3F000" | b"42P01" | b"42883"))
        && field(error, b'M').is_some_and(|text| text.windows(7).any(|word| word == b"pgbraid"))
}

/// Neither schema nor table.
fn is_missing(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| [SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_TABLE].contains(code))
}
