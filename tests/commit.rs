//! Several shards commit as one: whatever fails, whenever it is killed, on all or on none.
//!
//! `COMMIT_ROUNDS=1000 cargo test --test commit` runs the whole crash matrix and kills a thousand times at random.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "commit/bank.rs"]
mod bank;
#[path = "commit/basics.rs"]
mod basics;
#[path = "commit/blocks.rs"]
mod blocks;
#[path = "commit/deadlock.rs"]
mod deadlock;
#[path = "commit/isolation.rs"]
mod isolation;
#[path = "commit/left.rs"]
mod left;
#[path = "commit/matrix.rs"]
mod matrix;
#[path = "commit/moment.rs"]
mod moment;
#[path = "commit/rights.rs"]
mod rights;
#[path = "commit/snapshot.rs"]
mod snapshot;
#[path = "commit/turns.rs"]
mod turns;
#[path = "commit/ways.rs"]
mod ways;
#[path = "commit/wires.rs"]
mod wires;

use std::time::{Duration, Instant};

use shardmap::{BUCKETS, Key};
use support::Cluster;
use tokio_postgres::Client;

/// Keys that live on a shard of so many.
fn keys_on(shard: u16, of: u16) -> impl Iterator<Item = i64> {
    (1..).filter(move |key| Key::Integer(*key).bucket().0 / (BUCKETS / of) == shard)
}

/// A table `accounts` with rows that every test may have some of, `v` being 0.
async fn accounts(cluster: &Cluster) {
    let client = cluster.connect().await;
    client.batch_execute("CREATE TABLE accounts (customer_id int8 PRIMARY KEY, v int8 NOT NULL)").await.unwrap();
}

/// What a shard says itself.
async fn on_shard(cluster: &Cluster, shard: usize, query: &str) -> i64 {
    cluster.connect_shard(shard).await.query_one(query, &[]).await.unwrap().get(0)
}

/// Transactions prepared anywhere.
async fn prepared(cluster: &Cluster) -> i64 {
    let mut sum = 0;
    for shard in 0..cluster.shard_count() {
        sum += on_shard(cluster, shard, "SELECT count(*) FROM pg_prepared_xacts").await;
    }
    sum
}

/// Asks again and again until it is so.
async fn eventually(what: &str, within: Duration, mut check: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !check().await {
        assert!(begun.elapsed() < within, "in vain waited until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn value(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

fn code(error: &tokio_postgres::Error) -> String {
    error.code().map(|code| code.code().to_owned()).unwrap_or_default()
}
