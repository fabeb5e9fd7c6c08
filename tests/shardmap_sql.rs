//! `pgbraid.bucket` on a real Postgres against `Key::bucket`, bit for bit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;

use postgres::Postgres;
use shardmap::{BUCKET_SQL, Key};
use tokio_postgres::Client;

/// Compares all buckets that a query gives with those of the keys, and says the first difference.
async fn check(client: &Client, query: &str, keys: impl Iterator<Item = Key>) {
    let rows = client.query(query, &[]).await.unwrap();
    let keys: Vec<Key> = keys.collect();
    assert_eq!(rows.len(), keys.len(), "{query}");
    for (row, key) in rows.iter().zip(keys) {
        assert_eq!(row.get::<_, i32>(0), i32::from(key.bucket().0), "{key:?}");
    }
}

async fn installed() -> (Postgres, Client) {
    let server = Postgres::start(&[]);
    let client = server.connect("postgres").await;
    client.batch_execute(BUCKET_SQL).await.unwrap();
    (server, client)
}

/// A deterministic sequence of numbers in which all bits vary. *Source*: Steele, Lea, Flood, "Fast splittable pseudorandom
/// number generators", 2014 (splitmix64).
fn scattered(n: i64) -> i64 {
    let mut z = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) as i64
}

#[tokio::test]
async fn a_million_integers_fall_into_the_same_buckets() {
    let (_server, client) = installed().await;
    let near = "SELECT pgbraid.bucket(n) FROM generate_series(-250000::bigint, 250000) n ORDER BY n";
    check(&client, near, (-250_000..=250_000).map(Key::Integer)).await;

    let far: Vec<i64> = (0..500_000).map(scattered).collect();
    let rows = client.query("SELECT pgbraid.bucket(n) FROM unnest($1::bigint[]) n", &[&far]).await.unwrap();
    for (row, n) in rows.iter().zip(&far) {
        assert_eq!(row.get::<_, i32>(0), i32::from(Key::Integer(*n).bucket().0), "{n}");
    }
}

#[tokio::test]
async fn integers_at_the_edges_of_every_width_fall_into_the_same_buckets() {
    let (_server, client) = installed().await;
    let powers = (0..64).map(|bit| 1_i64.wrapping_shl(bit));
    let edges: Vec<i64> =
        powers.flat_map(|n| [n, n.wrapping_sub(1), n.wrapping_neg(), n.wrapping_neg().wrapping_sub(1)]).collect();
    let rows = client.query("SELECT pgbraid.bucket(n) FROM unnest($1::bigint[]) n", &[&edges]).await.unwrap();
    for (row, n) in rows.iter().zip(&edges) {
        assert_eq!(row.get::<_, i32>(0), i32::from(Key::Integer(*n).bucket().0), "{n}");
    }
    let narrow = "SELECT pgbraid.bucket((-32768)::smallint) UNION ALL SELECT pgbraid.bucket((-7)::integer)";
    check(&client, narrow, [Key::Integer(-32_768), Key::Integer(-7)].into_iter()).await;
}

#[tokio::test]
async fn texts_of_every_length_fall_into_the_same_buckets() {
    let (_server, client) = installed().await;
    let alphabets: [&[char]; 3] = [&['a', 'B', '7', ' ', '\''], &['ü', 'x', 'é'], &['漢', '😀', '\u{1}', 'z']];
    let mut texts = Vec::new();
    for alphabet in alphabets {
        for len in (0..=200).chain([255, 256, 1000, 4096, 100_000]) {
            for variant in 0..4 {
                let letter = |at: usize| alphabet[scattered((at * 7 + variant) as i64) as usize % alphabet.len()];
                texts.push((0..len).map(letter).collect::<String>());
            }
        }
    }
    let rows = client.query("SELECT pgbraid.bucket(t) FROM unnest($1::text[]) t", &[&texts]).await.unwrap();
    assert_eq!(rows.len(), texts.len());
    for (row, text) in rows.iter().zip(&texts) {
        let expected = i32::from(Key::Text(text.as_str().into()).bucket().0);
        assert_eq!(row.get::<_, i32>(0), expected, "{} bytes", text.len());
    }
}

#[tokio::test]
async fn uuids_fall_into_the_same_buckets() {
    let (_server, client) = installed().await;
    let uuid = |n: i64| u128::from(scattered(n) as u64) << 64 | u128::from(scattered(n + 1_000_000) as u64);
    let uuids: Vec<u128> = (0..20_000).map(uuid).chain([0, u128::MAX]).collect();
    let texts: Vec<String> = uuids.iter().map(|uuid| format!("{uuid:032x}")).collect();
    let query = "SELECT pgbraid.bucket(t::uuid) FROM unnest($1::text[]) t";
    let rows = client.query(query, &[&texts]).await.unwrap();
    for (row, uuid) in rows.iter().zip(uuids) {
        let expected = i32::from(Key::Uuid(uuid.to_be_bytes()).bucket().0);
        assert_eq!(row.get::<_, i32>(0), expected, "{uuid:032x}");
    }
}

#[tokio::test]
async fn other_types_of_texts_and_null_are_what_the_gateway_takes_them_for() {
    let (_server, client) = installed().await;
    let query = "SELECT pgbraid.bucket('ab  '::char(6)) UNION ALL SELECT pgbraid.bucket('ab  '::varchar(6))
        UNION ALL SELECT pgbraid.bucket('ab  ') UNION ALL SELECT pgbraid.bucket('ab')";
    let keys = ["ab", "ab  ", "ab  ", "ab"].map(|text| Key::Text(text.into()));
    check(&client, query, keys.into_iter()).await;
    let null = client.query_one("SELECT pgbraid.bucket(NULL::bigint) IS NULL", &[]).await.unwrap();
    assert!(null.get::<_, bool>(0));
}

#[tokio::test]
async fn texts_are_hashed_as_utf8_whatever_the_databases_encoding() {
    let (server, client) = installed().await;
    let create = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    client.batch_execute(create).await.unwrap();
    let latin = server.connect("latin").await;
    latin.batch_execute(BUCKET_SQL).await.unwrap();
    check(&latin, "SELECT pgbraid.bucket('Zürich')", [Key::Text("Zürich".into())].into_iter()).await;
}

#[tokio::test]
async fn installing_needs_only_create_on_the_database_and_may_be_repeated() {
    let (server, client) = installed().await;
    client.batch_execute(BUCKET_SQL).await.unwrap();
    let roles = "CREATE ROLE installer LOGIN; CREATE ROLE reader LOGIN; CREATE DATABASE other; GRANT CREATE ON DATABASE other TO installer";
    for statement in roles.split("; ") {
        client.batch_execute(statement).await.unwrap();
    }
    let installer = server.connect_as("installer", "other").await;
    installer.batch_execute(BUCKET_SQL).await.unwrap();
    installer.batch_execute(BUCKET_SQL).await.unwrap();
    let reader = server.connect_as("reader", "other").await;
    check(&reader, "SELECT pgbraid.bucket(7)", [Key::Integer(7)].into_iter()).await;
}

/// Operators, functions and types of these names in the caller's schema must not be taken for PostgreSQL's.
const HOSTILE: &str = "
    CREATE SCHEMA hostile;
    CREATE FUNCTION hostile.wrong(bigint, bigint) RETURNS bigint IMMUTABLE LANGUAGE sql RETURN 0;
    CREATE FUNCTION hostile.wrong4(integer, integer) RETURNS integer IMMUTABLE LANGUAGE sql RETURN 0;
    CREATE OPERATOR hostile.# (leftarg = bigint, rightarg = bigint, function = hostile.wrong);
    CREATE OPERATOR hostile.+ (leftarg = bigint, rightarg = bigint, function = hostile.wrong);
    CREATE OPERATOR hostile.* (leftarg = bigint, rightarg = bigint, function = hostile.wrong);
    CREATE OPERATOR hostile.& (leftarg = bigint, rightarg = bigint, function = hostile.wrong);
    CREATE OPERATOR hostile.+ (leftarg = integer, rightarg = integer, function = hostile.wrong4);
    CREATE FUNCTION hostile.get_byte(bytea, integer) RETURNS integer IMMUTABLE LANGUAGE sql RETURN 0;
    CREATE DOMAIN hostile.bytea AS text;
    CREATE DOMAIN hostile.uuid AS text;";

#[tokio::test]
async fn no_search_path_changes_a_bucket() {
    let (server, client) = installed().await;
    client.batch_execute(HOSTILE).await.unwrap();
    for path in ["''", "hostile, pg_catalog"] {
        let client = server.connect("postgres").await;
        client.batch_execute(&format!("SET search_path = {path}")).await.unwrap();
        for reinstalled in [false, true] {
            if reinstalled {
                client.batch_execute(BUCKET_SQL).await.unwrap();
            }
            let long = "abcdefghijklmnopqrstuvwxyz0123456789-abc";
            let query = format!(
                "SELECT pgbraid.bucket(4711::pg_catalog.int8) UNION ALL SELECT pgbraid.bucket('{long}'::pg_catalog.text)
                UNION ALL SELECT pgbraid.bucket('00000000-0000-0000-0000-000000000001'::pg_catalog.uuid)"
            );
            let keys = [Key::Integer(4711), Key::Text(long.into()), Key::Uuid(1_u128.to_be_bytes())];
            check(&client, &query, keys.into_iter()).await;
        }
    }
}

#[tokio::test]
async fn the_functions_may_be_used_in_indexes_and_parallel_plans() {
    let (_server, client) = installed().await;
    let query = "SELECT bool_and(provolatile = 'i' AND proparallel = 's' AND proisstrict), count(*)
        FROM pg_proc WHERE pronamespace = 'pgbraid'::regnamespace AND proname = 'bucket'";
    let row = client.query_one(query, &[]).await.unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, i64>(1)), (true, 3));
    client
        .batch_execute("CREATE TABLE t (k bigint); CREATE INDEX ON t (pgbraid.bucket(k)); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
}
