//! The gateway logging in to a real PostgreSQL: every method, with and without TLS, and every way to fail.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod auth;
mod postgres;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use auth::{Authority, Scratch, write_key};
use pgbraid::auth::{Authenticator, Channel, ClientChannel, Login, ProcessSecret, ServerLogin, log_in};
use pgbraid::config::{ServerAddress, ServerSecret, ServerTls, SslMode};
use pgbraid::net::client_config;
use pgbraid::pool::connect::{ConnectError, Connected, Target, cancel, connect};
use postgres::{Postgres, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HBA: &str = "
local all postgres trust
local all all scram-sha-256
hostssl all certified 127.0.0.1/32 cert
hostssl all encrypted 127.0.0.1/32 scram-sha-256
host all scram,passed 127.0.0.1/32 scram-sha-256
host all md5 127.0.0.1/32 md5
host all clear 127.0.0.1/32 password
host all free 127.0.0.1/32 trust
";

const SETUP: &str = "
SET password_encryption = 'scram-sha-256';
CREATE ROLE scram LOGIN PASSWORD 'p''ass'; CREATE ROLE encrypted LOGIN PASSWORD 'p''ass'; CREATE ROLE clear LOGIN PASSWORD 'p''ass';
CREATE ROLE certified LOGIN; CREATE ROLE free LOGIN;
SET password_encryption = md5; CREATE ROLE md5 LOGIN PASSWORD 'p''ass'";

const PASSWORD: Option<&str> = Some("p'ass");

struct World {
    scratch: Scratch,
    authority: Authority,
    postgres: Postgres,
    /// Of the role `passed`.
    verifier: String,
}

/// One PostgreSQL for the tests that run at the same time; the last of them stops it.
fn world() -> Arc<World> {
    static CURRENT: Mutex<Weak<World>> = Mutex::new(Weak::new());
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(world) = current.upgrade() {
        return world;
    }
    // Signatures with SHA-384, so that channel binding has to choose its hash by them.
    let authority = Authority::with_sha384("ShopMart authority");
    let (certificate, key) = authority.sign("db.shopmart.example", &["127.0.0.1"]);
    let verifier = postgres_protocol::password::scram_sha_256(b"p'ass");
    let setup = format!("{SETUP}; CREATE ROLE passed LOGIN PASSWORD '{verifier}'");
    let tls = Tls { certificate: &certificate, key: &key, authority: &authority.pem() };
    let postgres = Postgres::start_for_logins(HBA, Some(tls));
    postgres.set_up(&setup);
    let scratch = Scratch::new();
    scratch.write("ca.pem", &authority.pem());
    let world = Arc::new(World { scratch, authority, postgres, verifier });
    *current = Arc::downgrade(&world);
    world
}

impl World {
    fn root(&self) -> Option<PathBuf> {
        Some(self.scratch.path().join("ca.pem"))
    }

    fn target(&self, user: &str, password: Option<&str>, mode: SslMode, root_certificate: Option<PathBuf>) -> Target {
        let tls = ServerTls { mode, root_certificate, certificate: None, key: None };
        self.target_with(user, password, "127.0.0.1", tls)
    }

    fn target_with(&self, user: &str, password: Option<&str>, host: &str, tls: ServerTls) -> Target {
        let address = ServerAddress {
            host: host.to_owned(),
            port: self.postgres.port,
            database: String::new(),
            user: String::new(),
            password: None,
            tls: tls.clone(),
        };
        Target {
            address,
            database: "postgres".to_owned(),
            user: user.to_owned(),
            password: password.map(|password| ServerSecret::Password(password.to_owned())),
            tls: client_config(&tls).unwrap(),
            timeout: Duration::from_secs(30),
        }
    }
}

async fn refused(target: &Target) -> ConnectError {
    match connect(target).await {
        Ok(_) => panic!("{} was let in", target.user),
        Err(error) => error,
    }
}

/// The first column of the first row of a simple query.
async fn ask(connected: &mut Connected, sql: &str) -> String {
    let mut query = vec![b'Q'];
    query.extend_from_slice(&u32::try_from(sql.len() + 5).unwrap().to_be_bytes());
    query.extend_from_slice(sql.as_bytes());
    query.push(0);
    connected.stream.write_all(&query).await.unwrap();
    connected.stream.flush().await.unwrap();
    let mut answer = None;
    loop {
        let tag = connected.stream.read_u8().await.unwrap();
        let length = connected.stream.read_u32().await.unwrap() as usize - 4;
        let mut body = vec![0; length];
        connected.stream.read_exact(&mut body).await.unwrap();
        match tag {
            b'D' => answer = Some(String::from_utf8(body[6..].to_vec()).unwrap()),
            b'E' => answer = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
            b'Z' => return answer.unwrap(),
            _ => {}
        }
    }
}

const TLS_IN_USE: &str = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

#[tokio::test]
async fn every_password_method_works_with_and_without_tls() {
    let world = world();
    for mode in [SslMode::Disable, SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        for (user, password) in [("scram", PASSWORD), ("md5", PASSWORD), ("clear", PASSWORD), ("free", None)] {
            let root = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull).then(|| world.root()).flatten();
            let target = world.target(user, password, mode, root);
            let mut connected = connect(&target).await.unwrap_or_else(|error| panic!("{user} {mode:?}: {error}"));
            assert_eq!(ask(&mut connected, "SELECT current_user").await, user);
            assert_eq!(
                ask(&mut connected, TLS_IN_USE).await,
                (mode != SslMode::Disable).to_string(),
                "{user} {mode:?}"
            );
            assert!(connected.read_ahead.is_empty());
        }
    }
}

#[tokio::test]
async fn what_the_server_says_at_start_up_is_kept() {
    let world = world();
    let mut connected = connect(&world.target("free", None, SslMode::Disable, None)).await.unwrap();
    let value =
        |name: &str| connected.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!(value("client_encoding").as_deref(), Some("UTF8"));
    assert_eq!(value("session_authorization").as_deref(), Some("free"));
    assert!(value("server_version").is_some() && connected.secret.len() == 4);
    let pid = connected.process_id.to_string();
    assert_eq!(ask(&mut connected, "SELECT pg_backend_pid()").await, pid);
}

#[tokio::test]
async fn unix_sockets_ask_for_passwords_too() {
    let world = world();
    let tls = ServerTls { mode: SslMode::Require, root_certificate: None, certificate: None, key: None };
    let directory = world.postgres.socket_directory().to_str().unwrap().to_owned();
    let mut connected = connect(&world.target_with("scram", PASSWORD, &directory, tls)).await.unwrap();
    assert_eq!(ask(&mut connected, "SELECT current_user").await, "scram");
}

/// The gateway knows the verifier, the client the password; nobody has told the gateway a password for the server.
#[tokio::test]
async fn a_clients_own_proof_logs_in_to_a_server_with_the_same_verifier() {
    let world = world();
    let text = format!("[[user]]\nname = \"passed\"\nverifier = \"{}\"", world.verifier);
    let config = auth::parsed(&text, world.scratch.path());
    let authenticator = Authenticator::new(&config, None, Arc::new(ProcessSecret::generate().unwrap()), None);
    let (mut client, mut gateway) = tokio::io::duplex(1024);
    let secret = ServerSecret::Password("p'ass".to_owned());
    let wanted = ServerLogin { user: "passed", password: Some(&secret), channel: &Channel::Local };
    let address = "192.0.2.1".parse().unwrap();
    let login = Login { user: "passed", database: "shop", address, channel: &ClientChannel::Plain };
    let (mut ours, mut theirs) = (Default::default(), Default::default());
    let (user, client) = tokio::join!(
        authenticator.authenticate(&mut gateway, &mut ours, &login),
        log_in(&mut client, &mut theirs, &wanted)
    );
    client.unwrap();
    let keys = user.unwrap_or_else(|refused| panic!("{refused:?}")).server_password.clone();
    for mode in [SslMode::Disable, SslMode::Require] {
        let target = Target { password: keys.clone(), ..world.target("passed", None, mode, None) };
        let mut connected = connect(&target).await.unwrap();
        assert_eq!(ask(&mut connected, "SELECT current_user").await, "passed");
        let error = refused(&Target { user: "scram".to_owned(), ..target }).await;
        assert_eq!(error.sqlstate(), "28P01");
    }
}

#[tokio::test]
async fn a_certificate_logs_in_without_a_password() {
    let world = world();
    let (certificate, key) = world.authority.sign("certified", &[]);
    let tls = ServerTls {
        mode: SslMode::VerifyFull,
        root_certificate: world.root(),
        certificate: Some(world.scratch.write("client.pem", &certificate)),
        key: Some(write_key(&world.scratch, "client.key", &key)),
    };
    let mut connected = connect(&world.target_with("certified", None, "127.0.0.1", tls.clone())).await.unwrap();
    assert_eq!(ask(&mut connected, "SELECT current_user").await, "certified");
    let error = refused(&world.target("certified", None, SslMode::Require, None)).await;
    assert_eq!(
        (error.sqlstate(), error.to_string().as_str()),
        ("28000", "connection requires a valid client certificate")
    );
}

#[tokio::test]
async fn the_servers_own_words_come_through() {
    let world = world();
    let error = refused(&world.target("scram", Some("wrong"), SslMode::Disable, None)).await;
    assert_eq!(
        (error.sqlstate(), error.to_string().as_str()),
        ("28P01", "password authentication failed for user \"scram\"")
    );
    let mut target = world.target("free", None, SslMode::Disable, None);
    target.database = "nowhere".to_owned();
    let error = refused(&target).await;
    assert_eq!((error.sqlstate(), error.to_string().as_str()), ("3D000", "database \"nowhere\" does not exist"));
    let ConnectError::Server(refusal) = error else { panic!() };
    assert_eq!(refusal.field(b'S'), Some(&b"FATAL"[..]));
    assert_eq!(refusal.body.last(), Some(&0));
    let error = refused(&world.target("encrypted", PASSWORD, SslMode::Disable, None)).await;
    assert_eq!(error.sqlstate(), "28000");
}

#[tokio::test]
async fn a_password_that_is_needed_and_missing_is_named() {
    let world = world();
    for user in ["scram", "md5", "clear"] {
        let error = refused(&world.target(user, None, SslMode::Disable, None)).await;
        assert_eq!(error.sqlstate(), "08004", "{user}");
        assert!(error.to_string().contains("asks for a password"), "{user}: {error}");
    }
}

#[tokio::test]
async fn certificates_are_checked_as_sslmode_says() {
    let world = world();
    let stranger = Authority::new("Someone else");
    let stranger = Some(world.scratch.write("stranger.pem", &stranger.pem()));
    for (mode, root, host, accepted) in [
        (SslMode::Require, None, "127.0.0.1", true),
        // libpq: require with a root is verify-ca.
        (SslMode::Require, stranger.clone(), "127.0.0.1", false),
        (SslMode::VerifyCa, stranger.clone(), "127.0.0.1", false),
        (SslMode::VerifyFull, stranger.clone(), "127.0.0.1", false),
        (SslMode::VerifyCa, world.root(), "localhost", true),
        (SslMode::VerifyFull, world.root(), "localhost", false),
        (SslMode::VerifyFull, world.root(), "127.0.0.1", true),
    ] {
        let tls = ServerTls { mode, root_certificate: root.clone(), certificate: None, key: None };
        let result = connect(&world.target_with("scram", PASSWORD, host, tls)).await;
        assert_eq!(result.is_ok(), accepted, "{mode:?} {root:?} {host}");
        if let Err(error) = result {
            assert!(matches!(error, ConnectError::Tls(_)), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_tls_is_only_preferred() {
    let postgres = Postgres::start_for_logins("local all postgres trust\nhost all all 127.0.0.1/32 trust\n", None);
    postgres.set_up("CREATE ROLE free LOGIN");
    let world =
        World { scratch: Scratch::new(), authority: Authority::new("unused"), postgres, verifier: String::new() };
    for (mode, accepted) in [(SslMode::Disable, true), (SslMode::Prefer, true), (SslMode::Require, false)] {
        let result = connect(&world.target("free", None, mode, None)).await;
        assert_eq!(result.is_ok(), accepted, "{mode:?}");
        assert!(result.err().is_none_or(|error| matches!(error, ConnectError::TlsMissing)));
    }
}

#[tokio::test]
async fn a_running_query_is_cancelled_over_tls_too() {
    let world = world();
    for mode in [SslMode::Disable, SslMode::Require] {
        let target = world.target("free", None, mode, None);
        let mut connected = connect(&target).await.unwrap();
        let mut watcher = connect(&target).await.unwrap();
        let (process_id, secret) = (connected.process_id, connected.secret.clone());
        let canceller = async {
            let running = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = {process_id} AND state = 'active' AND wait_event = 'PgSleep'"
            );
            while ask(&mut watcher, &running).await != "1" {}
            cancel(&target, process_id, &secret).await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask(&mut connected, "SELECT pg_sleep(600)"), canceller);
        assert!(answer.contains("57014"), "{mode:?}: {answer}");
    }
}

#[tokio::test]
async fn nobody_listening_and_nobody_answering_are_told_apart() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = ServerTls { mode: SslMode::Disable, root_certificate: None, certificate: None, key: None };
    let mut target = Target {
        address: ServerAddress {
            host: "127.0.0.1".to_owned(),
            port: silent.local_addr().unwrap().port(),
            database: String::new(),
            user: String::new(),
            password: None,
            tls,
        },
        database: "shop".to_owned(),
        user: "app".to_owned(),
        password: None,
        tls: None,
        timeout: Duration::from_millis(50),
    };
    let error = refused(&target).await;
    assert!(matches!(error, ConnectError::Timeout(_)), "{error}");
    assert_eq!(error.sqlstate(), "08001");
    drop(silent);
    target.timeout = Duration::from_secs(30);
    let error = refused(&target).await;
    assert!(matches!(error, ConnectError::Io(_)), "{error}");
    assert_eq!(error.sqlstate(), "08001");
}
