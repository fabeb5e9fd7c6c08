//! Writers of reference tables that meet: all shards hold the same rows afterwards, those of some order of the writers.

use std::time::Duration;

use tokio_postgres::Client;

use crate::support::{Cluster, Setup};
use crate::{code, eventually, on_shard};

const CONFIG: &str = "[tables.ref]\nkind = \"reference\"\n";

/// Runs a statement by itself, in the simple protocol or the extended one.
fn run(client: Client, statement: &'static str, extended: bool) -> tokio::task::JoinHandle<Client> {
    tokio::spawn(async move {
        if extended {
            client.execute(statement, &[]).await.unwrap();
        } else {
            client.batch_execute(statement).await.unwrap();
        }
        client
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_a_reference_table_see_the_same_rows_on_every_shard() {
    let cluster = Cluster::with(Setup { shards: 2, config: CONFIG, ..Setup::default() });
    let client = cluster.connect().await;
    client.batch_execute("CREATE TABLE ref (id int8 PRIMARY KEY, v int8)").await.unwrap();
    for extended in [false, true] {
        for second in [
            "UPDATE ref SET v = (SELECT max(id) FROM ref) WHERE id = 1",
            "UPDATE ref SET v = 100",
            "INSERT INTO ref SELECT max(id) + 1, 7 FROM ref",
            "INSERT INTO ref VALUES (1, 0) ON CONFLICT (id) DO UPDATE SET v = (SELECT max(id) FROM ref)",
        ] {
            client.batch_execute("DELETE FROM ref; INSERT INTO ref VALUES (1, 1), (2, 2), (3, 3)").await.unwrap();
            let holder = cluster.connect().await;
            holder.batch_execute("BEGIN; UPDATE ref SET v = v WHERE id = 1").await.unwrap();
            let writer = run(cluster.connect().await, second, extended);
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
            let waiting = async || on_shard(&cluster, 0, waits).await + on_shard(&cluster, 1, waits).await > 0;
            eventually("the writer waits", Duration::from_secs(60), waiting).await;
            let other = run(cluster.connect().await, "INSERT INTO ref VALUES (99, 0)", extended);
            tokio::time::sleep(Duration::from_millis(200)).await;
            holder.batch_execute("COMMIT").await.unwrap();
            writer.await.unwrap();
            other.await.unwrap();
            let rows = "SELECT sum(id * 1000 + v)::int8 FROM ref";
            let (one, two) = (on_shard(&cluster, 0, rows).await, on_shard(&cluster, 1, rows).await);
            assert_eq!(one, two, "{second} extended: {extended}");
        }
    }
}

/// What is left of a turn that did not come is in the way of nobody.
#[tokio::test]
async fn a_turn_that_did_not_come_leaves_nothing_behind_on_its_servers() {
    let config = format!("{CONFIG}[pool]\nmax = 2\n");
    let cluster = Cluster::with(Setup { shards: 2, config: &config, ..Setup::default() });
    let (holder, waiter) = (cluster.connect().await, cluster.connect().await);
    holder
        .batch_execute("CREATE TABLE ref (id int8 PRIMARY KEY, v int8); INSERT INTO ref VALUES (1, 1)")
        .await
        .unwrap();
    holder.batch_execute("BEGIN; UPDATE ref SET v = v WHERE id = 1").await.unwrap();
    waiter.batch_execute("SET lock_timeout = '200ms'").await.unwrap();
    let update = "UPDATE ref SET v = v + 1 WHERE id = 1";
    let refused = waiter.execute(update, &[]).await.unwrap_err();
    assert_eq!(code(&refused), "55P03");
    waiter.batch_execute("RESET lock_timeout").await.unwrap();
    holder.batch_execute("ROLLBACK").await.unwrap();
    // Between them they have all servers of the first shard.
    holder.batch_execute("BEGIN").await.unwrap();
    holder.execute(update, &[]).await.unwrap();
    let second = run(waiter, update, true);
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    eventually("the other waits", Duration::from_secs(60), async || on_shard(&cluster, 0, waits).await > 0).await;
    holder.batch_execute("COMMIT").await.unwrap();
    second.await.unwrap();
    assert_eq!(on_shard(&cluster, 0, "SELECT v FROM ref").await, 3);
}

/// It would write between what another one sees on one shard and on the next.
#[tokio::test]
async fn a_writer_with_a_snapshot_waits_for_its_turn_too() {
    let cluster = Cluster::with(Setup { shards: 2, config: CONFIG, ..Setup::default() });
    let (holder, other) = (cluster.connect().await, cluster.connect().await);
    holder
        .batch_execute("CREATE TABLE ref (id int8 PRIMARY KEY, v int8); INSERT INTO ref VALUES (1, 1)")
        .await
        .unwrap();
    holder.batch_execute("BEGIN; UPDATE ref SET v = v WHERE id = 1").await.unwrap();
    other.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ref").await.unwrap();
    let writer = run(other, "INSERT INTO ref VALUES (2, 2)", false);
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'";
    eventually("it waits", Duration::from_secs(60), async || on_shard(&cluster, 0, waits).await > 0).await;
    holder.batch_execute("COMMIT").await.unwrap();
    writer.await.unwrap().batch_execute("COMMIT").await.unwrap();
    assert_eq!(on_shard(&cluster, 1, "SELECT count(*) FROM ref").await, 2);
}
