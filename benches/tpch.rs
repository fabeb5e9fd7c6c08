//! TPC-H's tables, rows and queries for `benches/run --only tpch`, which measures: `tpch schema`, `tpch config own|order`,
//! `tpch tables`, `tpch indexes`, `tpch rows FOLDER SCALE` (a file for each table), `tpch query NUMBER`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;

#[path = "../tests/federated/tpch.rs"]
mod tpch;

fn main() {
    // cargo adds --bench.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["schema"] => println!("{};", tpch::SCHEMA.join(";\n")),
        ["config", "own"] => println!("{}", tpch::BY_OWN_KEYS),
        ["config", "order"] => println!("{}", tpch::BY_ORDER),
        ["tables"] => println!("{}", tpch::TABLES.join("\n")),
        ["indexes"] => println!("{}", tpch::INDEXES.join("\n")),
        ["rows", folder, scale] => {
            for table in tpch::TABLES {
                let file = std::fs::File::create(std::path::Path::new(folder).join(table)).unwrap();
                let mut out = std::io::BufWriter::new(file);
                tpch::rows(table, scale.parse().expect("a scale factor"), &mut |line| writeln!(out, "{line}").unwrap());
                out.flush().unwrap();
            }
        }
        ["query", number] => println!("{}", tpch::statement(number.parse().expect("a number"))),
        _ => {}
    }
}
