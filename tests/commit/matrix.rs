//! The crash matrix: at every step of a commit, on every way to it, the gateway, a shard, or both are killed, or a connection is
//! cut. Without `COMMIT_ROUNDS` shards are killed only at the two steps between which everything is decided.

use std::time::Duration;

use crate::support::{Cluster, Gateway, Setup};
use crate::ways::{self, Unit, Way};
use crate::wires::Wires;
use crate::{accounts, code, eventually, keys_on, on_shard, prepared, value};

/// Who is killed, or which connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Gateway,
    DecisionShard,
    OtherShard,
    GatewayAndDecisionShard,
    GatewayAndOtherShard,
    Client,
    WireToDecisionShard,
    WireToOtherShard,
}

impl Victim {
    fn gateway(self) -> bool {
        matches!(self, Victim::Gateway | Victim::GatewayAndDecisionShard | Victim::GatewayAndOtherShard)
    }

    fn shard(self) -> Option<usize> {
        match self {
            Victim::Gateway | Victim::Client | Victim::WireToDecisionShard | Victim::WireToOtherShard => None,
            Victim::DecisionShard | Victim::GatewayAndDecisionShard => Some(0),
            Victim::OtherShard | Victim::GatewayAndOtherShard => Some(1),
        }
    }

    /// The wire that is cut: to the shards, and from the client.
    fn wire(self) -> Option<usize> {
        match self {
            Victim::WireToDecisionShard => Some(0),
            Victim::WireToOtherShard => Some(1),
            Victim::Client => Some(2),
            Victim::Gateway
            | Victim::DecisionShard
            | Victim::OtherShard
            | Victim::GatewayAndDecisionShard
            | Victim::GatewayAndOtherShard => None,
        }
    }
}

const POINTS: [&str; 5] = ["asking", "preparing", "prepared", "decided", "finished"];
const VICTIMS: [Victim; 8] = [
    Victim::Gateway,
    Victim::DecisionShard,
    Victim::OtherShard,
    Victim::GatewayAndDecisionShard,
    Victim::GatewayAndOtherShard,
    Victim::Client,
    Victim::WireToDecisionShard,
    Victim::WireToOtherShard,
];

/// Nothing may be left prepared after so long.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// Whoever waits so long for an answer would wait for ever.
const HUNG: Duration = Duration::from_secs(120);

/// Steps before the commit, on the ways that have them.
fn own_points(way: Way) -> &'static [&'static str] {
    match way {
        Way::KeyMove => &["moving"],
        Way::Gathered | Way::TableAs => &["putting", "copying"],
        Way::Copy => &["copying"],
        Way::Block
        | Way::ReadOnly
        | Way::Rows
        | Way::Parameters
        | Way::InsertSelect
        | Way::WritingCte
        | Way::Merge
        | Way::Reference => &[],
    }
}

/// Shards, gateways and the wires between them. The gateway goes first: the cluster waits until nobody uses its directory.
struct Stage {
    gateway: Gateway,
    cluster: Cluster,
    wires: Wires,
    entry: Wires,
}

impl Stage {
    async fn set() -> Stage {
        let cluster = Cluster::with(Setup { config: ways::CONFIG, ..Setup::default() });
        accounts(&cluster).await;
        let client = cluster.connect().await;
        client.batch_execute(ways::TABLES).await.unwrap();
        let port = |shard| cluster.shard_url(shard).parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
        let wires = Wires::to([port(0), port(1)]).await;
        let gateway = Gateway::start_through(&cluster, wires.ports());
        let entry = Wires::to([gateway.port()]).await;
        Stage { cluster, gateway, wires, entry }
    }

    fn url(&self) -> String {
        let port = |port: u16| format!(":{port}/");
        self.gateway.url().replace(&port(self.gateway.port()), &port(self.entry.ports()[0]))
    }

    fn strike(&mut self, victim: Victim) {
        if victim.gateway() {
            self.gateway.kill9();
        }
        if let Some(shard) = victim.shard() {
            self.cluster.kill_shard(shard);
        }
        match victim.wire() {
            Some(wire @ (0 | 1)) => self.wires.cut(wire),
            Some(_) => self.entry.cut(0),
            None => {}
        }
    }

    fn repair(&mut self, victim: Victim) {
        self.gateway.go_on();
        if let Some(shard) = victim.shard() {
            self.cluster.start_shard(shard);
        }
        if victim.gateway() {
            self.gateway.restart();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_at_whatever_step_nothing_is_half_committed_or_left_behind() {
    let mut stage = Stage::set().await;
    let (mut here, mut there) = (keys_on(0, 2), keys_on(1, 2));
    let all = std::env::var_os("COMMIT_ROUNDS").is_some();
    let mut id = 0;
    for way in ways::ALL {
        for point in POINTS.iter().chain(own_points(way)) {
            let own = own_points(way).contains(point);
            // A gateway is killed in no time; a shard that is killed needs seconds to come back.
            let crucial = |victim: &Victim| match way {
                Way::Block | Way::ReadOnly => victim.shard().is_none() || matches!(*point, "prepared" | "decided"),
                _ => own && matches!(victim, Victim::Gateway | Victim::WireToOtherShard),
            };
            for victim in VICTIMS.into_iter().filter(|victim| all || crucial(victim)) {
                id += 1;
                let unit = Unit { id, one: here.next().unwrap(), other: there.next().unwrap(), amount: 1 };
                case(&mut stage, way, point, victim, unit).await;
            }
        }
    }
    eprintln!("{id} cases");
}

async fn case(stage: &mut Stage, way: Way, point: &str, victim: Victim, unit: Unit) {
    let what = format!("{way:?}, {victim:?} at {point}");
    let accounts = format!("INSERT INTO accounts VALUES ({}, 1), ({}, 1)", unit.one, unit.other);
    stage.cluster.connect().await.batch_execute(&accounts).await.unwrap();
    let client = crate::support::connect(&stage.url()).await;
    stage.gateway.pause_at(point);
    let write = tokio::spawn(async move { unit.run(&client, way).await });
    eventually(&what, Duration::from_secs(60), async || stage.gateway.is_paused_at(point)).await;
    stage.strike(victim);
    stage.repair(victim);
    let Ok(told) = tokio::time::timeout(HUNG, write).await else { panic!("{what}: the client waits for ever") };
    let told = told.unwrap();
    let cluster = &stage.cluster;
    eventually(&format!("{what}: nothing is prepared"), RECOVERY_MAX, async || prepared(cluster).await == 0).await;
    // A client that is gone is not there to be told when all is over: what it has locked is.
    free(cluster, &what, &unit).await;
    let count = format!("SELECT count(*) FROM ledger WHERE unit = {}", unit.id);
    let kept = (on_shard(cluster, 0, &count).await, on_shard(cluster, 1, &count).await);
    assert_eq!(kept.0, kept.1, "{what}: half committed; the client was told {told:?}");
    match &told {
        Ok(()) => assert_eq!(kept.0, 1, "{what}: the client was told that it is committed"),
        Err(error) if code(error).is_empty() || code(error) == "08007" => {}
        Err(error) => assert_eq!(kept.0, 0, "{what}: the client was told that it is not committed: {error:?}"),
    }
    if !victim.gateway() && victim != Victim::Client {
        assert_ne!(told.as_ref().map_err(code), Err(String::new()), "{what}: the gateway lives and says nothing");
    }
    if point == "decided" || point == "finished" {
        assert_eq!(kept.0, 1, "{what}: it was decided");
    }
    let made = format!("SELECT count(*) FROM pg_class WHERE relname = 'made_{}'", unit.id);
    for query in ["SELECT sum(v)::int8 FROM rates", &made] {
        assert_eq!(on_shard(cluster, 0, query).await, on_shard(cluster, 1, query).await, "{what}: {query}");
    }
    for shard in 0..2 {
        assert_eq!(on_shard(cluster, shard, "SELECT count(*) FROM pending").await, 0, "{what}");
    }
}

/// The shards before it wait for a COPY's data then, and the merge server for its ROLLBACK.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_lost_as_rows_are_stored_ends_the_statement_wherever_they_are_merged() {
    let mut stage = Stage::set().await;
    for id in 1..=4 {
        let (one, other) = (keys_on(0, 2).nth(id).unwrap(), keys_on(1, 2).nth(id).unwrap());
        let unit = Unit { id: i64::try_from(id).unwrap(), one, other, amount: 1 };
        // Shards take turns, with sessions too.
        if id % 2 == 0 {
            stage.gateway.connect().await;
        }
        case(&mut stage, Way::Gathered, "putting", Victim::WireToOtherShard, unit).await;
    }
}

/// Locks are free: somebody else may have these keys.
async fn free(cluster: &Cluster, what: &str, unit: &Unit) {
    for (shard, key) in [(0, unit.one), (1, unit.other)] {
        let client = cluster.connect_shard(shard).await;
        client.batch_execute("SET lock_timeout = '30s'; BEGIN").await.unwrap();
        let insert = format!("INSERT INTO ledger VALUES ({key}, {}, 2) ON CONFLICT DO NOTHING", unit.id);
        let free = client.batch_execute(&format!("{insert}; LOCK TABLE rates; ROLLBACK")).await;
        assert!(free.is_ok(), "{what}: something is locked: {free:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_while_a_snapshot_is_taken_others_go_on() {
    let mut stage = Stage::set().await;
    let all = std::env::var_os("COMMIT_ROUNDS").is_some();
    let quick = |victim: &Victim| all || victim.shard().is_none();
    for (id, victim) in (1..).zip(VICTIMS.into_iter().filter(quick)) {
        let reader = crate::support::connect(&stage.url()).await;
        stage.gateway.pause_at("holding");
        let query = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT v FROM accounts";
        let read = tokio::spawn(async move { reader.batch_execute(query).await });
        let what = format!("{victim:?} at holding");
        eventually(&what, Duration::from_secs(60), async || stage.gateway.is_paused_at("holding")).await;
        stage.strike(victim);
        stage.repair(victim);
        let told = read.await.unwrap();
        assert!(
            told.as_ref().err().is_none_or(|error| victim.gateway()
                || victim == Victim::Client
                || code(error).starts_with("08")
                || code(error).starts_with("57P")),
            "{what}: {told:?}"
        );
        // Who commits on two shards waits for whoever takes a snapshot.
        let unit = Unit { id, one: keys_on(0, 2).next().unwrap(), other: keys_on(1, 2).next().unwrap(), amount: 1 };
        let client = stage.cluster.connect().await;
        client.batch_execute("SET statement_timeout = '30s'").await.unwrap();
        unit.run(&client, Way::Rows).await.unwrap();
        assert_eq!(value(&client, &format!("SELECT count(*) FROM ledger WHERE unit = {id}")).await, 2, "{what}");
    }
}
