//! Plans as text: every `tests/plan/*.case` is a list of statements with the plan each must get, against the catalog of
//! `tests/plan/shop.schema` and a map of four shards with a quarter of the buckets each (s1 is home).
//!
//! A case is the statement, optional `$n` lines (`$1 int8 = 7` declared in Parse, `$1 = 7` not; `binary` after `=` for the
//! binary format of an int8 or text, `NULL` for NULL), a line `----` and the plan. `PLAN_CASES=rewrite` writes what is planned
//! into the files: read the difference before committing it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "plan/schema.rs"]
mod schema;

#[path = "plan/render.rs"]
mod render;

#[path = "plan/properties.rs"]
mod properties;

#[path = "plan/sharing.rs"]
mod sharing;

use std::path::{Path, PathBuf};

struct Case {
    /// Comments and blank lines before it.
    before: String,
    input: String,
    expected: String,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan")
}

fn read_cases(text: &str) -> (Vec<Case>, String) {
    let mut cases = Vec::new();
    let (mut before, mut input, mut expected) = (String::new(), String::new(), None::<String>);
    for line in text.lines() {
        match &mut expected {
            Some(plan) if line.is_empty() => {
                let case = Case {
                    before: std::mem::take(&mut before),
                    input: std::mem::take(&mut input),
                    expected: std::mem::take(plan),
                };
                cases.push(case);
                expected = None;
                before.push('\n');
            }
            Some(plan) => *plan += &format!("{line}\n"),
            None if line == "----" => expected = Some(String::new()),
            None if input.is_empty() && (line.is_empty() || line.starts_with('#')) => before += &format!("{line}\n"),
            None => input += &format!("{line}\n"),
        }
    }
    match expected {
        Some(expected) => {
            cases.push(Case { before, input, expected });
            (cases, String::new())
        }
        None => (cases, before + &input),
    }
}

fn check(name: &str) {
    let path = directory().join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let (cases, rest) = read_cases(&text);
    let catalog = schema::shop();
    let rewrite = std::env::var("PLAN_CASES").is_ok_and(|value| value == "rewrite");
    let (mut written, mut wrong) = (String::new(), String::new());
    for case in &cases {
        let actual = render::case(&case.input, &catalog);
        written += &format!("{}{}----\n{actual}", case.before, case.input);
        if actual != case.expected {
            wrong += &format!("{}---- expected\n{}---- planned\n{actual}\n", case.input, case.expected);
        }
    }
    written += &rest;
    if rewrite {
        std::fs::write(&path, written.trim_end().to_owned() + "\n").unwrap();
    } else {
        assert!(wrong.is_empty(), "{name}:\n{wrong}");
    }
    assert!(cases.len() > 5, "{name} holds cases");
}

#[test]
fn statements_are_routed_by_proof() {
    check("routing.case");
}

#[test]
fn queries_that_distribute_are_scattered_and_others_refused() {
    check("scatter.case");
}

#[test]
fn writes_go_to_one_shard_or_are_refused() {
    check("writes.case");
}

#[test]
fn utility_statements_have_plans_of_their_own() {
    check("utility.case");
}

#[test]
fn ddl_goes_everywhere_unless_it_promises_too_much() {
    check("ddl.case");
}

#[test]
fn calls_go_where_what_they_run_belongs() {
    check("called.case");
}

#[test]
fn copy_is_split_by_the_field_of_the_key() {
    check("copy.case");
}

#[test]
fn parameters_decide_at_bind() {
    check("parameters.case");
}

#[test]
fn shapes_that_others_get_wrong_are_right_or_refused() {
    check("shapes.case");
}

#[test]
fn refusals_say_why_and_what_to_do() {
    check("unsupported.case");
}

#[test]
fn queries_that_do_not_distribute_are_gathered() {
    check("gather.case");
}

#[test]
fn every_case_file_is_run() {
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan.rs")).unwrap();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".case") {
            assert!(source.contains(&format!("check(\"{name}\")")), "{name} is not run");
        }
    }
}
