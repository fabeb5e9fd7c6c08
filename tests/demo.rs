//! The `demo` command and the harness that other tests stand on, with the real program and real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::process::Command;

use support::{Cluster, Oracle, Setup, processes_of};

/// The first column of the first row, as a number.
async fn number(client: &tokio_postgres::Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_cluster_serves_and_leaves_nothing_behind() {
    let cluster = Cluster::start(2);
    let client = cluster.connect().await;
    assert_eq!(number(&client, "select 1::bigint").await, 1);
    let dir = cluster.dir().to_owned();
    assert_eq!(processes_of(&dir.join("s0")).len(), 1);
    assert_eq!(processes_of(&dir.join("s1")).len(), 1);
    // A client that is still there must not keep it.
    drop(cluster);
    assert!(!dir.exists());
}

#[tokio::test]
async fn two_clusters_run_side_by_side() {
    let (one, two) = (Cluster::start(1), Cluster::start(1));
    assert_ne!(one.port(), two.port());
    one.connect().await.batch_execute("create table only_here (a int)").await.unwrap();
    assert!(two.connect().await.batch_execute("table only_here").await.is_err());
}

#[test]
fn a_killed_cluster_leaves_nothing_behind() {
    let cluster = Cluster::start(1);
    cluster.kill9();
    // Dropping it waits until everything is gone.
}

#[tokio::test]
async fn a_shard_can_be_killed_and_comes_back_with_its_rows() {
    let cluster = Cluster::start(1);
    cluster
        .connect_shard(0)
        .await
        .batch_execute("create table kept (a int); insert into kept values (1)")
        .await
        .unwrap();
    cluster.kill_shard(0);
    assert!(tokio_postgres::connect(cluster.shard_url(0), tokio_postgres::NoTls).await.is_err());
    cluster.start_shard(0);
    assert_eq!(number(&cluster.connect_shard(0).await, "select count(*) from kept").await, 1);
}

#[tokio::test]
async fn replicas_follow_their_primary() {
    let cluster = Cluster::with(Setup { shards: 1, replicas: 1, ..Setup::default() });
    let primary = cluster.connect_shard(0).await;
    let followers = "select count(*) from pg_stat_replication where state = 'streaming'";
    while number(&primary, followers).await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(processes_of(&cluster.dir().join("s0/replica1")).len(), 1);
}

#[tokio::test]
async fn additions_to_the_configuration_are_in_it() {
    let cluster = Cluster::with(Setup { config: "[tables.lineitem]\nkey = \"l_orderkey\"\n", ..Setup::default() });
    let config: toml::Table = fs::read_to_string(cluster.config_path()).unwrap().parse().unwrap();
    assert_eq!(config["tables"]["lineitem"]["key"].as_str(), Some("l_orderkey"));
    assert_eq!(config["shard"].as_array().unwrap().len(), 2);
}

#[test]
fn a_directory_with_files_in_it_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_pgbraid"))
        .args(["demo", "--port", "0", "--http-port", "0", "--dir", env!("CARGO_MANIFEST_DIR")])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty"), "{output:?}");
    assert!(fs::exists(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap());
}

#[tokio::test]
async fn the_oracle_hands_out_fresh_databases() {
    let (one, two) = (Oracle::shared().database().await, Oracle::shared().database().await);
    one.connect().await.batch_execute("create table only_here (a int)").await.unwrap();
    assert!(two.connect().await.batch_execute("table only_here").await.is_err());
}

#[tokio::test]
async fn the_sample_data_arrives_whole_and_consistent() {
    let cluster = Cluster::with(Setup { shards: 2, sample: true, ..Setup::default() });
    let mut orders = 0;
    for shard in 0..cluster.shard_count() {
        let client = cluster.connect_shard(shard).await;
        let here = number(&client, "select count(*) from orders").await;
        assert!(here > 200_000, "shard {shard} has {here} orders");
        orders += here;
        assert_eq!(number(&client, "select count(*) from products").await, 2_000);
        let off =
            "select count(*) from orders join (select order_id, sum(quantity * unit_price) as items from order_items
                   group by order_id) i using (order_id) where total <> items";
        assert_eq!(number(&client, off).await, 0);
    }
    assert_eq!(orders, 500_000);
}
