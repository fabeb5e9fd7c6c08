//! The drivers people use, for real: each test runs one suite of `tests/drivers/` against a gateway with two shards.
//!
//! The suites pass unchanged on a plain PostgreSQL (`tests/drivers/run URL`), which is what they were written against; here
//! they also check what this release refuses. Each has shards of its own, on which types made by users have different numbers, as they do
//! on shards that have lived.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Command;

use support::{Cluster, Setup};

/// Runs a program of the repository; fails with what it printed.
fn succeeds(program: &str, arguments: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let done = Command::new(&path).args(arguments).output().unwrap();
    let (told, complaint) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    println!("{told}");
    assert!(done.status.success(), "{program} {arguments:?}: {}\n{told}\n{complaint}", done.status);
}

fn suite_passes(name: &str) {
    let cluster = Cluster::with(Setup { config: include_str!("drivers/gateway.toml"), ..Setup::default() });
    let drift = "CREATE TABLE public.x (); DROP TABLE public.x";
    let done = Command::new("psql").args([cluster.shard_url(1), "-qc", drift]).status().unwrap();
    assert!(done.success());
    succeeds("tests/drivers/run", &[cluster.url(), "--gateway", "--only", name]);
}

#[test]
fn psql_works_through_the_gateway() {
    suite_passes("psql");
}

#[test]
fn pgbench_works_through_the_gateway() {
    suite_passes("pgbench");
}

#[test]
fn psycopg_works_through_the_gateway() {
    suite_passes("psycopg");
}

#[test]
fn asyncpg_works_through_the_gateway() {
    suite_passes("asyncpg");
}

#[test]
fn sqlalchemy_works_through_the_gateway() {
    suite_passes("sqlalchemy");
}

#[test]
fn node_postgres_works_through_the_gateway() {
    suite_passes("node");
}

#[test]
fn tokio_postgres_works_through_the_gateway() {
    suite_passes("tokio");
}

#[test]
fn sqlx_works_through_the_gateway() {
    suite_passes("sqlx");
}

#[test]
fn jdbc_works_through_the_gateway() {
    suite_passes("jdbc");
}

#[test]
fn a_suite_fails_where_nothing_listens() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/run");
    // Port 9 is reserved for the discard protocol, which nobody serves.
    let done = Command::new(program).args(["postgres://app:app@127.0.0.1:9/shop", "--only", "psql"]).output().unwrap();
    assert!(String::from_utf8_lossy(&done.stdout).contains("\n0 passed, "), "{done:?}");
    assert_eq!(done.status.code(), Some(1));
}

#[test]
fn the_benchmark_runs_to_its_end() {
    succeeds("benches/run", &["--smoke", "--port", "26480", "--binary", env!("CARGO_BIN_EXE_pgbraid")]);
}
