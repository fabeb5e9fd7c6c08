//! The checked configuration: what the rest of the house codes against. No field holds a value that `check` has not approved.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use shardmap::ShardId;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[sharding]`.
    pub sharding: Sharding,
    /// `[tables.NAME]`: by name as written, `schema.name` or `name`.
    pub tables: BTreeMap<String, TableRule>,
    /// `[[shard]]`, in order; `ShardId(i)` is the i-th. Never empty.
    pub shards: Vec<Shard>,
    /// `[[user]]`.
    pub users: Vec<User>,
    /// `[auth]`.
    pub auth: Auth,
    /// `[pool]`.
    pub pool: Pool,
    /// `[limits]`.
    pub limits: Limits,
}

/// `[gateway]`.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Where clients connect. Default `127.0.0.1:6432`.
    pub listen: Vec<SocketAddr>,
    /// Metrics and health over HTTP; none by default.
    pub http_listen: Option<SocketAddr>,
    /// Certificate and key; without them SSLRequest is answered `N`.
    pub tls: Option<Tls>,
    /// How long SIGTERM waits for transactions in progress. Default 30 s.
    pub drain_timeout: Duration,
    /// Threads that serve clients; `None`: one for two cores.
    pub threads: Option<usize>,
}

/// TLS towards clients.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
    /// Authorities of client certificates; needed by `auth = "cert"`.
    pub client_ca: Option<PathBuf>,
    /// Refuse clients that do not use TLS. Default false.
    pub required: bool,
}

/// `[sharding]`.
#[derive(Clone, Debug)]
pub struct Sharding {
    /// Column whose presence makes a table sharded.
    pub key: String,
    /// Where tables that are neither sharded nor reference keep their rows. Default: the first shard.
    pub home: ShardId,
    /// The map's file, absolute.
    pub map: PathBuf,
}

/// `[tables.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableRule {
    /// `key = "column"`.
    Key(String),
    /// `kind = "reference"`.
    Reference,
    /// `kind = "home"`: even if it has the key column.
    Home,
}

/// `[[shard]]`.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Unique.
    pub name: String,
    /// The primary.
    pub primary: ServerAddress,
    /// Its replicas.
    pub replicas: Vec<ServerAddress>,
}

/// A `postgres://` URL, taken apart. User and password are those of the control side (catalog, health, init). `Debug` shows no password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// Host name, address, or directory of a Unix socket.
    pub host: String,
    /// Default 5432.
    pub port: u16,
    /// Database on this server. Clients that ask for the home shard's database get this one here.
    pub database: String,
    /// Default: the operating system's user, as libpq does.
    pub user: String,
    /// None: the server must not ask for one.
    pub password: Option<String>,
    /// `sslmode`, `sslrootcert`, `sslcert`, `sslkey`.
    pub tls: ServerTls,
}

impl std::fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerAddress({}@{}:{}/{}, {:?})", self.user, self.host, self.port, self.database, self.tls)
    }
}

impl ServerAddress {
    /// The host is a directory: a Unix socket.
    pub fn is_unix_socket(&self) -> bool {
        self.host.starts_with('/')
    }
}

/// TLS towards a server, as libpq's parameters of the same names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// Default `prefer`.
    pub mode: SslMode,
    /// Authorities; default the system's.
    pub root_certificate: Option<PathBuf>,
    /// Client certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// libpq's `sslmode` (without `allow`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it.
    Prefer,
    /// TLS, any certificate.
    Require,
    /// TLS, certificate of a known authority.
    VerifyCa,
    /// And it names the host.
    VerifyFull,
}

/// `[[user]]`. `Debug` shows no secret.
#[derive(Clone)]
pub struct User {
    /// As the client names itself.
    pub name: String,
    /// How the client proves itself.
    pub method: AuthMethod,
    /// Password or verifier; `None` with `cert`.
    pub secret: Option<Secret>,
    /// Role on the shards; default: `name`.
    pub server_user: String,
    /// What proves it on the shards; default: the plain password or md5 verifier, where there is one. A user known by a SCRAM verifier
    /// gets his keys here when he has logged in (`auth`).
    pub server_password: Option<ServerSecret>,
    /// Where its reads go.
    pub reads: Reads,
    /// Servers per shard (or replica), user and database. Default: `[pool] max`.
    pub pool_max: usize,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("method", &self.method)
            .field("server_user", &self.server_user)
            .field("reads", &self.reads)
            .field("pool_max", &self.pool_max)
            .finish_non_exhaustive()
    }
}

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// `scram-sha-256` (and -PLUS over TLS).
    Scram,
    /// `md5`.
    Md5,
    /// `cert`: the certificate's common name is the user.
    Cert,
}

/// What a client's proof is checked against. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password itself.
    Plain(String),
    /// `SCRAM-SHA-256$iterations:salt$stored:server` or `md5...`, as in `pg_authid.rolpassword`.
    Verifier(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the gateway proves itself with to a server. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ServerSecret {
    /// The password itself: good for every method.
    Password(String),
    /// `md5` and 32 digits, as in `pg_authid.rolpassword`: good for md5 only.
    Md5(String),
    /// What a SCRAM exchange shows to someone who has the verifier: good for SCRAM with servers whose verifier for the role is the same, salt included.
    ScramKeys {
        /// RFC 5802's ClientKey.
        client_key: [u8; 32],
        /// RFC 5802's ServerKey.
        server_key: [u8; 32],
    },
}

impl std::fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerSecret(..)")
    }
}

/// Which servers a user's reads go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reads {
    /// Primaries only.
    #[default]
    Primary,
    /// Replicas where the shard has one, else the primary.
    PreferReplica,
    /// Replicas only.
    Replica,
}

/// `[auth]`.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Networks whose clients need no password (`10.1.0.0/16`); the user must exist all the same.
    pub trust: Vec<Network>,
    /// Looks up users that the configuration does not list: one parameter, the name; two columns, name and
    /// `rolpassword`. Runs on the home shard as the control user.
    pub query: Option<String>,
}

/// An address block in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// First address.
    pub address: std::net::IpAddr,
    /// Bits that must agree.
    pub prefix: u8,
}

impl Network {
    /// Whether `address` lies in this block. An IPv4 address that arrived over IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        use std::net::IpAddr;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                let host_bits = 32_u32.saturating_sub(u32::from(self.prefix));
                u64::from(block.to_bits() ^ address.to_bits()) >> host_bits == 0
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                let host_bits = 128_u32.saturating_sub(u32::from(self.prefix));
                (block.to_bits() ^ address.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// `[pool]`: defaults of every pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Servers at the most per server address, user and database. Default 20.
    pub max: usize,
    /// Servers at the most, beside those of `max`, on which queries over several shards are finished. Default 10.
    pub merge_max: usize,
    /// Reads of one row by its key share servers. Default true. *See* `execute::multiplex`.
    pub multiplex: bool,
    /// Servers kept open. Default 0.
    pub min: usize,
    /// Close a server idle for this long. Default 10 min.
    pub idle_timeout: Duration,
    /// Close a server of this age when it is returned. Default 1 h.
    pub lifetime: Duration,
    /// A client waits this long for a server, then gets 53300. Default 30 s.
    pub wait_timeout: Duration,
    /// Connecting and logging in to a server. Default 5 s.
    pub connect_timeout: Duration,
}

/// `[limits]`: what keeps memory bounded.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Clients at the most; one more gets 53300. Default 10,000.
    pub clients_max: usize,
    /// Statement text at the most (Query, Parse); longer gets 54000. Default 16 MiB.
    pub statement_bytes_max: usize,
    /// A Bind message or COPY row that must be held until its key is known. Default 64 MiB.
    pub held_bytes_max: usize,
    /// Rows that one query ships from shards to its merge server. Default 1 GiB.
    pub shipped_bytes_max: usize,
    /// Compiled statements kept, of all clients and databases together. Default 10,000.
    pub plans_max: usize,
    /// Prepared statements of clients kept per server, and half as many simple queries for one row. Default 500.
    pub prepared_max: usize,
    /// Prepared statements of one client, and portals with cursors; one more gets 53400. Default 10,000.
    pub client_statements_max: usize,
    /// What one client's statements, portals and transaction block take; more gets 53400. Default 64 MiB.
    pub client_bytes_max: usize,
    /// From connect to authenticated. Default 60 s, as PostgreSQL's authentication_timeout.
    pub login_timeout: Duration,
}
