//! Control connections: what the gateway asks servers on its own account (catalog, health, init, checks), as the user of
//! the server's URL. Clients' statements never travel here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use thiserror::Error;
use tokio_postgres::config::SslMode as Negotiation;
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::catalog::{Connect, ConnectFailure};
use crate::config::{ServerAddress, SslMode};
use crate::net::tls;

/// Name resolution, TCP, TLS and login together; libpq's users know 10 s from `connect_timeout=10`, a gateway is nearer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that vanished without a word is noticed after about 30 s instead of the kernel's two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 2;

/// How `pg_stat_activity` shows control connections.
const APPLICATION_NAME: &str = "pgbraid control";

/// Control connections to one server at the most.
const POOL_MAX: usize = 4;

/// Why there is no control connection. Never shows the password.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The server refused, or was not there.
    #[error("{place}: {}", describe(.source))]
    Connect {
        /// Host, port and database.
        place: Place,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
    /// It took too long.
    #[error("{place}: no connection within {} s: check host, port and firewall", CONNECT_TIMEOUT.as_secs())]
    Timeout {
        /// Host, port and database.
        place: Place,
    },
    /// The files of the TLS settings cannot be used.
    #[error("{place}: {source}")]
    Tls {
        /// Host, port and database.
        place: Place,
        /// The cause.
        #[source]
        source: tls::TlsError,
    },
    /// No pool could be made.
    #[error("{place}: {source}")]
    Pool {
        /// Host, port and database.
        place: Place,
        /// The cause.
        #[source]
        source: deadpool_postgres::BuildError,
    },
}

impl ControlError {
    /// Whether the server is up in spite of it: one that refuses a login is, unless it is starting or stopping. `None` where it
    /// was not asked.
    pub fn is_up(&self) -> Option<bool> {
        match self {
            // Source: manual of PostgreSQL 15, appendix A: 57P03 is cannot_connect_now, class 08 connection exceptions.
            ControlError::Connect { source, .. } => {
                Some(source.code().is_some_and(|code| code.code() != "57P03" && !code.code().starts_with("08")))
            }
            ControlError::Timeout { .. } => Some(false),
            ControlError::Tls { .. } | ControlError::Pool { .. } => None,
        }
    }
}

/// A server and database as messages name them: `10.0.0.1:5432/shop`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// Of an address, or another database on the same server.
    pub fn new(address: &ServerAddress, database: Option<&str>) -> Place {
        Place(format!("{}:{}/{}", address.host, address.port, database.unwrap_or(&address.database)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The server's own message, or the cause behind the driver's general words.
pub fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Opens a connection to a server's database, by default the one of its address. Its driver runs in a task that ends when
/// the client is dropped.
///
/// # Errors
/// When there is no connection within 5 s.
///
/// # Cancel safety
/// Cancel safe: a connection half made is closed.
pub async fn connect(address: &ServerAddress, database: Option<&str>) -> Result<Client, ControlError> {
    let place = Place::new(address, database);
    let config = driver_config(address, database);
    let connecting = async {
        match tls_connector(address, &place)? {
            Some(tls) => match config.connect(tls).await {
                Ok((client, connection)) => Ok(spawn_driver(client, connection)),
                Err(source) => Err(ControlError::Connect { place: place.clone(), source }),
            },
            None => match config.connect(NoTls).await {
                Ok((client, connection)) => Ok(spawn_driver(client, connection)),
                Err(source) => Err(ControlError::Connect { place: place.clone(), source }),
            },
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(ControlError::Timeout { place }),
    }
}

/// A pool of control connections to the database of a server's address. Opens none yet.
///
/// # Errors
/// When the TLS files cannot be used.
pub fn pool(address: &ServerAddress) -> Result<Pool, ControlError> {
    let place = Place::new(address, None);
    let config = driver_config(address, None);
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match tls_connector(address, &place)? {
        Some(tls) => Manager::from_config(config, tls, recycling),
        None => Manager::from_config(config, NoTls, recycling),
    };
    let builder = Pool::builder(manager).max_size(POOL_MAX).runtime(Runtime::Tokio1);
    let timeout = Some(CONNECT_TIMEOUT);
    let builder = builder.create_timeout(timeout).wait_timeout(timeout).recycle_timeout(timeout);
    builder.build().map_err(|source| ControlError::Pool { place, source })
}

/// Opens control connections to one database; for [`crate::catalog::CatalogHandle::start`].
#[derive(Clone, Debug)]
pub struct Connector {
    /// The server.
    pub address: ServerAddress,
    /// Another database than the address names.
    pub database: Option<String>,
}

impl Connect for Connector {
    fn connect(&self) -> Pin<Box<dyn Future<Output = Result<Client, ConnectFailure>> + Send + '_>> {
        Box::pin(async { Ok(connect(&self.address, self.database.as_deref()).await?) })
    }
}

/// The address in the driver's terms.
fn driver_config(address: &ServerAddress, database: Option<&str>) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host(&address.host).port(address.port).user(&address.user);
    config.dbname(database.unwrap_or(&address.database)).application_name(APPLICATION_NAME);
    config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_INTERVAL);
    config.keepalives_retries(KEEPALIVE_RETRIES).connect_timeout(CONNECT_TIMEOUT);
    if let Some(password) = &address.password {
        config.password(password);
    }
    config.ssl_mode(match address.tls.mode {
        _ if is_socket(address) => Negotiation::Disable,
        SslMode::Disable => Negotiation::Disable,
        SslMode::Prefer => Negotiation::Prefer,
        // What is verified is the connector's business.
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Negotiation::Require,
    });
    config
}

/// `None` where there is no TLS.
fn tls_connector(address: &ServerAddress, place: &Place) -> Result<Option<MakeRustlsConnect>, ControlError> {
    if is_socket(address) {
        return Ok(None);
    }
    let config =
        tls::client_config(&address.tls).map_err(|source| ControlError::Tls { place: place.clone(), source })?;
    Ok(config.map(|config| MakeRustlsConnect::new(std::sync::Arc::unwrap_or_clone(config))))
}

/// A Unix socket, on which PostgreSQL speaks no TLS. *Source*: manual of PostgreSQL 15, 34.19.
fn is_socket(address: &ServerAddress) -> bool {
    address.host.starts_with('/')
}

/// Runs a connection's driver until its client is dropped or the server ends it.
fn spawn_driver<S, T>(client: Client, connection: tokio_postgres::Connection<S, T>) -> Client
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // The client's next call says what went wrong.
    tokio::spawn(async move { connection.await.ok() });
    client
}
