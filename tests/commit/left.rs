//! What is left in doubt is shown, counted, finished and cleaned up.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::Duration;

use crate::support::{Cluster, Gateway, program};
use crate::{accounts, eventually, keys_on, on_shard, prepared};

/// `pgbraid status`: whether all is well, and what it says.
fn status(cluster: &Cluster) -> (bool, String) {
    let mut command = Command::new(program());
    let output = command.args(["status", "--config"]).arg(cluster.config_path()).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// What a gateway says over HTTP.
fn http(gateway: &Gateway, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(gateway.http()).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A value that a gateway counts.
fn metric(gateway: &Gateway, name: &str) -> Option<f64> {
    let text = http(gateway, "/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_in_doubt_is_shown_with_its_age_and_counted_until_it_is_finished() {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let (well, text) = status(&cluster);
    assert_eq!((well, text.as_str()), (true, "s0: no transaction is in doubt\ns1: no transaction is in doubt\n"));
    let (a, b) = (keys_on(0, 2).next().unwrap(), keys_on(1, 2).next().unwrap());
    let (mut gateway, other) = (Gateway::start(&cluster), Gateway::start(&cluster));
    let client = gateway.connect().await;
    gateway.pause_at("prepared");
    let script = format!("INSERT INTO accounts VALUES ({a}, 1), ({b}, 1)");
    let commit = tokio::spawn(async move { client.batch_execute(&script).await });
    eventually("it is prepared", Duration::from_secs(60), async || gateway.is_paused_at("prepared")).await;
    let (well, text) = status(&cluster);
    assert!(!well && text.starts_with("s0: no transaction is in doubt\ns1: pgbraid:"), "{text}");
    assert!(
        text.contains(" in database shop by app is prepared for ") && text.ends_with("; shard s0 decides\n"),
        "{text}"
    );
    let counted = async || metric(&other, "pgbraid_prepared_transactions") == Some(1.0);
    eventually("it is counted", Duration::from_secs(60), counted).await;
    let list = http(&other, "/transactions");
    assert!(
        list.contains("\"shard\":\"s1\",\"name\":\"pgbraid:") && list.contains("\"decision_shard\":\"s0\""),
        "{list}"
    );
    assert!(metric(&other, "pgbraid_prepared_oldest_seconds").unwrap() > 0.0);
    let shown = |client: tokio_postgres::Client| async move {
        let row = client.query_one("SHOW TRANSACTIONS", &[]).await.unwrap();
        let names: Vec<_> = row.columns().iter().map(|column| column.name().to_owned()).collect();
        assert_eq!(names, ["shard", "name", "decision_shard", "gateway", "database", "owner", "age"]);
        (row.get::<_, String>(0), row.get::<_, String>(1), row.get::<_, String>(2), row.get::<_, String>(5))
    };
    let (shard, name, decides, owner) = shown(other.connect().await).await;
    assert_eq!((shard.as_str(), decides.as_str(), owner.as_str()), ("s1", "s0", "app"));
    assert!(list.contains(&name), "{name} of {list}");
    let rows = other.connect().await.simple_query("show pgbraid.transactions;").await.unwrap();
    assert_eq!(rows.iter().filter(|one| matches!(one, tokio_postgres::SimpleQueryMessage::Row(_))).count(), 1);
    gateway.kill9();
    commit.await.unwrap().unwrap_err();
    eventually("it is finished", Duration::from_secs(60), async || prepared(&cluster).await == 0).await;
    let counted = async || metric(&other, "pgbraid_prepared_transactions") == Some(0.0);
    eventually("that is counted", Duration::from_secs(60), counted).await;
    assert!(other.connect().await.query("SHOW TRANSACTIONS", &[]).await.unwrap().is_empty());
    assert!(status(&cluster).0);
}

#[tokio::test]
async fn decisions_are_forgotten_when_nobody_can_ask_for_them_any_more() {
    let cluster = Cluster::start(2);
    let rows = "INSERT INTO pgbraid.decision (txn, committed, decided) VALUES
        ('old commit', true, now() - interval '11 min'), ('commit', true, now() - interval '9 min'),
        ('old abort', false, now() - interval '61 min'), ('abort', false, now() - interval '59 min')";
    cluster.connect_shard(1).await.batch_execute(rows).await.unwrap();
    // Who starts cleans first.
    let _gateway = Gateway::start(&cluster);
    let old = "SELECT count(*) FROM pgbraid.decision WHERE txn LIKE 'old%'";
    eventually("old rows are gone", Duration::from_secs(60), async || on_shard(&cluster, 1, old).await == 0).await;
    let kept = "SELECT count(*) FROM pgbraid.decision WHERE txn IN ('commit', 'abort')";
    assert_eq!(on_shard(&cluster, 1, kept).await, 2);
}

#[tokio::test]
async fn a_lock_for_which_recovery_waited_too_long_is_not_kept() {
    let cluster = Cluster::start(2);
    accounts(&cluster).await;
    let holder = cluster.connect_shard(1).await;
    // As long as snapshots of all shards are taken, nothing is finished. See `protocol::HOLD_OFF`.
    holder.batch_execute("SELECT pg_advisory_lock(31638869915036005)").await.unwrap();
    let id: String = holder.query_one("SELECT id::text FROM pgbraid.cluster", &[]).await.unwrap().get(0);
    let key = keys_on(1, 2).next().unwrap();
    let left = format!("BEGIN; INSERT INTO accounts VALUES ({key}, 1); PREPARE TRANSACTION 'pgbraid:{id}:s0:left'");
    cluster.connect_shard(1).await.batch_execute(&left).await.unwrap();
    let gave_up = async || cluster.log().contains("cannot be finished yet");
    eventually("recovery gives up for now", Duration::from_secs(60), gave_up).await;
    holder.batch_execute("SELECT pg_advisory_unlock(31638869915036005)").await.unwrap();
    eventually("it is finished", Duration::from_secs(60), async || prepared(&cluster).await == 0).await;
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    eventually("nobody has the lock", Duration::from_secs(60), async || on_shard(&cluster, 1, locks).await == 0).await;
}
