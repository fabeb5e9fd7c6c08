//! What planning costs: microseconds for each of TPC-H's queries in both layouts, parsed and planned anew, without a server.
//!
//! `cargo bench --bench planning [-- TIMES [QUERY]]`: the least and the median of so many times, and what of it is parsing the text.
//! `show QUERY` prints a query's plan.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::time::Instant;

use pgbraid::plan::{self, Context};
use pgbraid::session::parameters::Parameters;
use pgbraid::session::statement::BoundArguments;
use pgbraid::sql;
use pgbraid::wire::frontend::Bind;
use schema::Schema;
use shardmap::{BUCKETS, Bucket, ShardId};

#[path = "../tests/federated/tpch.rs"]
#[allow(dead_code)]
mod tpch;

#[path = "../tests/plan/schema.rs"]
#[allow(dead_code)]
mod schema;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<i32>().ok());
    let (own, order) = (catalog(tpch::BY_OWN_KEYS), catalog(tpch::BY_ORDER));
    if let Some(query) = number(1).filter(|_| words[0] == "show") {
        for catalog in [&own, &order] {
            println!("{:#?}", planned(&tpch::statement(query), catalog));
        }
        return;
    }
    let times = number(0).unwrap_or(200).max(1) as usize;
    println!(
        "{:10} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "us", "parse", "own least", "own median", "order least", "order median"
    );
    for query in number(1).map_or(1..=22, |query| query..=query) {
        let text = tpch::statement(query);
        let parse = least_and_median(times, || drop(black_box(sql::parse(black_box(&text)))));
        let own = least_and_median(times, || drop(black_box(planned(&text, &own))));
        let order = least_and_median(times, || drop(black_box(planned(&text, &order))));
        println!("TPC-H {query:<4} {:12.0} {:12.0} {:12.0} {:12.0} {:12.0}", parse.0, own.0, own.1, order.0, order.1);
    }
    let (least, median) = long_list(times, &own);
    println!("the shards of 5,000 parameters {least:18.0} {median:12.0}");
}

/// Finding the shards of `IN ($1, ... $5000)`, in microseconds.
fn long_list(times: usize, schema: &Schema) -> (f64, f64) {
    const KEYS: usize = 5_000;
    let list: Vec<String> = (1..=KEYS).map(|at| format!("${at}")).collect();
    let text = format!("SELECT * FROM orders WHERE o_orderkey IN ({})", list.join(", "));
    let planned = planned(&text, schema);
    let plan::Plan::Rows(route) = &planned[0].plan else { panic!("{planned:?}") };
    let values = Parameters::texts((0..KEYS).map(|at| Some(at.to_string()))).bind_rest(&[]);
    let body = [&b"\0\0"[..], &values].concat();
    let types = vec![20; KEYS];
    least_and_median(times, || {
        let bind = Bind::read(black_box(&body)).unwrap();
        black_box(route.resolve(&Halves, ShardId(0), &BoundArguments::new(&bind, Some(&types))).unwrap());
    })
}

struct Halves;

impl plan::Placement for Halves {
    fn shard_of(&self, bucket: Bucket) -> ShardId {
        ShardId(bucket.0 / (BUCKETS / 2))
    }

    fn shard_ids(&self) -> Vec<ShardId> {
        vec![ShardId(0), ShardId(1)]
    }
}

fn planned(text: &str, schema: &Schema) -> Vec<plan::Planned> {
    let context = Context {
        catalog: &schema.catalog,
        rules: &schema.rules,
        search_path: &["public".to_owned()],
        role: "app",
        declared_types: &[],
        utf8: true,
    };
    plan::compile(black_box(text), &context).unwrap()
}

/// In microseconds.
fn least_and_median(times: usize, mut work: impl FnMut()) -> (f64, f64) {
    let mut taken: Vec<f64> = (0..times)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed().as_nanos() as f64 / 1000.0
        })
        .collect();
    taken.sort_unstable_by(f64::total_cmp);
    (taken[0], taken[times / 2])
}

/// TPC-H's tables under a configuration, and PostgreSQL's functions.
fn catalog(config: &str) -> Schema {
    let mut text = String::new();
    for section in config.split("[tables.").skip(1) {
        let (name, rule) = section.split_once(']').unwrap();
        let rule = match rule.trim().split('"').nth(1).unwrap() {
            "reference" => "reference".to_owned(),
            key => format!("key {key}"),
        };
        text += &format!("rule {name} {rule}\n");
    }
    for statement in tpch::SCHEMA {
        let (name, columns) = statement.strip_prefix("CREATE TABLE ").unwrap().split_once(" (").unwrap();
        text += &format!("table {name}\n");
        let (columns, key) = columns.split_once(", PRIMARY KEY (").unwrap_or((columns, ""));
        let mut key = key.trim_end_matches(')').to_owned();
        for column in columns.split(", ") {
            let (name, rest) = column.split_once(' ').unwrap();
            if rest.contains("PRIMARY KEY") {
                name.clone_into(&mut key);
            }
            let type_name = rest.split(['(', ' ', ')']).next().unwrap();
            text += &format!("  {name} {type_name}\n");
        }
        text += &format!("  primary key {key}\n");
    }
    schema::read(&text)
}
