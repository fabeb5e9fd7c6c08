//! What blocks do over two shards that one Postgres does by itself.

use std::time::Duration;

use crate::support::{Cluster, Gateway, connect};
use crate::{accounts, code, eventually, keys_on, on_shard, prepared, value};

async fn stage() -> (Cluster, Vec<i64>, Vec<i64>) {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    (cluster, keys_on(0, 2).take(4).collect(), keys_on(1, 2).take(4).collect())
}

fn insert(key: i64) -> String {
    format!("INSERT INTO accounts VALUES ({key}, 1)")
}

async fn counts(cluster: &Cluster) -> (i64, i64) {
    let query = "SELECT count(*) FROM accounts";
    (on_shard(cluster, 0, query).await, on_shard(cluster, 1, query).await)
}

#[tokio::test]
async fn a_shard_that_enlists_behind_a_savepoint_goes_back_to_it_with_the_others() {
    let (cluster, here, there) = stage().await;
    let client = cluster.connect().await;
    let script = [
        "BEGIN".to_owned(),
        insert(here[0]),
        "SAVEPOINT one".to_owned(),
        insert(there[0]),
        "SAVEPOINT two".to_owned(),
        insert(here[1]),
        insert(there[1]),
        "ROLLBACK TO two".to_owned(),
        insert(there[2]),
        "RELEASE two".to_owned(),
    ];
    client.batch_execute(&script.join(";")).await.unwrap();
    // An error, too, is undone on the shard that had it, and on the other.
    client.batch_execute(&format!("SAVEPOINT three; {}", insert(here[2]))).await.unwrap();
    assert_eq!(code(&client.batch_execute(&insert(there[0])).await.unwrap_err()), "23505");
    client.batch_execute("ROLLBACK TO three; COMMIT").await.unwrap();
    assert_eq!(counts(&cluster).await, (1, 2));
    // Back before the other shard took part at all.
    let script = ["BEGIN".to_owned(), insert(here[3]), "SAVEPOINT s".to_owned(), insert(there[3])];
    client.batch_execute(&format!("{}; ROLLBACK TO s; COMMIT", script.join(";"))).await.unwrap();
    assert_eq!((counts(&cluster).await, prepared(&cluster).await), ((2, 2), 0));
}

#[tokio::test]
async fn rows_that_cannot_be_stored_cost_the_block_nothing_from_before_its_savepoint() {
    let (cluster, here, there) = stage().await;
    let client = cluster.connect().await;
    let rows = "INSERT INTO accounts SELECT 1000000 + n, 1 FROM generate_series(1, 50000) n";
    client.batch_execute(rows).await.unwrap();
    client.batch_execute(&format!("BEGIN; {}; {}; SAVEPOINT s", insert(here[0]), insert(there[0]))).await.unwrap();
    // Found long before the last row has come.
    let keyless = "INSERT INTO accounts SELECT CASE WHEN v = 1 THEN NULL ELSE 2 * customer_id END, 1 FROM accounts";
    assert_eq!(code(&client.batch_execute(keyless).await.unwrap_err()), "23502");
    client.batch_execute("ROLLBACK TO s; COMMIT").await.unwrap();
    let kept = format!("SELECT count(*) FROM accounts WHERE customer_id IN ({}, {})", here[0], there[0]);
    assert_eq!((on_shard(&cluster, 0, &kept).await, on_shard(&cluster, 1, &kept).await), (1, 1));
}

#[tokio::test]
async fn a_read_only_block_reads_everywhere_and_writes_nowhere() {
    let (cluster, here, there) = stage().await;
    let client = cluster.connect().await;
    for begin in
        ["BEGIN READ ONLY", "BEGIN; SET TRANSACTION READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"]
    {
        for key in [here[0], there[0]] {
            client.batch_execute(begin).await.unwrap();
            assert_eq!(value(&client, "SELECT count(*) FROM accounts").await, 0);
            assert_eq!(code(&client.batch_execute(&insert(key)).await.unwrap_err()), "25006", "{begin}");
            client.batch_execute("ROLLBACK").await.unwrap();
        }
    }
    assert_eq!(counts(&cluster).await, (0, 0));
}

#[tokio::test]
async fn a_block_that_idles_too_long_on_one_of_two_shards_is_rolled_back_on_both() {
    let (cluster, here, there) = stage().await;
    let client = cluster.connect().await;
    client.batch_execute(&format!("BEGIN; {}; {}", insert(here[0]), insert(there[0]))).await.unwrap();
    // What the time-out does, on the one shard.
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE state = 'idle in transaction'";
    assert_eq!(on_shard(&cluster, 1, ended).await, 1);
    let error = client.batch_execute("COMMIT").await.unwrap_err();
    assert!(code(&error).starts_with("08") || code(&error).starts_with("57P"), "{error:?}");
    assert_eq!((counts(&cluster).await, prepared(&cluster).await), ((0, 0), 0));

    let client = cluster.connect().await;
    client.batch_execute("SET idle_in_transaction_session_timeout = '100ms'").await.unwrap();
    client.batch_execute(&format!("BEGIN; {}; {}", insert(here[0]), insert(there[0]))).await.unwrap();
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
    let gone = async || on_shard(&cluster, 0, idle).await + on_shard(&cluster, 1, idle).await == 0;
    eventually("the servers have given up", Duration::from_secs(60), gone).await;
    client.batch_execute("COMMIT").await.unwrap_err();
    assert_eq!((counts(&cluster).await, prepared(&cluster).await), ((0, 0), 0));
}

#[tokio::test]
async fn a_shard_that_prepares_nothing_takes_part_in_no_write_over_several() {
    let (cluster, here, there) = stage().await;
    let shard = cluster.connect_shard(1).await;
    shard.batch_execute("ALTER SYSTEM SET max_prepared_transactions = 0").await.unwrap();
    // So that none of those before is recovered.
    shard.batch_execute("CHECKPOINT").await.unwrap();
    cluster.kill_shard(1);
    cluster.start_shard(1);
    let gateway = Gateway::start(&cluster);
    let client = gateway.connect().await;
    for script in [
        format!("BEGIN; {}; {}", insert(here[0]), insert(there[0])),
        format!("BEGIN; {}; {}", insert(there[0]), insert(here[0])),
        format!("INSERT INTO accounts VALUES ({}, 1), ({}, 1)", here[0], there[0]),
        "UPDATE accounts SET v = 2".to_owned(),
        "CREATE TABLE more (customer_id int8)".to_owned(),
    ] {
        let error = client.batch_execute(&script).await.unwrap_err();
        let hint = error.as_db_error().unwrap().hint().unwrap_or_default();
        assert_eq!(code(&error), "55000", "{script}");
        assert!(hint.contains("max_prepared_transactions"), "{hint}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    for key in [here[0], there[0]] {
        client.batch_execute(&format!("BEGIN; {}; COMMIT", insert(key))).await.unwrap();
        client.batch_execute(&format!("UPDATE accounts SET v = 3 WHERE customer_id = {key}")).await.unwrap();
    }
    assert_eq!((value(&client, "SELECT sum(v)::int8 FROM accounts").await, counts(&cluster).await), (6, (1, 1)));
}

#[tokio::test]
async fn clients_cannot_prepare_transactions_themselves() {
    let (cluster, here, _) = stage().await;
    let client = cluster.connect().await;
    client.batch_execute(&format!("BEGIN; {}", insert(here[0]))).await.unwrap();
    assert_eq!(code(&client.batch_execute("PREPARE TRANSACTION 'mine'").await.unwrap_err()), "0A000");
    // As one that PostgreSQL cannot prepare, it ends the block.
    client.batch_execute(&insert(here[1])).await.unwrap();
    assert_eq!(value(&client, "SELECT count(*) FROM accounts").await, 1);
    client.batch_execute("DELETE FROM accounts").await.unwrap();
    client.batch_execute(&format!("BEGIN; {}", insert(here[0]))).await.unwrap();
    assert_eq!(code(&client.batch_execute("SELECT 1 / 0").await.unwrap_err()), "22012");
    client.batch_execute("PREPARE TRANSACTION 'mine'").await.unwrap();
    // PostgreSQL prepares what a script has done, too.
    let script = format!("{}; PREPARE TRANSACTION 'mine'", insert(here[0]));
    assert_eq!(code(&client.batch_execute(&script).await.unwrap_err()), "0A000");
    assert_eq!(value(&client, "SELECT count(*) FROM accounts").await, 0);
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(code(&client.execute("PREPARE TRANSACTION 'mine'", &[]).await.unwrap_err()), "0A000");
    client.execute("SELECT 1", &[]).await.unwrap();
    assert_eq!(code(&client.batch_execute("COMMIT PREPARED 'mine'").await.unwrap_err()), "0A000");
    assert_eq!((counts(&cluster).await, prepared(&cluster).await), ((0, 0), 0));
}

#[tokio::test]
async fn shards_commit_as_one_in_databases_that_were_made_later() {
    let (cluster, here, there) = stage().await;
    cluster.connect().await.batch_execute("CREATE DATABASE other").await.unwrap();
    let client = connect(&cluster.url().replace("/shop", "/other")).await;
    client.batch_execute("CREATE TABLE accounts (customer_id int8 PRIMARY KEY, v int8 NOT NULL)").await.unwrap();
    client.batch_execute(&format!("INSERT INTO accounts VALUES ({}, 1), ({}, 2)", here[0], there[0])).await.unwrap();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    assert_eq!(value(&client, "SELECT sum(v)::int8 FROM accounts").await, 3);
    client.batch_execute("COMMIT; SET pgbraid.snapshot_reads = on").await.unwrap();
    assert_eq!(value(&client, "SELECT sum(v)::int8 FROM accounts").await, 3);
    let other = connect(&cluster.shard_url(0).replace("/shop", "/other")).await;
    assert!(value(&other, "SELECT count(*) FROM pgbraid.decision WHERE committed").await > 0);
    assert_eq!(counts(&cluster).await, (0, 0));
}

#[tokio::test]
async fn databases_that_no_client_uses_are_copied_and_renamed() {
    let (cluster, here, there) = stage().await;
    let client = cluster.connect().await;
    client.batch_execute("CREATE DATABASE first").await.unwrap();
    let url = |name: &str| cluster.url().replace("/shop", name);
    let other = connect(&url("/first")).await;
    other.batch_execute("CREATE TABLE accounts (customer_id int8 PRIMARY KEY, v int8 NOT NULL)").await.unwrap();
    other.batch_execute(&format!("INSERT INTO accounts VALUES ({}, 1), ({}, 2)", here[0], there[0])).await.unwrap();
    drop(other);
    // The gateway may hear a little later that the client is gone; PostgreSQL waits five seconds for it.
    let copy = "CREATE DATABASE second TEMPLATE first";
    if client.batch_execute(copy).await.is_err() {
        client.batch_execute(copy).await.unwrap();
    }
    client.batch_execute("ALTER DATABASE first RENAME TO third").await.unwrap();
    for name in ["/second", "/third"] {
        assert_eq!(value(&connect(&url(name)).await, "SELECT sum(v)::int8 FROM accounts").await, 3);
    }
}

#[tokio::test]
async fn databases_of_a_name_that_another_had_before_are_prepared_too() {
    let (cluster, here, there) = stage().await;
    let client = cluster.connect().await;
    let url = cluster.url().replace("/shop", "/again");
    let table = "CREATE TABLE accounts (customer_id int8 PRIMARY KEY, v int8 NOT NULL)";
    let write = format!("INSERT INTO accounts VALUES ({}, 1), ({}, 2)", here[0], there[0]);
    let drop_it = async || {
        // The gateway may hear a little later that the client is gone; PostgreSQL waits five seconds for it.
        if client.batch_execute("DROP DATABASE again").await.is_err() {
            client.batch_execute("DROP DATABASE again").await.unwrap();
        }
    };
    for ends in ["dropped", "renamed", "dropped beside the gateway"] {
        client.batch_execute("CREATE DATABASE again").await.unwrap();
        let other = connect(&url).await;
        other.batch_execute(table).await.unwrap();
        other.batch_execute(&write).await.unwrap();
        drop(other);
        match ends {
            "dropped" => drop_it().await,
            "renamed" => client.batch_execute("ALTER DATABASE again RENAME TO before").await.unwrap(),
            _ => {
                for shard in 0..2 {
                    let shard = cluster.connect_shard(shard).await;
                    shard.batch_execute("DROP DATABASE again WITH (FORCE)").await.unwrap();
                    shard.batch_execute("CREATE DATABASE again OWNER app").await.unwrap();
                }
            }
        }
    }
    let other = connect(&url).await;
    eventually("the gateway has a connection again", Duration::from_secs(30), async || {
        other.batch_execute("SELECT 1").await.is_ok()
    })
    .await;
    // Who comes before the gateway has seen it is told to repeat the transaction.
    let run = async |text: &str| match other.batch_execute(text).await {
        Err(error) if code(&error) == "40001" => other.batch_execute(text).await.unwrap(),
        result => result.unwrap(),
    };
    run(table).await;
    // What is lost in the middle is made again for the next transaction.
    for shard in 0..2 {
        let shard = connect(&cluster.shard_url(shard).replace("/shop", "/again")).await;
        shard.batch_execute("DROP SCHEMA pgbraid CASCADE").await.unwrap();
    }
    run(&write).await;
    run("DELETE FROM accounts").await;
    other.batch_execute(&write).await.unwrap();
}

#[tokio::test]
async fn databases_that_were_made_later_have_all_that_init_installs() {
    let (cluster, ..) = stage().await;
    cluster.connect().await.batch_execute("CREATE DATABASE later").await.unwrap();
    let client = connect(&cluster.url().replace("/shop", "/later")).await;
    client.batch_execute("CREATE TABLE t (customer_id int8, id bigserial)").await.unwrap();
    assert_eq!(value(&client, "SELECT setval('t_id_seq', 100)").await, 100);
    let insert = "INSERT INTO t SELECT n FROM generate_series(1, 20) n";
    client.batch_execute(insert).await.unwrap();
    assert_eq!(value(&client, "SELECT count(DISTINCT id) FROM t WHERE id > 100").await, 20);
    assert!(value(&client, "SELECT pgbraid.unique_id()").await > 0);
    assert_eq!(value(&client, "SELECT count(DISTINCT pgbraid.bucket(customer_id)) FROM t").await, 20);
    // One that an older release has prepared, and a gateway that has just started.
    for shard in 0..2 {
        let shard = connect(&cluster.shard_url(shard).replace("/shop", "/later")).await;
        shard.batch_execute("DROP FUNCTION pgbraid.setval, pgbraid.unique_id").await.unwrap();
    }
    let gateway = Gateway::start(&cluster);
    let client = connect(&gateway.url().replace("/shop", "/later")).await;
    assert_eq!(value(&client, "SELECT setval('t_id_seq', 1000000)").await, 1_000_000);
}
