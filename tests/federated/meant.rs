//! What constants, times and names mean, whoever asked before and wherever a text runs.

use crate::client::{Answer, Client, bind, execute, frame, parse};
use crate::compare::Protocol;
use crate::login;
use crate::support::{Cluster, Setup};
use crate::{Both, Outcome, PROTOCOLS, eventually, told};

/// A statement under a name, which servers keep for all clients.
fn named(client: &mut Client, sql: &str) -> Answer {
    let parsed = parse(sql.len().to_string().as_bytes(), sql.as_bytes(), &[]);
    let bound = bind(b"", sql.len().to_string().as_bytes(), &[], &[], &[]);
    client.send(&[parsed, bound, execute(b"", 0), frame(b'S', b"")].concat());
    Answer::of(client.receive_ready())
}

/// A statement as drivers send it that prepare none.
fn unnamed(client: &mut Client, sql: &str) -> Answer {
    let ends = [crate::client::target(b'D', b'P', b""), execute(b"", 0), frame(b'S', b"")].concat();
    client.send(&[parse(b"", sql.as_bytes(), &[]), bind(b"", b"", &[], &[], &[]), ends].concat());
    Answer::of(client.receive_ready())
}

/// The same statement, prepared before.
fn again(client: &mut Client, sql: &str) -> Answer {
    client.send(
        &[bind(b"", sql.len().to_string().as_bytes(), &[], &[], &[]), execute(b"", 0), frame(b'S', b"")].concat(),
    );
    Answer::of(client.receive_ready())
}

fn rows(answer: Answer) -> Vec<Vec<String>> {
    assert_eq!(answer.error, None);
    let text = |value: Option<Vec<u8>>| value.map_or("NULL".to_owned(), |value| String::from_utf8(value).unwrap());
    answer.rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
}

/// Settings, and statements whose constants they decide.
const SETTINGS: &[&str] = &[
    "SET TimeZone TO 'Asia/Tokyo'",
    "SET TimeZone TO 'America/St_Johns'",
    "SET DateStyle TO 'SQL, DMY'",
    "SET IntervalStyle TO 'sql_standard'",
    "SET extra_float_digits TO -5",
    "SET bytea_output TO 'escape'",
    "SET quote_all_identifiers TO on",
    // Either sets a part of it, and the servers are lent on.
    "SET DateStyle TO 'DMY'; SET DateStyle TO 'ISO'",
    "SET DateStyle TO 'ISO'",
];

const CONSTANTS: &[&str] = &[
    "SELECT count(*), '01-02-2026 02:30'::timestamptz FROM orders WHERE customer_id = 3 AND ts > '01-02-2026 02:30'",
    "SELECT count(*) AS n, extract(epoch FROM '01-02-2026 02:30'::timestamptz) FROM orders WHERE ts > '01-01-2026 02:30'",
    "SELECT id, note || 0.1::float8::text FROM orders WHERE ts > '01-01-2026 22:30' ORDER BY customer_id, id LIMIT 3",
    "SELECT count(*) AS later, interval '-1 2:03'::text FROM orders o JOIN items i ON i.order_id = o.id WHERE o.ts > '01-01-2026 12:30'",
    "SELECT code, '01-02-2026 02:30'::timestamptz, interval '-1 2:03' FROM countries ORDER BY code",
    "SELECT count(*), '\\x4100'::bytea::text, quote_ident('plain') FROM orders WHERE customer_id = 3",
    "SELECT id, '\\x4100'::bytea::text, quote_ident('plain') FROM orders WHERE customer_id = 5 ORDER BY id",
];

#[test]
fn constants_mean_what_the_sessions_own_settings_make_of_them() {
    let both = Both::start();
    let (mut failures, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
    for settings in SETTINGS {
        let mut both = both.another();
        for client in [&mut both.postgres, &mut both.gateway] {
            client.run(settings);
        }
        for sql in CONSTANTS {
            let (wanted, got) = (rows(named(&mut both.postgres, sql)), rows(named(&mut both.gateway, sql)));
            if wanted != got {
                failures.push(format!("{settings}; {sql}\n  wanted {wanted:?}\n  got {got:?}"));
            }
            seen.insert((*sql, wanted));
            for protocol in PROTOCOLS {
                let outcome = both.compare(sql, false, protocol);
                if !matches!(outcome, Outcome::Alike) {
                    failures.push(format!("{settings}; [{protocol:?}] {sql}\n  {}", told(&outcome)));
                }
            }
        }
    }
    assert!(seen.len() > CONSTANTS.len() * 2, "the settings decide nothing: {seen:?}");
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn a_prepared_statement_leaves_nothing_of_its_settings_to_others() {
    let cluster = Cluster::with(Setup { shards: 2, config: "[pool]\nmax = 1\n", ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url())).unwrap();
    client.run("CREATE TABLE at (customer_id int8, ts timestamptz)");
    client.run("INSERT INTO at SELECT c, '2026-01-01 12:00Z' FROM generate_series(1, 8) c");
    for (sql, wanted) in [
        ("SELECT count(*) FROM at WHERE ts > '2026-01-01 12:30'", "0"),
        ("SELECT ts > '2026-01-01 12:30' FROM at WHERE customer_id = 1", "f"),
    ] {
        client.run("SET TimeZone TO 'UTC'");
        client.send(&[parse(sql.len().to_string().as_bytes(), sql.as_bytes(), &[]), frame(b'S', b"")].concat());
        assert_eq!(Answer::of(client.receive_ready()).error, None);
        // Its first run is under another setting, on servers that have not seen it.
        client.run("SET TimeZone TO 'Asia/Tokyo'");
        assert_ne!(rows(again(&mut client, sql)), [[wanted]], "{sql}");
        let mut other = Client::connect(&login::of(cluster.url()).with("timezone", "UTC")).unwrap();
        assert_eq!(rows(named(&mut other, sql)), [[wanted]], "{sql}");
        let mut third = Client::connect(&login::of(cluster.url()).with("TimeZone", "Asia/Tokyo")).unwrap();
        assert_ne!(rows(named(&mut third, sql)), [[wanted]], "{sql}");
    }
}

#[test]
fn constants_that_tell_the_time_tell_it_anew_with_each_parse() {
    let cluster = Cluster::with(Setup { shards: 2, ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url())).unwrap();
    client.run("CREATE TABLE at (customer_id int8, ts timestamptz)");
    client.run("INSERT INTO at VALUES (1, now()), (2, now()), (3, now()), (4, now())");
    for sql in [
        "SELECT 'now'::timestamptz AS t FROM at WHERE customer_id = 1",
        "SELECT max('now'::timestamptz) AS t FROM at",
        "SELECT t FROM (SELECT max(ts) AS m, timestamptz 'now' AS t FROM at) x",
    ] {
        let before = rows(named(&mut client, sql));
        let mut other = Client::connect(&login::of(cluster.url())).unwrap();
        let after = rows(named(&mut other, sql));
        assert!(after > before, "{sql}: {after:?} after {before:?}");
    }
    let days = "SELECT 'now'::timestamptz = now(), date 'today' = current_date, 'tomorrow'::date - current_date, \
                'yesterday'::timestamp(0)::date - current_date, count(*) FROM at";
    assert_eq!(rows(client.query(days)), [["t", "t", "1", "-1", "4"]]);
    // PREPARE reads them, EXECUTE does not.
    client.run("PREPARE p AS SELECT 'now'::timestamptz FROM at WHERE customer_id = 1");
    assert_eq!(rows(client.query("EXECUTE p")), rows(client.query("EXECUTE p")));
    client.run("UPDATE at SET ts = now() - interval '1 day'");
    let between = "SELECT count(*) FROM at WHERE ts < 'today' AND ts >= 'yesterday' OR ts < 'now'";
    assert_eq!(rows(named(&mut client, between)), [["4"]]);
}

#[test]
fn constants_that_tell_the_time_are_seen_in_every_spelling_and_encoding() {
    let cluster = Cluster::with(Setup { shards: 1, ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url()).with("client_encoding", "LATIN1")).unwrap();
    for sql in [&b"SELECT length('\xe9'), 'now'::timestamptz"[..], b"SELECT U&'now'::timestamptz"] {
        let mut ask = || {
            let ends = [execute(b"", 0), frame(b'S', b"")].concat();
            client.send(&[parse(b"", sql, &[]), bind(b"", b"", &[], &[], &[]), ends].concat());
            rows(Answer::of(client.receive_ready()))
        };
        let before = ask();
        assert!(ask() > before, "{}", String::from_utf8_lossy(sql));
    }
}

#[test]
fn the_default_of_a_setting_is_what_the_client_asked_for_when_it_connected_in_a_transaction_too() {
    let cluster = Cluster::with(Setup { shards: 2, ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url()).with("TimeZone", "Asia/Tokyo")).unwrap();
    client.run("BEGIN; SET LOCAL TimeZone TO 'UTC'; SET LOCAL TimeZone TO DEFAULT");
    assert_eq!(client.value("SHOW TimeZone"), "Asia/Tokyo");
    let midnight = "SELECT '2026-01-01 09:00'::timestamptz = '2026-01-01 00:00Z'::timestamptz";
    assert_eq!(rows(named(&mut client, midnight)), [["t"]]);
}

#[test]
fn rows_of_all_shards_tell_one_time() {
    let cluster = Cluster::with(Setup { shards: 3, ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url())).unwrap();
    client.run("CREATE TABLE at (customer_id int8)");
    client.run("INSERT INTO at SELECT generate_series(1, 30)");
    for sql in [
        "SELECT now() FROM at",
        "SELECT x.n FROM (SELECT current_timestamp AS n, customer_id FROM at WHERE customer_id <> 1) x",
        "SELECT now(), now() FROM at WHERE customer_id IN (1, 2, 3, 4, 5, 6, 7, 8, 9)",
        "SELECT localtimestamp FROM at WHERE now() > '2020-01-01' LIMIT 20",
    ] {
        for block in ["SELECT 1", "BEGIN"] {
            client.run(block);
            let mut told = rows(client.query(sql));
            assert!(told.len() > 8, "{sql}: {told:?}");
            told.dedup();
            assert_eq!(told.len(), 1, "{sql}: {told:?}");
            client.query("ROLLBACK");
        }
    }
}

/// The row of a view has a type, which the sub-select that stands for the view has not.
const WHOLE_VIEWS: &[&str] = &[
    "SELECT v FROM by_status v",
    "SELECT v, count(*) FROM by_status v GROUP BY v",
    "SELECT (v).n, row_to_json(v), v.* FROM by_status v WHERE v IS NOT NULL",
    "SELECT o.id, v FROM orders o LEFT JOIN by_status v ON v.n = o.id",
    "SELECT array_agg(v ORDER BY v.status) FROM by_status v",
    "SELECT x.v FROM (SELECT v, 1 AS one FROM by_status v) x ORDER BY x.v",
    "SELECT count(w), count(w.*) FROM (SELECT customer_id FROM orders) o JOIN by_status w ON w.n > o.customer_id",
    "WITH by_status AS (SELECT max(id) AS m FROM orders) SELECT by_status.m FROM by_status",
];

#[test]
fn a_views_row_is_of_the_views_type() {
    let mut both = Both::start();
    for client in [&mut both.gateway, &mut both.postgres] {
        client
            .run("CREATE VIEW by_status AS SELECT status, count(*) AS n, sum(total) AS s FROM orders GROUP BY status");
    }
    let mut failures = Vec::new();
    for sql in WHOLE_VIEWS {
        for protocol in [Protocol::Simple, Protocol::Text] {
            let outcome = both.compare(sql, false, protocol);
            if !matches!(outcome, Outcome::Alike) {
                failures.push(format!("[{protocol:?}] {sql}\n  {}", told(&outcome)));
            }
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n\n"));
}

/// What the printer of syntax trees cannot be given: it ends the process.
const MALFORMED: &[&str] = &[
    "COPY (SELECT count(*) FROM orders) TO STDOUT WITH (DELIMITER)",
    "COPY (SELECT count(*) FROM orders) TO STDOUT WITH (FORMAT)",
    "COPY (SELECT count(*) FROM orders) TO STDOUT WITH (FORMAT 5)",
    "COPY (SELECT count(*) FROM orders) TO STDOUT WITH (FORMAT nosuch)",
    "COPY (SELECT count(*) FROM orders) TO STDOUT WITH (HEADER 1.5)",
    "COPY (SELECT count(*) FROM orders) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE)",
    "COPY (SELECT count(*) FROM orders) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE 7)",
    "COPY (SELECT count(*) FROM orders) TO STDOUT WITH (ENCODING)",
    "SELECT sum(total::numeric(5 + 1)) FROM orders",
    "SELECT max(ts::pg_catalog.timestamptz(a)) FROM orders",
    "SELECT max(took::pg_catalog.interval(5)) FROM orders",
    "SELECT max(took::pg_catalog.interval('x')) FROM orders",
    "SELECT count(*) FROM json_to_recordset('[{\"a\":1}]') AS x(a numeric(5 + 1)), orders",
];

#[test]
fn options_and_modifiers_that_postgres_refuses_are_refused_in_its_words() {
    let mut both = Both::start();
    for sql in MALFORMED {
        let (wanted, got) = (both.postgres.query(sql), both.gateway.query(sql));
        assert!(wanted.error.is_some(), "{sql}");
        assert_eq!(got.error, wanted.error, "{sql}: {:?}", got.lost);
    }
    assert_eq!(both.gateway.value("SELECT count(*) > 0 FROM orders"), "t");
}

#[test]
fn more_partial_totals_than_a_table_has_columns_are_left_to_the_merge_server() {
    let mut both = Both::start();
    let totals: Vec<String> = (0..810).map(|n| format!("avg(qty + {n})")).collect();
    let sql = format!("SELECT gift, {} FROM orders GROUP BY gift", totals.join(", "));
    let outcome = both.compare(&sql, false, Protocol::Simple);
    assert!(matches!(outcome, Outcome::Alike), "{}", told(&outcome));
}

/// Statements in LATIN1, whose byte E9 is no UTF-8: with what they answer, or that they are refused.
const IN_LATIN1: &[(&[u8], &str)] = &[
    (b"SELECT count(*) FROM words WHERE t = '\xe9'", "0A000"),
    (b"SELECT t FROM words WHERE t <= '\xe9' ORDER BY customer_id LIMIT 1", "0A000"),
    (b"SELECT count(*) FROM words WHERE t = '\xe9' AND customer_id IN (1, 2, 3, 4, 5, 6, 7)", "0A000"),
    (b"INSERT INTO words (customer_id, t) SELECT max(customer_id) + 1, '\xe9' FROM words", "0A000"),
    (b"SELECT count(*) FROM words WHERE t = '\xe9' AND customer_id = 1", "1"),
    (b"SELECT v FROM words WHERE t = '\xe9'", "1"),
    (b"SELECT max(t) FROM words WHERE v = 1", "\u{e9}"),
];

#[test]
fn characters_of_other_encodings_are_never_lost_on_their_way_to_the_shards() {
    let cluster = Cluster::with(Setup { shards: 2, ..Setup::default() });
    let mut maker = Client::connect(&login::of(cluster.url())).unwrap();
    maker.run("CREATE TABLE words (customer_id int8, v int4, t text)");
    maker.run("INSERT INTO words SELECT c, c, CASE c WHEN 1 THEN U&'\\00e9' ELSE 'e' END FROM generate_series(1, 9) c");
    let mut client = Client::connect(&login::of(cluster.url()).with("client_encoding", "LATIN1")).unwrap();
    for (sql, wanted) in IN_LATIN1 {
        for by_name in [false, true] {
            let asked = String::from_utf8_lossy(sql);
            if by_name {
                let ends = [execute(b"", 0), frame(b'S', b"")].concat();
                client.send(&[parse(b"", sql, &[]), bind(b"", b"", &[], &[], &[]), ends].concat());
            } else {
                client.send(&frame(b'Q', &[sql, &b"\0"[..]].concat()));
            }
            let answer = Answer::of(client.receive_ready());
            let got = match &answer.error {
                Some((code, _)) => code.clone(),
                None => answer.rows[0][0].as_ref().unwrap().iter().map(|byte| char::from(*byte)).collect(),
            };
            assert_eq!(got, *wanted, "{asked}: {:?}", answer.error);
        }
    }
    assert_eq!(client.value("SELECT count(*) FROM words"), "9");
}

#[test]
fn a_statement_whose_columns_have_changed_is_refused_each_time_until_it_is_prepared_anew() {
    let cluster = Cluster::with(Setup { shards: 2, ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url())).unwrap();
    client.run("CREATE TABLE at (customer_id int8, v int4)");
    client.run("INSERT INTO at SELECT c, c FROM generate_series(1, 8) c");
    for sql in
        ["SELECT * FROM at ORDER BY customer_id", "SELECT max(v) FROM at", "SELECT * FROM at WHERE customer_id = 1"]
    {
        let name = sql.len().to_string();
        let described = crate::client::target(b'D', b'S', name.as_bytes());
        client.send(&[parse(name.as_bytes(), sql.as_bytes(), &[]), described, frame(b'S', b"")].concat());
        assert_eq!(Answer::of(client.receive_ready()).error, None);
        client.run("ALTER TABLE at ALTER COLUMN v TYPE int8");
        for _ in 0..3 {
            let (code, message) = again(&mut client, sql).error.unwrap();
            assert_eq!(
                (code.as_str(), message.as_str()),
                ("0A000", "cached plan must not change result type"),
                "{sql}"
            );
        }
        client.run("ALTER TABLE at ALTER COLUMN v TYPE int4");
        assert!(!rows(again(&mut client, sql)).is_empty(), "{sql}");
    }
}

#[test]
fn what_roles_and_databases_set_counts_for_servers_that_are_there() {
    let cluster = Cluster::with(Setup { shards: 2, ..Setup::default() });
    let connect = || Client::connect(&login::of(cluster.url())).unwrap();
    let mut client = connect();
    client.run("CREATE SCHEMA ns1");
    client.run("CREATE TABLE public.dup (customer_id int8, v text)");
    client.run("CREATE TABLE ns1.dup (customer_id int8, v text)");
    client.run("INSERT INTO public.dup SELECT c, 'public' FROM generate_series(1, 8) c");
    client.run("INSERT INTO ns1.dup VALUES (1, 'ns1'), (2, 'ns1'), (3, 'ns1')");
    let counted =
        |client: &mut Client| rows(client.query("SELECT count(*), min(v), current_setting('TimeZone') FROM dup"));
    let others: Vec<Client> = (0..4)
        .map(|_| {
            let mut other = connect();
            assert_eq!(counted(&mut other), [["8", "public", "UTC"]]);
            other
        })
        .collect();
    client.run("ALTER ROLE app SET search_path TO ns1, public");
    for mut client in others.into_iter().chain([connect(), connect()]) {
        assert_eq!(counted(&mut client), [["3", "ns1", "UTC"]]);
        assert_eq!(rows(client.query("SELECT v FROM dup WHERE customer_id = 2")), [["ns1"]]);
    }
    client.run("BEGIN");
    client.run("ALTER DATABASE shop SET TimeZone TO 'Asia/Tokyo'");
    assert_eq!(counted(&mut connect()), [["3", "ns1", "UTC"]]);
    client.run("COMMIT");
    assert_eq!(counted(&mut connect()), [["3", "ns1", "Asia/Tokyo"]]);
    client.run("ALTER DATABASE shop RESET ALL; ALTER ROLE app RESET search_path");
    assert_eq!(counted(&mut connect()), [["8", "public", "UTC"]]);
    // On the shards themselves: seen when the catalog is next looked at.
    for shard in (0..cluster.shard_count()).rev() {
        let mut shard = Client::connect(&login::of(cluster.shard_url(shard))).unwrap();
        shard.run("ALTER ROLE app SET search_path TO ns1, public");
    }
    let mut one = connect();
    eventually("the path counts", || counted(&mut one) == [["3", "ns1", "UTC"]]);
    assert_eq!(rows(one.query("SELECT v FROM dup WHERE customer_id = 2")), [["ns1"]]);
}

#[test]
fn numbers_are_passed_on_in_full_or_not_at_all() {
    let cluster =
        Cluster::with(Setup { shards: 3, config: "[tables.rates]\nkind = \"reference\"\n", ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url())).unwrap();
    client.run("CREATE TABLE at (customer_id int8, f float8, n numeric)");
    client.run("CREATE TABLE rates (id int8, f float8)");
    client.run("INSERT INTO at VALUES (1, 0.1::float8 + 0.2, 1), (2, 0.1::float8 + 0.2, 1)");
    let moves = [
        "UPDATE at SET customer_id = customer_id + 10 WHERE n = 1",
        "UPDATE at SET customer_id = 31 WHERE customer_id = 1",
        "WITH w AS (DELETE FROM at WHERE n = 1 RETURNING *) INSERT INTO at SELECT customer_id + 20, f, n FROM w",
        "INSERT INTO rates VALUES (1, 0.1::float8 + 0.2)",
    ];
    let sum = "SELECT count(*), count(DISTINCT f), bool_and(f = 0.1::float8 + 0.2) FROM at";
    for few in ["SET extra_float_digits = 0", "SET extra_float_digits TO '-3'", "SET SESSION extra_float_digits TO 0"] {
        client.run(few);
        for sql in moves {
            for by_name in [false, true] {
                let answer = if by_name { unnamed(&mut client, sql) } else { client.query(sql) };
                assert_eq!(answer.error.map(|(code, _)| code).as_deref(), Some("0A000"), "{few}; {sql}");
            }
        }
        client.run("INSERT INTO rates VALUES (2, 0.5)");
        client.run("RESET extra_float_digits");
        assert_eq!(rows(client.query(sum)), [["2", "1", "t"]], "{few}");
    }
    let mut other = Client::connect(&login::of(cluster.url()).with("extra_float_digits", "0")).unwrap();
    assert_eq!(other.query(moves[0]).error.map(|(code, _)| code).as_deref(), Some("0A000"));
    other.run("SET extra_float_digits TO 1");
    for sql in moves {
        assert_eq!(other.query(sql).error, None, "{sql}");
    }
    assert_eq!(rows(other.query(sum)), [["2", "1", "t"]]);
    assert_eq!(other.value("SELECT f = 0.1::float8 + 0.2 FROM rates WHERE id = 1"), "t");
}

#[test]
fn a_table_locked_in_any_spelling_is_not_waited_for_by_a_server_outside_the_block() {
    let cluster = Cluster::with(Setup { shards: 2, ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url())).unwrap();
    client.run("CREATE TABLE home (id int8)");
    client.run("CREATE TABLE at (customer_id int8)");
    client.run("INSERT INTO at VALUES (1), (2), (3)");
    let gather = "SELECT count(*) FROM at LEFT JOIN home ON id = customer_id";
    for sql in [
        "LOCK TABLE home IN ACCESS EXCLUSIVE MODE",
        "/* app /* x */ */ lock table home",
        "-- app\n lock home",
        "LOCK TABLE home; SELECT count(*) FROM home",
        "SELECT 1 FROM home; /* app */ TRUNCATE home",
    ] {
        for by_name in [false, true] {
            if by_name && sql.contains(';') {
                continue;
            }
            client.run("BEGIN");
            let answer = if by_name { unnamed(&mut client, sql) } else { client.query(sql) };
            assert_eq!(answer.error, None, "{sql}");
            assert_eq!(client.value(gather), "3", "{sql}, by name: {by_name}");
            client.run("ROLLBACK");
            assert_eq!(client.value(gather), "3");
        }
    }
    client.run("BEGIN; LOCK TABLE home IN SHARE MODE; SELECT 1 FROM home");
    assert_eq!(client.value(gather), "3");
    client.run("ROLLBACK");
}

#[test]
fn servers_compile_nothing_until_a_session_asks() {
    let cluster = Cluster::with(Setup { shards: 2, ..Setup::default() });
    let mut client = Client::connect(&login::of(cluster.url())).unwrap();
    client.run("CREATE TABLE at (customer_id int8)");
    client.run("INSERT INTO at SELECT generate_series(1, 100)");
    client.run("SET jit_above_cost = 0");
    let mut compiled = |setting: &str| {
        client.run(setting);
        let plan = rows(client.query("EXPLAIN ANALYZE SELECT count(*), sum(customer_id) FROM at"));
        (client.value("SHOW jit"), plan.iter().any(|line| line[0].contains("JIT:")))
    };
    assert_eq!(compiled("SELECT 1"), ("off".to_owned(), false));
    assert_eq!(compiled("SET jit = on"), ("on".to_owned(), true));
    assert_eq!(compiled("RESET jit"), ("off".to_owned(), false));
}
