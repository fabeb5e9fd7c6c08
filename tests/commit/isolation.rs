//! Interleaved sessions, `isolation/*.spec`: what each step answers, waits for and fails with is what one Postgres does.
//!
//! A file has a `setup`, and cases: `case` and its name, then steps, `session: statement`. `{a}` and `{c}` are keys on one shard,
//! `{b}` and `{d}` on the other. A step that waits for a lock is noted as such, and its answer where it comes; one whose session has
//! a `!` ends its wait by itself, and whether it was seen waiting is chance.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{Cluster, Oracle, connect};
use crate::{code, keys_on};

/// A step that has neither answered nor waits for a lock after so long has hung.
const STEP_MAX: Duration = Duration::from_secs(60);

struct Spec {
    setup: Vec<String>,
    cases: Vec<(String, Vec<(String, String)>)>,
}

impl Spec {
    fn read(path: &Path) -> Spec {
        let mut text = std::fs::read_to_string(path).unwrap();
        let (one, other) = (keys_on(0, 2).take(2).collect::<Vec<_>>(), keys_on(1, 2).take(2).collect::<Vec<_>>());
        for (name, key) in [("{a}", one[0]), ("{c}", one[1]), ("{b}", other[0]), ("{d}", other[1])] {
            text = text.replace(name, &key.to_string());
        }
        let mut spec = Spec { setup: Vec::new(), cases: Vec::new() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(setup) = line.strip_prefix("setup ") {
                spec.setup.push(setup.to_owned());
            } else if let Some(name) = line.strip_prefix("case ") {
                spec.cases.push((name.to_owned(), Vec::new()));
            } else {
                let (session, statement) = line.split_once(": ").unwrap();
                spec.cases.last_mut().unwrap().1.push((session.to_owned(), statement.to_owned()));
            }
        }
        assert!(!spec.cases.is_empty(), "{path:?} has no case");
        spec
    }
}

/// Where a spec runs: how clients connect, and connections that see all locks.
struct Place {
    url: String,
    watchers: Vec<Client>,
}

impl Place {
    /// Sessions that wait for a lock of somebody's, on however many shards. Advisory ones are the gateway's own.
    async fn waiting(&self) -> usize {
        let mut names = BTreeSet::new();
        for watcher in &self.watchers {
            let query = "SELECT application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                WHERE NOT l.granted AND l.locktype <> 'advisory' AND a.datname = current_database()";
            let rows = watcher.query(query, &[]).await.unwrap();
            names.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        }
        names.len()
    }

    async fn run(&self, setup: &[String], steps: &[(String, String)]) -> String {
        let first = connect(&self.url).await;
        for statement in setup {
            first.batch_execute(statement).await.unwrap();
        }
        let mut idle: BTreeMap<&str, Client> = BTreeMap::new();
        for session in steps.iter().map(|(session, _)| session.trim_end_matches('!')) {
            if !idle.contains_key(session) {
                let client = connect(&self.url).await;
                client.batch_execute(&format!("SET application_name = '{session}'")).await.unwrap();
                idle.insert(session, client);
            }
        }
        let mut busy: BTreeMap<&str, JoinHandle<(String, Client)>> = BTreeMap::new();
        let mut said: BTreeSet<&str> = BTreeSet::new();
        let mut trace = String::new();
        for (name, statement) in steps {
            let session = name.trim_end_matches('!');
            let client = idle.remove(session).unwrap_or_else(|| panic!("{session} waits already\n{trace}"));
            writeln!(trace, "{session}: {statement}").unwrap();
            let statement = statement.clone();
            busy.insert(session, tokio::spawn(async move { (answer(&client, &statement).await, client) }));
            let begun = Instant::now();
            let mut answers = BTreeMap::new();
            // Until each session has answered or waits for another.
            loop {
                let done: Vec<&str> =
                    busy.iter().filter(|(_, task)| task.is_finished()).map(|(session, _)| *session).collect();
                for session in done.iter().copied() {
                    let (text, client) = busy.remove(session).unwrap().await.unwrap();
                    answers.insert(session, text);
                    said.remove(session);
                    idle.insert(session, client);
                }
                let ends_by_itself = name.ends_with('!') && busy.contains_key(session);
                if done.is_empty()
                    && !ends_by_itself
                    && self.waiting().await == busy.len()
                    && busy.values().all(|task| !task.is_finished())
                {
                    break;
                }
                assert!(begun.elapsed() < STEP_MAX, "{session} hangs\n{trace}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Which of those that go on together is first is chance.
            for (session, text) in answers {
                writeln!(trace, "  {session} -> {text}").unwrap();
            }
            for session in busy.keys().filter(|session| !said.contains(*session)) {
                writeln!(trace, "  {session} waits").unwrap();
            }
            said.extend(busy.keys().copied());
        }
        assert!(busy.is_empty(), "somebody waits in the end\n{trace}");
        trace
    }
}

async fn answer(client: &Client, statement: &str) -> String {
    match client.simple_query(statement).await {
        Err(error) => format!("error {}", code(&error)),
        Ok(messages) => {
            let texts = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    let values: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("null")).collect();
                    Some(format!("({})", values.join(", ")))
                }
                SimpleQueryMessage::CommandComplete(count) => Some(count.to_string()),
                _ => None,
            });
            texts.collect::<Vec<_>>().join(" ")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interleaved_sessions_see_wait_and_fail_as_on_one_postgres() {
    let cluster = Cluster::start(2);
    let database = Oracle::shared().database().await;
    let gateway = Place {
        url: cluster.url().to_owned(),
        watchers: vec![cluster.connect_shard(0).await, cluster.connect_shard(1).await],
    };
    let postgres = Place { url: database.url().to_owned(), watchers: vec![connect(database.superuser_url()).await] };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/commit/isolation");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let spec = Spec::read(&file);
        for (name, steps) in &spec.cases {
            let expected = postgres.run(&spec.setup, steps).await;
            let found = gateway.run(&spec.setup, steps).await;
            assert_eq!(found, expected, "{}: {name}", file.display());
        }
    }
}
