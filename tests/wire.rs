//! Wire dialogues: every file of `tests/wire/` says the same on one plain Postgres and through the gateway.
//!
//! `PT=name` plays only the files whose name contains it. `PT_REWRITE=postgres` records what Postgres says;
//! `PT_REWRITE=gateway` records the `gateway` blocks. `tests/wire/README.md` is the manual.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "wire/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "wire/dialogue.rs"]
mod dialogue;
#[path = "wire/encode.rs"]
mod encode;
#[path = "wire/render.rs"]
mod render;
#[path = "wire/login.rs"]
mod login;
#[path = "wire/run.rs"]
mod run;
mod support;

use std::path::{Path, PathBuf};

use dialogue::Dialogue;
use run::{Partner, play};

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let filter = std::env::var("PT").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pt"))
        .filter(|path| path.file_name().unwrap().to_string_lossy().contains(&filter))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no dialogue matches PT={filter}");
    files
}

fn play_all(partner: &Partner, rewrite: bool) {
    let mut differences = Vec::new();
    let files = files();
    for path in &files {
        let dialogue = Dialogue::read(path);
        let outcome = play(&dialogue, partner);
        if rewrite {
            dialogue.rewrite(&outcome.received, partner.gateway);
        }
        for difference in &outcome.differences {
            eprintln!("{difference}");
        }
        if !outcome.differences.is_empty() {
            differences.push(format!("{}: {}", path.file_name().unwrap().to_string_lossy(), outcome.differences.len()));
        }
    }
    assert!(rewrite || differences.is_empty(), "of {} files these differ:\n{}", files.len(), differences.join("\n"));
}

fn rewriting(whom: &str) -> bool {
    std::env::var("PT_REWRITE").is_ok_and(|value| value == whom)
}

#[test]
fn dialogues_record_what_postgres_says() {
    let database = login::database();
    play_all(&Partner { login: login::of(database.url()), gateway: false, chunk_bytes: None }, rewriting("postgres"));
}

#[test]
fn a_gateway_of_two_shards_says_what_postgres_says() {
    let cluster = support::Cluster::start(2);
    play_all(&Partner { login: login::of(cluster.url()), gateway: true, chunk_bytes: None }, rewriting("gateway"));
}

#[test]
fn a_gateway_of_four_shards_says_what_postgres_says() {
    let cluster = support::Cluster::start(4);
    play_all(&Partner { login: login::of(cluster.url()), gateway: true, chunk_bytes: None }, false);
}

#[test]
fn a_gateway_that_gets_one_byte_at_a_time_says_what_postgres_says() {
    let cluster = support::Cluster::start(2);
    play_all(&Partner { login: login::of(cluster.url()), gateway: true, chunk_bytes: Some(1) }, false);
}
