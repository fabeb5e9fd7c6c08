//! Without crashes: what commits together, what is rolled back together, and what is refused.

use std::time::Duration;

use crate::support::{Cluster, Gateway};
use crate::{accounts, code, eventually, keys_on, on_shard, prepared, value};

/// A key on either shard, with a row.
async fn pair(cluster: &Cluster) -> (i64, i64) {
    accounts(cluster).await;
    let client = cluster.connect().await;
    let keys = (keys_on(0, 2).next().unwrap(), keys_on(1, 2).next().unwrap());
    for key in [keys.0, keys.1] {
        client.batch_execute(&format!("INSERT INTO accounts VALUES ({key}, 0)")).await.unwrap();
    }
    keys
}

fn add(key: i64, amount: i64) -> String {
    format!("UPDATE accounts SET v = v + {amount} WHERE customer_id = {key}")
}

async fn values(cluster: &Cluster) -> (i64, i64) {
    let query = "SELECT sum(v)::int8 FROM accounts";
    (on_shard(cluster, 0, query).await, on_shard(cluster, 1, query).await)
}

#[tokio::test]
async fn writes_on_two_shards_commit_and_roll_back_together() {
    let cluster = Cluster::start(2);
    let (a, b) = pair(&cluster).await;
    let client = cluster.connect().await;
    client.batch_execute(&format!("BEGIN; {}; {}; COMMIT", add(a, -5), add(b, 5))).await.unwrap();
    assert_eq!(values(&cluster).await, (-5, 5));
    client.batch_execute(&format!("BEGIN; {}; {}; ROLLBACK", add(a, -5), add(b, 5))).await.unwrap();
    assert_eq!(values(&cluster).await, (-5, 5));
    // In one message without BEGIN, too.
    client.batch_execute(&format!("{}; {}", add(b, -5), add(a, 5))).await.unwrap();
    assert_eq!(values(&cluster).await, (0, 0));
    let error = client.batch_execute(&format!("{}; {}; SELECT 1/0", add(a, -5), add(b, 5))).await.unwrap_err();
    assert_eq!((code(&error).as_str(), values(&cluster).await), ("22012", (0, 0)));
    assert_eq!(prepared(&cluster).await, 0);
}

#[tokio::test]
async fn a_failure_at_commit_on_one_shard_rolls_back_the_other() {
    let cluster = Cluster::start(2);
    let (a, b) = pair(&cluster).await;
    let client = cluster.connect().await;
    client
        .batch_execute(
            "CREATE TABLE parents (customer_id int8 PRIMARY KEY);
             CREATE TABLE children (customer_id int8 PRIMARY KEY REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
        )
        .await
        .unwrap();
    // The one that fails is the decision shard's, and the other's.
    for orphan in [a, b] {
        client.batch_execute(&format!("BEGIN; {}; {}", add(a, -5), add(b, 5))).await.unwrap();
        client.batch_execute(&format!("INSERT INTO children VALUES ({orphan})")).await.unwrap();
        let error = client.batch_execute("COMMIT").await.unwrap_err();
        assert_eq!((code(&error).as_str(), values(&cluster).await), ("23503", (0, 0)));
        assert_eq!(prepared(&cluster).await, 0);
        // And the session goes on, outside a block.
        assert_eq!(value(&client, &format!("SELECT v FROM accounts WHERE customer_id = {a}")).await, 0);
    }
}

#[tokio::test]
async fn only_who_wrote_is_prepared() {
    let cluster = Cluster::start(3);
    accounts(&cluster).await;
    let keys: Vec<i64> = (0..3).map(|shard| keys_on(shard, 3).next().unwrap()).collect();
    let gateway = Gateway::start(&cluster);
    let client = gateway.connect().await;
    gateway.pause_at("prepared");
    let script = format!(
        "BEGIN; INSERT INTO accounts VALUES ({}, 1); INSERT INTO accounts VALUES ({}, 1);
         UPDATE accounts SET v = 1 WHERE customer_id = {} AND v = 77; COMMIT",
        keys[0], keys[1], keys[2]
    );
    let commit = tokio::spawn(async move { client.batch_execute(&script).await });
    eventually("it is prepared", Duration::from_secs(60), async || gateway.is_paused_at("prepared")).await;
    assert_eq!(prepared(&cluster).await, 1, "of two that wrote, one is the decision shard, and one only looked");
    gateway.go_on();
    commit.await.unwrap().unwrap();
    assert_eq!(prepared(&cluster).await, 0);
    let query = "SELECT count(*) FROM pgbraid.decision WHERE committed";
    assert_eq!(on_shard(&cluster, 0, query).await, 2, "this one, and the CREATE TABLE");
}

#[tokio::test]
async fn without_the_decision_table_a_second_shard_is_refused_with_the_remedy() {
    let cluster = Cluster::start(2);
    let (a, b) = pair(&cluster).await;
    cluster.connect_shard(1).await.batch_execute("DROP SCHEMA pgbraid CASCADE").await.unwrap();
    let gateway = Gateway::start(&cluster);
    let client = gateway.connect().await;
    let error = client.batch_execute(&format!("BEGIN; {}; {}", add(a, 1), add(b, 1))).await.unwrap_err();
    let hint = error.as_db_error().unwrap().hint().unwrap_or_default();
    assert_eq!((code(&error).as_str(), hint), ("55000", "Run \"pgbraid init\"."));
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute(&add(a, 1)).await.unwrap();
    assert_eq!(values(&cluster).await, (1, 0));
}
