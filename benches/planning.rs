//! What planning costs: microseconds for each of TPC-H's queries in both layouts, parsed and planned anew, without a server.
//!
//! `cargo bench --bench planning [-- TIMES [QUERY]]`: the least and the median of so many times, and what of it is parsing the text.
//! `show QUERY` prints a query's plan.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use pgbraid::catalog::{
    Catalog, CatalogVersion, Column, ColumnDefault, Function, FunctionKind, Relation, RelationKind, Rules, Volatility,
};
use pgbraid::config::TableRule;
use pgbraid::plan::{self, Context};
use pgbraid::sql;

#[path = "../tests/federated/tpch.rs"]
#[allow(dead_code)]
mod tpch;

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
}

fn planned(text: &str, catalog: &(Catalog, Rules)) -> Vec<plan::Planned> {
    let context = Context {
        catalog: &catalog.0,
        rules: &catalog.1,
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
fn catalog(config: &str) -> (Catalog, Rules) {
    let mut rules = Rules::default();
    for section in config.split("[tables.").skip(1) {
        let (name, rule) = section.split_once(']').unwrap();
        let rule = match rule.trim().split('"').nth(1).unwrap() {
            "reference" => TableRule::Reference,
            key => TableRule::Key(key.to_owned()),
        };
        rules.tables.insert(name.to_owned(), rule);
    }
    let mut relations = HashMap::new();
    for text in tpch::SCHEMA {
        let (name, columns) = text.strip_prefix("CREATE TABLE ").unwrap().split_once(" (").unwrap();
        let mut relation = Relation {
            schema: "public".to_owned(),
            name: name.to_owned(),
            kind: RelationKind::Home,
            columns: Vec::new(),
            primary_key: Vec::new(),
            cascades: false,
            rewrites_rows: false,
            stamps: false,
            guarded: None,
            materialized: None,
        };
        if let Some((_, key)) = columns.split_once("PRIMARY KEY (") {
            relation.primary_key = key.trim_end_matches(')').split(", ").map(str::to_owned).collect();
        }
        for column in columns.split(", ").filter(|column| !column.starts_with("PRIMARY")) {
            let (name, rest) = column.split_once(' ').unwrap_or((column, ""));
            if rest.contains("PRIMARY KEY") {
                relation.primary_key.push(name.to_owned());
            }
            let known =
                ["int4", "int8", "char", "varchar", "numeric", "date"].iter().find(|known| rest.starts_with(*known));
            relation.columns.extend(known.map(|known| read_column(name, known)));
        }
        relation.kind = rules.kind("public", name, &relation.columns);
        relations.insert(name.to_owned(), Arc::new(relation));
    }
    let schemas = HashMap::from([("public".to_owned(), relations)]);
    (Catalog { version: CatalogVersion(1), schemas, functions: functions(), ..Catalog::default() }, rules)
}

fn read_column(name: &str, type_name: &str) -> Column {
    // *Source*: pg_type.dat.
    let type_oid = match type_name {
        "int4" => 23,
        "int8" => 20,
        "char" => 1042,
        "varchar" => 1043,
        "numeric" => 1700,
        _ => 1082,
    };
    Column {
        name: name.to_owned(),
        type_oid,
        typmod: -1,
        default: ColumnDefault::None,
        generated: false,
        type_name: format!("pg_catalog.{type_name}"),
        draws: String::new(),
        always: false,
        collation: 0,
        bytewise: false,
    }
}

fn functions() -> HashMap<String, Vec<Function>> {
    let mut found: HashMap<String, Vec<Function>> = HashMap::new();
    let mut kind = "";
    for line in include_str!("../tests/plan/pg_catalog.functions").lines().filter(|line| !line.starts_with('#')) {
        let names = match line.strip_prefix("    ") {
            Some(names) => names,
            None => {
                let (word, names) = line.split_once(' ').unwrap();
                kind = word;
                names
            }
        };
        let flags = kind.as_bytes();
        let function = Function {
            schema: "pg_catalog".to_owned(),
            volatility: match flags[0] {
                b'i' => Volatility::Immutable,
                b's' => Volatility::Stable,
                _ => Volatility::Volatile,
            },
            kind: match flags[1] {
                b'a' => FunctionKind::Aggregate,
                b'w' => FunctionKind::Window,
                b'p' => FunctionKind::Procedure,
                _ => FunctionKind::Plain,
            },
            native: true,
            closed: false,
            returns_set: flags[2] == b's',
        };
        for name in names.split(' ') {
            found.entry(name.to_owned()).or_default().push(function.clone());
        }
    }
    found
}
