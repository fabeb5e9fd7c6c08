//! Properties of planning, over random input.

use pgbraid::plan::{Argument, Arguments, Context, Destination, Placement, Plan, Target, compile};
use proptest::prelude::*;
use shardmap::Key;

use crate::render::Quarters;
use crate::schema::{Schema, shop};

struct One(Vec<u8>, bool);

impl Arguments for One {
    fn argument(&self, index: usize) -> Argument<'_> {
        match (index, self.1) {
            (0, true) => Argument::Binary(&self.0),
            (0, false) => Argument::Text(&self.0),
            _ => Argument::Missing,
        }
    }

    fn resolved_type(&self, _index: usize) -> Option<u32> {
        None
    }
}

fn plans(text: &str, schema: &Schema) -> Vec<Plan> {
    let path = ["public".to_owned()];
    let context = Context {
        catalog: &schema.catalog,
        rules: &schema.rules,
        search_path: &path,
        role: "",
        declared_types: &[],
        utf8: true,
    };
    compile(text, &context).map_or_else(|_| Vec::new(), |planned| planned.into_iter().map(|one| one.plan).collect())
}

fn destination(text: &str, schema: &Schema, arguments: &One) -> Destination {
    match plans(text, schema).as_slice() {
        [Plan::Rows(route)] => route.resolve(&Quarters, shardmap::ShardId(1), arguments).unwrap(),
        other => panic!("{text}: {other:?}"),
    }
}

fn home_of(key: &Key) -> Destination {
    Destination::One(Quarters.shard_of(key.bucket()))
}

/// A number as a client may write it.
fn spellings(value: i64) -> Vec<String> {
    let sign = if value < 0 { "-" } else { "" };
    let plus = if value < 0 { "-" } else { "+" };
    let digits = value.unsigned_abs();
    vec![
        format!("{value}"),
        format!("'{value}'"),
        format!("' \t{plus}000{digits}\n '"),
        format!("({value})::bigint"),
        format!("'{value}'::int8"),
        format!("CAST('{sign}0{digits}' AS bigint)"),
        format!("bigint '{value}'"),
        format!("ANY (ARRAY[{value}])"),
        format!("ANY ('{{{value}, \"{value}\"}}')"),
        format!("ANY ('{{{value}}}'::bigint[])"),
        format!("(SELECT customer_id FROM refunds WHERE customer_id = {value} LIMIT 1)"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_spelling_of_an_integer_goes_to_the_shard_of_its_value(value in any::<i64>(), small in -9i64..1000) {
        let schema = shop();
        for value in [value, small] {
            let home = home_of(&Key::Integer(value));
            for spelling in spellings(value) {
                for text in [
                    format!("SELECT * FROM orders WHERE customer_id = {spelling}"),
                    format!("UPDATE orders SET status = 'x' WHERE id = 1 AND customer_id = {spelling}"),
                    format!("SELECT * FROM orders o JOIN items i USING (customer_id) WHERE customer_id = {spelling}"),
                ] {
                    prop_assert_eq!(&destination(&text, &schema, &One(vec![], false)), &home, "{}", text);
                }
            }
            let insert = format!("INSERT INTO orders (id, customer_id) VALUES (1, '{value}'), (2, {value})");
            prop_assert_eq!(&destination(&insert, &schema, &One(vec![], false)), &home);
            for text in [
                "SELECT * FROM orders WHERE customer_id = $1",
                "DELETE FROM orders WHERE customer_id IN ($1, $1)",
                "INSERT INTO orders (customer_id, id) VALUES ($1, 1)",
            ] {
                let binary = One(value.to_be_bytes().to_vec(), true);
                let padded = One(format!(" {value} ").into_bytes(), false);
                prop_assert_eq!(&destination(text, &schema, &binary), &home);
                prop_assert_eq!(&destination(text, &schema, &padded), &home);
            }
        }
    }

    #[test]
    fn every_spelling_of_a_text_goes_to_the_shard_of_its_bytes(value in "[a-zA-Z0-9äß漢 '\"\\\\{},]{0,12}") {
        let schema = shop();
        let home = home_of(&Key::Text(value.as_str().into()));
        let quoted = value.replace('\'', "''");
        let escaped = quoted.replace('\\', "\\\\");
        let element = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "''");
        for spelling in [
            format!("'{quoted}'"),
            format!("E'{escaped}'"),
            format!("$q${value}$q$"),
            format!("'{quoted}'::text"),
            format!("CAST('{quoted}' AS varchar)"),
            format!("ANY ('{{\"{element}\"}}')"),
        ] {
            let text = format!("SELECT * FROM names WHERE customer_id = {spelling}");
            prop_assert_eq!(&destination(&text, &schema, &One(vec![], false)), &home, "{}", text);
        }
        let parameter = One(value.as_bytes().to_vec(), false);
        prop_assert_eq!(&destination("SELECT * FROM names WHERE customer_id = $1", &schema, &parameter), &home);
        let padded = One(format!("{value}    ").into_bytes(), false);
        let trimmed = home_of(&Key::Text(value.trim_end_matches(' ').into()));
        prop_assert_eq!(&destination("SELECT * FROM padded WHERE customer_id = $1", &schema, &padded), &trimmed);
    }

    #[test]
    fn every_spelling_of_a_uuid_goes_to_the_shard_of_its_bytes(bytes in any::<[u8; 16]>()) {
        let schema = shop();
        let home = home_of(&Key::Uuid(bytes));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let hyphens = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        for spelling in [hex.clone(), hyphens.clone(), hyphens.to_uppercase(), format!("{{{hyphens}}}")] {
            let text = format!("SELECT * FROM devices WHERE customer_id = '{spelling}'");
            prop_assert_eq!(&destination(&text, &schema, &One(vec![], false)), &home, "{}", text);
        }
        let parameter = One(bytes.to_vec(), true);
        prop_assert_eq!(&destination("SELECT * FROM devices WHERE customer_id = $1", &schema, &parameter), &home);
    }
}

/// Statements of all case files.
pub fn corpus() -> Vec<String> {
    let mut statements = Vec::new();
    for entry in std::fs::read_dir(crate::directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "case") {
            let (cases, _) = crate::read_cases(&std::fs::read_to_string(path).unwrap());
            statements.extend(cases.into_iter().map(|case| {
                let sql = |line: &&str| {
                    !line.starts_with('$') && !line.starts_with("search_path") && !line.starts_with("client_")
                };
                case.input.lines().filter(sql).collect::<Vec<_>>().join("\n")
            }));
        }
    }
    statements
}

/// A small generator, so that the same statements are tried each time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n.max(1)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect()
}

#[test]
fn mangled_statements_never_panic_and_a_keyed_plan_has_keys() {
    let schema = shop();
    let corpus: Vec<_> = corpus().iter().map(|text| words(text)).collect();
    let mut random = Random(7);
    let mut parsed = 0;
    for _ in 0..10_000 {
        let mut words = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(2) {
            let other = &corpus[random.below(corpus.len())];
            let at = random.below(words.len());
            let from = random.below(other.len());
            match random.below(5) {
                0 => drop(words.remove(at.min(words.len().saturating_sub(1)))),
                1 => words.insert(at, other[from].clone()),
                2 => words[at] = other[from].clone(),
                3 => words.splice(at..at, other[from..].iter().cloned()).for_each(drop),
                _ => words
                    .insert(at, ["NULL", "(", ")", "$1", "*", "WITH x AS (", "7", "''"][random.below(8)].to_owned()),
            }
            if words.is_empty() {
                break;
            }
        }
        for plan in plans(&words.concat(), &schema) {
            parsed += 1;
            if let Plan::Rows(route) = &plan {
                let _ = route.resolve(&Quarters, shardmap::ShardId(1), &One(b"7".to_vec(), false));
                if let Target::Keyed(keyed) = &route.target {
                    assert!(!keyed.pins.is_empty(), "{}", words.concat());
                }
            }
        }
    }
    assert!(parsed > 500, "only {parsed} statements were legal");
}

#[test]
fn deep_and_wide_statements_are_planned_or_refused_on_a_small_stack() {
    let schema = shop();
    let chain = |count: usize, from: &str| {
        let mut text = format!("WITH c0 AS (SELECT * FROM {from})");
        for at in 1..count {
            text += &format!(", c{at} AS (SELECT * FROM c{} WHERE id > {at})", at - 1);
        }
        format!("{text} SELECT * FROM c{} WHERE customer_id = 7", count - 1)
    };
    assert_eq!(destination(&chain(30, "orders"), &schema, &One(vec![], false)), home_of(&Key::Integer(7)));
    let doubling = |count: usize| {
        let mut text = "WITH c0 AS (SELECT * FROM orders)".to_owned();
        for at in 1..count {
            text += &format!(", c{at} AS (SELECT a.* FROM c{0} a JOIN c{0} b USING (customer_id))", at - 1);
        }
        format!("{text} SELECT * FROM c{} WHERE customer_id = 7", count - 1)
    };
    for text in [
        chain(5_000, "orders"),
        doubling(60),
        nested("SELECT * FROM (", "orders", ") x", 3_000),
        nested("(", "SELECT 1", ")", 50_000),
    ] {
        for plan in plans(&text, &schema) {
            assert!(matches!(plan, Plan::Refuse(refusal) if refusal.sqlstate == "54001"), "{}", &text[..80]);
        }
    }
    let wide = format!("SELECT * FROM orders WHERE customer_id IN ({})", vec!["7"; 20_000].join(", "));
    assert_eq!(destination(&wide, &schema, &One(vec![], false)), home_of(&Key::Integer(7)));
    let ands = format!("SELECT * FROM orders WHERE {} AND customer_id = 7", vec!["id > 1"; 5_000].join(" AND "));
    assert_eq!(destination(&ands, &schema, &One(vec![], false)), home_of(&Key::Integer(7)));
    let rows = format!("INSERT INTO orders (customer_id, id) VALUES {}", vec!["(7, 1)"; 20_000].join(", "));
    assert_eq!(destination(&rows, &schema, &One(vec![], false)), home_of(&Key::Integer(7)));
}

fn nested(before: &str, inside: &str, after: &str, count: usize) -> String {
    format!("SELECT * FROM ({}{inside}{}) y", before.repeat(count), after.repeat(count))
}
