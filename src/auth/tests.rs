//! Both sides against each other, without sockets: `server::log_in` as the client of an [`Authenticator`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;

use super::*;
use crate::config::{self, AuthMethod, ServerSecret, User};

/// No password fits it, and it costs nothing to make.
const MADE_UP: &str = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

const VERIFIED: &str = "[[user]]\nname = \"app\"\nverifier = ";

fn authenticator(text: &str) -> Authenticator {
    let base = "[sharding]\nkey = \"k\"\n[[shard]]\nname = \"s\"\nprimary = \"postgres://x/y\"\n";
    let config = config::parse(&format!("{text}\n{base}"), Path::new("pgbraid.toml")).unwrap();
    Authenticator::new(&config, None, Arc::new(ProcessSecret::generate().unwrap()), None)
}

/// Logs `user` in; what both sides make of it.
async fn meet(
    authenticator: &Authenticator,
    user: &str,
    secret: Option<&ServerSecret>,
) -> (Result<Arc<User>, Refused>, Result<(), LoginError>) {
    let (mut client, mut gateway) = tokio::io::duplex(64);
    let channel = Channel::Local;
    let login = ServerLogin { user, password: secret, channel: &channel };
    let client_side = async move {
        let result = log_in(&mut client, &mut BytesMut::new(), &login).await;
        drop(client);
        result
    };
    let gateway_side = async move {
        let address = "192.0.2.1".parse().unwrap();
        let login = Login { user, database: "shop", address, channel: &ClientChannel::Plain };
        let result = authenticator.authenticate(&mut gateway, &mut BytesMut::new(), &login).await;
        drop(gateway);
        result
    };
    tokio::join!(gateway_side, client_side)
}

fn password(text: &str) -> ServerSecret {
    ServerSecret::Password(text.to_owned())
}

fn quoted(text: &str) -> String {
    format!("{VERIFIED}\"{text}\"")
}

#[tokio::test]
async fn each_method_and_kind_of_secret_lets_in_with_the_right_password_only() {
    for text in [
        "[[user]]\nname = \"app\"\npassword = \"pä ss\"".to_owned(),
        "[[user]]\nname = \"app\"\npassword = \"pä ss\"\nauth = \"md5\"".to_owned(),
        quoted(&postgres_protocol::password::scram_sha_256("pä ss".as_bytes())),
        quoted(&postgres_protocol::password::md5("pä ss".as_bytes(), "app")),
    ] {
        let authenticator = authenticator(&text);
        let (user, client) = meet(&authenticator, "app", Some(&password("pä ss"))).await;
        assert_eq!(user.unwrap().name, "app");
        client.unwrap();
        for (user, secret) in [("app", "pä s"), ("app", "x"), ("ghost", "pä ss")] {
            let (result, _) = meet(&authenticator, user, Some(&password(secret))).await;
            let Err(Refused::Fatal(fatal)) = result else { panic!("{text} {user} {secret}") };
            assert_eq!(fatal.sqlstate, "28P01");
            assert_eq!(fatal.message, format!("password authentication failed for user \"{user}\""));
        }
        let (result, client) = meet(&authenticator, "app", None).await;
        assert!(matches!(result, Err(Refused::Gone)) && matches!(client, Err(LoginError::PasswordMissing)));
    }
}

#[tokio::test]
async fn who_is_known_by_a_scram_verifier_leaves_keys_that_open_the_same_verifier_and_no_other() {
    let verifier = quoted(&postgres_protocol::password::scram_sha_256(b"secret"));
    let (user, _) = meet(&authenticator(&verifier), "app", Some(&password("secret"))).await;
    let keys = user.unwrap().server_password.clone().unwrap();
    assert!(matches!(keys, ServerSecret::ScramKeys { .. }));
    let (again, client) = meet(&authenticator(&verifier), "app", Some(&keys)).await;
    assert_eq!(again.unwrap().server_password, Some(keys.clone()));
    client.unwrap();
    // The same password with another salt.
    let other = quoted(&postgres_protocol::password::scram_sha_256(b"secret"));
    assert!(meet(&authenticator(&other), "app", Some(&keys)).await.0.is_err());
    let md5 = quoted(&postgres_protocol::password::md5(b"secret", "app"));
    let (_, client) = meet(&authenticator(&md5), "app", Some(&keys)).await;
    assert!(matches!(client, Err(LoginError::PasswordUnknown("md5"))));
}

#[tokio::test]
async fn an_md5_verifier_opens_md5_and_not_scram() {
    let stored = postgres_protocol::password::md5(b"secret", "app");
    let md5 = authenticator(&quoted(&stored));
    let (user, _) = meet(&md5, "app", Some(&password("secret"))).await;
    let secret = user.unwrap().server_password.clone().unwrap();
    assert!(secret == ServerSecret::Md5(stored));
    assert!(meet(&md5, "app", Some(&secret)).await.0.is_ok());
    let scram = authenticator(&quoted(&postgres_protocol::password::scram_sha_256(b"secret")));
    let (_, client) = meet(&scram, "app", Some(&secret)).await;
    assert!(matches!(client, Err(LoginError::PasswordUnknown("SCRAM"))));
}

#[tokio::test]
async fn a_configured_server_password_is_not_replaced_by_keys() {
    let verifier = quoted(&postgres_protocol::password::scram_sha_256(b"secret"));
    for (more, kept) in [
        ("server_password = \"other\"", Some(password("other"))),
        // Somebody else's role: his keys are not its keys.
        ("server_user = \"reader\"", None),
    ] {
        let (user, _) = meet(&authenticator(&format!("{verifier}\n{more}")), "app", Some(&password("secret"))).await;
        assert_eq!(user.unwrap().server_password, kept);
    }
}

#[tokio::test]
async fn strangers_meet_the_method_that_everyone_meets() {
    let only_md5 = authenticator("[[user]]\nname = \"app\"\npassword = \"x\"\nauth = \"md5\"");
    let keys = ServerSecret::ScramKeys { client_key: [0; 32], server_key: [0; 32] };
    let (_, client) = meet(&only_md5, "ghost", Some(&keys)).await;
    assert!(matches!(client, Err(LoginError::PasswordUnknown("md5"))));
    let nobody = authenticator("");
    let (gateway, _) = meet(&nobody, "ghost", Some(&keys)).await;
    assert!(matches!(gateway, Err(Refused::Fatal(fatal)) if fatal.sqlstate == "28P01"));
}

#[tokio::test]
async fn a_server_that_does_not_know_the_password_is_not_believed() {
    // Says yes in the middle of SCRAM, and with a signature made up.
    let first = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
    for answer in [&b"R\0\0\0\x08\0\0\0\0"[..], b"R\0\0\0\x0a\0\0\0\x0cv="] {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let secret = password("secret");
        let login = ServerLogin { user: "app", password: Some(&secret), channel: &Channel::Open };
        let impostor = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            server.write_all(first).await.unwrap();
            let mut buffer = BytesMut::new();
            server.read_buf(&mut buffer).await.unwrap();
            let text = String::from_utf8_lossy(&buffer).into_owned();
            let nonce = text.split_once("r=").unwrap().1;
            let challenge = format!("\0\0\0\x0br={nonce}x,s=c2FsdA==,i=1");
            server.write_all(b"R").await.unwrap();
            server.write_u32(u32::try_from(challenge.len() + 4).unwrap()).await.unwrap();
            server.write_all(challenge.as_bytes()).await.unwrap();
            server.read_buf(&mut buffer).await.unwrap();
            server.write_all(answer).await.unwrap();
        };
        let mut buffer = BytesMut::new();
        let (result, ()) = tokio::join!(log_in(&mut client, &mut buffer, &login), impostor);
        assert!(matches!(result, Err(LoginError::Protocol(_) | LoginError::Impostor(_))), "{result:?}");
    }
}

#[tokio::test]
async fn passwords_do_not_cross_open_networks_in_clear_text() {
    let request = b"R\0\0\0\x08\0\0\0\x03R\0\0\0\x08\0\0\0\0";
    for (channel, sent) in [(Channel::Open, false), (Channel::Local, true), (Channel::Tls(None), true)] {
        let (mut client, mut server) = tokio::io::duplex(1024);
        tokio::io::AsyncWriteExt::write_all(&mut server, request).await.unwrap();
        let secret = password("secret");
        let login = ServerLogin { user: "app", password: Some(&secret), channel: &channel };
        let result = log_in(&mut client, &mut BytesMut::new(), &login).await;
        assert_eq!(result.is_ok(), sent, "{channel:?}");
        assert!(sent || matches!(result, Err(LoginError::ClearText)));
    }
}

#[test]
fn users_known_by_certificates_have_no_secret() {
    let user = User {
        name: "robot".to_owned(),
        method: AuthMethod::Cert,
        secret: None,
        server_user: "robot".to_owned(),
        server_password: Some(password("hunter2")),
        reads: config::Reads::Primary,
        pool_max: 1,
    };
    assert!(!format!("{user:?}{:?}", user.server_password).contains("hunter2"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    #[test]
    fn no_answer_of_a_client_makes_the_gateway_panic_or_lets_it_in(
        first in "(n|y|p=tls-server-end-point|p=x|),?,?(n=)?[a,=]{0,3},?r=[!-~]{0,5}(,[!-~]{0,4})?",
        last in "(c=[A-Za-z=]{0,8})?,?(r=[!-~]{0,9})?,?(p=[A-Za-z=]{0,9})?",
        raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..30),
    ) {
        let authenticator = authenticator(&quoted(MADE_UP));
        let initial = [&b"SCRAM-SHA-256\0"[..], &u32::try_from(first.len()).unwrap().to_be_bytes(), first.as_bytes()].concat();
        for answers in [[initial.clone(), last.into_bytes()], [initial, raw.clone()], [raw, Vec::new()]] {
            let mut sent = Vec::new();
            for answer in answers {
                sent.push(b'p');
                sent.extend_from_slice(&u32::try_from(answer.len() + 4).unwrap().to_be_bytes());
                sent.extend_from_slice(&answer);
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let result = runtime.block_on(async {
                let address = "192.0.2.1".parse().unwrap();
                let login = Login { user: "app", database: "shop", address, channel: &ClientChannel::Plain };
                let mut stream = tokio::io::join(&sent[..], tokio::io::sink());
                authenticator.authenticate(&mut stream, &mut BytesMut::new(), &login).await
            });
            proptest::prop_assert!(result.is_err());
        }
    }
}
