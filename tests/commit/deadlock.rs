//! Transactions that wait for each other: one of them is told, the others go on, wherever the circle runs.

use std::time::Duration;

use tokio_postgres::Client;

use crate::support::{Cluster, Gateway};
use crate::{accounts, code, eventually, keys_on, on_shard};

async fn stage() -> (Cluster, i64, i64) {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let (a, b) = (keys_on(0, 2).next().unwrap(), keys_on(1, 2).next().unwrap());
    let client = cluster.connect().await;
    client.batch_execute(&format!("INSERT INTO accounts VALUES ({a}, 0), ({b}, 0)")).await.unwrap();
    (cluster, a, b)
}

fn add(key: i64) -> String {
    format!("UPDATE accounts SET v = v + 1 WHERE customer_id = {key}")
}

/// Both hold one row and want the other's.
async fn one_is_told(cluster: &Cluster, one: Client, two: Client, a: i64, b: i64) {
    one.batch_execute(&format!("BEGIN; {}", add(a))).await.unwrap();
    two.batch_execute(&format!("BEGIN; {}", add(b))).await.unwrap();
    let (first, second) = (add(b), add(a));
    let first = tokio::spawn(async move { (one.batch_execute(&first).await, one) });
    let second = tokio::spawn(async move { (two.batch_execute(&second).await, two) });
    let told = async || first.is_finished() || second.is_finished();
    eventually("one of them is told", Duration::from_secs(60), told).await;
    // Which of them is nobody's business; the other goes on when its locks are gone, on one shard at once.
    let (one, other) = if first.is_finished() { (first, second) } else { (second, first) };
    let (result, client) = one.await.unwrap();
    let end = if result.is_err() { "ROLLBACK" } else { "COMMIT" };
    client.batch_execute(end).await.unwrap();
    let (other_result, other_client) = other.await.unwrap();
    let other_end = if other_result.is_err() { "ROLLBACK" } else { "COMMIT" };
    other_client.batch_execute(other_end).await.unwrap();
    let codes: Vec<String> = [result, other_result].iter().filter_map(|of| of.as_ref().err().map(code)).collect();
    assert_eq!(codes, ["40P01"]);
    let sums = on_shard(cluster, 0, "SELECT sum(v)::int8 FROM accounts").await
        + on_shard(cluster, 1, "SELECT sum(v)::int8 FROM accounts").await;
    assert_eq!(sums, 2, "of one of them all is kept, of the other nothing");
}

#[tokio::test]
async fn of_two_transactions_that_wait_for_each_other_on_two_shards_one_gets_40p01() {
    let (cluster, a, b) = stage().await;
    one_is_told(&cluster, cluster.connect().await, cluster.connect().await, a, b).await;
}

#[tokio::test]
async fn on_one_shard_that_shard_finds_it() {
    let (cluster, a, _) = stage().await;
    let c = keys_on(0, 2).nth(1).unwrap();
    cluster.connect().await.batch_execute(&format!("INSERT INTO accounts VALUES ({c}, 0)")).await.unwrap();
    one_is_told(&cluster, cluster.connect().await, cluster.connect().await, a, c).await;
}

#[tokio::test]
async fn through_two_gateways_one_of_them_finds_it() {
    let (cluster, a, b) = stage().await;
    let gateway = Gateway::start(&cluster);
    one_is_told(&cluster, cluster.connect().await, gateway.connect().await, a, b).await;
}

#[tokio::test]
async fn a_circle_through_somebody_around_the_gateways_is_found_too() {
    let (cluster, a, b) = stage().await;
    let c = keys_on(0, 2).nth(1).unwrap();
    let (one, two) = (cluster.connect().await, Gateway::start(&cluster));
    let two_client = two.connect().await;
    let stranger = cluster.connect_shard(0).await;
    stranger.batch_execute(&format!("INSERT INTO accounts VALUES ({c}, 0)")).await.unwrap();
    // One waits for two on one shard, two for the stranger on the other, the stranger for one there.
    one.batch_execute(&format!("BEGIN; {}", add(a))).await.unwrap();
    two_client.batch_execute(&format!("BEGIN; {}", add(b))).await.unwrap();
    stranger.batch_execute(&format!("BEGIN; {}", add(c))).await.unwrap();
    let (first, second, third) = (add(b), add(c), add(a));
    let first = tokio::spawn(async move { one.batch_execute(&first).await.map(|()| one) });
    let second = tokio::spawn(async move { two_client.batch_execute(&second).await.map(|()| two_client) });
    let third = tokio::spawn(async move { stranger.batch_execute(&third).await.map(|()| stranger) });
    let told = async || first.is_finished() || second.is_finished();
    eventually("one of them is told", Duration::from_secs(60), told).await;
    // A client that is dropped has rolled back.
    let mut codes = Vec::new();
    for task in [first, second] {
        eventually("it is over", Duration::from_secs(60), async || task.is_finished()).await;
        match task.await.unwrap() {
            Ok(client) => client.batch_execute("ROLLBACK").await.unwrap(),
            Err(error) => codes.push(code(&error)),
        }
    }
    assert_eq!(codes, ["40P01"]);
    third.await.unwrap().unwrap().batch_execute("ROLLBACK").await.unwrap();
}
