//! Two transactions that wait for each other on two shards: one of them is told, the other goes on.

use std::time::Duration;

use crate::support::Cluster;
use crate::{accounts, code, eventually, keys_on, on_shard};

#[tokio::test]
async fn of_two_transactions_that_wait_for_each_other_on_two_shards_one_gets_40p01() {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let (a, b) = (keys_on(0, 2).next().unwrap(), keys_on(1, 2).next().unwrap());
    let (one, two) = (cluster.connect().await, cluster.connect().await);
    let rows = format!("INSERT INTO accounts VALUES ({a}, 0); INSERT INTO accounts VALUES ({b}, 0)");
    one.batch_execute(&rows).await.unwrap();
    let add = |key: i64| format!("UPDATE accounts SET v = v + 1 WHERE customer_id = {key}");
    one.batch_execute(&format!("BEGIN; {}", add(a))).await.unwrap();
    two.batch_execute(&format!("BEGIN; {}", add(b))).await.unwrap();
    let (first, second) = (add(b), add(a));
    let first = tokio::spawn(async move { (one.batch_execute(&first).await, one) });
    let second = tokio::spawn(async move { (two.batch_execute(&second).await, two) });
    let told = async || first.is_finished() || second.is_finished();
    eventually("one of them is told", Duration::from_secs(60), told).await;
    // Which of them is nobody's business; the other goes on when its locks are gone.
    let (loser, winner) = if first.is_finished() { (first, second) } else { (second, first) };
    let (error, loser) = loser.await.unwrap();
    assert_eq!(code(&error.unwrap_err()), "40P01");
    loser.batch_execute("ROLLBACK").await.unwrap();
    let (gone_on, winner) = winner.await.unwrap();
    gone_on.unwrap();
    winner.batch_execute("COMMIT").await.unwrap();
    for shard in 0..2 {
        assert_eq!(on_shard(&cluster, shard, "SELECT sum(v)::int8 FROM accounts").await, 1);
    }
}
