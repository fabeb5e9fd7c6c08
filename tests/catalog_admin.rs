//! `init` and `check` on real servers, and the control connections under them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgbraid::admin::{InitError, Report, Severity, check, init};
use pgbraid::config::{
    Auth, Config, Gateway, Limits, Pool, ServerAddress, ServerTls, Shard, Sharding, SslMode, TableRule,
};
use pgbraid::topology::{self, ControlError, MapFile};
use postgres::{Postgres, Tls};
use shardmap::ShardId;

fn shard(name: &str, primary: ServerAddress) -> Shard {
    Shard { name: name.to_owned(), primary, replicas: Vec::new() }
}

fn config(directory: &Path, shards: Vec<Shard>) -> Config {
    let seconds = Duration::from_secs;
    Config {
        gateway: Gateway {
            listen: Vec::new(),
            http_listen: None,
            tls: None,
            drain_timeout: seconds(30),
            threads: None,
        },
        sharding: Sharding { key: "customer_id".to_owned(), home: ShardId(0), map: directory.join("shardmap.toml") },
        tables: BTreeMap::from([("nowhere".to_owned(), TableRule::Reference)]),
        shards,
        users: Vec::new(),
        auth: Auth { trust: Vec::new(), query: None },
        pool: Pool {
            max: 1,
            merge_max: 1,
            multiplex: true,
            min: 0,
            idle_timeout: seconds(1),
            lifetime: seconds(1),
            wait_timeout: seconds(1),
            connect_timeout: seconds(1),
        },
        limits: Limits {
            clients_max: 1,
            statement_bytes_max: 1,
            held_bytes_max: 1,
            shipped_bytes_max: 1,
            plans_max: 1,
            prepared_max: 1,
            client_statements_max: 1,
            client_bytes_max: 1,
            login_timeout: seconds(1),
        },
    }
}

/// Two databases of one server, as two shards with the same schema.
async fn two_shards(server: &Postgres, directory: &Path) -> Config {
    let client = server.connect("postgres").await;
    for name in ["s0", "s1"] {
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let shard = server.connect(name).await;
        let tables = "CREATE TYPE mood AS ENUM ('good', 'bad');
            CREATE TABLE orders (customer_id bigint NOT NULL, id bigint, note varchar(10) DEFAULT 'x', PRIMARY KEY (customer_id, id));
            CREATE INDEX by_note ON orders (note);
            CREATE VIEW noted AS SELECT * FROM orders WHERE note IS NOT NULL;
            CREATE TABLE parts (id int CHECK (id > 0), mood mood) PARTITION BY RANGE (id);
            CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
            CREATE TABLE odd (customer_id numeric)";
        shard.batch_execute(tables).await.unwrap();
    }
    config(directory, vec![shard("s0", server.address("s0")), shard("s1", server.address("s1"))])
}

fn said(report: &Report, severity: Severity) -> Vec<String> {
    let findings = report.findings.iter().filter(|finding| finding.severity == severity);
    findings.map(|finding| format!("{}: {}", finding.subject, finding.message)).collect()
}

#[tokio::test]
async fn a_cluster_is_fine_after_init_and_not_before() {
    let server = Postgres::start(&["wal_level=logical", "max_prepared_transactions=10"]);
    let directory = tempfile::tempdir().unwrap();
    let config = two_shards(&server, directory.path()).await;

    let before = check(&config).await;
    let missing =
        ["pgbraid.bucket is not installed", "the tables that commits on several shards need are not installed"];
    let missing = missing.into_iter().flat_map(|what| ["s0", "s1"].map(|shard| format!("shard {shard}: {what}")));
    assert_eq!(said(&before, Severity::Error), missing.collect::<Vec<_>>());
    assert!(before.has_errors());

    init(&config).await.unwrap();
    init(&config).await.unwrap();
    MapFile::new(&config).load_or_create().unwrap();
    let after = check(&config).await;
    assert_eq!(said(&after, Severity::Error), Vec::<String>::new());
    let warnings = said(&after, Severity::Warning);
    assert_eq!(warnings.len(), 3, "{after}");
    // Databases of one server take their numbers from one counter.
    let types = "public.mood, public.noted, public.odd, public.orders, public.parts";
    let numbers = format!("shard s1: types that have other numbers (pg_type.oid) than on shard s0: {types}");
    assert_eq!(warnings[0], numbers);
    assert!(warnings[1].starts_with("table public.odd: every use is refused: "), "{after}");
    assert_eq!(warnings[2], "table nowhere: the configuration has a rule for it and there is no such table");
    let fine = said(&after, Severity::Fine);
    assert!(fine.contains(&"map: version 1, all buckets owned: s0 2048, s1 2048".to_owned()), "{after}");
    assert!(fine.contains(&"shard s1: its schema is that of shard s0".to_owned()), "{after}");
    assert!(fine.contains(&"tables: 1 sharded, 0 reference, 1 home".to_owned()), "{after}");
    assert!(fine.contains(&"constraints: 1 that the shards keep for the whole".to_owned()), "{after}");
    assert!(after.to_string().ends_with("0 errors, 3 warnings"), "{after}");
}

#[tokio::test]
async fn constraints_that_each_shard_keeps_for_itself_are_told() {
    let server = Postgres::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let config = two_shards(&server, directory.path()).await;
    init(&config).await.unwrap();
    for name in ["s0", "s1"] {
        let tables = "CREATE UNIQUE INDEX noted_once ON orders (note);
            CREATE TABLE lines (customer_id bigint, id bigint, UNIQUE (customer_id, id),
                FOREIGN KEY (customer_id, id) REFERENCES orders ON DELETE SET NULL, UNIQUE (id));
            CREATE TABLE marks (customer_id bigint, id bigint, FOREIGN KEY (customer_id, id) REFERENCES orders ON DELETE CASCADE)";
        server.connect(name).await.batch_execute(tables).await.unwrap();
    }
    let report = check(&config).await;
    let warnings: Vec<String> =
        said(&report, Severity::Warning).into_iter().filter(|warning| warning.contains("each shard's own")).collect();
    let expected = [
        ("lines", "constraint lines_customer_id_id_fkey", "ON DELETE would change the sharding key"),
        ("lines", "constraint lines_id_key", "without its sharding key"),
        ("orders", "index noted_once", "without its sharding key"),
    ];
    assert_eq!(warnings.len(), expected.len(), "{report}");
    for (warning, (table, constraint, why)) in warnings.iter().zip(expected) {
        assert!(warning.starts_with(&format!("table public.{table}: {constraint} is each shard's own: ")), "{warning}");
        assert!(warning.contains(why), "{warning}");
    }
    assert!(said(&report, Severity::Fine).contains(&"constraints: 3 that the shards keep for the whole".to_owned()));
}

#[tokio::test]
async fn each_difference_between_schemas_is_told_by_name() {
    let server = Postgres::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let config = two_shards(&server, directory.path()).await;
    init(&config).await.unwrap();
    let changes = [
        (
            "CREATE TABLE extra (a int, b int); CREATE INDEX ON extra (a)",
            "relation public.extra is here and not on shard s0",
        ),
        ("DROP INDEX by_note", "index public.orders.by_note is on shard s0 and not here"),
        (
            "DROP VIEW noted; ALTER TABLE orders ALTER note TYPE varchar(11)",
            "column public.orders.note is `character varying(10) in place 3 DEFAULT 'x'::character varying` on shard s0 \
             and `character varying(11) in place 3 DEFAULT 'x'::character varying` here",
        ),
        (
            "ALTER TYPE mood ADD VALUE 'new'",
            "type public.mood is `enum 'good', 'bad'` on shard s0 and `enum 'good', 'bad', 'new'` here",
        ),
        (
            "ALTER TABLE parts DROP CONSTRAINT parts_id_check",
            "constraint public.parts.parts_id_check is on shard s0 and not here",
        ),
        (
            "DROP TABLE parts; CREATE TABLE parts (mood mood, id int CHECK (id > 0)) PARTITION BY RANGE (id)",
            "column public.parts.id is `integer in place 1` on shard s0 and `integer in place 2` here",
        ),
        (
            "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
            "function public.f(integer) is `function volatile",
        ),
        ("CREATE SCHEMA more", "schema more is here and not on shard s0"),
    ];
    for (change, expected) in changes {
        let name = "changed";
        let admin = server.connect("postgres").await;
        admin.batch_execute("DROP DATABASE IF EXISTS changed WITH (FORCE)").await.unwrap();
        admin.batch_execute("CREATE DATABASE changed TEMPLATE s1").await.unwrap();
        server.connect(name).await.batch_execute(change).await.unwrap();
        let mut config = config.clone();
        config.shards[1].primary = server.address(name);
        let report = check(&config).await;
        let errors = said(&report, Severity::Error);
        let told = errors.iter().any(|error| error.starts_with(&format!("shard s1: {expected}")));
        assert!(told, "{change}: {report}");
    }
}

#[tokio::test]
async fn servers_that_are_not_what_they_are_listed_as_are_told() {
    let server = Postgres::start(&[]);
    let replica = server.replica();
    let directory = tempfile::tempdir().unwrap();
    let mut config = two_shards(&server, directory.path()).await;
    init(&config).await.unwrap();
    wait_for_replay(&server, &replica).await;
    config.shards[0].replicas = vec![replica.address("s0")];
    let report = check(&config).await;
    assert_eq!(said(&report, Severity::Error), Vec::<String>::new(), "{report}");
    let settings = said(&report, Severity::Warning);
    assert!(settings.iter().any(|warning| warning.contains("max_prepared_transactions = 0")), "{report}");
    assert!(settings.iter().any(|warning| warning.contains("wal_level = replica")), "{report}");
    assert!(settings.iter().any(|warning| warning.starts_with("map: ")), "{report}");

    let mut wrong = config.clone();
    wrong.shards[0].primary = replica.address("s0");
    wrong.shards[0].replicas = vec![server.address("s0")];
    wrong.shards[1].replicas = vec![replica.address("s0")];
    let errors = said(&check(&wrong).await, Severity::Error).join("\n");
    assert!(errors.contains("is listed as primary and is a replica"), "{errors}");
    assert!(errors.contains("is listed as replica and is a primary"), "{errors}");
    assert!(errors.contains("is no copy of its primary"), "{errors}");
    assert!(matches!(init(&wrong).await, Err(InitError::Replica { .. })));

    let mut twice = config.clone();
    twice.shards[1].primary = server.address("s0");
    let errors = said(&check(&twice).await, Severity::Error).join("\n");
    assert!(errors.contains("shard s1: is the same database as shard s0"), "{errors}");

    let mut gone = config;
    gone.shards[1].primary = server.address("nowhere");
    let errors = said(&check(&gone).await, Severity::Error).join("\n");
    assert!(errors.contains("database \"nowhere\" does not exist (3D000)"), "{errors}");
    assert!(matches!(init(&gone).await, Err(InitError::Connect { shard, .. }) if shard == "s1"));
}

/// Until the replica has all that was written.
async fn wait_for_replay(server: &Postgres, replica: &Postgres) {
    let query = "SELECT pg_current_wal_lsn()::text";
    let lsn: String = server.connect("postgres").await.query_one(query, &[]).await.unwrap().get(0);
    let client = replica.connect("postgres").await;
    let query = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'");
    while !client.query_one(&query, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_bucket_function_that_was_changed_is_an_error_until_init() {
    let server = Postgres::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let config = two_shards(&server, directory.path()).await;
    init(&config).await.unwrap();
    let wrong = "CREATE OR REPLACE FUNCTION pgbraid.bucket(key bigint) RETURNS integer
        LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT RETURN 7";
    server.connect("s1").await.batch_execute(wrong).await.unwrap();
    let errors = said(&check(&config).await, Severity::Error);
    assert_eq!(errors, ["shard s1: pgbraid.bucket gives 7 for Integer(0), not 844"]);
    init(&config).await.unwrap();
    assert!(!check(&config).await.has_errors());
}

#[tokio::test]
async fn control_connections_speak_tls_as_the_url_says() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    let (certificate, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let server =
        Postgres::start_for_logins(hba, Some(Tls { certificate: &certificate, key: &key, authority: &certificate }));
    let port = server.port;
    let alter = "ALTER ROLE postgres PASSWORD 'secret'";
    server.connect("postgres").await.batch_execute(alter).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root.crt");
    std::fs::write(&root, signed.cert.pem()).unwrap();
    let address = |host: &str, mode, root_certificate: Option<&PathBuf>| ServerAddress {
        host: host.to_owned(),
        port,
        database: "postgres".to_owned(),
        user: "postgres".to_owned(),
        password: Some("secret".to_owned()),
        tls: ServerTls { mode, root_certificate: root_certificate.cloned(), certificate: None, key: None },
    };
    for (host, mode, root) in [
        ("127.0.0.1", SslMode::Prefer, None),
        ("127.0.0.1", SslMode::Require, None),
        ("127.0.0.1", SslMode::VerifyCa, Some(&root)),
        ("localhost", SslMode::VerifyFull, Some(&root)),
    ] {
        let client = topology::connect(&address(host, mode, root), None).await.unwrap();
        let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert!(client.query_one(query, &[]).await.unwrap().get::<_, bool>(0), "{mode:?}");
    }
    let pool = topology::pool(&address("localhost", SslMode::VerifyFull, Some(&root))).unwrap();
    assert_eq!(pool.get().await.unwrap().query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);

    let refused = |address| async move { topology::connect(&address, None).await.unwrap_err().to_string() };
    let other_name = refused(address("127.0.0.1", SslMode::VerifyFull, Some(&root))).await;
    assert!(other_name.contains("certificate"), "{other_name}");
    let plain = refused(address("127.0.0.1", SslMode::Disable, None)).await;
    assert!(plain.contains("(28000)"), "{plain}");
    let mut wrong = address("127.0.0.1", SslMode::Require, None);
    wrong.password = Some("guess".to_owned());
    let wrong = refused(wrong).await;
    assert!(wrong.contains("(28P01)") && !wrong.contains("guess"), "{wrong}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_that_names_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = ServerTls { mode: SslMode::Prefer, root_certificate: None, certificate: None, key: None };
    let (host, user) = ("127.0.0.1".to_owned(), "u".to_owned());
    let address = ServerAddress { host, port, database: "shop".to_owned(), user, password: None, tls };
    let error = topology::connect(&address, Some("other")).await.unwrap_err();
    assert!(matches!(error, ControlError::Timeout { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("127.0.0.1:{port}/other: no connection within 5 s")), "{error}");
}
