//! What the tests of logins share: throw-away certificates, a gateway that only says hello, psql.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use pgbraid::auth::{Found, Lookup, LookupFuture};
use pgbraid::config;
use pgbraid::net::Listener;
use pgbraid::session::accept::{Accepted, Client, Door, accept};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// A directory that is removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pgbraid-auth-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority and what it signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::with_key(name, KeyPair::generate().unwrap())
    }

    /// Is itself what a careless `openssl req -x509` makes: an authority without alternative names. Its key, to be shown to clients.
    pub fn key_pem(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// Signs with SHA-384 instead of SHA-256.
    pub fn with_sha384(name: &str) -> Self {
        Self::with_key(name, KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap())
    }

    /// Signs with an algorithm that has no hash for channel binding.
    pub fn with_ed25519(name: &str) -> Self {
        Self::with_key(name, KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap())
    }

    fn with_key(name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(name);
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key. `hosts`: alternative names.
    pub fn sign(&self, common_name: &str, hosts: &[&str]) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = named(common_name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Writes `name.pem` and `name.key`, and returns the lines of `[gateway]` that use them.
pub fn gateway_certificate(scratch: &Scratch, name: &str, authority: &Authority, hosts: &[&str]) -> String {
    let (certificate, key) = authority.sign(name, hosts);
    scratch.write(&format!("{name}.pem"), &certificate);
    scratch.write(&format!("{name}.key"), &key);
    format!("tls_certificate = \"{name}.pem\"\ntls_key = \"{name}.key\"\n")
}

/// Writes a key that only its owner may read, as libpq demands.
pub fn write_key(scratch: &Scratch, name: &str, pem: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = scratch.write(name, pem);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Runs psql with a connection string. No settings of the caller's environment reach it.
pub fn psql(target: &str, password: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new("psql");
    command.env_clear().env("PATH", std::env::var("PATH").unwrap_or_default()).env("LC_ALL", "C");
    command.env("HOME", "/nonexistent").env("PGPASSFILE", "/nonexistent");
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    command.args(["-X", "-w", "-At"]).args(arguments).arg(target).stdin(Stdio::null()).output().unwrap()
}

/// What psql says when it is refused, without the address that it was talking to.
pub fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "psql was let in");
    let text = String::from_utf8_lossy(&output.stderr);
    let reason = text.split_once("failed: ").map_or(text.as_ref(), |(_, reason)| reason);
    reason.trim_end().to_owned()
}

/// Users that the auth query would find.
pub struct Table(pub Vec<(&'static str, Option<String>)>);

impl Lookup for Table {
    fn look_up<'a>(&'a self, user: &'a str) -> LookupFuture<'a> {
        let found =
            self.0.iter().find(|(name, _)| *name == user).map(|(_, verifier)| Found { verifier: verifier.clone() });
        Box::pin(async move { Ok(found) })
    }
}

/// A gateway that lets clients in, says that it is ready and answers every query with nothing.
pub struct Gateway {
    pub port: u16,
    pub door: Arc<Door>,
    clients: Mutex<mpsc::UnboundedReceiver<Seen>>,
}

/// What the session would have been told.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Client { user: String, database: String, settings: Vec<(String, String)>, minor: u16, tls: bool },
    Cancel(i32, Vec<u8>),
}

pub static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

impl Gateway {
    pub fn start(text: &str, directory: &Path, lookup: Option<Arc<dyn Lookup>>) -> Self {
        let config = parsed(text, directory);
        let door = Arc::new(Door::new(&config, lookup).unwrap());
        let (sender, clients) = mpsc::unbounded_channel();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = RUNTIME.block_on(Listener::bind(&[any])).unwrap();
        let port = listener.addresses().unwrap()[0].port();
        let open = Arc::clone(&door);
        RUNTIME.spawn(async move {
            loop {
                let (tcp, peer) = listener.accept().await;
                let (door, sender) = (Arc::clone(&open), sender.clone());
                tokio::spawn(async move {
                    match accept(tcp, peer, &door).await {
                        Accepted::Client(client) => serve(*client, &sender).await,
                        Accepted::Cancel(key, _) => {
                            sender.send(Seen::Cancel(key.process_id, key.secret.to_vec())).unwrap()
                        }
                        Accepted::Gone => {}
                    }
                });
            }
        });
        Self { port, door, clients: Mutex::new(clients) }
    }

    pub fn reload(&self, text: &str, directory: &Path) {
        self.door.reload(&parsed(text, directory)).unwrap();
    }

    /// The next one that was let in or wanted something cancelled.
    pub fn seen(&self) -> Seen {
        RUNTIME.block_on(self.clients.lock().unwrap().recv()).unwrap()
    }

    pub fn target(&self, more: &str) -> String {
        format!("host=127.0.0.1 port={} dbname=shop connect_timeout=20 {more}", self.port)
    }
}

/// A configuration with one shard that nobody connects to.
pub fn parsed(text: &str, directory: &Path) -> config::Config {
    let base = "[sharding]\nkey = \"k\"\n[[shard]]\nname = \"s0\"\nprimary = \"postgres://127.0.0.1:1/shop\"\n";
    config::parse(&format!("{text}\n{base}"), &directory.join("pgbraid.toml"))
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

async fn serve(mut client: Client, sender: &mpsc::UnboundedSender<Seen>) {
    let seen = Seen::Client {
        user: client.user.name.clone(),
        database: client.database.clone(),
        settings: client.settings.clone(),
        minor: client.protocol_minor,
        tls: client.stream.is_tls(),
    };
    sender.send(seen).unwrap();
    let hello =
        b"S\0\0\0\x18server_version\x0015.0\0S\0\0\0\x19client_encoding\0UTF8\0K\0\0\0\x0c\0\0\0\x07abcdZ\0\0\0\x05I";
    client.stream.write_all(hello).await.unwrap();
    client.stream.flush().await.unwrap();
    let mut buffer = client.read_ahead;
    loop {
        while buffer.first() == Some(&b'Q') && buffer.len() >= 5 {
            let length = 1 + u32::from_be_bytes(buffer[1..5].try_into().unwrap()) as usize;
            if buffer.len() < length {
                break;
            }
            let _ = buffer.split_to(length);
            client.stream.write_all(b"I\0\0\0\x04Z\0\0\0\x05I").await.unwrap();
            client.stream.flush().await.unwrap();
        }
        if buffer.first() == Some(&b'X') || client.stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return;
        }
    }
}
