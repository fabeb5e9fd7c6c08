//! End to end: the gateway with four shards against one Postgres holding the same rows.
//!
//! `tests/sql/README.md` is the manual.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "wire/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "sql/compare.rs"]
mod compare;
#[path = "sql/fixture.rs"]
mod fixture;
#[path = "wire/login.rs"]
mod login;
#[path = "sql/random.rs"]
mod random;
#[path = "sql/script.rs"]
#[allow(dead_code)]
mod script;
mod support;
#[path = "sql/writes.rs"]
mod writes;
#[path = "sql/writes_apart.rs"]
mod writes_apart;

use std::path::{Path, PathBuf};
use std::process::Command;

use client::{Client, Login};
use compare::{Sides, Verdict};
use script::{Expectation, Script, Statement};
use support::{Cluster, Setup};

/// Both systems, with schema and rows.
struct Setting {
    gateway: Login,
    postgres: Login,
    schema: Vec<String>,
    // Kept for its Drop.
    _cluster: Option<Cluster>,
}

impl Setting {
    /// `SQL_SELF=1` compares Postgres with itself, to check the scripts.
    fn start() -> Setting {
        let itself = std::env::var_os("SQL_SELF").is_some();
        let cluster =
            (!itself).then(|| Cluster::with(Setup { shards: 4, config: fixture::CONFIG, ..Setup::default() }));
        let schema = Script::read(&directory().join("schema.sql")).statements;
        Setting {
            gateway: cluster
                .as_ref()
                .map_or_else(|| login::of(login::database().url()), |cluster| login::of(cluster.url())),
            postgres: login::of(login::database().url()),
            schema: schema.into_iter().map(|statement| statement.sql).collect(),
            _cluster: cluster,
        }
    }

    fn sides(&self) -> Sides {
        let mut sides = Sides {
            gateway: Client::connect(&self.gateway).unwrap(),
            postgres: Client::connect(&self.postgres).unwrap(),
        };
        for client in [&mut sides.gateway, &mut sides.postgres] {
            fixture::make(client, &self.schema);
        }
        sides
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql")
}

fn scripts() -> Vec<PathBuf> {
    let filter = std::env::var("SQL").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql") && !path.ends_with("schema.sql"))
        .filter(|path| path.file_name().unwrap().to_string_lossy().contains(&filter))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no script matches SQL={filter}");
    files
}

/// Statement that reads a whole table.
fn contents(table: &str) -> Statement {
    Statement {
        line: 0,
        either_line: None,
        sql: format!("SELECT * FROM {table}"),
        expectation: Expectation::Equal,
        ordered: false,
        parameters: None,
    }
}

#[test]
fn every_script_is_answered_as_by_one_postgres_or_refused() {
    let setting = Setting::start();
    let mut failures = Vec::new();
    for path in scripts() {
        let script = Script::read(&path);
        let mut sides = setting.sides();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut settled = Vec::new();
        for statement in &script.statements {
            let verdict = sides.compare(statement);
            if let Verdict::Different(how) = &verdict {
                failures.push(format!("{name}:{}: {}\n    {how}", statement.line, statement.sql));
                if how.contains("connection") {
                    sides.gateway = Client::connect(&setting.gateway).unwrap();
                }
            }
            settled.extend(statement.either_line.map(|line| (line, verdict)));
        }
        for table in fixture::TABLES {
            if let Verdict::Different(how) = sides.compare(&contents(table)) {
                failures.push(format!("{name}: contents of {table} in the end\n    {how}"));
            }
        }
        if std::env::var_os("SQL_REWRITE").is_some() {
            settle(&path, &settled);
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// Replaces `-- either` by what it came to.
fn settle(path: &Path, settled: &[(usize, Verdict)]) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    for (line, verdict) in settled.iter().rev() {
        match verdict {
            Verdict::Equal => drop(lines.remove(line - 1)),
            Verdict::Refused(_) => lines[line - 1] = "-- refused 0A000",
            Verdict::Different(_) => {}
        }
    }
    std::fs::write(path, lines.join("\n") + "\n").unwrap();
}

#[test]
fn psql_shows_the_same_of_the_catalog() {
    let setting = Setting::start();
    drop(setting.sides());
    let text = std::fs::read_to_string(directory().join("psql.txt")).unwrap();
    let mut failures = Vec::new();
    for command in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (wanted, got) = (psql(&setting.postgres, command), psql(&setting.gateway, command));
        if wanted != got {
            failures.push(format!("{command}\n--- postgres\n{wanted}--- gateway\n{got}"));
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

fn psql(login: &Login, command: &str) -> String {
    let value = |name: &str| login.parameters.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let output = Command::new("psql")
        .args(["-X", "-A", "-P", "footer=on", "-h", &login.address.ip().to_string()])
        .args(["-p", &login.address.port().to_string(), "-U", &value("user"), "-d", &value("database"), "-c", command])
        .env("PGPASSWORD", &login.password)
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn random_queries_are_answered_as_by_one_postgres_or_refused() {
    let setting = Setting::start();
    let mut sides = setting.sides();
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (seed, queries) = (number("SQL_SEED", 1), number("SQL_QUERIES", 400));
    let mut generator = random::Generator::new(seed);
    let (mut equal, mut refused, mut failures) = (0, 0, Vec::new());
    for _ in 0..queries {
        let statement = generator.statement();
        match sides.compare(&statement) {
            Verdict::Equal => equal += 1,
            Verdict::Refused(_) => refused += 1,
            Verdict::Different(how) => {
                failures.push(format!("{}\n    {how}", statement.sql));
                if how.contains("connection") {
                    sides.gateway = Client::connect(&setting.gateway).unwrap();
                }
            }
        }
    }
    println!("seed {seed}: {equal} answered alike, {refused} refused, {} different", failures.len());
    assert!(failures.is_empty(), "seed {seed}: {} differences:\n{}", failures.len(), failures.join("\n"));
    assert!(equal * 4 > queries, "only {equal} of {queries} answered: the generator tests nothing");
}

/// Both sides after a statement; whether the block it is in must be given up, because the gateway refused.
fn both(sides: &mut Sides, statement: &Statement, tally: &mut [u64; 2], failures: &mut Vec<String>) -> bool {
    match sides.compare(statement) {
        Verdict::Equal => tally[0] += 1,
        Verdict::Refused(reason) => {
            if std::env::var_os("SQL_SHOW").is_some() {
                println!("refused: {}\n    {reason}", statement.sql);
            }
            tally[1] += 1;
            return true;
        }
        Verdict::Different(how) => {
            failures.push(format!("{} {:?}\n    {how}", statement.sql, statement.parameters));
            return true;
        }
    }
    false
}

#[test]
fn random_writes_come_to_what_they_come_to_on_one_postgres_or_are_refused() {
    let setting = Setting::start();
    let mut sides = setting.sides();
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (seed, units) = (number("SQL_SEED", 1), number("SQL_WRITES", 300));
    let mut generator = random::Generator::new(seed);
    let (mut tally, mut failures) = ([0, 0], Vec::new());
    for nth in 0..units {
        let unit = generator.unit();
        for statement in &unit.statements {
            let given_up = both(&mut sides, statement, &mut tally, &mut failures);
            if given_up && unit.block {
                sides.gateway.query("ROLLBACK");
                sides.postgres.query("ROLLBACK");
                break;
            }
        }
        if nth % 25 == 24 || nth + 1 == units {
            for table in fixture::TABLES {
                if let Verdict::Different(how) = sides.compare(&contents(table)) {
                    failures.push(format!("after {nth}: contents of {table}\n    {how}"));
                }
            }
        }
        assert!(failures.is_empty(), "seed {seed}, {nth} done: differences:\n{}", failures.join("\n"));
    }
    let [equal, refused] = tally;
    println!("seed {seed}: {equal} statements came to the same, {refused} were refused");
    assert!(equal > refused * 4, "{refused} refused of {}: the generator tests nothing", equal + refused);
}
