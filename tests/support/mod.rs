//! What tests with real servers stand on: [`Cluster`], a demo of the program under test, and [`Oracle`], one plain
//! Postgres that says what the right answer is.
//!
//! Everything started here ends with the test process, however that ends. Use it with `mod support;`.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod gateway;
mod oracle;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use pgbraid::demo::postgres::Host;
use tokio_postgres::{Client, NoTls};

#[allow(unused_imports)]
pub use cluster::{Cluster, Setup};
#[allow(unused_imports)]
pub use gateway::Gateway;
#[allow(unused_imports)]
pub use oracle::{Database, Oracle};

/// The program under test; `PGBRAID_PROGRAM` names a copy, so that a long run does not see the next build.
pub fn program() -> PathBuf {
    let copy = std::env::var_os("PGBRAID_PROGRAM");
    copy.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pgbraid")), PathBuf::from)
}

/// Where initialised data directories are kept between test runs.
fn templates() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates")
}

/// PostgreSQL on this machine.
fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::find().unwrap())
}

/// A name that no other test has.
fn unique(what: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("pgbraid-{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Connects; the connection ends when the client is dropped.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Runs a future to its end from anywhere, also from within another runtime.
pub fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || runtime().block_on(future)).join().unwrap()
}

/// Processes whose command line names a path.
pub fn processes_of(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(path)).collect()
}
