//! Tests of start-up packets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn packet(code: u32, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(8 + body.len()).unwrap());
    out.put_u32(code);
    out.put_slice(body);
    out
}

fn started(body: &[u8]) -> Startup {
    match decode(&mut packet(3 << 16, body)) {
        Ok(Some(FirstPacket::Startup(startup))) => startup,
        other => panic!("{other:?}"),
    }
}

fn refused(code: u32, body: &[u8]) -> Fatal {
    match decode(&mut packet(code, body)) {
        Err(StartupError::Fatal(fatal)) => fatal,
        other => panic!("{other:?}"),
    }
}

fn settings(options: &str) -> Vec<(String, String)> {
    started(format!("user\0app\0options\0{options}\0\0").as_bytes()).settings
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn parameters_other_than_user_and_database_are_settings_in_order() {
    let startup = started(b"user\0app\0TimeZone\0UTC\0database\0shop\0application_name\0psql\0\0");
    assert_eq!((startup.user.as_str(), startup.database.as_str()), ("app", "shop"));
    assert_eq!(startup.settings, [pair("TimeZone", "UTC"), pair("application_name", "psql")]);
    assert!(!startup.replication && !startup.needs_negotiation());
}

#[test]
fn settings_of_options_take_effect_before_the_others() {
    let startup = started(b"user\0app\0geqo\0on\0options\0-c geqo=off\0\0");
    assert_eq!(startup.settings, [pair("geqo", "off"), pair("geqo", "on")]);
}

#[test]
fn the_database_defaults_to_the_user() {
    assert_eq!(started(b"user\0app\0\0").database, "app");
    assert_eq!(started(b"user\0app\0database\0\0\0").database, "app");
}

#[test]
fn a_packet_is_only_taken_when_it_is_complete() {
    let whole = packet(3 << 16, b"user\0app\0\0");
    for end in 0..whole.len() {
        let mut part = BytesMut::from(&whole[..end]);
        assert_eq!(decode(&mut part), Ok(None), "{end}");
        assert_eq!(part.len(), end);
    }
    let mut more = whole.clone();
    more.put_slice(b"rest");
    assert!(matches!(decode(&mut more), Ok(Some(FirstPacket::Startup(_)))));
    assert_eq!(&more[..], b"rest");
}

#[test]
fn requests_are_told_apart_by_their_codes() {
    assert_eq!(decode(&mut packet(80877103, b"")), Ok(Some(FirstPacket::SslRequest)));
    assert_eq!(decode(&mut packet(80877104, b"")), Ok(Some(FirstPacket::GssEncRequest)));
    let key = CancelKey { process_id: 7, secret: Bytes::from_static(b"abcd") };
    assert_eq!(decode(&mut packet(80877102, b"\0\0\0\x07abcd")), Ok(Some(FirstPacket::Cancel(key))));
}

#[test]
fn cancel_keys_may_have_up_to_256_bytes() {
    let mut body = vec![0, 0, 0, 7];
    assert!(matches!(decode(&mut packet(80877102, &body)), Err(StartupError::Garbage(_))));
    body.extend([1; 256]);
    let Ok(Some(FirstPacket::Cancel(key))) = decode(&mut packet(80877102, &body)) else { panic!() };
    assert_eq!(key.secret.len(), 256);
    body.push(1);
    assert!(matches!(decode(&mut packet(80877102, &body)), Err(StartupError::Garbage(_))));
}

#[test]
fn hopeless_lengths_are_refused_before_anything_is_read() {
    for length in [0_u32, 7, 10_005, u32::MAX] {
        let mut bytes = BytesMut::from(&length.to_be_bytes()[..]);
        assert!(matches!(decode(&mut bytes), Err(StartupError::Garbage(_))), "{length}");
    }
}

#[test]
fn other_major_versions_are_refused_in_postgresqls_words() {
    let fatal = refused(2 << 16, b"user\0app\0\0");
    assert_eq!(fatal.sqlstate, "0A000");
    assert_eq!(fatal.message, "unsupported frontend protocol 2.0: server supports 3.0 to 3.2");
    assert_eq!(refused(0x0004_0000, b"\0").sqlstate, "0A000");
}

#[test]
fn a_missing_terminator_or_value_is_refused_in_postgresqls_words() {
    for body in [&b""[..], b"user\0app\0", b"user\0", b"user\0app", b"user\0app\0\0x", b"\0user\0app\0\0"] {
        let fatal = refused(3 << 16, body);
        assert_eq!(fatal.sqlstate, "08P01", "{body:?}");
        assert_eq!(fatal.message, "invalid startup packet layout: expected terminator as last byte");
    }
}

#[test]
fn a_user_is_needed() {
    for body in [&b"\0"[..], b"user\0\0\0", b"database\0shop\0\0"] {
        let fatal = refused(3 << 16, body);
        assert_eq!(
            (fatal.sqlstate, fatal.message.as_str()),
            ("28000", "no PostgreSQL user name specified in startup packet")
        );
    }
}

#[test]
fn long_names_are_cut_as_postgresql_does() {
    let long = "é".repeat(40);
    assert_eq!(started(format!("user\0{long}\0\0").as_bytes()).user, "é".repeat(31));
}

#[test]
fn newer_minor_versions_and_unknown_protocol_options_are_negotiated() {
    let Ok(Some(FirstPacket::Startup(startup))) = decode(&mut packet(3 << 16 | 9, b"user\0a\0_pq_.x\0y\0\0")) else {
        panic!()
    };
    assert!(startup.needs_negotiation());
    assert_eq!((startup.protocol_minor, startup.agreed_minor()), (9, 2));
    let mut out = BytesMut::new();
    encode_negotiate_protocol_version(&startup, &mut out);
    assert_eq!(&out[..], b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0");
    let Ok(Some(FirstPacket::Startup(startup))) = decode(&mut packet(3 << 16 | 2, b"user\0a\0\0")) else { panic!() };
    assert!(!startup.needs_negotiation());
    assert_eq!(startup.agreed_minor(), 2);
}

#[test]
fn options_are_split_as_a_command_line() {
    assert_eq!(settings("-c geqo=off"), [pair("geqo", "off")]);
    assert_eq!(settings("-cgeqo=off"), [pair("geqo", "off")]);
    assert_eq!(settings("--geqo=off"), [pair("geqo", "off")]);
    assert_eq!(settings("--statement-timeout=5s"), [pair("statement_timeout", "5s")]);
    assert_eq!(settings("  -c\ta=1 \n --b=2"), [pair("a", "1"), pair("b", "2")]);
    assert_eq!(settings(r"-c search_path=my\ schema,a\\b"), [pair("search_path", r"my schema,a\b")]);
    assert_eq!(settings("-c a=b=c"), [pair("a", "b=c")]);
    assert_eq!(settings("-c a="), [pair("a", "")]);
    assert_eq!(settings(""), []);
}

#[test]
fn short_switches_stand_for_settings() {
    assert_eq!(
        settings("-e -fs -f h -S 64MB -d 5"),
        [
            pair("datestyle", "euro"),
            pair("enable_seqscan", "false"),
            pair("enable_hashjoin", "false"),
            pair("work_mem", "64MB"),
        ]
    );
    assert_eq!(settings("-ec a=1"), [pair("datestyle", "euro"), pair("a", "1")]);
}

#[test]
fn wrong_options_are_refused_in_postgresqls_words() {
    for (options, message) in [
        ("-c geqo", "-c geqo requires a value"),
        ("--geqo", "--geqo requires a value"),
        ("-x", "invalid command-line argument for server process: -x"),
        ("geqo=off", "invalid command-line argument for server process: geqo=off"),
        ("-c", "invalid command-line argument for server process: -c"),
        ("-fz", "invalid command-line argument for server process: -fz"),
        ("-", "invalid command-line argument for server process: -"),
        ("-- a", "invalid command-line argument for server process: a"),
    ] {
        let fatal = refused(3 << 16, format!("user\0app\0options\0{options}\0\0").as_bytes());
        assert_eq!((fatal.sqlstate, fatal.message.as_str()), ("42601", message), "{options}");
    }
}

#[test]
fn replication_is_a_boolean_or_database() {
    for (value, on) in
        [("database", true), ("true", true), ("T", true), ("1", true), ("off", false), ("of", false), ("n", false)]
    {
        let startup = started(format!("user\0app\0replication\0{value}\0\0").as_bytes());
        assert_eq!(startup.replication, on, "{value}");
    }
    for value in ["o", "maybe", "", "10"] {
        let fatal = refused(3 << 16, format!("user\0app\0replication\0{value}\0\0").as_bytes());
        assert_eq!(fatal.sqlstate, "22023", "{value}");
    }
}

#[test]
fn names_and_settings_have_to_be_utf8_but_application_names_are_cleaned() {
    assert_eq!(refused(3 << 16, b"user\0a\xffb\0\0").message, "invalid byte sequence for encoding \"UTF8\": 0xff");
    let startup = started(b"user\0app\0application_name\0caf\xe9\x01\0\0");
    assert_eq!(startup.settings, [pair("application_name", r"caf\xe9\x01")]);
}

#[test]
fn fatal_errors_carry_severity_code_message_detail_and_hint() {
    let mut out = BytesMut::new();
    Fatal::new("28000", "no").detail("because").hint("try").encode(&mut out);
    assert_eq!(&out[5..], b"SFATAL\0VFATAL\0C28000\0Mno\0Dbecause\0Htry\0\0");
    assert_eq!(out[0], b'E');
    assert_eq!(u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize, out.len() - 1);
}

proptest::proptest! {
    #[test]
    fn no_packet_makes_the_decoder_panic(code in proptest::prelude::any::<u32>(), body in proptest::collection::vec(0_u8..5, 0..80)) {
        let _ = decode(&mut packet(code, &body));
        let _ = decode(&mut packet(3 << 16, &body));
        let _ = decode(&mut BytesMut::from(&body[..]));
    }
}
