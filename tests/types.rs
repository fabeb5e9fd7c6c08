//! Types of users that have another number on each shard: clients see one database whose numbers are the home shard's.
//!
//! The client is tokio-postgres, which asks pg_type what a number means and then trusts it, in binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "types/value.rs"]
mod value;

use std::pin::pin;

use futures_util::{SinkExt, StreamExt};
use support::{Cluster, Setup};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{Client, Error};
use value::{Pair, Raw, header_type};

/// Keys that are on every shard, of four too.
const KEYS: i64 = 60;

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad');
    CREATE DOMAIN small AS int CHECK (VALUE < 100);
    CREATE TYPE pair AS (a int, m mood, ms mood[]);
    CREATE TYPE moods AS RANGE (subtype = mood);
    CREATE TABLE people (customer_id bigint PRIMARY KEY, m mood, d small, p pair, ms mood[], ps pair[], r moods);
    CREATE TABLE plain (customer_id bigint PRIMARY KEY, n int, ns int[])";

/// A cluster whose shards hand out different numbers, with the schema made through the gateway.
async fn cluster(shards: u16) -> Cluster {
    let cluster = Cluster::with(Setup { shards, ..Setup::default() });
    drift(&cluster).await;
    cluster.connect().await.batch_execute(SCHEMA).await.unwrap();
    cluster
}

/// Makes the next numbers differ between all shards.
async fn drift(cluster: &Cluster) {
    for shard in 1..cluster.shard_count() {
        let client = cluster.connect_shard(shard).await;
        for _ in 0..3 * shard {
            client.batch_execute("CREATE TABLE public.x (); DROP TABLE public.x").await.unwrap();
        }
    }
}

async fn number(client: &Client, name: &str) -> u32 {
    client.query_one("SELECT oid FROM pg_type WHERE typname = $1", &[&name]).await.unwrap().get(0)
}

fn mood(key: i64) -> &'static str {
    ["sad", "ok", "glad"][usize::try_from(key % 3).unwrap()]
}

fn pair(key: i64) -> Pair {
    Pair {
        a: i32::try_from(key).unwrap(),
        m: mood(key).to_owned(),
        ms: vec![mood(key + 1).to_owned(), "ok".to_owned()],
    }
}

async fn fill(client: &Client) {
    let insert = "INSERT INTO people VALUES ($1, $2, $3, $4, $5, $6, $7::text::moods)";
    let insert = client.prepare(insert).await.unwrap();
    assert_eq!(insert.params()[1].name(), "mood");
    assert!(matches!(insert.params()[4].kind(), Kind::Array(mood) if mood.name() == "mood"));
    for key in 0..KEYS {
        let small = Raw::of(5_i32.to_be_bytes());
        let (ms, ps) = (vec![Raw::of(mood(key)), Raw::of("glad")], vec![pair(key), pair(key + 1)]);
        client.execute(&insert, &[&key, &Raw::of(mood(key)), &small, &pair(key), &ms, &ps, &"[sad,ok]"]).await.unwrap();
    }
}

/// A row of `people`, its types those that pg_type names, the numbers in its values the home shard's.
async fn check(client: &Client, row: &tokio_postgres::Row) {
    let (mood_number, pair_number) = (number(client, "mood").await, number(client, "pair").await);
    let key: i64 = row.get("customer_id");
    let value = |column: &str| row.get::<_, Raw>(column);
    let types: Vec<&str> = row.columns().iter().map(|column| column.type_().name()).collect();
    assert_eq!(types, ["int8", "mood", "int4", "pair", "_mood", "_pair", "moods"]);
    assert_eq!(value("m").bytes, mood(key).as_bytes());
    assert_eq!(row.get::<_, Pair>("p"), pair(key));
    assert_eq!(header_type(&value("ms").bytes), mood_number);
    assert_eq!(header_type(&value("ps").bytes), pair_number);
    assert_eq!(row.get::<_, Vec<Pair>>("ps"), [pair(key), pair(key + 1)]);
}

async fn works(shards: u16) {
    let cluster = cluster(shards).await;
    let client = cluster.connect().await;
    let home = number(&cluster.connect_shard(0).await, "mood").await;
    assert_eq!(number(&client, "mood").await, home);
    assert_ne!(number(&cluster.connect_shard(1).await, "mood").await, home);
    fill(&client).await;
    for shard in 0..cluster.shard_count() {
        let count: i64 =
            cluster.connect_shard(shard).await.query_one("SELECT count(*) FROM people", &[]).await.unwrap().get(0);
        assert!(count > 0, "no row on shard {shard}");
    }
    let by_key = client.prepare("SELECT * FROM people WHERE customer_id = $1").await.unwrap();
    for key in 0..KEYS {
        check(&client, &client.query_one(&by_key, &[&key]).await.unwrap()).await;
    }
    let all = client.query("SELECT * FROM people", &[]).await.unwrap();
    assert_eq!(i64::try_from(all.len()).unwrap(), KEYS);
    for row in &all {
        check(&client, row).await;
    }
    let same = client
        .prepare("SELECT count(*) FROM people WHERE customer_id = $1 AND ms = $2 AND p = $3::pair")
        .await
        .unwrap();
    for key in 0..KEYS {
        let ms = vec![Raw::of(mood(key)), Raw::of("glad")];
        let count: i64 = client.query_one(&same, &[&key, &ms, &pair(key)]).await.unwrap().get(0);
        assert_eq!(count, 1);
    }
}

#[tokio::test]
async fn enums_composites_domains_and_arrays_are_the_home_shards_on_two_shards() {
    works(2).await;
}

#[tokio::test]
async fn enums_composites_domains_and_arrays_are_the_home_shards_on_four_shards() {
    works(4).await;
}

/// A key of a row on a shard.
async fn key_on(cluster: &Cluster, shard: usize) -> i64 {
    cluster.connect_shard(shard).await.query_one("SELECT min(customer_id) FROM people", &[]).await.unwrap().get(0)
}

fn code(error: &Error) -> &SqlState {
    error.code().unwrap_or_else(|| panic!("no error of a server's: {error}"))
}

#[tokio::test]
async fn numbers_follow_what_happens_after_the_client_connected() {
    let cluster = cluster(2).await;
    let client = cluster.connect().await;
    fill(&client).await;
    let key = key_on(&cluster, 1).await;

    // Whole rows, portals and cursors.
    let row = client.query_one("SELECT people FROM people WHERE customer_id = $1", &[&key]).await.unwrap();
    let whole = row.get::<_, Raw>(0);
    assert_eq!(row.columns()[0].type_().name(), "people");
    let mood_number = number(&client, "mood").await.to_be_bytes();
    assert!(whole.bytes.windows(4).any(|bytes| bytes == mood_number));
    let mut client = client;
    let block = client.transaction().await.unwrap();
    let portal = block.bind("SELECT customer_id, ms FROM people", &[]).await.unwrap();
    let mut rows = 0;
    loop {
        let part = block.query_portal(&portal, 7).await.unwrap();
        rows += part.len();
        assert!(part.iter().all(|row| header_type(&row.get::<_, Raw>(1).bytes).to_be_bytes() == mood_number));
        if part.is_empty() {
            break;
        }
    }
    assert_eq!(i64::try_from(rows).unwrap(), KEYS);
    block
        .batch_execute(&format!("DECLARE c CURSOR FOR SELECT ms FROM people WHERE customer_id = {key}"))
        .await
        .unwrap();
    let fetched = block.query_one("FETCH c", &[]).await.unwrap();
    assert_eq!(header_type(&fetched.get::<_, Raw>(0).bytes).to_be_bytes(), mood_number);
    block.commit().await.unwrap();

    // A type made by another client, and one of a transaction that has not ended.
    drift(&cluster).await;
    cluster
        .connect()
        .await
        .batch_execute("CREATE TYPE colour AS ENUM ('red'); ALTER TABLE plain ADD c colour")
        .await
        .unwrap();
    let insert = client.prepare("INSERT INTO plain (customer_id, c) VALUES ($1, $2) RETURNING c").await.unwrap();
    for key in 0..KEYS {
        let row = client.query_one(&insert, &[&key, &Raw::of("red")]).await.unwrap();
        assert_eq!(row.columns()[0].type_().name(), "colour");
    }
    drift(&cluster).await;
    let block = client.transaction().await.unwrap();
    block
        .batch_execute(
            "CREATE TYPE shape AS ENUM ('round'); CREATE TABLE shapes (customer_id bigint, s shape, ss shape[])",
        )
        .await
        .unwrap();
    block
        .batch_execute("COMMIT; BEGIN; ALTER TYPE shape ADD VALUE 'flat'; CREATE TYPE size AS ENUM ('big')")
        .await
        .unwrap();
    let row = block
        .query_one("SELECT 'big'::size, ARRAY['big'::size], customer_id FROM people WHERE customer_id = $1", &[&key])
        .await
        .unwrap();
    let types: Vec<&str> = row.columns().iter().map(|column| column.type_().name()).collect();
    assert_eq!(types, ["size", "_size", "int8"]);
    assert_eq!(header_type(&row.get::<_, Raw>(1).bytes), row.columns()[0].type_().oid());
    block.commit().await.unwrap();

    // Made anew on one shard, behind the gateway's back.
    let behind = cluster.connect_shard(1).await;
    behind
        .batch_execute("DROP TABLE shapes; DROP TYPE shape; CREATE TYPE shape AS ENUM ('round', 'flat')")
        .await
        .unwrap();
    let text = "SELECT 'round'::shape FROM people WHERE customer_id = $1";
    let row = client.query_one(text, &[&key]).await.unwrap();
    assert_eq!(row.columns()[0].type_().oid(), number(&client, "shape").await);
}

#[tokio::test]
async fn what_has_no_translation_is_refused() {
    let cluster = cluster(2).await;
    let client = cluster.connect().await;
    fill(&client).await;
    let (key, home_key) = (key_on(&cluster, 1).await, key_on(&cluster, 0).await);

    cluster.connect_shard(1).await.batch_execute("CREATE TYPE public.only_there AS ENUM ('x')").await.unwrap();
    let text = "SELECT 'x'::only_there FROM people WHERE customer_id = ";
    let error = client.simple_query(&format!("{text} {key}")).await.unwrap_err();
    assert_eq!(code(&error), &SqlState::FEATURE_NOT_SUPPORTED);
    let error = client.simple_query(&format!("{text} {home_key}")).await.unwrap_err();
    assert_eq!(code(&error), &SqlState::UNDEFINED_OBJECT);

    // The same name for two things.
    cluster.connect_shard(0).await.batch_execute("CREATE TYPE public.odd AS ENUM ('x')").await.unwrap();
    cluster.connect_shard(1).await.batch_execute("CREATE TYPE public.odd AS (a int)").await.unwrap();
    let error = client.simple_query("SELECT NULL::odd FROM people").await.unwrap_err();
    assert_eq!(code(&error), &SqlState::FEATURE_NOT_SUPPORTED);

    for text in ["COPY people TO STDOUT (FORMAT binary)", "COPY (SELECT p FROM people) TO STDOUT (FORMAT binary)"] {
        let error = client.copy_out(text).await.err().expect(text);
        assert_eq!(code(&error), &SqlState::FEATURE_NOT_SUPPORTED, "{text}");
    }
    // The driver sends a second Sync after an error, so that the connection is not fit for more.
    let other = cluster.connect().await;
    let error = other.copy_in::<_, bytes::Bytes>("COPY people FROM STDIN (FORMAT binary)").await.err().unwrap();
    assert_eq!(code(&error), &SqlState::FEATURE_NOT_SUPPORTED);

    // Nothing in these is a number, or it is written out.
    for text in ["COPY people TO STDOUT", "COPY people (customer_id, m) TO STDOUT (FORMAT binary)"] {
        let rows = client.copy_out(text).await.expect(text).count().await;
        assert!(rows > 0, "{text}");
    }
    let writer = client.copy_in("COPY plain FROM STDIN (FORMAT binary)").await.unwrap();
    let types = [Type::INT8, Type::INT4, Type::INT4_ARRAY];
    let mut writer = pin!(tokio_postgres::binary_copy::BinaryCopyInWriter::new(writer, &types));
    for key in 0..KEYS {
        writer.as_mut().write(&[&key, &1_i32, &vec![1_i32, 2]]).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), u64::try_from(KEYS).unwrap());
    let mut text = pin!(client.copy_in("COPY people (customer_id, p) FROM STDIN").await.unwrap());
    text.as_mut().send(bytes::Bytes::from_static(b"1000\t(1,sad,{ok})\n")).await.unwrap();
    assert_eq!(text.finish().await.unwrap(), 1);
}

#[tokio::test]
async fn without_the_home_shard_no_other_shards_numbers_are_shown() {
    let cluster = cluster(2).await;
    let client = cluster.connect().await;
    fill(&client).await;
    let key = key_on(&cluster, 1).await;
    cluster.kill_shard(0);
    let other = cluster.connect().await;
    for client in [&client, &other] {
        let error = client.simple_query("SELECT oid FROM pg_type WHERE typname = 'mood'").await.unwrap_err();
        assert!(code(&error).code().starts_with("08"), "{error}");
        client.simple_query("SELECT 1").await.unwrap();
        client.simple_query("SHOW server_version").await.unwrap();
        client.simple_query(&format!("SELECT * FROM people WHERE customer_id = {key}")).await.unwrap();
    }
    cluster.start_shard(0);
    assert_eq!(number(&other, "mood").await, number(&cluster.connect_shard(0).await, "mood").await);
}

#[tokio::test]
async fn a_shard_that_was_down_at_first_is_read_when_its_types_are_met() {
    let cluster = cluster(2).await;
    let client = cluster.connect().await;
    fill(&client).await;
    let key = key_on(&cluster, 1).await;
    cluster.kill_shard(1);
    // Another database's catalog, and the first one's numbers, are read while the shard is down.
    let error = client.simple_query(&format!("SELECT m FROM people WHERE customer_id = {key}")).await.unwrap_err();
    assert!(code(&error).code().starts_with("08"), "{error}");
    cluster.start_shard(1);
    let row = client.query_one("SELECT * FROM people WHERE customer_id = $1", &[&key]).await.unwrap();
    check(&client, &row).await;
}
