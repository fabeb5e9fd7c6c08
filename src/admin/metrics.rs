//! The gateway's metrics: names, descriptions, labels, and how they come to Prometheus.
//!
//! Sums and states are fetched when Prometheus asks ([`Metrics::render`]), so that nothing is spent on them in between.
//! Rare events elsewhere may use the macros of `metrics` with a name listed here; they arrive once `main` has called
//! [`Metrics::install`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, Recorder, SetRecorderError, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::observe::{Observe, PoolSample};
use crate::counters::{Counters, QueryKind, Totals};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What [`PLANNING`] is counted by, in seconds: from a short statement to one that nobody wants to wait for.
const PLANNING_BUCKETS: [f64; 10] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0];
const PLANNING: &str = "pgbraid_planning_seconds";

/// How often observations are put into their buckets: until then each is kept.
const UPKEEP: Duration = Duration::from_secs(5);

/// Every metric: name, kind, unit, description.
const METRICS: &[(&str, Kind, Unit, &str)] = &[
    ("pgbraid_transactions_total", Kind::Counter, Unit::Count, "Transactions ended, implicit ones included."),
    ("pgbraid_queries_total", Kind::Counter, Unit::Count, "Statements run, by where they ran."),
    ("pgbraid_refusals_total", Kind::Counter, Unit::Count, "Statements refused before anything ran."),
    ("pgbraid_errors_total", Kind::Counter, Unit::Count, "Errors sent to clients, by class of their SQLSTATE."),
    ("pgbraid_received_bytes_total", Kind::Counter, Unit::Bytes, "Bytes read from clients."),
    ("pgbraid_sent_bytes_total", Kind::Counter, Unit::Bytes, "Bytes written to clients."),
    (PLANNING, Kind::Histogram, Unit::Seconds, "What it took to parse and plan a text that no cache had."),
    ("pgbraid_shipped_rows_total", Kind::Counter, Unit::Count, "Rows shipped from shards to merge servers."),
    ("pgbraid_shipped_bytes_total", Kind::Counter, Unit::Bytes, "Bytes of rows shipped from shards to merge servers."),
    (
        "pgbraid_multiplexed_reads_total",
        Kind::Counter,
        Unit::Count,
        "Reads answered on servers that several clients shared.",
    ),
    ("pgbraid_waits_total", Kind::Counter, Unit::Count, "Times a client waited for a server."),
    ("pgbraid_wait_microseconds_total", Kind::Counter, Unit::Microseconds, "Time clients waited for servers."),
    ("pgbraid_transaction_microseconds_total", Kind::Counter, Unit::Microseconds, "Time spent in transactions."),
    ("pgbraid_logins_total", Kind::Counter, Unit::Count, "Clients that logged in."),
    ("pgbraid_panics_total", Kind::Counter, Unit::Count, "Sessions ended by a defect of the gateway."),
    ("pgbraid_clients", Kind::Gauge, Unit::Count, "Clients connected, by state: waiting for a server or not."),
    ("pgbraid_clients_waiting", Kind::Gauge, Unit::Count, "Clients waiting for a server, by pool."),
    ("pgbraid_servers", Kind::Gauge, Unit::Count, "Servers connected, by pool and state."),
    ("pgbraid_servers_max", Kind::Gauge, Unit::Count, "Servers at the most, by pool."),
    ("pgbraid_server_up", Kind::Gauge, Unit::Count, "1 if the server answers, by shard and role."),
    ("pgbraid_server_logins_total", Kind::Counter, Unit::Count, "Servers connected and logged in to."),
    ("pgbraid_servers_lost_total", Kind::Counter, Unit::Count, "Servers that died while a client used them."),
    ("pgbraid_checkout_failures_total", Kind::Counter, Unit::Count, "Clients that got no server."),
    ("pgbraid_deadlocks_total", Kind::Counter, Unit::Count, "Deadlocks over several shards that were broken."),
    ("pgbraid_several_shards_commits_total", Kind::Counter, Unit::Count, "Commits in two phases begun."),
    (
        "pgbraid_prepared_transactions",
        Kind::Gauge,
        Unit::Count,
        "Transactions found prepared on shards at the last look.",
    ),
    (
        "pgbraid_prepared_oldest_seconds",
        Kind::Gauge,
        Unit::Seconds,
        "Age of the oldest of them: more than a few seconds is a transaction that cannot be finished.",
    ),
    (
        "pgbraid_recovered_transactions_total",
        Kind::Counter,
        Unit::Count,
        "Transactions left prepared, and finished since.",
    ),
    ("pgbraid_recovery_failures_total", Kind::Counter, Unit::Count, "Attempts to finish a transaction that failed."),
];

/// The recorder of this process.
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// Gauges of pools and servers that have been shown, so that those that are gone go to zero.
    shown: Mutex<HashSet<Key>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// A recorder that knows every metric's description.
    pub fn new() -> Metrics {
        let builder = PrometheusBuilder::new();
        // Fails for no buckets at all.
        let builder = builder
            .set_buckets_for_metric(Matcher::Full(PLANNING.to_owned()), &PLANNING_BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        for &(name, kind, unit, description) in METRICS {
            match kind {
                Kind::Counter => recorder.describe_counter(name.into(), Some(unit), description.into()),
                Kind::Gauge => recorder.describe_gauge(name.into(), Some(unit), description.into()),
                Kind::Histogram => recorder.describe_histogram(name.into(), Some(unit), description.into()),
            }
        }
        let handle = recorder.handle();
        Metrics { recorder: Arc::new(recorder), handle, shown: Mutex::default() }
    }

    /// Makes this the recorder that the macros of `metrics` write to.
    ///
    /// # Errors
    ///
    /// The process has one already.
    pub fn install(&self) -> Result<(), SetRecorderError<Arc<PrometheusRecorder>>> {
        metrics::set_global_recorder(self.recorder.clone())
    }

    /// What is to run beside the gateway, whether or not anybody asks for the metrics; it does not end.
    pub fn upkeep(&self) -> impl Future<Output = ()> + use<> {
        let handle = self.handle.clone();
        async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                handle.run_upkeep();
            }
        }
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self, counters: &Counters, gateway: &dyn Observe) -> String {
        self.publish_totals(&counters.totals());
        let pools = gateway.pools();
        let mut gauges = client_gauges(gateway.clients(), &pools);
        gauges.extend(pools.iter().flat_map(pool_gauges));
        gauges.extend(gateway.shards().iter().flat_map(|shard| {
            let replicas = shard.replicas.iter().map(|server| ("replica", server));
            std::iter::once(("primary", &shard.primary)).chain(replicas).map(|(role, server)| {
                let labels = [("shard", &shard.name[..]), ("server", &server.address), ("role", role)];
                (key("pgbraid_server_up", &labels), f64::from(u8::from(server.up)))
            })
        }));
        self.publish_gauges(gauges);
        self.handle.render()
    }

    fn publish_totals(&self, totals: &Totals) {
        let plain = [
            ("pgbraid_transactions_total", totals.transactions),
            ("pgbraid_received_bytes_total", totals.received_bytes),
            ("pgbraid_sent_bytes_total", totals.sent_bytes),
            ("pgbraid_shipped_rows_total", totals.shipped_rows),
            ("pgbraid_shipped_bytes_total", totals.shipped_bytes),
            ("pgbraid_multiplexed_reads_total", totals.multiplexed),
            ("pgbraid_waits_total", totals.waits),
            ("pgbraid_wait_microseconds_total", totals.wait_micros),
            ("pgbraid_transaction_microseconds_total", totals.transaction_micros),
            ("pgbraid_logins_total", totals.logins),
            ("pgbraid_panics_total", totals.panics),
        ];
        for (name, total) in plain {
            self.publish_total(key(name, &[]), total);
        }
        for (kind, &total) in QueryKind::ALL.iter().zip(&totals.queries) {
            self.publish_total(key("pgbraid_queries_total", &[("plan", kind.label())]), total);
        }
        for (class, total) in &totals.errors {
            self.publish_total(key("pgbraid_errors_total", &[("class", &class.label())]), *total);
        }
    }

    fn publish_total(&self, key: Key, total: u64) {
        self.recorder.register_counter(&key, &METADATA).absolute(total);
    }

    fn publish_gauges(&self, gauges: Vec<(Key, f64)>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now: HashSet<Key> = gauges.iter().map(|(key, _)| key.clone()).collect();
        for gone in shown.difference(&now) {
            self.recorder.register_gauge(gone, &METADATA).set(0.0);
        }
        for (key, value) in gauges {
            self.recorder.register_gauge(&key, &METADATA).set(value);
        }
        shown.extend(now);
    }
}

const METADATA: Metadata<'static> = Metadata::new("pgbraid", Level::INFO, None);

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

fn client_gauges(clients: usize, pools: &[PoolSample]) -> Vec<(Key, f64)> {
    let waiting: usize = pools.iter().map(|pool| pool.clients_waiting).sum();
    let states = [("active", clients.saturating_sub(waiting)), ("waiting", waiting)];
    states.map(|(state, count)| (key("pgbraid_clients", &[("state", state)]), count as f64)).into()
}

fn pool_gauges(pool: &PoolSample) -> Vec<(Key, f64)> {
    let labels: [(&'static str, &str); 4] =
        [("shard", &pool.shard), ("server", &pool.server), ("user", &pool.user), ("database", &pool.database)];
    let with_state = |state| [&labels[..], &[("state", state)]].concat();
    vec![
        (key("pgbraid_servers", &with_state("active")), pool.servers_active as f64),
        (key("pgbraid_servers", &with_state("idle")), pool.servers_idle as f64),
        (key("pgbraid_servers_max", &labels), pool.servers_max as f64),
        (key("pgbraid_clients_waiting", &labels), pool.clients_waiting as f64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planning_is_shown_by_buckets() {
        let metrics = Metrics::new();
        metrics::with_local_recorder(&*metrics.recorder, || metrics::histogram!(PLANNING).record(0.0007));
        let shown = metrics.handle.render();
        assert!(shown.contains("pgbraid_planning_seconds_bucket{le=\"0.0005\"} 0"), "{shown}");
        assert!(shown.contains("pgbraid_planning_seconds_bucket{le=\"0.001\"} 1"), "{shown}");
        assert!(shown.contains("pgbraid_planning_seconds_count 1"), "{shown}");
    }

    #[test]
    fn names_have_the_prefix_and_say_their_kind() {
        for (name, kind, _, description) in METRICS {
            assert!(name.starts_with("pgbraid_") && description.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        }
    }
}
