//! Queries of every shape over all shards, against one Postgres with the same rows: random ones, and those of TPC-H, the CH-benCHmark and
//! ClickBench.
//!
//! `FEDERATED_SEED` is the first seed, `FEDERATED_QUERIES` how many queries (the long run), `FEDERATED_SQL` one query to look at. A query that
//! differs is made smaller before it is shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "federated/aggregates.rs"]
mod aggregates;
#[path = "federated/chbench.rs"]
mod chbench;
#[path = "federated/choices.rs"]
mod choices;
#[path = "federated/clickbench.rs"]
mod clickbench;
#[path = "wire/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "sql/compare.rs"]
#[allow(dead_code)]
mod compare;
#[path = "federated/data.rs"]
mod data;
#[path = "federated/describe.rs"]
mod describe;
#[path = "federated/from.rs"]
mod from;
#[path = "federated/generate.rs"]
mod generate;
#[path = "federated/hazards.rs"]
mod hazards;
#[path = "federated/meant.rs"]
mod meant;
#[path = "federated/moved.rs"]
mod moved;
#[path = "wire/login.rs"]
mod login;
#[path = "federated/ordering.rs"]
mod ordering;
#[path = "federated/own.rs"]
mod own;
#[path = "federated/owned.rs"]
mod owned;
#[path = "federated/plans.rs"]
mod plans;
#[path = "federated/random.rs"]
mod random;
#[path = "federated/replicas.rs"]
mod replicas;
#[path = "sql/script.rs"]
#[allow(dead_code)]
mod script;
#[path = "federated/shipped.rs"]
mod shipped;
#[path = "federated/smith.rs"]
mod smith;
#[path = "federated/suites.rs"]
mod suites;
mod support;
#[path = "federated/tpch.rs"]
mod tpch;
#[path = "federated/tpch_load.rs"]
mod tpch_load;
#[path = "federated/totals.rs"]
mod totals;
#[path = "federated/values.rs"]
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use choices::Choices;
use client::{Answer, Client, Login};
use compare::{Protocol, ask, difference};
use generate::Generator;
use script::Statement;
use support::{Cluster, Setup, block_on};

/// Rows of an answer that is compared.
const ROWS_MAX: usize = 20_000;

/// Both systems with the same rows.
struct Both {
    gateway: Client,
    postgres: Client,
    login: Login,
    oracle: Login,
    /// Of the last statement: the gateway, and one Postgres.
    took: (Duration, Duration),
    _cluster: Arc<Cluster>,
}

/// What comparing a query came to.
enum Outcome {
    Alike,
    /// What one Postgres says depends on its plan, and it says this by another than it has chosen.
    ByAnotherPlan,
    /// Both raise the same error: its SQLSTATE and text.
    Error(String),
    /// The reason.
    Refused(String),
    Different(String),
    /// One Postgres takes too long, or has more rows than a test should read.
    TooLarge,
}

impl Both {
    fn new(config: &str) -> Both {
        let cluster = Cluster::with(Setup { shards: 4, config, ..Setup::default() });
        let (login, oracle) = (login::of(cluster.url()), login::of(login::database().url()));
        Both {
            gateway: Client::connect(&login).unwrap(),
            postgres: Client::connect(&oracle).unwrap(),
            login,
            oracle,
            took: Default::default(),
            _cluster: Arc::new(cluster),
        }
    }

    /// Other connections to the same.
    fn another(&self) -> Both {
        let mut both = Both {
            gateway: Client::connect(&self.login).unwrap(),
            postgres: Client::connect(&self.oracle).unwrap(),
            login: self.login.clone(),
            oracle: self.oracle.clone(),
            took: Default::default(),
            _cluster: self._cluster.clone(),
        };
        both.limit_times();
        both
    }

    fn limit_times(&mut self) {
        self.gateway.run("SET statement_timeout TO '60s'");
        self.postgres.run("SET statement_timeout TO '1s'");
    }

    fn start() -> Both {
        let mut both = Both::new(data::CONFIG);
        let left_out = customers_of_the_last_shard(&both._cluster, &mut both.gateway);
        for client in [&mut both.gateway, &mut both.postgres] {
            data::make(client, &left_out);
        }
        both.limit_times();
        both
    }

    fn compare(&mut self, sql: &str, ordered: bool, protocol: Protocol) -> Outcome {
        self.compare_statement(&Statement { ordered, ..Statement::plain(sql) }, protocol)
    }

    fn compare_statement(&mut self, statement: &Statement, protocol: Protocol) -> Outcome {
        let (sql, ordered) = (statement.sql.as_str(), statement.ordered);
        let asked = Instant::now();
        let wanted = ask(&mut self.postgres, statement, protocol);
        self.took.1 = asked.elapsed();
        if wanted.rows.len() > ROWS_MAX || wanted.sqlstate() == "57014" {
            return Outcome::TooLarge;
        }
        let asked = Instant::now();
        let got = ask(&mut self.gateway, statement, protocol);
        self.took.0 = asked.elapsed();
        if got.lost.is_some() {
            self.gateway = Client::connect(&self.login).unwrap();
            return Outcome::Different(format!("connection: {:?} {:?}", got.lost, got.error));
        }
        let mut wanted = wanted;
        // Of what it has computed before it runs PostgreSQL tells another modifier with the rows than before Bind.
        let modifiers = |answer: &Answer| answer.columns.iter().map(|column| column.typmod).collect::<Vec<_>>();
        if modifiers(&wanted) != modifiers(&got) && describe::modifiers(&mut self.postgres, sql) == modifiers(&got) {
            wanted.columns.iter_mut().zip(&got.columns).for_each(|(wanted, got)| wanted.typmod = got.typmod);
        }
        match (&wanted.error, &got.error) {
            (None, Some((code, reason))) if code == "0A000" => Outcome::Refused(reason.clone()),
            (Some((wanted, text)), Some((got, _))) if wanted == got || got == "0A000" => {
                Outcome::Error(format!("{wanted} {text}"))
            }
            _ if ordered && plans::tied(&wanted, &got) => Outcome::Alike,
            _ => match difference(wanted.clone(), got.clone(), ordered) {
                None => Outcome::Alike,
                Some(_) if plans::one_gives(&mut self.postgres, statement, protocol, &wanted, &got) => {
                    Outcome::ByAnotherPlan
                }
                Some(how) => Outcome::Different(how),
            },
        }
    }
}

/// Those customers among all whose rows would be on the last shard, which is left empty.
fn customers_of_the_last_shard(cluster: &Cluster, gateway: &mut Client) -> Vec<i64> {
    gateway.run("CREATE TABLE probe (customer_id int8)");
    for customer in 1..=data::CUSTOMERS {
        gateway.run(&format!("INSERT INTO probe VALUES ({customer})"));
    }
    let url = cluster.shard_url(3).to_owned();
    let rows = block_on(async move {
        let shard = support::connect(&url).await;
        shard.query("SELECT customer_id FROM probe", &[]).await.unwrap()
    });
    gateway.run("DROP TABLE probe");
    rows.iter().map(|row| row.get(0)).collect()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < Duration::from_secs(60), "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Simple, Protocol::Text, Protocol::Binary];

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Alike => "alike".to_owned(),
        Outcome::ByAnotherPlan => "as by another plan of one Postgres".to_owned(),
        Outcome::Error(_) => "an error on both sides".to_owned(),
        Outcome::TooLarge => "too large to compare".to_owned(),
        Outcome::Refused(reason) => format!("refused: {reason}"),
        Outcome::Different(how) => how.clone(),
    }
}

#[test]
fn tpch_with_facts_by_order_is_answered_as_by_one_postgres() {
    tpch_answers(tpch::BY_ORDER);
}

#[test]
fn tpch_with_every_table_by_its_own_key_is_answered_as_by_one_postgres() {
    tpch_answers(tpch::BY_OWN_KEYS);
}

/// `TPCH_SCALE` is the scale factor, `TPCH_QUERY` one query to run.
fn tpch_answers(config: &str) {
    let scale = std::env::var("TPCH_SCALE").map_or(0.01, |text| text.parse().unwrap());
    let mut both = Both::new(config);
    tpch_load::load(&mut both.gateway, scale);
    tpch_load::load(&mut both.postgres, scale);
    let only = number("TPCH_QUERY", 0);
    let (mut failures, mut logarithms) = (Vec::new(), 0.0);
    for query in (1..=22).filter(|query| only == 0 || *query as u64 == only) {
        let sql = tpch::statement(query);
        match both.compare(&sql, false, Protocol::Simple) {
            Outcome::Alike => {}
            other => failures.push(format!("Q{query}: {}", told(&other))),
        }
        let (gateway, postgres) = both.took;
        let ratio = gateway.as_secs_f64() / postgres.as_secs_f64();
        logarithms += ratio.ln();
        println!(
            "Q{query:<2} {:8.1} ms  {:8.1} ms  {ratio:6.2}",
            gateway.as_secs_f64() * 1e3,
            postgres.as_secs_f64() * 1e3
        );
    }
    println!("geometric mean {:.2}", (logarithms / 22.0).exp());
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_ch_benchmark_is_answered_as_by_one_postgres() {
    let mut both = Both::new(chbench::CONFIG);
    chbench::load(&mut both.gateway);
    chbench::load(&mut both.postgres);
    suite(&mut both, &chbench::queries(), 22);
}

#[test]
fn clickbench_is_answered_as_by_one_postgres() {
    let mut both = Both::new(clickbench::CONFIG);
    clickbench::load(&mut both.gateway);
    clickbench::load(&mut both.postgres);
    suite(&mut both, &clickbench::queries(), 43);
}

/// Every query by every protocol. Of rows that a limit takes from equal ones it is compared how many there are, whether they are among all, and
/// what they are ordered by. `SUITE_QUERY` is one query to run.
fn suite(both: &mut Both, queries: &[(Option<usize>, String)], count: usize) {
    assert_eq!(queries.len(), count);
    let (only, mut failures, mut empty) = (number("SUITE_QUERY", 0), Vec::new(), Vec::new());
    for (at, (order, sql)) in queries.iter().enumerate().filter(|(at, _)| only == 0 || *at as u64 + 1 == only) {
        if only > 0 {
            both.gateway.rows(&format!("EXPLAIN {sql}")).iter().flatten().flatten().for_each(|line| println!("{line}"));
        }
        for protocol in PROTOCOLS {
            let of = |client: &mut Client, sql: &str| ask(client, &Statement::plain(sql), protocol);
            let wanted = of(&mut both.postgres, sql);
            assert!(wanted.error.is_none(), "{sql}: {:?}", wanted.error);
            if wanted.rows.is_empty() {
                empty.push(at + 1);
            }
            let got = of(&mut both.gateway, sql);
            let how = match suites::unlimited(sql) {
                Some(unlimited) => {
                    suites::limited_difference(&wanted, &got, &of(&mut both.postgres, unlimited), *order)
                }
                None => difference(wanted, got, false),
            };
            failures.extend(how.map(|how| format!("Q{} [{protocol:?}] {sql}\n    {how}", at + 1)));
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
    empty.dedup();
    assert!(empty.len() < 4, "no rows for {empty:?}: the data test little");
}

/// `SQLSMITH_SEED` and `SQLSMITH_QUERIES` make other and more statements.
#[test]
fn what_sqlsmith_makes_is_answered_or_refused_without_internal_errors() {
    let mut both = Both::start();
    let oracle = both.oracle.clone();
    let (seed, count) = (number("SQLSMITH_SEED", 1), number("SQLSMITH_QUERIES", 150));
    let Some(statements) = smith::statements(&oracle, seed, count) else {
        assert!(std::env::var_os("CI").is_none(), "sqlsmith is not installed");
        println!("sqlsmith is not installed: nothing is tested");
        return;
    };
    both.gateway.run("SET statement_timeout TO '10s'");
    let (mut answered, mut errors, mut late, mut failures) = (0, 0, 0, Vec::new());
    let mut refusals: BTreeMap<String, u64> = BTreeMap::new();
    for sql in &statements {
        match smith::run(&mut both.gateway, &mut both.postgres, sql) {
            smith::Outcome::Answered => answered += 1,
            smith::Outcome::Error => errors += 1,
            smith::Outcome::Late => late += 1,
            smith::Outcome::Refused(reason) => *refusals.entry(reason).or_default() += 1,
            smith::Outcome::Wrong(how) => {
                failures.push(format!("{sql}\n    {how}"));
                both.gateway = Client::connect(&both.login).unwrap();
            }
        }
    }
    println!("seed {seed}: {answered} answered, {errors} errors alike, {late} too late, {} wrong", failures.len());
    refusals.iter().for_each(|(reason, count)| println!("{count:6} {reason}"));
    assert!(!both._cluster.log().contains("panicked"), "a panic: {}", both._cluster.log());
    assert!(failures.is_empty(), "{} wrong:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn a_statement_is_described_before_bind_as_by_one_postgres() {
    let mut both = Both::start();
    let random =
        (1..=number("DESCRIBE_QUERIES", 60)).map(|seed| Generator::new(Choices::from_seed(seed)).statement().sql);
    let mut failures = Vec::new();
    for sql in describe::PARAMETERS.iter().map(|sql| (*sql).to_owned()).chain(random) {
        let (wanted, got) =
            (describe::described(&mut both.postgres, &sql), describe::described(&mut both.gateway, &sql));
        if wanted != got {
            failures.push(format!("{sql}\n  wanted {wanted}\n  got {got}"));
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n\n"));
}
