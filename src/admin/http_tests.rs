//! The endpoints over real HTTP on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::admin::observe::{PoolSample, ServerHealth, TransactionSample};
use crate::counters::{QueryKind, SqlstateClass, Tally};

/// A gateway of two shards as the test wants it.
#[derive(Default)]
struct Gateway {
    pools: Mutex<Vec<PoolSample>>,
    second_is_down: Mutex<bool>,
    draining: Mutex<bool>,
}

impl Observe for Gateway {
    fn pools(&self) -> Vec<PoolSample> {
        self.pools.lock().unwrap().clone()
    }

    fn shards(&self) -> Vec<ShardHealth> {
        let server = |port: u16, up| ServerHealth { address: format!("10.0.0.1:{port}"), up };
        let second = !*self.second_is_down.lock().unwrap();
        vec![
            ShardHealth { name: "s0".into(), primary: server(5432, true), replicas: vec![server(5433, false)] },
            ShardHealth { name: "s\"1".into(), primary: server(5434, second), replicas: vec![] },
        ]
    }

    fn in_doubt(&self) -> Vec<TransactionSample> {
        vec![TransactionSample {
            shard: "s1".into(),
            name: "pgbraid:c:s0:t".into(),
            database: "shop".into(),
            owner: "app".into(),
            age_seconds: 1.5,
            decision_shard: "s0".into(),
        }]
    }

    fn clients(&self) -> usize {
        7
    }

    fn is_draining(&self) -> bool {
        *self.draining.lock().unwrap()
    }
}

struct Running {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (gateway, counters) = (Arc::new(Gateway::default()), Arc::new(Counters::default()));
    let http = Http { metrics: Arc::new(Metrics::new()), counters: counters.clone(), gateway: gateway.clone() };
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, http, async { drop(stopped.await) }));
    Running { address, gateway, counters, stop, task }
}

impl Running {
    /// Status line and body.
    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn metric(&self, line_start: &str) -> Option<f64> {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, 200);
        let line = body.lines().find(|line| line.strip_prefix(line_start).is_some_and(|rest| rest.starts_with(' ')))?;
        Some(line[line_start.len() + 1..].parse().unwrap())
    }
}

#[tokio::test]
async fn sums_are_those_at_the_time_of_asking() {
    let running = start().await;
    let mut tally = Tally::new(running.counters.clone());
    tally.query(QueryKind::OneShard);
    tally.query(QueryKind::OneShard);
    tally.received(100);
    running.counters.error(SqlstateClass::of(b"08006"));
    assert_eq!(running.metric("pgbraid_queries_total{plan=\"one_shard\"}").await, Some(2.0));
    assert_eq!(running.metric("pgbraid_received_bytes_total").await, Some(100.0));
    assert_eq!(running.metric("pgbraid_errors_total{class=\"08\"}").await, Some(1.0));
    assert_eq!(running.metric("pgbraid_errors_total{class=\"0A\"}").await, None);
    tally.query(QueryKind::OneShard);
    assert_eq!(running.metric("pgbraid_queries_total{plan=\"one_shard\"}").await, Some(3.0));
}

#[tokio::test]
async fn gauges_follow_the_pools_and_fall_to_zero_with_them() {
    let running = start().await;
    *running.gateway.pools.lock().unwrap() = vec![PoolSample {
        shard: "s0".into(),
        server: "h:1".into(),
        user: "u".into(),
        database: "d".into(),
        servers_active: 3,
        servers_idle: 1,
        servers_max: 20,
        clients_waiting: 2,
    }];
    let pool = "shard=\"s0\",server=\"h:1\",user=\"u\",database=\"d\"";
    let active = format!("pgbraid_servers{{{pool},state=\"active\"}}");
    assert_eq!(running.metric(&active).await, Some(3.0));
    assert_eq!(running.metric(&format!("pgbraid_clients_waiting{{{pool}}}")).await, Some(2.0));
    assert_eq!(running.metric("pgbraid_clients{state=\"active\"}").await, Some(5.0));
    assert_eq!(running.metric("pgbraid_clients{state=\"waiting\"}").await, Some(2.0));
    running.gateway.pools.lock().unwrap().clear();
    assert_eq!(running.metric(&active).await, Some(0.0));
}

#[tokio::test]
async fn every_metric_shown_is_described() {
    let running = start().await;
    running.counters.error(SqlstateClass::of(b"08006"));
    let (_, body) = running.get("/metrics").await;
    let described: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let shown = body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let names: Vec<_> = shown.map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    assert!(names.len() > 10);
    for name in names {
        assert!(described.contains(&name), "{name}");
    }
}

#[tokio::test]
async fn health_names_the_shard_that_is_down() {
    let running = start().await;
    let (status, body) = running.get("/health").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &json["status"]), (200, &"ok".into()));
    assert_eq!(json["shards"][0]["replicas"][0]["up"], false);
    *running.gateway.second_is_down.lock().unwrap() = true;
    let (status, body) = running.get("/health").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &json["status"]), (503, &"degraded".into()));
    assert_eq!(json["shards"][1]["name"], "s\"1");
    assert_eq!(json["shards"][1]["primary"]["up"], false);
    assert_eq!(running.get("/ready").await.0, 200);
    assert_eq!(
        running.metric("pgbraid_server_up{shard=\"s\\\"1\",server=\"10.0.0.1:5434\",role=\"primary\"}").await,
        Some(0.0)
    );
}

#[tokio::test]
async fn what_is_in_doubt_is_listed_with_its_age() {
    let body = r#"[{"shard":"s1","name":"pgbraid:c:s0:t","database":"shop","owner":"app","age_seconds":1.5,"decision_shard":"s0"}]"#;
    assert_eq!(start().await.get("/transactions").await, (200, body.to_owned()));
}

#[tokio::test]
async fn a_draining_gateway_is_neither_healthy_nor_ready() {
    let running = start().await;
    *running.gateway.draining.lock().unwrap() = true;
    assert_eq!(running.get("/health").await.0, 503);
    assert_eq!(running.get("/ready").await, (503, "draining\n".to_owned()));
    assert_eq!(running.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn it_stops_when_told_even_if_a_connection_lingers() {
    let running = start().await;
    assert_eq!(running.get("/ready").await.0, 200);
    let mut lingering = TcpStream::connect(running.address).await.unwrap();
    lingering.write_all(b"GET /ready HTTP/1.1\r\n").await.unwrap();
    running.stop.send(()).unwrap();
    let result = tokio::time::timeout(Duration::from_secs(60), running.task).await;
    assert!(result.expect("it does not stop").unwrap().is_ok());
    assert!(TcpStream::connect(running.address).await.is_err());
}
