//! `pgbraid.snapshot_reads`, and what SERIALIZABLE does not give over several shards.

use std::time::Duration;

use tokio_postgres::Client;

use crate::support::{Cluster, Gateway};
use crate::{accounts, code, eventually, keys_on, on_shard, value};

/// Two rows with 0 on two shards; somebody sets both to 1 and stops between its two halves, until [`Gateway::go_on`].
async fn half_committed(cluster: &Cluster, gateway: &Gateway) -> tokio::task::JoinHandle<()> {
    let (a, b) = (keys_on(0, 2).next().unwrap(), keys_on(1, 2).next().unwrap());
    let client = cluster.connect().await;
    client.batch_execute(&format!("INSERT INTO accounts VALUES ({a}, 0), ({b}, 0)")).await.unwrap();
    let writer = gateway.connect().await;
    gateway.pause_at("decided");
    let commit = tokio::spawn(async move { writer.batch_execute("UPDATE accounts SET v = 1").await.unwrap() });
    eventually("it is decided", Duration::from_secs(60), async || gateway.is_paused_at("decided")).await;
    commit
}

const SUM: &str = "SELECT sum(v)::int8 FROM accounts";

/// What does not distribute.
const GATHERED: &str =
    "SELECT (SELECT sum(v) FROM accounts)::int8 + (SELECT count(*) FROM accounts a JOIN accounts b ON a.v = b.v + 7)";

async fn simple(client: &Client, query: &str) -> i64 {
    let messages = client.simple_query(query).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    row.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_snapshot_reads_no_fan_out_sees_half_of_a_commit() {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let gateway = Gateway::start(&cluster);
    let commit = half_committed(&cluster, &gateway).await;
    // Without the setting nobody waits: one half is seen, unless recovery, for which the writer takes long, has been here.
    let without = cluster.connect().await;
    assert!([1, 2].contains(&simple(&without, SUM).await));
    let mut readers = Vec::new();
    for (block, query) in [("", SUM), ("", GATHERED), ("BEGIN", SUM), ("BEGIN", GATHERED)] {
        for extended in [false, true] {
            let client = cluster.connect().await;
            client.batch_execute(&format!("SET pgbraid.snapshot_reads = on; {block}")).await.unwrap();
            let read = tokio::spawn(async move {
                let sum = if extended { value(&client, query).await } else { simple(&client, query).await };
                (sum, client)
            });
            readers.push((block, query, extended, read));
        }
    }
    // One after the other gets to the lock on which all wait; that nobody has answered is what matters.
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    let waiting = async || on_shard(&cluster, 0, waits).await + on_shard(&cluster, 1, waits).await > 0;
    eventually("somebody waits", Duration::from_secs(60), waiting).await;
    gateway.go_on();
    commit.await.unwrap();
    for (block, query, extended, read) in readers {
        let (sum, client) = read.await.unwrap();
        assert_eq!(sum, 2, "{block} {query} extended: {extended}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    for shard in 0..2 {
        let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
        let free = async || on_shard(&cluster, shard, held).await == 0;
        eventually("no lock is left", Duration::from_secs(60), free).await;
    }
}

#[tokio::test]
async fn a_block_reads_what_it_has_written_and_each_statement_sees_what_was_committed_before_it() {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let (a, b) = (keys_on(0, 2).next().unwrap(), keys_on(1, 2).next().unwrap());
    let (one, two) = (cluster.connect().await, cluster.connect().await);
    one.batch_execute("SET pgbraid.snapshot_reads = on; BEGIN").await.unwrap();
    one.batch_execute(&format!("INSERT INTO accounts VALUES ({a}, 1)")).await.unwrap();
    assert_eq!(value(&one, SUM).await, 1);
    two.batch_execute(&format!("INSERT INTO accounts VALUES ({b}, 10)")).await.unwrap();
    assert_eq!((value(&one, SUM).await, simple(&one, SUM).await), (11, 11));
    one.batch_execute("COMMIT").await.unwrap();
    assert_eq!(simple(&two, SUM).await, 11);
}

#[tokio::test]
async fn the_setting_is_shown_checked_and_reset_as_others_are() {
    let cluster = Cluster::start(2);
    let client = cluster.connect().await;
    let shown = async || {
        let row = client.query_one("SHOW pgbraid.snapshot_reads", &[]).await.unwrap();
        row.get::<_, String>(0)
    };
    assert_eq!(shown().await, "off");
    client.batch_execute("SET pgbraid.snapshot_reads = on").await.unwrap();
    assert_eq!(shown().await, "on");
    client.batch_execute("BEGIN; SET LOCAL pgbraid.snapshot_reads = off").await.unwrap();
    assert_eq!(shown().await, "off");
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(shown().await, "on");
    client.batch_execute("RESET pgbraid.snapshot_reads").await.unwrap();
    assert_eq!(shown().await, "off");
    for set in ["SET pgbraid.snapshot_reads = maybe", "SET pgbraid.serializable = never"] {
        assert_eq!(code(&client.batch_execute(set).await.unwrap_err()), "22023");
    }
    let url = format!("{}?options=-c%20pgbraid.snapshot_reads%3Don", cluster.url());
    let started = crate::support::connect(&url).await;
    let row = started.query_one("SHOW pgbraid.snapshot_reads", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "on");
}

#[tokio::test]
async fn serializable_writes_beyond_one_shard_are_refused_unless_allowed() {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let keys: Vec<i64> = keys_on(0, 2).take(1).chain(keys_on(1, 2).take(1)).collect();
    let client = cluster.connect().await;
    for key in &keys {
        client.batch_execute(&format!("INSERT INTO accounts VALUES ({key}, 0)")).await.unwrap();
    }
    let read = |at: usize| format!("SELECT v FROM accounts WHERE customer_id = {}", keys[at]);
    let write = |at: usize| format!("UPDATE accounts SET v = v + 1 WHERE customer_id = {}", keys[at]);
    // The second statement is the one that no shard could see whole.
    for (first, second) in [
        (write(0), write(1)),
        (read(0), write(1)),
        (write(0), read(1)),
        (write(0), SUM.to_owned()),
        (SUM.to_owned(), write(0)),
        (read(0), "UPDATE accounts SET v = 1".to_owned()),
    ] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL SERIALIZABLE; {first}")).await.unwrap();
        let error = client.batch_execute(&second).await.unwrap_err();
        assert_eq!(code(&error), "0A000", "{first}; {second}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    for fine in [vec![write(1), read(1)], vec![read(0), read(1), SUM.to_owned()]] {
        let script = format!("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; {}; COMMIT", fine.join(";"));
        client.batch_execute(&script).await.unwrap();
    }
    client.batch_execute("SET default_transaction_isolation = 'serializable'").await.unwrap();
    let error = client.batch_execute("UPDATE accounts SET v = 5").await.unwrap_err();
    assert_eq!(code(&error), "0A000");
    client.batch_execute("CREATE TABLE made_in_serializable (customer_id int8)").await.unwrap();
    client.batch_execute("SET pgbraid.serializable = per_shard; UPDATE accounts SET v = 5").await.unwrap();
    assert_eq!(value(&client, SUM).await, 10);
}
