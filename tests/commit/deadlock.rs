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

/// Two clients, each with what it holds already, and what it wants then.
async fn of_two_one_is_told(cluster: &Cluster, one: (Client, Vec<String>), two: (Client, Vec<String>)) {
    let mut tasks = Vec::new();
    for (client, wants) in [one, two] {
        tasks.push(tokio::spawn(async move {
            for text in wants {
                let done = match text.split_once(" <- ") {
                    Some((copy, row)) => copy_row(&client, copy, row).await,
                    None => client.batch_execute(&text).await,
                };
                if let Err(error) = done {
                    // Who is told has rolled back at once: the other goes on.
                    client.batch_execute("ROLLBACK").await.unwrap();
                    return code(&error);
                }
            }
            client.batch_execute("COMMIT").await.map_or_else(|error| code(&error), |()| "committed".to_owned())
        }));
    }
    let mut told = Vec::new();
    for task in tasks {
        eventually("it is over", Duration::from_secs(60), async || task.is_finished()).await;
        told.push(task.await.unwrap());
    }
    told.sort();
    assert_eq!(told, ["40P01", "committed"]);
    eventually("nothing is prepared", Duration::from_secs(60), async || crate::prepared(cluster).await == 0).await;
}

async fn copy_row(client: &Client, copy: &str, row: &str) -> Result<(), tokio_postgres::Error> {
    let sink = client.copy_in(copy).await?;
    let mut sink = std::pin::pin!(sink);
    futures_util::SinkExt::send(&mut sink, bytes::Bytes::from(format!("{row}\n"))).await?;
    sink.finish().await.map(drop)
}

#[tokio::test]
async fn two_copies_that_wait_for_each_others_keys_are_a_circle_too() {
    let (cluster, _, _) = stage().await;
    let (a, b) = (keys_on(0, 2).nth(5).unwrap(), keys_on(1, 2).nth(5).unwrap());
    let gateway = Gateway::start(&cluster);
    let (one, two) = (cluster.connect().await, gateway.connect().await);
    for (client, key) in [(&one, a), (&two, b)] {
        client.batch_execute("BEGIN").await.unwrap();
        copy_row(client, "COPY accounts FROM STDIN", &format!("{key}\t1")).await.unwrap();
    }
    let copy = |key: i64| vec![format!("COPY accounts FROM STDIN <- {key}\t2")];
    of_two_one_is_told(&cluster, (one, copy(b)), (two, copy(a))).await;
}

#[tokio::test]
async fn ddl_on_all_shards_and_a_writer_on_one_after_the_other_are_a_circle_too() {
    let (cluster, a, b) = stage().await;
    let (one, two) = (cluster.connect().await, cluster.connect().await);
    // The writer holds a row of the second shard, which DDL comes to when it has locked the table on the first.
    one.batch_execute(&format!("BEGIN; {}", add(b))).await.unwrap();
    two.batch_execute("BEGIN").await.unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'";
    let alter = tokio::spawn(async move {
        let done = two.batch_execute("ALTER TABLE accounts ADD COLUMN w int8").await;
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        two.batch_execute(end).await.unwrap();
        done.map_or_else(|error| code(&error), |()| "committed".to_owned())
    });
    eventually("it waits", Duration::from_secs(60), async || on_shard(&cluster, 1, waits).await == 1).await;
    let written = one.batch_execute(&add(a)).await;
    one.batch_execute(if written.is_ok() { "COMMIT" } else { "ROLLBACK" }).await.unwrap();
    let mut told = [written.map_or_else(|error| code(&error), |()| "committed".to_owned()), alter.await.unwrap()];
    told.sort();
    assert_eq!(told, ["40P01", "committed"]);
}

#[tokio::test]
async fn what_the_block_has_locked_itself_is_not_waited_for() {
    let (cluster, _, _) = stage().await;
    let client = cluster.connect().await;
    client.batch_execute("CREATE TABLE kept (customer_id int8, n int8)").await.unwrap();
    client.batch_execute("BEGIN; TRUNCATE kept").await.unwrap();
    // The rows change shards on a server that is not in the block.
    let insert = "INSERT INTO kept SELECT v + 1, count(*) FROM accounts GROUP BY v";
    let done = tokio::spawn(async move { (client.batch_execute(insert).await, client) });
    eventually("it is over", Duration::from_secs(60), async || done.is_finished()).await;
    let (done, client) = done.await.unwrap();
    done.unwrap();
    let row = client.query_one("SELECT count(*), sum(n)::int8 FROM kept", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 2));
    client.batch_execute("ROLLBACK").await.unwrap();
}

/// A merge server is outside the block that it works for: it waits for DDL which waits for what the block has read, on one shard alone.
#[tokio::test]
async fn a_merge_server_that_waits_for_whom_its_block_holds_up_is_no_hang() {
    let (cluster, ..) = stage().await;
    let (reader, other) = (cluster.connect().await, cluster.connect().await);
    reader.batch_execute("BEGIN; SELECT count(*) FROM accounts").await.unwrap();
    let ddl = tokio::spawn(async move { other.batch_execute("ALTER TABLE accounts ADD COLUMN more int").await });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let shard = cluster.connect_shard(0).await;
    let waiting = async || shard.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0;
    eventually("it waits for the block", Duration::from_secs(60), waiting).await;
    let reads = tokio::spawn(async move {
        let read = reader.batch_execute("SELECT v, count(*) FROM accounts GROUP BY v").await;
        reader.batch_execute("ROLLBACK").await.unwrap();
        read
    });
    eventually("both have ended", Duration::from_secs(60), async || reads.is_finished() && ddl.is_finished()).await;
    let results = [reads.await.unwrap(), ddl.await.unwrap()];
    let codes: Vec<String> = results.iter().filter_map(|of| of.as_ref().err().map(code)).collect();
    assert!(codes.len() < 2 && codes.iter().all(|code| code == "40P01"), "{codes:?}");
}
