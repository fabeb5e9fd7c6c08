//! What goes wrong in real life, by hazard, against the real program and real servers.
//!
//! Each test says what its client, and everyone else, must see. Waiting is always for something to become true, with a limit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "wire/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "wire/login.rs"]
#[allow(dead_code)]
mod login;
mod support;

#[path = "faults/beside.rs"]
mod beside;
#[path = "faults/blocks.rs"]
mod blocks;
#[path = "faults/bounds.rs"]
mod bounds;
#[path = "faults/cancelled.rs"]
mod cancelled;
#[path = "faults/elsewhere.rs"]
mod elsewhere;
#[path = "faults/explain.rs"]
mod explain;
#[path = "faults/labels.rs"]
mod labels;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/long_bind.rs"]
mod long_bind;
#[path = "faults/lying.rs"]
mod lying;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/multiplexed.rs"]
mod multiplexed;
#[path = "faults/one_row.rs"]
mod one_row;
#[path = "faults/order.rs"]
mod order;
#[path = "faults/queue.rs"]
mod queue;
#[path = "faults/serve.rs"]
mod serve;
#[path = "faults/shards.rs"]
mod shards;
#[path = "faults/signals.rs"]
mod signals;
#[path = "faults/vanished.rs"]
mod vanished;

use std::time::{Duration, Instant};

use client::{Client, Login};
use shardmap::{BUCKETS, Key};
use support::{Cluster, Setup};

/// A cluster of two shards with a table `rows (customer_id, id, v)`.
struct Stage {
    cluster: Cluster,
}

impl Stage {
    fn new(config: &str) -> Stage {
        let stage = Stage { cluster: Cluster::with(Setup { shards: 2, config, ..Setup::default() }) };
        stage.client().run("CREATE TABLE rows (customer_id int8, id int8, v text, PRIMARY KEY (customer_id, id))");
        stage
    }

    fn login(&self) -> Login {
        login::of(self.cluster.url())
    }

    fn client(&self) -> Client {
        Client::connect(&self.login()).unwrap()
    }

    /// Around the gateway, as a superuser.
    fn shard(&self, shard: usize) -> Client {
        Client::connect(&login::of(self.cluster.shard_url(shard))).unwrap()
    }

    /// How many statements of the application run on a shard right now, waiting as `event` says.
    fn waiting(&self, shard: usize, event: &str) -> usize {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = '{event}'");
        self.shard(shard).value(&sql).parse().unwrap()
    }
}

/// A key that lives on a shard of two.
fn key_on(shard: u16) -> i64 {
    (1..).find(|key| Key::Integer(*key).bucket().0 / (BUCKETS / 2) == shard).unwrap()
}

/// Looks again and again until it is so.
fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < Duration::from_secs(60), "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
