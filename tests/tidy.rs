//! Tidiness as an ordinary test: the layer rule, file headers and lengths, words that must not be in the tree.
//!
//! Each rule is a pure function over text, tried on planted violations below.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/tokens.rs"]
mod tokens;

use std::path::{Path, PathBuf};

/// What stands at the top, besides files whose names begin with a dot and what Cargo makes.
const ROOMS: [&str; 11] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "benches",
    "deploy",
    "shardmap",
    "src",
    "tests",
];

const LINES_MAX: usize = 700;
const LINES_LONG: usize = 400;

fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut waiting = vec![root.join(directory)];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no source in {directory}");
    found
}

fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn nothing_lies_about_at_the_top() {
    let made = ["Cargo.lock", "target"];
    let entries = std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut found: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.retain(|name| !name.starts_with('.') && !made.contains(&&**name));
    found.sort();
    assert_eq!(found, ROOMS);
}

#[test]
fn imports_point_down_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let order = layers::module_order(&std::fs::read_to_string(root.join("src/lib.rs")).unwrap());
    assert!(order.len() > 5 && order[0] == "wire", "{order:?}");
    let sources = sources("src");
    let violations = sources.iter().flat_map(|(path, text)| layers::upward_imports(&order, path, text));
    assert_none(&violations.collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_is_for_and_is_not_too_long() {
    let mut violations = Vec::new();
    for (path, text) in sources("src").into_iter().chain(sources("shardmap")) {
        let path = path.display();
        violations.extend(rules::missing_header(&text).map(|what| format!("{path}: {what}")));
        match text.lines().count() {
            lines if lines > LINES_MAX => violations.push(format!("{path}: {lines} lines, more than {LINES_MAX}")),
            lines if lines > LINES_LONG => println!("{path}: {lines} lines: is there a second subject in it?"),
            _ => {}
        }
    }
    assert_none(&violations);
}

/// Every text that git keeps. Without git, what would be: the rooms.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = std::process::Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output();
    let listed = listed.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let Some(listed) = listed else { return ROOMS[6..].iter().flat_map(|tree| sources(tree)).collect() };
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let paths = names.map(|name| PathBuf::from(std::str::from_utf8(name).unwrap()));
    // What is no UTF-8 is no text, what is gone is not committed yet.
    paths.filter_map(|path| std::fs::read_to_string(root.join(&path)).ok().map(|text| (path, text))).collect()
}

#[test]
fn no_forbidden_words_are_in_the_tree() {
    let texts = texts();
    assert!(texts.len() > 200, "only {} files", texts.len());
    assert_none(&violations(texts, rules::forbidden_words));
}

#[test]
fn every_limit_says_what_it_limits() {
    assert_none(&violations(sources("src"), rules::limits_without_comment));
}

#[test]
fn no_function_is_too_long() {
    let sources = sources("src").into_iter().chain(sources("shardmap")).collect();
    assert_none(&violations(sources, rules::long_functions));
}

fn violations(files: Vec<(PathBuf, String)>, rule: fn(&str) -> Vec<String>) -> Vec<String> {
    let of = |(path, text): (PathBuf, String)| {
        rule(&text).into_iter().map(move |what| format!("{}:{what}", path.display())).collect::<Vec<_>>()
    };
    files.into_iter().flat_map(of).collect()
}
