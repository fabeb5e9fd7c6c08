//! The crash matrix: at every step of a commit, the gateway, a shard, or both are killed. Without `COMMIT_ROUNDS` shards are
//! killed only at the two steps between which everything is decided.

use std::time::Duration;

use crate::support::{Cluster, Gateway};
use crate::{accounts, code, eventually, keys_on, on_shard, prepared};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Gateway,
    DecisionShard,
    OtherShard,
    GatewayAndDecisionShard,
    GatewayAndOtherShard,
}

impl Victim {
    fn gateway(self) -> bool {
        matches!(self, Victim::Gateway | Victim::GatewayAndDecisionShard | Victim::GatewayAndOtherShard)
    }

    fn shard(self) -> Option<usize> {
        match self {
            Victim::Gateway => None,
            Victim::DecisionShard | Victim::GatewayAndDecisionShard => Some(0),
            Victim::OtherShard | Victim::GatewayAndOtherShard => Some(1),
        }
    }
}

const POINTS: [&str; 5] = ["asking", "preparing", "prepared", "decided", "finished"];
const VICTIMS: [Victim; 5] = [
    Victim::Gateway,
    Victim::DecisionShard,
    Victim::OtherShard,
    Victim::GatewayAndDecisionShard,
    Victim::GatewayAndOtherShard,
];

/// Nothing may be left prepared after so long.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_at_whatever_step_nothing_is_half_committed_or_left_behind() {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let mut gateway = Gateway::start(&cluster);
    let (mut here, mut there) = (keys_on(0, 2), keys_on(1, 2));
    let all = std::env::var_os("COMMIT_ROUNDS").is_some();
    for point in POINTS {
        // A gateway is killed in no time; a shard that is killed needs seconds to come back.
        let crucial = |victim: &Victim| victim.shard().is_none() || matches!(point, "prepared" | "decided");
        for victim in VICTIMS.into_iter().filter(|victim| all || crucial(victim)) {
            let keys = (here.next().unwrap(), there.next().unwrap());
            case(&cluster, &mut gateway, point, victim, keys).await;
        }
    }
}

async fn case(cluster: &Cluster, gateway: &mut Gateway, point: &str, victim: Victim, (a, b): (i64, i64)) {
    let what = format!("{victim:?} killed at {point}");
    let client = gateway.connect().await;
    gateway.pause_at(point);
    let script = format!("BEGIN; INSERT INTO accounts VALUES ({a}, 1); INSERT INTO accounts VALUES ({b}, 1); COMMIT");
    let commit = tokio::spawn(async move { client.batch_execute(&script).await });
    eventually(&what, Duration::from_secs(60), async || gateway.is_paused_at(point)).await;
    if victim.gateway() {
        gateway.kill9();
    }
    if let Some(shard) = victim.shard() {
        cluster.kill_shard(shard);
    }
    gateway.go_on();
    if let Some(shard) = victim.shard() {
        cluster.start_shard(shard);
    }
    if victim.gateway() {
        gateway.restart();
    }
    let told = commit.await.unwrap();
    eventually(&format!("{what}: nothing is prepared"), RECOVERY_MAX, async || prepared(cluster).await == 0).await;
    let count = |key| format!("SELECT count(*) FROM accounts WHERE customer_id = {key}");
    let kept = (on_shard(cluster, 0, &count(a)).await, on_shard(cluster, 1, &count(b)).await);
    assert_eq!(kept.0, kept.1, "{what}: half committed; the client was told {told:?}");
    match &told {
        Ok(()) => assert_eq!(kept.0, 1, "{what}: the client was told that it is committed"),
        Err(error) if code(error).is_empty() || code(error) == "08007" => {}
        Err(error) => assert_eq!(kept.0, 0, "{what}: the client was told that it is not committed: {error:?}"),
    }
    if !victim.gateway() {
        assert_ne!(told.as_ref().map_err(code), Err(String::new()), "{what}: the gateway lives and says nothing");
    }
    if point == "decided" || point == "finished" {
        assert_eq!(kept.0, 1, "{what}: it was decided");
    }
    // Locks are free: somebody else may have these keys.
    for (shard, key) in [(0, a), (1, b)] {
        let shard = cluster.connect_shard(shard).await;
        shard.batch_execute("SET lock_timeout = '2s'").await.unwrap();
        let insert = format!("INSERT INTO accounts VALUES ({key}, 2) ON CONFLICT (customer_id) DO UPDATE SET v = 2");
        shard.batch_execute(&insert).await.unwrap();
    }
}
