//! What the pure parts of the hot path cost, in instructions and nanoseconds: taking a text apart, finding its plan, hashing
//! its key, cutting frames; reading a volley and deciding where it goes.
//!
//! `cargo bench --bench hot_path` prints both. Run by `cargo test`, it counts instructions of the unoptimised build under
//! `valgrind --tool=callgrind`, which is the same on a busy machine as on an idle one, and fails when a part costs half as much
//! again as written below: what comes in unnoticed is a parse or a lock, not a better compiler. Without valgrind it only runs, or
//! fails where CI is set.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use pgbraid::catalog::{
    Catalog, CatalogVersion, Column, ColumnDefault, KeyType, Relation, RelationKind, Rules, Stamps,
};
use pgbraid::plan::{Argument, Arguments, Literals, Placement, Plan};
use pgbraid::session::plans::compiled::Plans;
use pgbraid::session::plans::scope::{Scope, Scoped, Scopes};
use pgbraid::session::plans::shapes::Lookup;
use pgbraid::session::statement::BoundArguments;
use pgbraid::sql::lift::Lifted;
use pgbraid::wire::frame::Header;
use pgbraid::wire::reply;
use pgbraid::wire::volley::Volley;
use shardmap::{BUCKETS, Bucket, Key, ShardId};

const SELECT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;";
const PREPARED: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";

/// What is measured: each is a function of [`Parts`].
#[derive(Clone, Copy)]
enum Part {
    TakeApart,
    FindShape,
    FindText,
    Resolve,
    Hash,
    Cut,
    ReadVolley,
    Decide,
}

impl Part {
    fn function(self) -> &'static str {
        match self {
            Part::TakeApart => "take_apart",
            Part::FindShape => "find_shape",
            Part::FindText => "find_text",
            Part::Resolve => "resolve",
            Part::Hash => "hash",
            Part::Cut => "cut",
            Part::ReadVolley => "read_volley",
            Part::Decide => "decide",
        }
    }
}

/// With the instructions that each takes once in an unoptimised build.
const PARTS: [(&str, Part, u64); 8] = [
    ("take a text apart", Part::TakeApart, 10_500),
    ("find the plan of its shape and resolve", Part::FindShape, 6_900),
    ("find the plan of a text", Part::FindText, 4_000),
    ("resolve a parameter", Part::Resolve, 4_800),
    ("hash a key", Part::Hash, 530),
    ("cut eight frames", Part::Cut, 2_900),
    ("read a volley", Part::ReadVolley, 11_000),
    ("find a volley's plan and resolve", Part::Decide, 21_000),
];

/// A part may cost so much more than written down, in percent.
const MORE_PERCENT: u64 = 50;

/// Times a part is repeated under valgrind.
const REPEATS: u64 = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--repeat") {
        Some(at) => PARTS.iter().for_each(|(_, part, _)| Parts::new().run(*part, arguments[at + 1].parse().unwrap())),
        None if arguments.iter().any(|argument| argument == "--bench") => print(),
        None => check(),
    }
}

fn print() {
    let counted = instructions();
    let mut parts = Parts::new();
    for (at, (name, part, _)) in PARTS.iter().enumerate() {
        const TIMES: u64 = 1_000_000;
        parts.run(*part, TIMES / 10);
        let started = Instant::now();
        parts.run(*part, TIMES);
        let nanoseconds = started.elapsed().as_nanos() as f64 / TIMES as f64;
        let count = counted.as_ref().map_or("-".to_owned(), |counted| counted[at].to_string());
        println!("{name:40} {nanoseconds:8.1} ns {count:>8} instructions");
    }
}

fn check() {
    let Some(counted) = instructions() else {
        assert!(std::env::var_os("CI").is_none(), "nothing is counted: no valgrind");
        println!("nothing is counted: no valgrind");
        PARTS.iter().for_each(|(_, part, _)| Parts::new().run(*part, 1));
        return;
    };
    let mut failed = false;
    for ((name, _, expected), count) in PARTS.iter().zip(counted) {
        let verdict = if count * 100 <= expected * (100 + MORE_PERCENT) { "ok" } else { "TOO MANY" };
        failed |= verdict != "ok";
        println!("{name:40} {count:8} instructions, {expected} expected: {verdict}");
    }
    assert!(!failed || !cfg!(debug_assertions), "more instructions than written down in benches/hot_path.rs");
}

/// Instructions of each part, as callgrind counts them with all that they call.
fn instructions() -> Option<Vec<u64>> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let ran = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--repeat", &REPEATS.to_string()])
        .output()
        .ok()?;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let annotate = Command::new("callgrind_annotate").args(["--inclusive=yes", "--threshold=100"]).arg(&out).output();
    let said = String::from_utf8_lossy(&annotate.unwrap().stdout).into_owned();
    // "1,234,567 ( 8.90%)  file:hot_path::Parts::cut [program]"
    let count = |(name, part, _): &(&str, Part, u64)| {
        let function = format!("hot_path::Parts::{} ", part.function());
        let line = said.lines().find(|line| line.contains(&function));
        let line = line.unwrap_or_else(|| panic!("{name}: not in {said}"));
        let count: String = line.chars().take_while(|c| *c != '(').filter(char::is_ascii_digit).collect();
        count.parse::<u64>().unwrap() / REPEATS
    };
    Some(PARTS.iter().map(count).collect())
}

struct Halves;

impl Placement for Halves {
    fn shard_of(&self, bucket: Bucket) -> ShardId {
        ShardId(bucket.0 / (BUCKETS / 2))
    }

    fn shard_ids(&self) -> Vec<ShardId> {
        vec![ShardId(0), ShardId(1)]
    }
}

struct Bound;

impl Arguments for Bound {
    fn argument(&self, _: usize) -> Argument<'_> {
        Argument::Text(b"4711")
    }

    fn resolved_type(&self, _: usize) -> Option<u32> {
        None
    }
}

/// All that the parts need, made before they are measured.
struct Parts {
    catalog: Catalog,
    rules: Rules,
    plans: Plans,
    scope: Arc<Scoped>,
    lifted: Lifted,
    prepared: Plan,
    frames: Vec<u8>,
    /// Parse, Bind, Describe, Execute and Sync.
    volley: BytesMut,
}

impl Parts {
    fn new() -> Parts {
        let column = |name: &str| Column {
            name: name.to_owned(),
            type_oid: 23,
            typmod: -1,
            default: ColumnDefault::None,
            generated: false,
            type_name: "pg_catalog.int4".to_owned(),
            draws: String::new(),
            always: false,
            identity: false,
            collation: 0,
            bytewise: false,
        };
        let accounts = Relation {
            cascades: false,
            schema: "public".to_owned(),
            name: "pgbench_accounts".to_owned(),
            kind: RelationKind::Sharded { key: 0, key_type: KeyType::Integer },
            columns: vec![column("aid"), column("abalance")],
            primary_key: vec!["aid".to_owned()],
            rewrites_rows: false,
            stamps: Stamps::None,
            has_heirs: false,
            is_child: false,
            family: None,
            exempt: None,
            guarded: false,
            materialized: None,
        };
        let relations = HashMap::from([(accounts.name.clone(), Arc::new(accounts))]);
        let catalog = Catalog {
            version: CatalogVersion(1),
            schemas: HashMap::from([("public".to_owned(), relations)]),
            ..Catalog::default()
        };
        let rules = Rules::default();
        let plans = Plans::new(100);
        let (database, search_path) = ("shop".to_owned(), vec!["public".to_owned()]);
        let scope = Scopes::default().scoped(Scope {
            database,
            search_path,
            role: String::new(),
            utf8: true,
            literals: String::new(),
        });
        let mut lifted = Lifted::default();
        assert!(lifted.read(SELECT.as_bytes()));
        plans.learn(SELECT, &lifted, &scope, &catalog, &rules);
        let prepared = plans.compile(PREPARED.as_bytes(), &[], &scope, &catalog, &rules).plan().unwrap().clone();
        let frame = [&b"D\0\0\0\x0f"[..], &[0; 11]].concat();
        let mut volley = BytesMut::new();
        reply::parse(&mut volley, b"", PREPARED.as_bytes(), &[]);
        // No formats, one parameter of four bytes, no result formats.
        reply::bind(&mut volley, b"", b"", b"\0\0\0\x01\0\0\0\x044711\0\0", 0);
        reply::named(&mut volley, b'D', b'P', b"");
        reply::execute(&mut volley, b"", 0);
        reply::bare(&mut volley, b'S');
        Parts { catalog, rules, plans, scope, lifted, prepared, frames: frame.repeat(8), volley }
    }

    fn run(&mut self, part: Part, times: u64) {
        for _ in 0..times {
            match part {
                Part::TakeApart => self.take_apart(),
                Part::FindShape => self.find_shape(black_box(SELECT)),
                Part::FindText => self.find_text(black_box(PREPARED)),
                Part::Resolve => self.resolve(),
                Part::Hash => self.hash(),
                Part::Cut => self.cut(),
                Part::ReadVolley => self.read_volley(),
                Part::Decide => self.decide(),
            }
        }
    }

    #[inline(never)]
    fn take_apart(&mut self) {
        assert!(self.lifted.read(black_box(SELECT.as_bytes())));
    }

    #[inline(never)]
    fn find_text(&self, text: &str) {
        black_box(self.plans.compile(text.as_bytes(), &[], &self.scope, &self.catalog, &self.rules));
    }

    #[inline(never)]
    fn hash(&self) {
        black_box(black_box(Key::Integer(4711)).bucket());
    }

    #[inline(never)]
    fn find_shape(&self, text: &str) {
        let found = self.plans.shapes.find(self.scope.id, self.catalog.version, text.as_bytes(), &self.lifted);
        let Lookup::Plan(shared) = found else { panic!("no plan: {found:?}") };
        let literals = Literals { text, literals: &self.lifted.literals };
        black_box(shared.shared.resolve(&Halves, ShardId(0), &literals).unwrap().unwrap());
    }

    #[inline(never)]
    fn resolve(&self) {
        let Plan::Rows(route) = &self.prepared else { panic!("{:?}", self.prepared) };
        black_box(route.resolve(&Halves, ShardId(0), black_box(&Bound)).unwrap());
    }

    #[inline(never)]
    fn cut(&self) {
        let mut rest = black_box(self.frames.as_slice());
        while let Ok(Some(header)) = Header::read(rest) {
            rest = &rest[header.frame_bytes..];
        }
    }

    #[inline(never)]
    fn read_volley(&self) {
        black_box(Volley::read(black_box(&self.volley)).unwrap());
    }

    #[inline(never)]
    fn decide(&self) {
        let volley = Volley::read(&self.volley).unwrap();
        let text = volley.parse.unwrap().text;
        let compiled = self.plans.compile(text, &[], &self.scope, &self.catalog, &self.rules);
        let Some(Plan::Rows(route)) = compiled.plan() else { panic!("{compiled:?}") };
        let arguments = BoundArguments::new(&volley.bind, None);
        black_box(route.resolve(&Halves, ShardId(0), &arguments).unwrap());
    }
}
