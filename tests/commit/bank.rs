//! The bank: clients of two gateways move money between shards, in every way there is, others sum it up, and somebody kills
//! servers and cuts connections all the time.
//!
//! Under REPEATABLE READ, and with `pgbraid.snapshot_reads`, every sum is exact. Under READ COMMITTED a sum may see one half of a transfer; only the end is exact.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::support::{Cluster, Gateway, Setup};
use crate::ways::{self, Unit};
use crate::wires::Wires;
use crate::{accounts, code, eventually, keys_on, on_shard, prepared};

const SHARDS: u16 = 3;
const ACCOUNTS_PER_SHARD: usize = 8;
const BALANCE: i64 = 100;
const CLIENTS: u64 = 8;

/// Kills in a run without `COMMIT_ROUNDS`.
const KILLS: u64 = 10;

/// After so many all stand still, and the books are looked at.
const KILLS_AT_ONCE: u64 = 25;

/// Whoever is waited for so long has hung. On an idle machine nothing is left after 5 s; a long run says how long it took.
const HUNG: Duration = Duration::from_secs(600);

/// What happened, so that a run in which nothing did is noticed.
#[derive(Default)]
struct Counts {
    over: AtomicBool,
    transfers: AtomicU64,
    sums: AtomicU64,
    /// Of units in the ledger.
    last: AtomicI64,
    /// What the clients were told of each unit.
    told: Mutex<BTreeMap<i64, (ways::Way, String)>>,
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

async fn transfer(urls: Arc<[String]>, keys: Arc<[Vec<i64>]>, number: u64, counts: Arc<Counts>) {
    let mut dice = Dice(number);
    let url = &urls[usize::try_from(number).unwrap() % urls.len()];
    while !counts.over.load(Ordering::Relaxed) {
        let Some(client) = try_connect(url).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !counts.over.load(Ordering::Relaxed) {
            let shard = dice.roll(keys.len());
            let other = (shard + 1 + dice.roll(keys.len() - 1)) % keys.len();
            let (one, other) = (keys[shard][dice.roll(keys[shard].len())], keys[other][dice.roll(keys[other].len())]);
            let moved = if dice.roll(2) == 0 {
                move_money(&client, one, other).await
            } else {
                let unit = Unit { id: counts.last.fetch_add(1, Ordering::Relaxed) + 1, one, other, amount: 5 };
                // Making tables takes its time, and all others'.
                let rare = usize::from(dice.roll(20) > 0);
                let way = ways::ALL[dice.roll(ways::ALL.len() - rare)];
                let done = unit.run(&client, way).await;
                let told = match &done {
                    // tokio-postgres is done with CommandComplete; the transaction ends with Sync, and it shows no error of that.
                    Ok(()) if way == ways::Way::Copy => String::new(),
                    Ok(()) => "committed".to_owned(),
                    Err(error) => code(error),
                };
                counts.told.lock().unwrap().insert(unit.id, (way, told));
                done
            };
            if moved.is_ok() {
                counts.transfers.fetch_add(1, Ordering::Relaxed);
            } else if client.is_closed() || client.batch_execute("ROLLBACK").await.is_err() {
                break;
            }
        }
    }
}

async fn move_money(client: &Client, from: i64, to: i64) -> Result<(), tokio_postgres::Error> {
    // In the order of their keys, or two of them could wait for each other.
    let (low, high) = (from.min(to), from.max(to));
    let sign = if from == low { -1 } else { 1 };
    let script = format!(
        "BEGIN; UPDATE accounts SET v = v + {} WHERE customer_id = {low};
         UPDATE accounts SET v = v + {} WHERE customer_id = {high}; COMMIT",
        sign * 7,
        sign * -7
    );
    client.batch_execute(&script).await
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
                Ok((sum, ledger)) => {
                    assert_eq!((sum, ledger), (total(), 0), "a snapshot shows half of a transfer");
                    counts.sums.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) if client.is_closed() || client.batch_execute("ROLLBACK").await.is_err() => break,
                Err(_) => {}
            }
        }
    }
}

fn total() -> i64 {
    BALANCE * i64::try_from(ACCOUNTS_PER_SHARD).unwrap() * i64::from(SHARDS)
}

const LEDGER: &str = "SELECT coalesce(sum(v), 0)::int8 FROM ledger";

async fn sum_once(client: &Client, per_shard: &[Vec<i64>]) -> Result<(i64, i64), tokio_postgres::Error> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    let mut sum = 0;
    for keys in per_shard {
        for key in keys {
            let query = format!("SELECT v FROM accounts WHERE customer_id = {key}");
            sum += client.query_one(&query, &[]).await?.get::<_, i64>(0);
        }
    }
    let ledger = client.query_one(LEDGER, &[]).await?.get(0);
    client.batch_execute("COMMIT").await?;
    Ok((sum, ledger))
}

/// By one statement, under READ COMMITTED.
async fn sum_at_once(client: &Client) -> Result<(i64, i64), tokio_postgres::Error> {
    client.batch_execute("SET pgbraid.snapshot_reads = on").await?;
    let sum = client.query_one("SELECT sum(v)::int8 FROM accounts", &[]).await?.get(0);
    Ok((sum, client.query_one(LEDGER, &[]).await?.get(0)))
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// All that is killed and cut.
struct Bank {
    gateway: Gateway,
    cluster: Cluster,
    /// From the gateway to the shards.
    to_shards: Wires,
    /// From clients to both gateways.
    to_gateways: Wires,
    keys: Arc<[Vec<i64>]>,
    dice: Dice,
    killed: BTreeMap<&'static str, u64>,
    sums: u64,
    transfers: u64,
    longest_left: Duration,
}

impl Bank {
    async fn open() -> Bank {
        let cluster = Cluster::with(Setup { shards: SHARDS, config: ways::CONFIG, ..Setup::default() });
        accounts(&cluster).await;
        let keys: Arc<[Vec<i64>]> =
            (0..SHARDS).map(|shard| keys_on(shard, SHARDS).take(ACCOUNTS_PER_SHARD).collect()).collect();
        let client = cluster.connect().await;
        client.batch_execute(ways::TABLES).await.unwrap();
        for key in keys.iter().flatten() {
            client.batch_execute(&format!("INSERT INTO accounts VALUES ({key}, {BALANCE})")).await.unwrap();
        }
        let port = |shard| cluster.shard_url(shard).parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
        let to_shards = Wires::to((0..usize::from(SHARDS)).map(port)).await;
        let gateway = Gateway::start_through(&cluster, to_shards.ports());
        let to_gateways = Wires::to([cluster.port(), gateway.port()]).await;
        let dice = Dice(setting("COMMIT_SEED").unwrap_or(1));
        let (killed, longest_left) = (BTreeMap::new(), Duration::ZERO);
        Bank { cluster, gateway, to_shards, to_gateways, keys, dice, killed, sums: 0, transfers: 0, longest_left }
    }

    /// Kills or cuts something, and starts it again.
    async fn kill(&mut self) {
        let shard = self.dice.roll(usize::from(SHARDS));
        let what = match self.dice.roll(8) {
            0..=2 => {
                self.gateway.kill9();
                "gateway"
            }
            3 => {
                self.cluster.kill_shard(shard);
                "shard"
            }
            4 => {
                self.gateway.kill9();
                self.cluster.kill_shard(shard);
                "both"
            }
            5 | 6 => {
                self.to_shards.cut(shard);
                "cut to a shard"
            }
            _ => {
                self.to_gateways.cut(shard % 2);
                "cut of clients"
            }
        };
        *self.killed.entry(what).or_default() += 1;
        if matches!(what, "shard" | "both") {
            self.cluster.start_shard(shard);
        }
        self.gateway.restart_if_killed();
    }

    /// Some kills while everybody is at work; then the books are looked at.
    async fn day(&mut self, kills: u64) {
        let url = |port: &u16| self.cluster.url().replace(&format!(":{}/", self.cluster.port()), &format!(":{port}/"));
        let urls: Arc<[String]> = self.to_gateways.ports().iter().map(url).collect();
        let counts = Arc::<Counts>::default();
        let mut tasks = JoinSet::new();
        for number in 0..CLIENTS {
            tasks.spawn(transfer(urls.clone(), self.keys.clone(), number + self.transfers, counts.clone()));
        }
        for number in 0..4 {
            tasks.spawn(sum(urls.clone(), self.keys.clone(), number, counts.clone()));
        }
        for _ in 0..kills {
            let pause = 30 + self.dice.roll(300);
            tokio::time::sleep(Duration::from_millis(u64::try_from(pause).unwrap())).await;
            self.kill().await;
        }
        let before = counts.sums.load(Ordering::Relaxed);
        let again = async || counts.sums.load(Ordering::Relaxed) > before;
        eventually("sums are taken again", HUNG, again).await;
        counts.over.store(true, Ordering::Relaxed);
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        self.look_at_the_books(&counts).await;
        self.sums += counts.sums.load(Ordering::Relaxed);
        self.transfers += counts.transfers.load(Ordering::Relaxed);
    }

    async fn look_at_the_books(&mut self, counts: &Counts) {
        let begun = Instant::now();
        eventually("nothing is prepared", HUNG, async || prepared(&self.cluster).await == 0).await;
        let held = "SELECT count(*) FROM pg_locks JOIN pg_class ON relation = pg_class.oid
            WHERE relname IN ('accounts', 'ledger', 'pending', 'rates') AND mode <> 'AccessShareLock' AND pid <> pg_backend_pid()
                AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = pg_locks.pid AND backend_type LIKE 'auto%')";
        for shard in 0..usize::from(SHARDS) {
            let free = async || on_shard(&self.cluster, shard, held).await == 0;
            eventually("nothing is locked", HUNG, free).await;
        }
        self.longest_left = self.longest_left.max(begun.elapsed());
        let (mut sum, mut rates, mut made) = (0, Vec::new(), Vec::new());
        let mut units: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for shard in 0..usize::from(SHARDS) {
            let tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'made_%'";
            made.push(on_shard(&self.cluster, shard, tables).await);
            rates.push(on_shard(&self.cluster, shard, "SELECT sum(v)::int8 FROM rates").await);
            sum += on_shard(&self.cluster, shard, "SELECT coalesce(sum(v), 0)::int8 FROM accounts").await;
            let client = self.cluster.connect_shard(shard).await;
            assert_eq!(crate::value(&client, "SELECT count(*) FROM pending").await, 0, "a writing CTE was cut in two");
            let query = "SELECT unit, count(*), sum(v)::int8 FROM ledger GROUP BY unit";
            for row in client.query(query, &[]).await.unwrap() {
                let unit = units.entry(row.get(0)).or_default();
                *unit = (unit.0 + row.get::<_, i64>(1), unit.1 + row.get::<_, i64>(2));
            }
        }
        assert_eq!(sum, total());
        assert!(rates.windows(2).all(|two| two[0] == two[1]), "a reference table differs: {rates:?}");
        assert!(made.windows(2).all(|two| two[0] == two[1]), "the shards' schemas differ: {made:?}");
        let told = std::mem::take(&mut *counts.told.lock().unwrap());
        for (id, (way, told)) in &told {
            let kept = units.remove(id);
            let whole = kept == Some((2, 0));
            assert!(whole || kept.is_none(), "{way:?} {id} is half committed: {kept:?}; the client was told {told:?}");
            // The connection was lost, or nobody has said, or the gateway says that it does not know.
            let unknown = told.is_empty() || told == "08007";
            assert!(
                unknown || whole == (told == "committed"),
                "{way:?} {id} is {kept:?}; the client was told {told:?}"
            );
        }
        assert!(units.values().all(|kept| *kept == (2, 0)), "half committed, and nobody was told: {units:?}");
        let client = self.cluster.connect().await;
        client.batch_execute("TRUNCATE ledger").await.unwrap();
        for id in told.keys().filter(|id| told[id].0 == ways::Way::TableAs) {
            client.batch_execute(&format!("DROP TABLE IF EXISTS made_{id}")).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_money_is_made_or_lost_whoever_is_killed_and_every_snapshot_adds_up() {
    let mut bank = Bank::open().await;
    let mut left = setting("COMMIT_ROUNDS").unwrap_or(KILLS);
    while left > 0 {
        let kills = left.min(KILLS_AT_ONCE);
        bank.day(kills).await;
        left -= kills;
        eprintln!(
            "{:?}: {} transfers, {} sums, at most {:?} until nothing was left",
            bank.killed, bank.transfers, bank.sums, bank.longest_left
        );
    }
    assert!(bank.transfers > 0, "nothing was transferred");
}
