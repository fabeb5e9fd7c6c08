//! One snapshot over all shards: never half of a commit, whether it is under way or was left half done.

use std::time::Duration;

use crate::support::{Cluster, Gateway};
use crate::{accounts, eventually, keys_on, on_shard, value};

fn of(key: i64) -> String {
    format!("SELECT v FROM accounts WHERE customer_id = {key}")
}

async fn stage() -> (Cluster, i64, i64) {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let (a, b) = (keys_on(0, 2).next().unwrap(), keys_on(1, 2).next().unwrap());
    let client = cluster.connect().await;
    client
        .batch_execute(&format!("INSERT INTO accounts VALUES ({a}, 0); INSERT INTO accounts VALUES ({b}, 0)"))
        .await
        .unwrap();
    (cluster, a, b)
}

fn write(a: i64, b: i64) -> String {
    format!(
        "BEGIN; UPDATE accounts SET v = 1 WHERE customer_id = {a}; UPDATE accounts SET v = 1 WHERE customer_id = {b}; COMMIT"
    )
}

#[tokio::test]
async fn what_commits_later_on_two_shards_is_seen_on_neither() {
    let (cluster, a, b) = stage().await;
    let (reader, writer) = (cluster.connect().await, cluster.connect().await);
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    assert_eq!(value(&reader, &of(a)).await, 0);
    writer.batch_execute(&write(a, b)).await.unwrap();
    assert_eq!(value(&reader, &of(b)).await, 0, "the snapshot was taken on all shards at once");
    reader.batch_execute("COMMIT").await.unwrap();
    assert_eq!((value(&reader, &of(a)).await, value(&reader, &of(b)).await), (1, 1));
}

/// A setting, or SHOW, is no query yet, though a shard has heard of it.
#[tokio::test]
async fn a_level_said_behind_settings_covers_all_shards_at_once() {
    let (cluster, a, b) = stage().await;
    let (reader, writer) = (cluster.connect().await, cluster.connect().await);
    let levels =
        ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SET LOCAL transaction_isolation = 'repeatable read'"];
    for (round, level) in levels.into_iter().enumerate() {
        reader.batch_execute("BEGIN").await.unwrap();
        reader.batch_execute("SET LOCAL work_mem = '1234kB'").await.unwrap();
        reader.batch_execute(level).await.unwrap();
        let before = value(&reader, &of(a)).await;
        writer.batch_execute(&write(a, b).replace("v = 1", &format!("v = {}", round + 1))).await.unwrap();
        assert_eq!(value(&reader, &of(b)).await, before, "{level}");
        let sql = format!("SELECT current_setting('work_mem') FROM accounts WHERE customer_id = {a}");
        assert_eq!(reader.query_one(&sql, &[]).await.unwrap().get::<_, String>(0), "1234kB");
        reader.batch_execute("COMMIT").await.unwrap();
        assert_eq!(value(&reader, &of(b)).await, before + 1);
    }
}

#[tokio::test]
async fn a_level_said_behind_a_lock_is_refused() {
    let (cluster, a, _) = stage().await;
    let client = cluster.connect().await;
    client.batch_execute("BEGIN; LOCK TABLE accounts IN SHARE MODE").await.unwrap();
    let refused = client.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "0A000");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(value(&client, &of(a)).await, 0);
}

#[tokio::test]
async fn a_commit_that_a_dead_gateway_left_half_done_is_seen_whole() {
    let (cluster, a, b) = stage().await;
    let mut gateway = Gateway::start(&cluster);
    let writer = gateway.connect().await;
    gateway.pause_at("decided");
    let script = write(a, b);
    let commit = tokio::spawn(async move { writer.batch_execute(&script).await });
    eventually("it is decided", Duration::from_secs(60), async || gateway.is_paused_at("decided")).await;
    assert_eq!(on_shard(&cluster, 1, "SELECT count(*) FROM pg_prepared_xacts").await, 1);
    gateway.kill9();
    commit.await.unwrap().unwrap_err();
    // At once: the recovery of the cluster's own gateway may not have come by yet.
    let reader = cluster.connect().await;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    assert_eq!((value(&reader, &of(a)).await, value(&reader, &of(b)).await), (1, 1));
    reader.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn a_commit_between_its_two_halves_keeps_snapshots_waiting() {
    let (cluster, a, b) = stage().await;
    let gateway = Gateway::start(&cluster);
    let (reader, writer) = (cluster.connect().await, gateway.connect().await);
    gateway.pause_at("decided");
    let script = write(a, b);
    let commit = tokio::spawn(async move { writer.batch_execute(&script).await });
    eventually("it is decided", Duration::from_secs(60), async || gateway.is_paused_at("decided")).await;
    let read = tokio::spawn(async move {
        reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        (value(&reader, &of(a)).await, value(&reader, &of(b)).await)
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    eventually("it waits", Duration::from_secs(60), async || on_shard(&cluster, 1, waits).await == 1).await;
    gateway.go_on();
    commit.await.unwrap().unwrap();
    assert_eq!(read.await.unwrap(), (1, 1));
}

/// The lock that keeps snapshots away while several shards commit is not kept by a server that did not give it back when it was told to.
#[tokio::test]
async fn a_server_that_does_not_let_snapshots_be_taken_again_is_not_used_again() {
    let (cluster, a, b) = stage().await;
    let (writer, reader) = (cluster.connect().await, cluster.connect().await);
    let unlock = "FUNCTION pg_catalog.pg_advisory_unlock_shared(bigint)";
    for shard in 0..2 {
        let revoke = format!("REVOKE EXECUTE ON {unlock} FROM PUBLIC");
        cluster.connect_shard(shard).await.batch_execute(&revoke).await.unwrap();
    }
    let left = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    let none_left = async || on_shard(&cluster, 0, left).await + on_shard(&cluster, 1, left).await == 0;
    // One that commits, and one that is rolled back by the shard that decides.
    writer.batch_execute(&write(a, b)).await.unwrap();
    eventually("no server has the lock", Duration::from_secs(10), none_left).await;
    for shard in 0..2 {
        let check = "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
                     CREATE CONSTRAINT TRIGGER fails AFTER UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED \
                     FOR EACH ROW WHEN (NEW.v = 7) EXECUTE FUNCTION fails()";
        cluster.connect_shard(shard).await.batch_execute(check).await.unwrap();
    }
    let fails = write(a, b).replacen("v = 1", "v = 7", 1);
    assert_eq!(crate::code(&writer.batch_execute(&fails).await.unwrap_err()), "P0001");
    eventually("no server has the lock", Duration::from_secs(10), none_left).await;
    reader.batch_execute("SET statement_timeout = '10s'; BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    assert_eq!(value(&reader, &of(a)).await, 1);
}
