//! Random queries, in and out of transaction blocks, with and without parameters, on several connections at once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::choices::Choices;
use crate::compare::Protocol;
use crate::generate::Generator;
use crate::script::Statement;
use crate::{Both, Outcome, PROTOCOLS, number, told};

/// Queries of a run without orders: some seconds' worth.
const QUERIES: u64 = 400;

/// Differences after which a run ends.
const FAILURES_MAX: usize = 20;

/// Queries after which a long run says how far it is.
const PROGRESS: u64 = 1000;

/// What stands around a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    Nothing,
    /// Some of its constants are parameters.
    Parameters,
    /// A block that has written, which is rolled back.
    Block(&'static str),
}

/// How a query is run.
#[derive(Clone, Copy, Debug)]
struct Way {
    protocol: Protocol,
    around: Around,
    /// A setting with its value; `None`: as they come.
    setting: Option<(&'static str, &'static str)>,
}

/// What decides how values are written, and what constants mean.
const SETTINGS: &[(&str, &str)] = &[
    ("TimeZone", "'Asia/Kolkata'"),
    ("TimeZone", "'America/St_Johns'"),
    ("DateStyle", "'SQL, DMY'"),
    ("DateStyle", "'German'"),
    ("IntervalStyle", "'iso_8601'"),
    ("IntervalStyle", "'postgres_verbose'"),
    ("extra_float_digits", "0"),
    ("bytea_output", "'escape'"),
];

impl Way {
    fn of(seed: u64) -> Way {
        let protocol = PROTOCOLS[(seed % 3) as usize];
        let around = match seed / 3 % 8 {
            0 | 1 => Around::Parameters,
            2 => Around::Block("BEGIN ISOLATION LEVEL REPEATABLE READ"),
            3 => Around::Block("BEGIN"),
            _ => Around::Nothing,
        };
        // Rows are not moved under all of them.
        let changes = seed.is_multiple_of(5) && !matches!(around, Around::Block(_));
        let setting = changes.then(|| SETTINGS[(seed / 5 % SETTINGS.len() as u64) as usize]);
        match (around, protocol) {
            (Around::Parameters, Protocol::Simple) => Way { protocol: Protocol::Text, around, setting },
            _ => Way { protocol, around, setting },
        }
    }
}

/// What a block writes before its query reads.
const WRITES: &[&str] = &[
    "INSERT INTO orders (customer_id, id, status, total, qty, gift, mood) VALUES (3, 900, 'new', 7.25, 2, true, 'fine'), (14, 901, NULL, NULL, 5, NULL, 'sad'), (29, 902, 'Ärger', -1.50, 0, false, NULL)",
    "UPDATE orders SET total = total + 1, status = 'paid' WHERE qty > 1",
    "DELETE FROM items WHERE line = 1",
    "UPDATE customers SET credit = credit * 2, tags = NULL WHERE customer_id = 3",
    "INSERT INTO nothing VALUES (1, 2, 'x'), (22, NULL, NULL), (23, 7, 'new')",
    "UPDATE products SET price = price + 1 WHERE id < 4",
    "INSERT INTO settings VALUES ('more', 'red', 2)",
    "DELETE FROM refunds WHERE customer_id = 3",
    "INSERT INTO refunds SELECT customer_id, id + 100, total, status FROM orders WHERE qty > 2",
    "UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 2",
];

/// A query with what stands around it.
struct Made {
    statement: Statement,
    writes: Vec<&'static str>,
}

fn make(choices: Choices, way: Way) -> (Made, Choices) {
    let mut generator = Generator::new(choices);
    generator.has_parameters = way.around == Around::Parameters;
    let mut writes = Vec::new();
    if matches!(way.around, Around::Block(_)) {
        for _ in 0..generator.choices.below(2) + 1 {
            let write = generator.choices.one_of(WRITES);
            if !writes.contains(&write) {
                writes.push(write);
            }
        }
    }
    let query = generator.statement();
    let (sql, values) = renumbered(&query.sql, &generator.parameters);
    let parameters = generator.has_parameters.then_some(values);
    let statement = Statement { ordered: query.ordered, parameters, ..Statement::plain(&sql) };
    (Made { statement, writes }, generator.choices)
}

/// A text without the numbers of parameters that were made for it and not used; no constant has a dollar sign.
fn renumbered(sql: &str, values: &[Option<String>]) -> (String, Vec<Option<String>>) {
    let (mut used, mut kept) = (BTreeMap::new(), Vec::new());
    let mut pieces = sql.split('$');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
        let (number, rest) = piece.split_at(digits);
        let number: usize = number.parse().unwrap();
        let new = *used.entry(number).or_insert_with(|| {
            kept.push(values[number - 1].clone());
            kept.len()
        });
        out.push_str(&format!("${new}{rest}"));
    }
    (out, kept)
}

#[test]
fn parameters_that_are_not_used_are_left_out() {
    let values = ["a", "b", "c"].map(|value| Some(value.to_owned()));
    let (sql, kept) = renumbered("SELECT $3::int + $1::int + $3::int", &values);
    assert_eq!(sql, "SELECT $1::int + $2::int + $1::int");
    assert_eq!(kept, [values[2].clone(), values[0].clone()]);
}

/// One block at a time: two that write the same rows would wait for each other.
static BLOCKS: Mutex<()> = Mutex::new(());

fn run(both: &mut Both, made: &Made, way: Way) -> Outcome {
    let set = |both: &mut Both, what: String| {
        [&mut both.postgres, &mut both.gateway].into_iter().for_each(|client| client.run(&what));
    };
    let Some((name, value)) = way.setting else { return run_by_itself(both, made, way) };
    set(both, format!("SET {name} TO {value}"));
    let outcome = run_by_itself(both, made, way);
    set(both, format!("RESET {name}"));
    outcome
}

fn run_by_itself(both: &mut Both, made: &Made, way: Way) -> Outcome {
    let Around::Block(begin) = way.around else { return both.compare_statement(&made.statement, way.protocol) };
    let _one = BLOCKS.lock().unwrap();
    for client in [&mut both.postgres, &mut both.gateway] {
        client.run(begin);
        made.writes.iter().for_each(|write| client.run(write));
    }
    let outcome = both.compare_statement(&made.statement, way.protocol);
    for client in [&mut both.postgres, &mut both.gateway] {
        client.query("ROLLBACK");
    }
    outcome
}

/// What a run came to.
#[derive(Default)]
struct Sums {
    alike: u64,
    by_another_plan: u64,
    errors: u64,
    /// Examples by SQLSTATE.
    errors_by_code: BTreeMap<String, (u64, String)>,
    large: u64,
    refusals: BTreeMap<String, (u64, String)>,
    failures: Vec<String>,
}

impl Sums {
    fn refused(&self) -> u64 {
        self.refusals.values().map(|(count, _)| count).sum()
    }

    fn told(&self) -> String {
        let Sums { alike, by_another_plan, errors, large, failures, .. } = self;
        let (refused, different) = (self.refused(), failures.len());
        format!(
            "{alike} answered alike, {by_another_plan} as by another plan, {errors} errors alike, {refused} refused, {large} too large, {different} different"
        )
    }
}

#[test]
fn random_queries_of_every_shape_are_answered_as_by_one_postgres() {
    let mut both = Both::start();
    if let Ok(sql) = std::env::var("FEDERATED_SQL") {
        for protocol in PROTOCOLS {
            println!("{protocol:?}: {}", told(&both.compare(&sql, false, protocol)));
        }
        return;
    }
    let (first, queries) = (number("FEDERATED_SEED", 1), number("FEDERATED_QUERIES", QUERIES));
    let (next, sums, begun) = (AtomicU64::new(first), Mutex::new(Sums::default()), Instant::now());
    thread::scope(|scope| {
        for _ in 0..number("FEDERATED_CLIENTS", 2) {
            let mut both = both.another();
            let (next, sums) = (&next, &sums);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + queries || sums.lock().unwrap().failures.len() >= FAILURES_MAX {
                        break;
                    }
                    compare_seed(&mut both, seed, sums);
                }
            });
        }
    });
    let sums = sums.into_inner().unwrap();
    let refused = sums.refused();
    println!("seeds from {first}: {} in {:.0} s", sums.told(), begun.elapsed().as_secs_f64());
    sums.errors_by_code.values().for_each(|(count, example)| println!("{count:6} {example}"));
    sums.refusals.iter().for_each(|(reason, (count, sql))| println!("{count:6} {reason}\n         {sql}"));
    assert!(sums.failures.is_empty(), "{} differences:\n{}", sums.failures.len(), sums.failures.join("\n\n"));
    assert!(sums.errors * 4 < queries, "{} of {queries} are errors: the generator tests little", sums.errors);
    assert!(refused * 5 < queries, "{refused} of {queries} refused");
}

fn compare_seed(both: &mut Both, seed: u64, sums: &Mutex<Sums>) {
    let way = Way::of(seed);
    let (made, choices) = make(Choices::from_seed(seed), way);
    let outcome = run(both, &made, way);
    let failure = match &outcome {
        Outcome::Different(_) => Some(smallest(both, choices, seed, way)),
        _ => None,
    };
    let mut sums = sums.lock().unwrap();
    match outcome {
        Outcome::Alike => sums.alike += 1,
        Outcome::ByAnotherPlan => {
            println!("as by another plan: seed {seed} {}", made.statement.sql);
            sums.by_another_plan += 1;
        }
        Outcome::Error(text) => {
            sums.errors += 1;
            let code = text.get(..5).unwrap_or_default().to_owned();
            let example = || (0, format!("{text}\n         {}", made.statement.sql));
            sums.errors_by_code.entry(code).or_insert_with(example).0 += 1;
        }
        Outcome::TooLarge => sums.large += 1,
        Outcome::Refused(reason) => sums.refusals.entry(reason).or_insert((0, made.statement.sql)).0 += 1,
        Outcome::Different(_) => {
            let failure = failure.unwrap_or_default();
            println!("{failure}\n");
            sums.failures.push(failure);
        }
    }
    if (sums.alike + sums.errors + sums.large).is_multiple_of(PROGRESS) {
        println!("{}", sums.told());
        sums.errors_by_code.values().for_each(|(count, example)| println!("{count:6} {example}"));
    }
}

/// The smallest query found that still differs, and how.
fn smallest(both: &mut Both, choices: Choices, seed: u64, way: Way) -> String {
    let small = choices.shrink(|choices| matches!(run(both, &make(choices, way).0, way), Outcome::Different(_)));
    let made = make(small, way).0;
    let how = told(&run(both, &made, way));
    let (writes, parameters) = (made.writes.join("; "), &made.statement.parameters);
    format!("seed {seed} [{way:?}] {writes} {parameters:?}: {}\n    {how}", made.statement.sql)
}
