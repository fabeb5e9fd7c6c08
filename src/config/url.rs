//! `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=ca.pem` -> [`ServerAddress`].
//!
//! A Unix socket is its directory, percent-encoded as host (`postgres://%2Frun%2Fpostgresql/shop`) or as parameter (`postgres:///shop?host=/run/postgresql`).
//! *Source*: PostgreSQL 15 manual, 34.1.1.2 "Connection URIs". Several hosts in one URL are refused: replicas have their own list.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::checked::{ServerAddress, ServerTls, SslMode};
use super::reader::did_you_mean;

const PORT_DEFAULT: u16 = 5432;

/// Parameters after the `?`.
const PARAMETERS: [&str; 9] =
    ["host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey"];

/// libpq's values of `sslmode` that make sense for a gateway.
const SSL_MODES: [(&str, SslMode); 5] = [
    ("disable", SslMode::Disable),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

/// Takes a URL apart. Files named in it are relative to `directory`; they need not exist. The message of an error never shows the password.
pub(super) fn parse(text: &str, directory: &Path) -> Result<ServerAddress, String> {
    let rest = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
        .ok_or("the URL must begin with `postgres://`")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (identity, location) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match identity.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (identity, None),
    };
    let (host, port) = host_and_port(location)?;
    let mut parts = Parts {
        host: not_empty(decode(host)?),
        port,
        database: not_empty(decode(path)?),
        user: not_empty(decode(user)?),
        password: password.map(decode).transpose()?,
        ..Parts::default()
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("parameter `{pair}` has no value"))?;
        parts.set(&decode(name)?, decode(value)?, directory)?;
    }
    parts.finish()
}

#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    user: Option<String>,
    password: Option<String>,
    mode: Option<SslMode>,
    root_certificate: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Parts {
    fn set(&mut self, name: &str, value: String, directory: &Path) -> Result<(), String> {
        match name {
            "host" => self.host = Some(value),
            "port" => self.port = Some(port_number(&value)?),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "sslmode" => self.mode = Some(ssl_mode(&value)?),
            // libpq 16: the system's authorities.
            "sslrootcert" if value == "system" => self.root_certificate = None,
            "sslrootcert" => self.root_certificate = Some(directory.join(value)),
            "sslcert" => self.certificate = Some(directory.join(value)),
            "sslkey" => self.key = Some(directory.join(value)),
            _ => return Err(format!("unknown parameter `{name}`{}", did_you_mean(name, &PARAMETERS))),
        }
        Ok(())
    }

    fn finish(self) -> Result<ServerAddress, String> {
        let host = self.host.ok_or("the URL names no host")?;
        let user = match self.user {
            Some(user) => user,
            None => whoami::username()
                .map_err(|_| "the URL names no user, and the operating system's user has no name either".to_owned())?,
        };
        match (&self.certificate, &self.key) {
            (Some(_), None) => return Err("`sslcert` needs `sslkey`".to_owned()),
            (None, Some(_)) => return Err("`sslkey` needs `sslcert`".to_owned()),
            (Some(_), Some(_)) | (None, None) => {}
        }
        Ok(ServerAddress {
            host,
            port: self.port.unwrap_or(PORT_DEFAULT),
            database: self.database.unwrap_or_else(|| user.clone()),
            user,
            password: self.password,
            tls: ServerTls {
                mode: self.mode.unwrap_or(SslMode::Prefer),
                root_certificate: self.root_certificate,
                certificate: self.certificate,
                key: self.key,
            },
        })
    }
}

/// `host`, `host:port`, `[::1]`, `[::1]:port`, `:port`.
fn host_and_port(location: &str) -> Result<(&str, Option<u16>), String> {
    if location.contains(',') {
        return Err("the URL names several hosts: list replicas in `replicas`".to_owned());
    }
    let (host, port) = match location.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the URL has a `[` without `]`")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("`[{host}]` is not an IPv6 address"));
            }
            match rest.strip_prefix(':') {
                Some(port) => (host, port),
                None if rest.is_empty() => (host, ""),
                None => return Err("the URL has something other than a port after `]`".to_owned()),
            }
        }
        None => match location.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address must be in brackets: `[::1]`".to_owned());
            }
            Some((host, port)) => (host, port),
            None => (location, ""),
        },
    };
    let port = if port.is_empty() { None } else { Some(port_number(port)?) };
    Ok((host, port))
}

fn port_number(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        Ok(_) | Err(_) => Err(format!("`{text}` is not a port")),
    }
}

fn ssl_mode(text: &str) -> Result<SslMode, String> {
    let known = SSL_MODES.map(|(name, _)| name);
    SSL_MODES
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, mode)| *mode)
        .ok_or_else(|| format!("unknown sslmode `{text}`{}", did_you_mean(text, &known)))
}

fn decode(text: &str) -> Result<String, String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let digits = rest.get(at + 1..at + 3).unwrap_or("");
        if digits.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) || digits == "00" {
            return Err(
                "the URL has a `%` that is not followed by two hexadecimal digits; write `%25` for a percent sign"
                    .to_owned(),
            );
        }
        rest = rest.get(at + 3..).unwrap_or("");
    }
    let decoded =
        percent_decode_str(text).decode_utf8().map_err(|_| "the URL is not UTF-8 once percent-decoded".to_owned())?;
    Ok(decoded.into_owned())
}

fn not_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn parsed(text: &str) -> ServerAddress {
        parse(text, Path::new("/etc/pgbraid")).expect(text)
    }

    fn refused(text: &str) -> String {
        parse(text, Path::new("/etc/pgbraid")).expect_err(text)
    }

    #[test]
    fn every_part_is_taken_apart_and_percent_decoded() {
        let address =
            parsed("postgres://an%40na:p%3Aa%2Fs%25s@db.example:6000/sh%20op?sslmode=verify-full&sslrootcert=ca.pem");
        assert_eq!((address.host.as_str(), address.port), ("db.example", 6000));
        assert_eq!((address.user.as_str(), address.password.as_deref()), ("an@na", Some("p:a/s%s")));
        assert_eq!(address.database, "sh op");
        assert_eq!(address.tls.mode, SslMode::VerifyFull);
        assert_eq!(address.tls.root_certificate.as_deref(), Some(Path::new("/etc/pgbraid/ca.pem")));
    }

    #[test]
    fn what_is_left_out_is_as_in_libpq() {
        let address = parsed("postgresql://app@db");
        assert_eq!((address.port, address.database.as_str()), (5432, "app"));
        assert_eq!((address.password, address.tls.mode), (None, SslMode::Prefer));
        assert_eq!(parsed("postgres://db/shop").user, whoami::username().unwrap());
    }

    #[test]
    fn sockets_and_ipv6_addresses_are_hosts() {
        assert_eq!(parsed("postgres://%2Frun%2Fpostgresql/shop").host, "/run/postgresql");
        assert_eq!(parsed("postgres:///shop?host=/run/postgresql&port=5433").port, 5433);
        assert_eq!(parsed("postgres://[::1]:7000/shop").host, "::1");
        assert_eq!(parsed("postgres://[fe80::1]/shop").port, 5432);
    }

    #[test]
    fn system_authorities_can_be_named() {
        assert_eq!(parsed("postgres://db/shop?sslrootcert=system").tls.root_certificate, None);
    }

    #[test]
    fn mistakes_say_what_to_do() {
        assert_eq!(refused("mysql://db/shop"), "the URL must begin with `postgres://`");
        assert_eq!(refused("postgres:///shop"), "the URL names no host");
        assert_eq!(refused("postgres://a,b/shop"), "the URL names several hosts: list replicas in `replicas`");
        assert_eq!(refused("postgres://::1/shop"), "an IPv6 address must be in brackets: `[::1]`");
        assert_eq!(refused("postgres://[::g]/shop"), "`[::g]` is not an IPv6 address");
        assert_eq!(refused("postgres://db:0/shop"), "`0` is not a port");
        assert_eq!(refused("postgres://db:99999/shop"), "`99999` is not a port");
        assert_eq!(refused("postgres://db/shop?sslmod=require"), "unknown parameter `sslmod`, did you mean `sslmode`?");
        assert_eq!(
            refused("postgres://db/shop?sslmode=verify_full"),
            "unknown sslmode `verify_full`, did you mean `verify-full`?"
        );
        assert_eq!(refused("postgres://db/shop?sslcert=c.pem"), "`sslcert` needs `sslkey`");
        assert!(refused("postgres://app:100%@db/shop").contains("%25"));
        assert!(refused("postgres://app:%zz@db/shop").contains("hexadecimal"));
        assert!(refused("postgres://app:%ff@db/shop").contains("UTF-8"));
    }

    #[test]
    fn no_mistake_shows_the_password() {
        for text in
            ["postgres://app:hunter2%@db/shop", "postgres://app:hunter2@[/shop", "postgres://app:hunter2@db:x/shop"]
        {
            assert!(!refused(text).contains("hunter2"), "{text}");
        }
    }
}
