//! How fast COPY data is split: MB/s per format, rows and keys found and nothing done with them.
//!
//! `cargo bench --bench copy_split`. A gateway that splits much faster than PostgreSQL parses (about 100 MB/s a core)
//! does not slow a COPY down; the goal is over 1,000 MB/s for text. Run by `cargo test --all-targets`, it is a short trial.

use std::convert::Infallible;
use std::time::Instant;

use pgbraid::wire::copy::{Field, Format, Piece, Splitter};

/// As much as a client sends in one write.
const CHUNK_BYTES: usize = 64 * 1024;

/// How much to measure.
#[derive(Clone, Copy)]
struct Effort {
    data_bytes: usize,
    rounds: usize,
}

impl Effort {
    /// `cargo bench` says `--bench`, `cargo test` does not.
    fn from_arguments() -> Effort {
        if std::env::args().any(|argument| argument == "--bench") {
            Effort { data_bytes: 64 << 20, rounds: 5 }
        } else {
            Effort { data_bytes: 256 << 10, rounds: 1 }
        }
    }
}

fn main() {
    let effort = Effort::from_arguments();
    let text = Format::Text { delimiter: b'\t', null: b"\\N".to_vec(), header: false };
    let csv = Format::Csv {
        delimiter: b',',
        quote: b'"',
        escape: b'"',
        null: Vec::new(),
        force_not_null: false,
        force_null: false,
        header: false,
    };
    let order = "1042117\t4711\tshipped\t149.90\t2026-03-04 05:06:07+00\n";
    let item = "4711\t7\t2\n";
    let nulls = "4711\t\\N\t\\N\ta note with \\t a tab\t\\N\t\\N\n";
    let quoted = "1042117,\"4711\",\"Smith, \"\"Jim\"\"\",149.90,\"2026-03-04 05:06:07+00\"\n";
    let plain = "1042117,4711,shipped,149.90,2026-03-04 05:06:07+00\n";
    let wide = format!("4711\t{}\n", "lorem ipsum ".repeat(100));
    run(effort, "text, 50-byte rows, key second", &text, 1, &[], order.as_bytes());
    run(effort, "text, 9-byte rows, key first", &text, 0, &[], item.as_bytes());
    run(effort, "text, NULLs and escapes", &text, 0, &[], nulls.as_bytes());
    run(effort, "text, 1.2 kB rows", &text, 0, &[], wide.as_bytes());
    run(effort, "csv, unquoted, key second", &csv, 1, &[], plain.as_bytes());
    run(effort, "csv, quoted, key second", &csv, 1, &[], quoted.as_bytes());
    run(effort, "binary, 5 fields, key second", &Format::Binary, 1, &binary_header(), &binary_row());
}

fn binary_header() -> Vec<u8> {
    [&b"PGCOPY\n\xff\r\n\0"[..], &[0; 8]].concat()
}

fn binary_row() -> Vec<u8> {
    let mut row = vec![0, 5];
    for field in [&[0u8; 8][..], &[0, 0, 18, 103], b"shipped", &[0; 10], &[0; 8]] {
        row.extend_from_slice(&(field.len() as u32).to_be_bytes());
        row.extend_from_slice(field);
    }
    row
}

fn run(effort: Effort, name: &str, format: &Format, key_field: usize, header: &[u8], row: &[u8]) {
    let data = [header, &row.repeat(effort.data_bytes / row.len())].concat();
    let mut best = f64::INFINITY;
    let mut rows = 0u64;
    for _ in 0..effort.rounds {
        let mut splitter = Splitter::new(format, key_field, CHUNK_BYTES);
        let mut key_bytes = 0;
        rows = 0;
        let begun = Instant::now();
        for chunk in data.chunks(CHUNK_BYTES) {
            let result = splitter.feed::<Infallible>(chunk, &mut |piece| {
                if let Piece::Row { key: Field::Value(key), .. } = piece {
                    rows += 1;
                    key_bytes += key.len();
                }
                Ok(())
            });
            if let Err(error) = result {
                eprintln!("{name}: {error}");
                std::process::exit(1);
            }
        }
        std::hint::black_box(key_bytes);
        best = best.min(begun.elapsed().as_secs_f64());
    }
    let megabytes = data.len() as f64 / 1e6;
    println!("{name:32} {:8.0} MB/s {:8.1} ns/row", megabytes / best, best * 1e9 / rows as f64);
}
