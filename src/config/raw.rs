//! The configuration as written: every key there is, with its meaning, unit and default.
//!
//! Durations are `"500ms"`, `"10s"`, `"5min"`, `"1h"`, `"7d"`, or an integer in seconds. Sizes are `"64MB"` (B, kB, MB, GB, powers of 1024), or an
//! integer in bytes. Paths are relative to the directory of the file they stand in.

use std::time::Duration;

use super::mistake::{At, Mistakes, Place};

/// A setting that may be left out.
pub(super) type Setting<T> = Option<At<T>>;

/// The whole file.
#[derive(Default)]
pub(super) struct RawConfig {
    pub gateway: RawGateway,
    pub sharding: RawSharding,
    pub tables: Vec<RawTable>,
    pub shards: Vec<RawShard>,
    pub users: Vec<RawUser>,
    pub auth: RawAuth,
    pub pool: RawPool,
    pub limits: RawLimits,
}

/// `[gateway]`
#[derive(Default)]
pub(super) struct RawGateway {
    /// `listen`: addresses where clients connect, one or a list: `"0.0.0.0:6432"`. Default `"127.0.0.1:6432"`.
    pub listen: Option<Vec<At<String>>>,
    /// `http_listen`: address of metrics and health over HTTP. Default: none.
    pub http_listen: Setting<String>,
    /// `tls_certificate`: PEM file with the certificate shown to clients and its chain. Default: no TLS.
    pub tls_certificate: Setting<String>,
    /// `tls_key`: PEM file with its key; must be given with `tls_certificate`.
    pub tls_key: Setting<String>,
    /// `tls_client_ca`: PEM file with the authorities of client certificates; needed by `auth = "cert"`. Default: none are asked for.
    pub tls_client_ca: Setting<String>,
    /// `tls_required`: refuse clients that do not use TLS. Default false.
    pub tls_required: Setting<bool>,
    /// `drain_timeout`: how long SIGTERM waits for transactions in progress. Default `"30s"`.
    pub drain_timeout: Setting<Duration>,
    /// `threads`: threads that serve clients. Default: one for two cores.
    pub threads: Setting<u64>,
}

/// `[sharding]`
#[derive(Default)]
pub(super) struct RawSharding {
    /// Where the section begins; `None` when it is missing.
    pub place: Option<Place>,
    /// `key`: the column whose presence makes a table sharded. Required.
    pub key: Setting<String>,
    /// `home`: name of the shard with the tables that are neither sharded nor reference. Default: the first shard.
    pub home: Setting<String>,
    /// `map`: file of the shard map. Default `"shardmap.toml"`.
    pub map: Setting<String>,
}

/// `[tables.NAME]`; the name may be `"schema.name"` in quotes.
pub(super) struct RawTable {
    /// The name, and where it stands.
    pub name: At<String>,
    /// `key`: this table's key column.
    pub key: Setting<String>,
    /// `kind`: `"reference"` (every row on every shard) or `"home"` (rows on the home shard only).
    pub kind: Setting<String>,
}

/// `[[shard]]`
pub(super) struct RawShard {
    /// Where it begins.
    pub place: Place,
    /// `name`: unique. Required.
    pub name: Setting<String>,
    /// `primary`: `postgres://user:password@host:port/database?sslmode=...`. Required. See `url`.
    pub primary: Setting<String>,
    /// `replicas`: the same for each replica. Default: none.
    pub replicas: Vec<At<String>>,
    /// `password_file`: file with the password for those of its URLs that have none. Default: no password.
    pub password_file: Setting<String>,
}

/// `[[user]]`
pub(super) struct RawUser {
    /// Where it begins.
    pub place: Place,
    /// `name`: as the client names itself. Required.
    pub name: Setting<String>,
    /// `auth`: `"scram-sha-256"`, `"md5"` or `"cert"` (the certificate's common name is the user). Default `"scram-sha-256"`, or `"md5"` if the verifier is one.
    pub auth: Setting<String>,
    /// `password`: the client's password. One of `password`, `password_file`, `verifier` is required unless `auth = "cert"`.
    pub password: Setting<String>,
    /// `password_file`: file with the password; a newline at its end is not part of it.
    pub password_file: Setting<String>,
    /// `verifier`: what `pg_authid.rolpassword` holds, `SCRAM-SHA-256$...` or `md5...`.
    pub verifier: Setting<String>,
    /// `server_user`: role on the shards. Default: `name`.
    pub server_user: Setting<String>,
    /// `server_password`: password on the shards. Default: the client's password, where it is known. With a verifier, the client's own proof is
    /// used: it is good where the role has the same verifier on the shards (for SCRAM: salt included, as after `pg_dumpall --roles-only`).
    pub server_password: Setting<String>,
    /// `server_password_file`: file with it.
    pub server_password_file: Setting<String>,
    /// `reads`: servers of provably read-only statements: `"primary"`, `"prefer-replica"` (replicas where the shard has one) or `"replica"`. Default `"primary"`.
    pub reads: Setting<String>,
    /// `pool_max`: servers per server address, user and database. Default: `[pool] max`.
    pub pool_max: Setting<u64>,
}

/// `[auth]`
#[derive(Default)]
pub(super) struct RawAuth {
    /// `trust`: networks (`"10.1.0.0/16"`) whose clients need no password. Default: none.
    pub trust: Vec<At<String>>,
    /// `query`: finds users that the configuration does not list: its `$1` is the name, its columns are name and verifier; runs on the home shard.
    /// Default: none. Such as `SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin`.
    pub query: Setting<String>,
}

/// `[pool]`
#[derive(Default)]
pub(super) struct RawPool {
    /// `max`: servers at the most per server address, user and database. Default 20.
    pub max: Setting<u64>,
    /// `merge_max`: servers at the most, beside those of `max`, on which queries over several shards are finished. Default 10.
    pub merge_max: Setting<u64>,
    /// `multiplex`: reads of one row by its key share servers. Default true.
    pub multiplex: Setting<bool>,
    /// `min`: servers kept open. Default 0.
    pub min: Setting<u64>,
    /// `idle_timeout`: a server idle for this long is closed. Default `"10min"`.
    pub idle_timeout: Setting<Duration>,
    /// `lifetime`: a server of this age is closed when it is returned. Default `"1h"`.
    pub lifetime: Setting<Duration>,
    /// `wait_timeout`: a client waits this long for a server, then gets 53300. Default `"30s"`.
    pub wait_timeout: Setting<Duration>,
    /// `connect_timeout`: connecting and logging in to a server. Default `"5s"`.
    pub connect_timeout: Setting<Duration>,
}

/// `[limits]`
#[derive(Default)]
pub(super) struct RawLimits {
    /// `clients_max`: one more gets 53300. Default 10000.
    pub clients_max: Setting<u64>,
    /// `statement_bytes_max`: size of a statement's text. Default `"16MB"`.
    pub statement_bytes_max: Setting<u64>,
    /// `held_bytes_max`: size of a Bind message or COPY row that is held until its key is known. Default `"64MB"`.
    pub held_bytes_max: Setting<u64>,
    /// `shipped_bytes_max`: rows that one query ships from shards to its merge server. Default `"1GB"`.
    pub shipped_bytes_max: Setting<u64>,
    /// `plans_max`: compiled statements kept, of all clients and databases together. Default 10000.
    pub plans_max: Setting<u64>,
    /// `prepared_max`: clients' prepared statements kept per server, and half as many simple queries for one row. Default 500.
    pub prepared_max: Setting<u64>,
    /// `client_statements_max`: prepared statements of one client, and as many portals and cursors; one more gets 53400. Default 10000.
    pub client_statements_max: Setting<u64>,
    /// `client_bytes_max`: what one client's prepared statements, portals and transaction block take; more gets 53400. Default `"64MB"`.
    pub client_bytes_max: Setting<u64>,
    /// `login_timeout`: from connect to authenticated. Default `"60s"`.
    pub login_timeout: Setting<Duration>,
}

impl RawConfig {
    /// Lays `extra` over this configuration: what it sets wins. It cannot add shards.
    pub(super) fn overlay(&mut self, extra: RawConfig, mistakes: &mut Mistakes) {
        self.gateway.overlay(extra.gateway);
        self.sharding.overlay(extra.sharding);
        for table in extra.tables {
            self.tables.retain(|known| known.name.value != table.name.value);
            self.tables.push(table);
        }
        for shard in extra.shards {
            mistakes.add(
                shard.place,
                "[[shard]] cannot be given in added settings: the shards are fixed by what they are added to",
            );
        }
        for user in extra.users {
            let name = user.name.as_ref().map(|name| name.value.clone());
            self.users.retain(|known| {
                name.is_none()
                    || known.place.source == user.place.source
                    || known.name.as_ref().map(|known| &known.value) != name.as_ref()
            });
            self.users.push(user);
        }
        if !extra.auth.trust.is_empty() {
            self.auth.trust = extra.auth.trust;
        }
        replace(&mut self.auth.query, extra.auth.query);
        self.pool.overlay(extra.pool);
        self.limits.overlay(extra.limits);
    }
}

fn replace<T>(known: &mut Option<T>, extra: Option<T>) {
    if extra.is_some() {
        *known = extra;
    }
}

impl RawGateway {
    fn overlay(&mut self, extra: RawGateway) {
        replace(&mut self.listen, extra.listen);
        replace(&mut self.http_listen, extra.http_listen);
        replace(&mut self.tls_certificate, extra.tls_certificate);
        replace(&mut self.tls_key, extra.tls_key);
        replace(&mut self.tls_client_ca, extra.tls_client_ca);
        replace(&mut self.tls_required, extra.tls_required);
        replace(&mut self.drain_timeout, extra.drain_timeout);
        replace(&mut self.threads, extra.threads);
    }
}

impl RawSharding {
    fn overlay(&mut self, extra: RawSharding) {
        replace(&mut self.place, extra.place);
        replace(&mut self.key, extra.key);
        replace(&mut self.home, extra.home);
        replace(&mut self.map, extra.map);
    }
}

impl RawPool {
    fn overlay(&mut self, extra: RawPool) {
        replace(&mut self.max, extra.max);
        replace(&mut self.merge_max, extra.merge_max);
        replace(&mut self.multiplex, extra.multiplex);
        replace(&mut self.min, extra.min);
        replace(&mut self.idle_timeout, extra.idle_timeout);
        replace(&mut self.lifetime, extra.lifetime);
        replace(&mut self.wait_timeout, extra.wait_timeout);
        replace(&mut self.connect_timeout, extra.connect_timeout);
    }
}

impl RawLimits {
    fn overlay(&mut self, extra: RawLimits) {
        replace(&mut self.clients_max, extra.clients_max);
        replace(&mut self.statement_bytes_max, extra.statement_bytes_max);
        replace(&mut self.held_bytes_max, extra.held_bytes_max);
        replace(&mut self.shipped_bytes_max, extra.shipped_bytes_max);
        replace(&mut self.plans_max, extra.plans_max);
        replace(&mut self.prepared_max, extra.prepared_max);
        replace(&mut self.client_statements_max, extra.client_statements_max);
        replace(&mut self.client_bytes_max, extra.client_bytes_max);
        replace(&mut self.login_timeout, extra.login_timeout);
    }
}
