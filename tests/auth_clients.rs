//! Clients logging in to the gateway, with psql; and what a real PostgreSQL says in the same places.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod auth;
mod postgres;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use auth::{Gateway, Scratch, Seen, Table, psql, refusal};
use postgres::Postgres;

const USERS: &str = r#"
[[user]]
name = "app"
password = "secret"
[[user]]
name = "old"
password = "veteran"
auth = "md5"
"#;

fn connects(gateway: &Gateway, target: &str, password: Option<&str>) -> Seen {
    let output = psql(&gateway.target(target), password, &["-c", ""]);
    assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
    gateway.seen()
}

fn refused(gateway: &Gateway, target: &str, password: Option<&str>) -> String {
    refusal(&psql(&gateway.target(target), password, &["-v", "VERBOSITY=verbose", "-c", ""]))
}

#[test]
fn passwords_prove_users_and_start_up_settings_arrive() {
    let scratch = Scratch::new();
    let gateway = Gateway::start(USERS, scratch.path(), None);
    let seen =
        connects(&gateway, "user=app options='-c geqo=off --work_mem=8MB' application_name=till", Some("secret"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let settings = vec![pair("geqo", "off"), pair("work_mem", "8MB"), pair("application_name", "till")];
    assert_eq!(seen, Seen::Client { user: "app".into(), database: "shop".into(), settings, minor: 0, tls: false });
    connects(&gateway, "user=old", Some("veteran"));
}

/// Both are asked the same; both must say the same.
#[test]
fn refusals_are_worded_as_postgresql_words_them() {
    let scratch = Scratch::new();
    let gateway = Gateway::start(USERS, scratch.path(), None);
    let hba = "local all postgres trust\nhost all old 127.0.0.1/32 md5\nhost all all 127.0.0.1/32 scram-sha-256";
    let setup = "SET password_encryption = 'scram-sha-256'; CREATE ROLE app LOGIN PASSWORD 'secret';
        SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'veteran'";
    let postgres = Postgres::start_for_logins(hba, None);
    postgres.set_up(setup);
    let real = |target: &str, password: Option<&str>| {
        let target = format!("host=127.0.0.1 port={} dbname=postgres {target}", postgres.port);
        refusal(&psql(&target, password, &["-c", ""]))
    };
    for (target, password) in [
        ("user=app", Some("wrong")),
        ("user=app", None),
        ("user=ghost", Some("secret")),
        ("user=ghost", None),
        ("user=old", Some("wrong")),
        ("user=old", Some("Veteran")),
        ("user=app options=--geqo", Some("secret")),
        ("user=app options=-Z", Some("secret")),
        ("user=app replication=maybe", Some("secret")),
    ] {
        assert_eq!(refused(&gateway, target, password), real(target, password), "{target} {password:?}");
    }
    // Without tag and length, and without the file, line and routine that PostgreSQL adds.
    let words = |port: u16, packet: &[u8]| {
        let answer = exchange(port, packet);
        let fields: Vec<String> = answer.chars().skip(5).collect::<String>().split('\0').map(str::to_owned).collect();
        let wanted = |field: &String| field.starts_with(['S', 'V', 'C', 'M', 'D', 'H']);
        fields.into_iter().filter(wanted).collect::<Vec<_>>()
    };
    for packet in [
        &b"\0\0\0\x11\0\x03\0\0user\0app\0"[..],
        b"\0\0\0\x09\0\x03\0\0\0",
        b"\0\0\0\x12\0\x03\0\0user\0app\0\0",
        b"\0\0\0\x03",
        b"\0\0\0\x08\x04\xd2\x16\x2e\0\0\0",
    ] {
        assert_eq!(words(gateway.port, packet), words(postgres.port, packet), "{packet:?}");
    }
}

/// Sends bytes and reads until the end; as Latin-1.
fn exchange(port: u16, packet: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(packet).unwrap();
    // Fails where the gateway has closed already.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer.into_iter().map(char::from).collect()
}

fn startup(user: &str, minor: u8, more: &[u8]) -> Vec<u8> {
    let body = [&[0, 3, 0, minor][..], b"user\0", user.as_bytes(), b"\0", more, b"\0"].concat();
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat()
}

#[test]
fn strangers_get_the_same_salt_at_each_attempt_and_the_same_kind_as_users() {
    let scratch = Scratch::new();
    let gateway = Gateway::start(USERS, scratch.path(), None);
    let salt = |user: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
        stream.write_all(&startup(user, 0, b"")).unwrap();
        assert_eq!(message(&mut stream), (b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0".to_vec()));
        let first = b"n,,n=,r=0123456789";
        let body = [&b"SCRAM-SHA-256\0"[..], &u32::try_from(first.len()).unwrap().to_be_bytes(), first].concat();
        stream.write_all(&[&b"p"[..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), &body].concat()).unwrap();
        let (tag, body) = message(&mut stream);
        assert_eq!((tag, &body[..4]), (b'R', &[0, 0, 0, 11][..]));
        let challenge = String::from_utf8(body[4..].to_vec()).unwrap();
        challenge.split_once(",s=").unwrap().1.to_owned()
    };
    assert_eq!(salt("ghost"), salt("ghost"));
    assert_eq!(salt("app"), salt("app"));
    assert_ne!(salt("ghost"), salt("app"));
    assert_eq!(salt("ghost").len(), salt("app").len());
    assert!(salt("ghost").ends_with(",i=4096"));
}

fn message(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
    stream.read_exact(&mut body).unwrap();
    (head[0], body)
}

#[test]
fn malformed_answers_are_refused_in_postgresqls_words() {
    let scratch = Scratch::new();
    let gateway = Gateway::start(USERS, scratch.path(), None);
    let answer = |user: &str, packet: &[u8]| exchange(gateway.port, &[&startup(user, 0, b"")[..], packet].concat());
    for (user, packet, wanted) in [
        ("app", &b"Q\0\0\0\x05\0"[..], "08P01\0Mexpected SASL response, got message type 81"),
        ("old", b"Q\0\0\0\x05\0", "08P01\0Mexpected password response, got message type 81"),
        ("old", b"p\0\0\0\x04", "08P01\0Minvalid password packet size"),
        ("old", b"p\0\0\0\x05\0", "28P01\0Mempty password returned by client"),
        ("app", b"p\0\0\x20\0", "08P01\0Minvalid message length"),
        ("app", b"p\0\0\0\x0fSCRAM-SHA1\0", "08P01\0Mclient selected an invalid SASL authentication mechanism"),
        ("app", b"p\0\0\0\x17SCRAM-SHA-256-PLUS\0", "08P01\0Mclient selected an invalid SASL authentication mechanism"),
        ("app", b"p\0\0\0\x12SCRAM-SHA-256\0", "08P01\0Mmalformed SCRAM message"),
        ("app", b"p\0\0\0\x17SCRAM-SHA-256\0\0\0\0\x01x", "08P01\0Mmalformed SCRAM message"),
        ("app", b"p\0\0\0\x1bSCRAM-SHA-256\0\0\0\0\x05p=x,,", "08P01\0Mmalformed SCRAM message"),
    ] {
        let answer = answer(user, packet);
        assert!(answer.contains(wanted), "{packet:?}: {answer:?}");
    }
}

#[test]
fn newer_protocols_are_negotiated_and_cancel_requests_arrive() {
    let scratch = Scratch::new();
    let text = "[auth]\ntrust = \"127.0.0.0/8\"\n[[user]]\nname = \"app\"\npassword = \"x\"";
    let gateway = Gateway::start(text, scratch.path(), None);
    for (minor, options, agreed) in [(0, &b""[..], 0), (2, b"", 2), (9, b"", 2), (0, b"_pq_.compress\0lz4\0", 0)] {
        let answer = exchange(gateway.port, &startup("app", minor, options));
        let negotiated = answer.starts_with("v\0\0\0");
        assert_eq!(negotiated, minor > 2 || !options.is_empty(), "{answer:?}");
        let Seen::Client { minor, .. } = gateway.seen() else { panic!() };
        assert_eq!(minor, agreed);
    }
    exchange(gateway.port, b"\0\0\0\x14\x04\xd2\x16\x2e\0\0\0\x07eightbyt");
    assert_eq!(gateway.seen(), Seen::Cancel(7, b"eightbyt".to_vec()));
}

#[test]
fn gssapi_and_tls_requests_are_declined_without_certificates() {
    let scratch = Scratch::new();
    let gateway = Gateway::start(USERS, scratch.path(), None);
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    let mut answer = [0];
    for request in [b"\0\0\0\x08\x04\xd2\x16\x30", b"\0\0\0\x08\x04\xd2\x16\x2f"] {
        stream.write_all(request).unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
    }
    stream.write_all(&startup("app", 0, b"")).unwrap();
    assert_eq!(message(&mut stream).0, b'R');
    let again = exchange(gateway.port, b"\0\0\0\x08\x04\xd2\x16\x30");
    assert_eq!(again, "N");
    assert!(refused(&gateway, "user=app sslmode=require", Some("secret")).contains("server does not support SSL"));
    // A direct TLS connection is closed without a word.
    assert_eq!(exchange(gateway.port, b"\x16\x03\x01\0\x05hello"), "");
}

#[test]
fn a_packet_may_arrive_one_byte_at_a_time() {
    let scratch = Scratch::new();
    let gateway = Gateway::start(USERS, scratch.path(), None);
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in startup("app", 0, b"application_name\0x\0") {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(message(&mut stream).0, b'R');
}

#[test]
fn trusted_networks_need_no_password_but_an_existing_user() {
    let scratch = Scratch::new();
    let gateway =
        Gateway::start(&format!("[auth]\ntrust = [\"10.0.0.0/8\", \"127.0.0.1\"]\n{USERS}"), scratch.path(), None);
    connects(&gateway, "user=app", None);
    assert_eq!(refused(&gateway, "user=ghost", None), "FATAL:  role \"ghost\" does not exist");
    gateway.reload(&format!("[auth]\ntrust = \"10.0.0.0/8\"\n{USERS}"), scratch.path());
    assert!(refused(&gateway, "user=app", None).contains("no password supplied"));
}

#[test]
fn users_can_be_looked_up_elsewhere() {
    let scratch = Scratch::new();
    let scram = postgres_protocol::password::scram_sha_256(b"secret");
    let md5 = postgres_protocol::password::md5(b"veteran", "soldier");
    let table = Table(vec![
        ("found", Some(scram)),
        ("soldier", Some(md5)),
        ("locked", None),
        ("broken", Some("SCRAM-SHA-256$x".into())),
    ]);
    let gateway = Gateway::start(USERS, scratch.path(), Some(Arc::new(table)));
    connects(&gateway, "user=found", Some("secret"));
    connects(&gateway, "user=soldier", Some("veteran"));
    connects(&gateway, "user=app", Some("secret"));
    for (user, password) in
        [("found", "wrong"), ("soldier", "wrong"), ("locked", "secret"), ("broken", "secret"), ("ghost", "secret")]
    {
        let wanted = format!("FATAL:  password authentication failed for user \"{user}\"");
        assert_eq!(refused(&gateway, &format!("user={user}"), Some(password)), wanted);
    }
}

#[test]
fn verifiers_of_the_configuration_are_used_and_reloaded() {
    let scratch = Scratch::new();
    let text = |verifier: &str| format!("[[user]]\nname = \"app\"\nverifier = \"{verifier}\"");
    let gateway = Gateway::start(&text(&postgres_protocol::password::scram_sha_256(b"one")), scratch.path(), None);
    connects(&gateway, "user=app", Some("one"));
    gateway.reload(&text(&postgres_protocol::password::md5(b"two", "app")), scratch.path());
    connects(&gateway, "user=app", Some("two"));
    refused(&gateway, "user=app", Some("one"));
}

#[test]
fn clients_that_say_nothing_are_shown_out_after_the_login_timeout() {
    let scratch = Scratch::new();
    let gateway = Gateway::start(&format!("[limits]\nlogin_timeout = \"50ms\"\n{USERS}"), scratch.path(), None);
    for first_words in [Vec::new(), startup("app", 0, b"")] {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
        stream.write_all(&first_words).unwrap();
        // Would hang for ever if the gateway did not close.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn drivers_see_the_sqlstate() {
    let scratch = Scratch::new();
    let gateway = Gateway::start(USERS, scratch.path(), None);
    let connect = |user: &str, password: &str| {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(gateway.port).user(user).password(password).dbname("shop");
        auth::RUNTIME.block_on(config.connect(tokio_postgres::NoTls)).map(|_| ())
    };
    for (user, password) in [("app", "secret"), ("old", "veteran")] {
        connect(user, password).unwrap();
        let error = connect(user, "wrong").unwrap_err();
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD));
    }
}
