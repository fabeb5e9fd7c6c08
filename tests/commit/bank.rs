//! The bank: clients of two gateways move money between shards, others sum it up, and somebody kills servers all the time.
//!
//! Under REPEATABLE READ, and with `pgbraid.snapshot_reads`, every sum is exact. Under READ COMMITTED a sum may see one half of a transfer; only the end is exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::support::{Cluster, Gateway};
use crate::{accounts, eventually, keys_on, on_shard, prepared};

const SHARDS: u16 = 3;
const ACCOUNTS_PER_SHARD: usize = 8;
const BALANCE: i64 = 100;
const CLIENTS: u64 = 8;

/// Kills in a run without `COMMIT_ROUNDS`.
const KILLS: u64 = 8;

/// What happened, so that a run in which nothing did is noticed.
#[derive(Default)]
struct Counts {
    over: AtomicBool,
    transfers: AtomicU64,
    sums: AtomicU64,
}

/// A small generator: which accounts and whom to kill must differ, not be unpredictable. *Source*: Knuth, MMIX.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Connects unless the gateway or a shard is down this moment.
async fn try_connect(url: &str) -> Option<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

async fn transfer(urls: Arc<[String]>, keys: Arc<[i64]>, number: u64, counts: Arc<Counts>) {
    let mut dice = Dice(number);
    let url = &urls[usize::try_from(number).unwrap() % urls.len()];
    while !counts.over.load(Ordering::Relaxed) {
        let Some(client) = try_connect(url).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !counts.over.load(Ordering::Relaxed) {
            let (from, to) = (keys[dice.roll(keys.len())], keys[dice.roll(keys.len())]);
            // In the order of their keys, or two of them could wait for each other.
            let (low, high) = (from.min(to), from.max(to));
            let sign = if from == low { -1 } else { 1 };
            let script = format!(
                "BEGIN; UPDATE accounts SET v = v + {} WHERE customer_id = {low};
                 UPDATE accounts SET v = v + {} WHERE customer_id = {high}; COMMIT",
                sign * 7,
                sign * -7
            );
            if client.batch_execute(&script).await.is_ok() {
                counts.transfers.fetch_add(1, Ordering::Relaxed);
            } else if client.is_closed() || client.batch_execute("ROLLBACK").await.is_err() {
                break;
            }
        }
    }
}

/// Sums up under one snapshot, shard by shard.
async fn sum(urls: Arc<[String]>, per_shard: Arc<[Vec<i64>]>, number: usize, counts: Arc<Counts>) {
    let url = &urls[number % urls.len()];
    while !counts.over.load(Ordering::Relaxed) {
        let Some(client) = try_connect(url).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !counts.over.load(Ordering::Relaxed) {
            let summed = if number < 2 { sum_once(&client, &per_shard).await } else { sum_at_once(&client).await };
            match summed {
                Ok(sum) => {
                    let expected = BALANCE * i64::try_from(ACCOUNTS_PER_SHARD).unwrap() * i64::from(SHARDS);
                    assert_eq!(sum, expected, "a snapshot shows half of a transfer");
                    counts.sums.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) if client.is_closed() || client.batch_execute("ROLLBACK").await.is_err() => break,
                Err(_) => {}
            }
        }
    }
}

async fn sum_once(client: &Client, per_shard: &[Vec<i64>]) -> Result<i64, tokio_postgres::Error> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    let mut sum = 0;
    for keys in per_shard {
        for key in keys {
            let query = format!("SELECT v FROM accounts WHERE customer_id = {key}");
            sum += client.query_one(&query, &[]).await?.get::<_, i64>(0);
        }
    }
    client.batch_execute("COMMIT").await?;
    Ok(sum)
}

/// By one statement, under READ COMMITTED.
async fn sum_at_once(client: &Client) -> Result<i64, tokio_postgres::Error> {
    client.batch_execute("SET pgbraid.snapshot_reads = on").await?;
    Ok(client.query_one("SELECT sum(v)::int8 FROM accounts", &[]).await?.get(0))
}

fn rounds() -> u64 {
    std::env::var("COMMIT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_money_is_made_or_lost_whoever_is_killed_and_every_snapshot_adds_up() {
    let cluster = Cluster::start(SHARDS);
    accounts(&cluster).await;
    let per_shard: Vec<Vec<i64>> =
        (0..SHARDS).map(|shard| keys_on(shard, SHARDS).take(ACCOUNTS_PER_SHARD).collect()).collect();
    let client = cluster.connect().await;
    for key in per_shard.iter().flatten() {
        client.batch_execute(&format!("INSERT INTO accounts VALUES ({key}, {BALANCE})")).await.unwrap();
    }
    let mut gateway = Gateway::start(&cluster);
    let urls: Arc<[String]> = [cluster.url().to_owned(), gateway.url().to_owned()].into();
    let keys: Arc<[i64]> = per_shard.iter().flatten().copied().collect();
    let (per_shard, counts) = (Arc::<[Vec<i64>]>::from(per_shard), Arc::<Counts>::default());
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn(transfer(urls.clone(), keys.clone(), number, counts.clone()));
    }
    for number in 0..4 {
        tasks.spawn(sum(urls.clone(), per_shard.clone(), number, counts.clone()));
    }
    let mut dice = Dice(std::env::var("COMMIT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1));
    for _ in 0..rounds() {
        tokio::time::sleep(Duration::from_millis(u64::try_from(200 + dice.roll(300)).unwrap())).await;
        let shard = dice.roll(usize::from(SHARDS));
        match dice.roll(3) {
            0 => gateway.kill9(),
            1 => cluster.kill_shard(shard),
            _ => {
                gateway.kill9();
                cluster.kill_shard(shard);
            }
        }
        if cluster_is_missing(&cluster, shard).await {
            cluster.start_shard(shard);
        }
        gateway.restart_if_killed();
    }
    let before = counts.sums.load(Ordering::Relaxed);
    eventually("sums are taken again", Duration::from_secs(60), async || counts.sums.load(Ordering::Relaxed) > before)
        .await;
    counts.over.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    eventually("nothing is prepared", Duration::from_secs(60), async || prepared(&cluster).await == 0).await;
    let mut total = 0;
    for shard in 0..usize::from(SHARDS) {
        total += on_shard(&cluster, shard, "SELECT coalesce(sum(v), 0)::int8 FROM accounts").await;
    }
    assert_eq!(total, BALANCE * i64::try_from(keys.len()).unwrap());
    assert!(counts.transfers.load(Ordering::Relaxed) > 0, "nothing was transferred");
    eprintln!("{} transfers, {} sums", counts.transfers.load(Ordering::Relaxed), counts.sums.load(Ordering::Relaxed));
}

async fn cluster_is_missing(cluster: &Cluster, shard: usize) -> bool {
    tokio_postgres::connect(cluster.shard_url(shard), NoTls).await.is_err()
}
