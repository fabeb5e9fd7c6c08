//! [`RawConfig`] -> [`Config`]: what the settings mean together. Reports every mistake it can see.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shardmap::ShardId;

use super::checked::{Auth, Config, Gateway, Limits, Network, Pool, Sharding, TableRule, Tls, User};
use super::mistake::{At, Mistakes, Place, Source};
use super::raw::{RawAuth, RawConfig, RawGateway, RawLimits, RawPool, RawSharding, RawTable, Setting};
use super::users;

/// `None` only together with a mistake.
pub(super) fn check(written: RawConfig, sources: &[Source], mistakes: &mut Mistakes) -> Option<Config> {
    let mut check = Check { sources, mistakes };
    let names: Vec<String> =
        written.shards.iter().filter_map(|shard| shard.name.as_ref()).map(|name| name.value.clone()).collect();
    let shards = check.shards(written.shards);
    let sharding = check.sharding(written.sharding, &names);
    let pool = check.pool(written.pool);
    let gateway = check.gateway(written.gateway);
    let client_ca = gateway.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let users = check.users(written.users, &pool, client_ca);
    let tables = check.tables(written.tables);
    let auth = check.auth(written.auth);
    let limits = check.limits(written.limits);
    Some(Config { gateway, sharding: sharding?, tables, shards, users, auth, pool, limits })
}

/// What every rule needs at hand.
pub(super) struct Check<'a> {
    sources: &'a [Source],
    mistakes: &'a mut Mistakes,
}

impl Check<'_> {
    pub(super) fn wrong(&mut self, place: Place, message: impl Into<String>) {
        self.mistakes.add(place, message);
    }

    pub(super) fn missing(&mut self, place: Place, message: impl Into<String>) {
        self.mistakes.add_missing(place, message);
    }

    pub(super) fn misread(&mut self, place: Place, message: impl Into<String>) {
        self.mistakes.add_misread(place, message);
    }

    pub(super) fn directory(&self, place: Place) -> &Path {
        self.sources.get(place.source).map_or(Path::new(""), Source::directory)
    }

    fn path(&self, setting: &At<String>) -> PathBuf {
        self.directory(setting.place).join(&setting.value)
    }

    /// A file that must be readable now.
    fn file(&mut self, key: &str, setting: At<String>) -> PathBuf {
        let path = self.path(&setting);
        self.readable(key, &path, setting.place);
        path
    }

    pub(super) fn readable(&mut self, key: &str, path: &Path, place: Place) {
        if let Err(error) = std::fs::File::open(path) {
            self.wrong(place, format!("`{key}`: {} cannot be read: {error}", path.display()));
        }
    }

    /// A password in a file; newlines at its end are not part of it.
    pub(super) fn password_in_file(&mut self, key: &str, setting: At<String>) -> Option<String> {
        let path = self.path(&setting);
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                self.misread(setting.place, format!("`{key}`: {} cannot be read: {error}", path.display()));
                None
            }
        }
    }

    /// A count of at least one.
    pub(super) fn positive(&mut self, key: &str, setting: Setting<u64>, default: usize) -> usize {
        let Some(At { value, place }) = setting else { return default };
        match usize::try_from(value) {
            Ok(value) if value > 0 => value,
            Ok(_) | Err(_) => {
                self.wrong(place, format!("`{key}` must be at least 1"));
                default
            }
        }
    }

    /// A duration that is not zero.
    fn lasting(&mut self, key: &str, setting: Setting<Duration>, default_seconds: u64) -> Duration {
        match setting {
            Some(At { value, place }) if value.is_zero() => {
                self.wrong(place, format!("`{key}` must be longer than 0"));
                value
            }
            Some(At { value, .. }) => value,
            None => Duration::from_secs(default_seconds),
        }
    }

    fn socket_address(&mut self, key: &str, setting: &At<String>) -> Option<SocketAddr> {
        let address = setting.value.parse().ok();
        if address.is_none() {
            let message = format!(
                "`{key}`: `{}` is not an address and port, such as \"127.0.0.1:6432\" or \"[::]:6432\"",
                setting.value
            );
            self.wrong(setting.place, message);
        }
        address
    }

    fn gateway(&mut self, written: RawGateway) -> Gateway {
        let mut listen: Vec<SocketAddr> = Vec::new();
        match written.listen {
            None => listen.push(SocketAddr::from(([127, 0, 0, 1], 6432))),
            Some(addresses) => {
                for setting in &addresses {
                    let Some(address) = self.socket_address("listen", setting) else { continue };
                    if address.port() != 0 && listen.contains(&address) {
                        self.wrong(setting.place, format!("`listen` names {address} twice"));
                    }
                    listen.push(address);
                }
            }
        }
        let http_listen = written.http_listen.and_then(|setting| {
            let address = self.socket_address("http_listen", &setting)?;
            // Port 0 stands for any free one.
            if address.port() != 0 && listen.contains(&address) {
                self.wrong(setting.place, format!("`http_listen` and `listen` both name {address}"));
            }
            Some(address)
        });
        let required = written.tls_required.as_ref().is_some_and(|required| required.value);
        let tls = match (written.tls_certificate, written.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls {
                certificate: self.file("tls_certificate", certificate),
                key: self.file("tls_key", key),
                client_ca: written.tls_client_ca.map(|authorities| self.file("tls_client_ca", authorities)),
                required,
            }),
            (Some(At { place, .. }), None) => {
                self.wrong(place, "`tls_certificate` needs `tls_key`");
                None
            }
            (None, Some(At { place, .. })) => {
                self.wrong(place, "`tls_key` needs `tls_certificate`");
                None
            }
            (None, None) => {
                if let Some(At { place, .. }) = written.tls_client_ca {
                    self.wrong(place, "`tls_client_ca` needs `tls_certificate` and `tls_key`");
                }
                if let Some(At { value: true, place }) = written.tls_required {
                    self.wrong(place, "`tls_required` needs `tls_certificate` and `tls_key`");
                }
                None
            }
        };
        let drain_timeout = written.drain_timeout.map_or(Duration::from_secs(30), |timeout| timeout.value);
        let threads = written.threads.map(|threads| self.positive("threads", Some(threads), 1));
        Gateway { listen, http_listen, tls, drain_timeout, threads }
    }

    fn sharding(&mut self, written: RawSharding, names: &[String]) -> Option<Sharding> {
        let place = written.place.unwrap_or_default();
        let directory = self.directory(place).to_owned();
        let map = match written.map {
            Some(map) => self.path(&map),
            None => directory.join("shardmap.toml"),
        };
        let map = std::path::absolute(&map).unwrap_or(map);
        let home = match &written.home {
            None => ShardId(0),
            Some(home) => match names.iter().position(|name| *name == home.value) {
                Some(index) => ShardId(u16::try_from(index).unwrap_or(0)),
                None => {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let suggestion = super::reader::did_you_mean(&home.value, &names);
                    self.wrong(home.place, format!("`home` names no shard: `{}`{suggestion}", home.value));
                    ShardId(0)
                }
            },
        };
        let Some(key) = written.key else {
            self.missing(
                place,
                "[sharding] needs `key`, the column that decides the shard, such as `key = \"customer_id\"`",
            );
            return None;
        };
        if key.value.is_empty() {
            self.wrong(key.place, "`key` is empty");
        }
        Some(Sharding { key: key.value, home, map })
    }

    fn tables(&mut self, written: Vec<RawTable>) -> BTreeMap<String, TableRule> {
        let mut tables = BTreeMap::new();
        for RawTable { name: At { value: name, place }, key, kind } in written {
            let rule = match (key, kind) {
                (Some(key), None) => TableRule::Key(key.value),
                (None, Some(kind)) => match kind.value.as_str() {
                    "reference" => TableRule::Reference,
                    "home" => TableRule::Home,
                    other => {
                        let suggestion = super::reader::did_you_mean(other, &["reference", "home"]);
                        self.wrong(kind.place, format!("unknown kind `{other}` in [tables.{name}]{suggestion}"));
                        continue;
                    }
                },
                (Some(_), Some(kind)) => {
                    self.wrong(
                        kind.place,
                        format!("[tables.{name}] has `key` and `kind`: only sharded tables have a key"),
                    );
                    continue;
                }
                (None, None) => {
                    self.wrong(place, format!("[tables.{name}] needs `key` or `kind`"));
                    continue;
                }
            };
            tables.insert(name, rule);
        }
        tables
    }

    fn users(&mut self, written: Vec<super::raw::RawUser>, pool: &Pool, client_ca: bool) -> Vec<User> {
        let mut names: HashMap<String, Place> = HashMap::new();
        let mut checked = Vec::new();
        for user in written {
            if let Some(At { value, place }) = &user.name
                && names.insert(value.clone(), *place).is_some()
            {
                self.wrong(*place, format!("two users are named `{value}`"));
            }
            let place = user.pool_max.as_ref().map_or(user.place, |max| max.place);
            let user = users::check(self, user, pool, client_ca);
            if let Some(user) = &user
                && user.pool_max < pool.min.min(pool.max)
            {
                self.wrong(
                    place,
                    format!("`pool_max` of `{}` is smaller than `min` in [pool], {}", user.name, pool.min),
                );
            }
            checked.extend(user);
        }
        checked
    }

    fn auth(&mut self, written: RawAuth) -> Auth {
        let mut trust = Vec::new();
        for setting in written.trust {
            match network(&setting.value) {
                Some(network) => trust.push(network),
                None => {
                    let message = format!("`trust`: `{}` is not a network, such as \"10.1.0.0/16\"", setting.value);
                    self.wrong(setting.place, message);
                }
            }
        }
        if let Some(At { value, place }) = &written.query
            && !value.contains("$1")
        {
            self.wrong(*place, "`query` in [auth] does not use $1, the user's name");
        }
        Auth { trust, query: written.query.map(|query| query.value) }
    }

    fn pool(&mut self, written: RawPool) -> Pool {
        let max = self.positive("max", written.max, 20);
        let min_place = written.min.as_ref().map(|min| min.place);
        let min = written.min.map_or(0, |min| usize::try_from(min.value).unwrap_or(usize::MAX));
        if let Some(place) = min_place
            && min > max
        {
            self.wrong(place, format!("`min` in [pool] is larger than `max`, {max}"));
        }
        Pool {
            max,
            merge_max: self.positive("merge_max", written.merge_max, 10),
            multiplex: written.multiplex.is_none_or(|multiplex| multiplex.value),
            min,
            idle_timeout: self.lasting("idle_timeout", written.idle_timeout, 600),
            lifetime: self.lasting("lifetime", written.lifetime, 3600),
            wait_timeout: self.lasting("wait_timeout", written.wait_timeout, 30),
            connect_timeout: self.lasting("connect_timeout", written.connect_timeout, 5),
        }
    }

    fn limits(&mut self, written: RawLimits) -> Limits {
        Limits {
            clients_max: self.positive("clients_max", written.clients_max, 10_000),
            statement_bytes_max: self.positive("statement_bytes_max", written.statement_bytes_max, 16 << 20),
            held_bytes_max: self.positive("held_bytes_max", written.held_bytes_max, 64 << 20),
            shipped_bytes_max: self.positive("shipped_bytes_max", written.shipped_bytes_max, 1 << 30),
            plans_max: self.positive("plans_max", written.plans_max, 10_000),
            prepared_max: self.positive("prepared_max", written.prepared_max, 500),
            client_statements_max: self.positive("client_statements_max", written.client_statements_max, 10_000),
            client_bytes_max: self.positive("client_bytes_max", written.client_bytes_max, 64 << 20),
            login_timeout: self.lasting("login_timeout", written.login_timeout, 60),
        }
    }
}

/// `10.1.0.0/16`, or one address.
fn network(text: &str) -> Option<Network> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.parse().ok()?,
        None => bits,
    };
    (prefix <= bits).then_some(Network { address, prefix })
}
