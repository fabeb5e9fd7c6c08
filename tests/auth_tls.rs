//! Clients logging in to the gateway over TLS: channel binding, client certificates, direct TLS, injected bytes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod auth;

use std::sync::Arc;

use auth::{Authority, Gateway, RUNTIME, Scratch, Seen, gateway_certificate, psql, refusal, write_key};
use pgbraid::config::{ServerTls, SslMode};
use pgbraid::net::client_config;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const USERS: &str = r#"
[[user]]
name = "app"
password = "secret"
[[user]]
name = "old"
password = "veteran"
auth = "md5"
"#;

const CERTIFIED: &str = r#"
[[user]]
name = "robot"
auth = "cert"
"#;

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0app\0\0";

fn start(authority: &Authority, more: &str, users: &str) -> (Scratch, Gateway) {
    let scratch = Scratch::new();
    scratch.write("ca.pem", &authority.pem());
    let certificate = gateway_certificate(&scratch, "gateway", authority, &["127.0.0.1"]);
    let gateway = Gateway::start(&format!("[gateway]\n{certificate}{more}\n{users}"), scratch.path(), None);
    (scratch, gateway)
}

fn connects(gateway: &Gateway, target: &str, password: Option<&str>) {
    let output = psql(&gateway.target(target), password, &["-c", ""]);
    assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
    let Seen::Client { tls, .. } = gateway.seen() else { panic!() };
    assert_eq!(tls, !target.contains("sslmode=disable"), "{target}");
}

fn refused(gateway: &Gateway, target: &str, password: Option<&str>) -> String {
    refusal(&psql(&gateway.target(target), password, &["-c", ""]))
}

fn verified(scratch: &Scratch) -> String {
    format!("sslmode=verify-full sslrootcert={}/ca.pem", scratch.path().display())
}

#[test]
fn channel_binding_works_with_the_hash_of_the_certificates_signature() {
    for authority in [Authority::new("with SHA-256"), Authority::with_sha384("with SHA-384")] {
        let (scratch, gateway) = start(&authority, "", USERS);
        let tls = verified(&scratch);
        connects(&gateway, &format!("user=app channel_binding=require {tls}"), Some("secret"));
        connects(&gateway, &format!("user=app channel_binding=disable {tls}"), Some("secret"));
        connects(&gateway, &format!("user=old {tls}"), Some("veteran"));
        connects(&gateway, "user=app sslmode=disable", Some("secret"));
        let wrong = refused(&gateway, &format!("user=app channel_binding=require {tls}"), Some("wrong"));
        assert_eq!(wrong, "FATAL:  password authentication failed for user \"app\"");
    }
}

#[test]
fn a_certificate_without_a_hash_for_channel_binding_still_encrypts() {
    let (scratch, gateway) = start(&Authority::with_ed25519("with Ed25519"), "", USERS);
    connects(&gateway, &format!("user=app {}", verified(&scratch)), Some("secret"));
    let wanted =
        "channel binding is required, but server did not offer an authentication method that supports channel binding";
    assert_eq!(
        refused(&gateway, &format!("user=app channel_binding=require {}", verified(&scratch)), Some("secret")),
        wanted
    );
}

#[test]
fn clients_without_tls_are_refused_where_it_is_required() {
    let (scratch, gateway) = start(&Authority::new("strict"), "tls_required = true", USERS);
    connects(&gateway, &format!("user=app {}", verified(&scratch)), Some("secret"));
    for user in ["app", "ghost"] {
        let text = refused(&gateway, &format!("user={user} sslmode=disable"), Some("secret"));
        assert_eq!(
            text,
            format!(
                "FATAL:  no entry of the gateway's configuration for host \"127.0.0.1\", user \"{user}\", database \"shop\", no encryption\n\
                 HINT:  Connect with TLS, such as sslmode=require."
            )
        );
    }
}

#[test]
fn a_client_certificate_proves_the_user_that_it_names_and_no_other() {
    let authority = Authority::new("of clients and the gateway");
    let (scratch, gateway) = start(&authority, "tls_client_ca = \"ca.pem\"", &format!("{CERTIFIED}{USERS}"));
    let shown = |authority: &Authority, name: &str| {
        let (certificate, key) = authority.sign(name, &[]);
        let certificate = scratch.write("client.pem", &certificate);
        let key = write_key(&scratch, "client.key", &key);
        format!("sslcert={} sslkey={} {}", certificate.display(), key.display(), verified(&scratch))
    };
    connects(&gateway, &format!("user=robot {}", shown(&authority, "robot")), None);
    let other = refused(&gateway, &format!("user=robot {}", shown(&authority, "app")), None);
    assert_eq!(other, "FATAL:  certificate authentication failed for user \"robot\"");
    let none = refused(&gateway, &format!("user=robot {}", verified(&scratch)), None);
    assert_eq!(none, "FATAL:  connection requires a valid client certificate");
    let plain = refused(&gateway, "user=robot sslmode=disable", None);
    assert!(plain.contains("no encryption"), "{plain}");
    let forged = refused(&gateway, &format!("user=robot {}", shown(&Authority::new("someone else"), "robot")), None);
    assert!(forged.contains("SSL") || forged.contains("closed"), "{forged}");
    // Who shows a certificate but has a password needs the password.
    connects(&gateway, &format!("user=app {}", shown(&authority, "robot")), Some("secret"));
    assert!(refused(&gateway, &format!("user=app {}", shown(&authority, "app")), Some("wrong")).contains("password"));
}

#[test]
fn new_certificates_are_used_after_a_reload_and_broken_ones_are_not() {
    let (scratch, gateway) = start(&Authority::new("first authority"), "", USERS);
    connects(&gateway, &format!("user=app {}", verified(&scratch)), Some("secret"));
    let second = Authority::new("second authority");
    let certificate = gateway_certificate(&scratch, "second", &second, &["127.0.0.1"]);
    gateway.reload(&format!("[gateway]\n{certificate}{USERS}"), scratch.path());
    assert!(refused(&gateway, &format!("user=app {}", verified(&scratch)), Some("secret")).contains("certificate"));
    scratch.write("ca.pem", &second.pem());
    connects(&gateway, &format!("user=app {}", verified(&scratch)), Some("secret"));

    scratch.write("broken.pem", "nothing");
    let text = format!("[gateway]\ntls_certificate = \"broken.pem\"\ntls_key = \"second.key\"\n{USERS}");
    let error = gateway.door.reload(&auth::parsed(&text, scratch.path())).unwrap_err();
    assert!(error.to_string().ends_with("broken.pem: holds no certificate"), "{error}");
    connects(&gateway, &format!("user=app {}", verified(&scratch)), Some("secret"));
}

fn client_tls(alpn: bool) -> TlsConnector {
    let tls = ServerTls { mode: SslMode::Require, root_certificate: None, certificate: None, key: None };
    let mut config: ClientConfig = (*client_config(&tls).unwrap().unwrap()).clone();
    if !alpn {
        config.alpn_protocols.clear();
    }
    TlsConnector::from(Arc::new(config))
}

type Encrypted = tokio_rustls::client::TlsStream<TcpStream>;

async fn shake_hands(tcp: TcpStream, alpn: bool) -> Encrypted {
    client_tls(alpn).connect("127.0.0.1".try_into().unwrap(), tcp).await.unwrap()
}

/// All that comes until the end, as Latin-1.
async fn rest(mut stream: Encrypted) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer.into_iter().map(char::from).collect()
}

#[test]
fn direct_tls_needs_alpn() {
    let (_scratch, gateway) = start(&Authority::new("direct"), "", USERS);
    RUNTIME.block_on(async {
        let tcp = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        let mut stream = shake_hands(tcp, true).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"postgresql"[..]));
        // A request for TLS within TLS is declined.
        stream.write_all(SSL_REQUEST).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'N');
        stream.write_all(STARTUP).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'R');

        let tcp = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        let mut stream = shake_hands(tcp, false).await;
        let _ = stream.write_all(STARTUP).await;
        assert_eq!(rest(stream).await, "");
    });
}

#[test]
fn bytes_that_came_before_the_handshake_are_refused() {
    let (_scratch, gateway) = start(&Authority::new("wary"), "", USERS);
    RUNTIME.block_on(async {
        let mut tcp = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        tcp.write_all(&[SSL_REQUEST, STARTUP].concat()).await.unwrap();
        assert_eq!(tcp.read_u8().await.unwrap(), b'S');
        let answer = rest(shake_hands(tcp, true).await).await;
        assert!(answer.contains("C08P01\0Mreceived unencrypted data after SSL request\0"), "{answer:?}");
    });
}

#[test]
fn a_client_that_was_told_there_is_no_channel_binding_is_refused() {
    let (_scratch, gateway) = start(&Authority::new("wary"), "", USERS);
    for (mechanism, message, wanted) in [
        ("SCRAM-SHA-256", "y,,n=,r=abc", "C28000\0MSCRAM channel binding negotiation error\0"),
        ("SCRAM-SHA-256", "p=tls-server-end-point,,n=,r=abc", "C08P01\0Mmalformed SCRAM message\0"),
        ("SCRAM-SHA-256-PLUS", "n,,n=,r=abc", "C08P01\0Mmalformed SCRAM message\0"),
        ("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=,r=abc", "C08P01\0M"),
    ] {
        let answer = RUNTIME.block_on(async {
            let tcp = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
            let mut stream = shake_hands(tcp, true).await;
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let body = [mechanism.as_bytes(), b"\0", &length, message.as_bytes()].concat();
            let packet = [b"p", &u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat();
            stream.write_all(&[STARTUP, &packet].concat()).await.unwrap();
            rest(stream).await
        });
        assert!(
            answer.contains("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0") && answer.contains(wanted),
            "{message}: {answer:?}"
        );
    }
}

/// Whether the gateway's own client side accepts the certificate of `gateway` as that of `host`.
fn verifies(gateway: &Gateway, root: &std::path::Path, mode: SslMode, host: &'static str) -> Result<(), String> {
    let tls = ServerTls { mode, root_certificate: Some(root.to_owned()), certificate: None, key: None };
    let connector = TlsConnector::from(client_config(&tls).unwrap().unwrap());
    RUNTIME.block_on(async {
        let tcp = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        connector.connect(host.try_into().unwrap(), tcp).await.map(|_| ()).map_err(|error| error.to_string())
    })
}

#[test]
fn a_self_signed_certificate_that_is_its_own_root_is_verified_by_its_common_name() {
    let scratch = Scratch::new();
    let itself = Authority::new("db.shopmart.example");
    let certificate = scratch.write("self.pem", &itself.pem());
    scratch.write("self.key", &itself.key_pem());
    let text = format!("[gateway]\ntls_certificate = \"self.pem\"\ntls_key = \"self.key\"\n{USERS}");
    let gateway = Gateway::start(&text, scratch.path(), None);
    verifies(&gateway, &certificate, SslMode::VerifyFull, "db.shopmart.example").unwrap();
    verifies(&gateway, &certificate, SslMode::VerifyFull, "DB.shopmart.example").unwrap();
    verifies(&gateway, &certificate, SslMode::VerifyCa, "elsewhere.example").unwrap();
    verifies(&gateway, &certificate, SslMode::VerifyFull, "elsewhere.example").unwrap_err();
    let stranger = scratch.write("stranger.pem", &Authority::new("db.shopmart.example").pem());
    verifies(&gateway, &stranger, SslMode::VerifyCa, "db.shopmart.example").unwrap_err();
}

#[test]
fn the_common_name_does_not_count_beside_alternative_names() {
    let scratch = Scratch::new();
    let authority = Authority::new("authority");
    let root = scratch.write("ca.pem", &authority.pem());
    let lines = gateway_certificate(&scratch, "db.example", &authority, &["other.example", "*.wild.example"]);
    let gateway = Gateway::start(&format!("[gateway]\n{lines}{USERS}"), scratch.path(), None);
    verifies(&gateway, &root, SslMode::VerifyFull, "other.example").unwrap();
    verifies(&gateway, &root, SslMode::VerifyFull, "a.wild.example").unwrap();
    verifies(&gateway, &root, SslMode::VerifyFull, "db.example").unwrap_err();
    let lines = gateway_certificate(&scratch, "db2.example", &authority, &[]);
    gateway.reload(&format!("[gateway]\n{lines}{USERS}"), scratch.path());
    verifies(&gateway, &root, SslMode::VerifyFull, "db2.example").unwrap();
    verifies(&gateway, &root, SslMode::VerifyFull, "db.example").unwrap_err();
}
