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

#[test]
fn no_forbidden_words_are_in_the_tree() {
    let trees = ["src", "shardmap", "tests", "benches"];
    let files = trees.iter().flat_map(|tree| sources(tree));
    let violations = files.flat_map(|(path, text)| {
        let found = rules::forbidden_words(&text);
        found.into_iter().map(move |what| format!("{}:{what}", path.display())).collect::<Vec<_>>()
    });
    assert_none(&violations.collect::<Vec<_>>());
}

#[test]
fn every_limit_has_its_reason() {
    let files = sources("src").into_iter().filter(|(path, _)| {
        path.components().any(|part| {
            let name = Path::new(part.as_os_str());
            name.file_stem().is_some_and(|stem| stem == "limits")
        })
    });
    let violations = files.flat_map(|(path, text)| {
        let found = rules::limits_without_reason(&text);
        found.into_iter().map(move |what| format!("{}:{what}", path.display())).collect::<Vec<_>>()
    });
    assert_none(&violations.collect::<Vec<_>>());
}
