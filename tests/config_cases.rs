//! Configurations as text: `tests/config/*.case` holds settings and, after a line of dashes, what is said of them.
//!
//! A case may be made of several files, each headed `=== name`; `pgbraid.toml` is read, `extra.toml` laid over it, others only exist.
//! After the dashes stand the mistakes, or `ok` and lines that the checked configuration's debug output must contain.
//! `BLESS=1` writes the mistakes that are found.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use pgbraid::config::{self, Config, ConfigErrors, ServerSecret};

struct Case {
    path: PathBuf,
    input: String,
    expected: String,
}

fn cases() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "case"));
    paths.sort();
    let case = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = text.split_once("\n----\n").unwrap_or((&text, ""));
        Case { input: format!("{input}\n"), expected: expected.to_owned(), path }
    };
    paths.into_iter().map(case).collect()
}

/// Writes the files of a case into a directory of their own and reads the configuration.
fn outcome(case: &Case) -> String {
    let scratch = std::env::temp_dir().join(format!("pgbraid-config-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch).unwrap();
    let mut files: Vec<(&str, String)> = Vec::new();
    for line in case.input.lines() {
        match (line.strip_prefix("=== "), files.last_mut()) {
            (Some(name), _) => files.push((name, String::new())),
            (None, Some((_, text))) => writeln!(text, "{line}").unwrap(),
            (None, None) => files.push(("pgbraid.toml", format!("{line}\n"))),
        }
    }
    for (name, text) in &files {
        std::fs::write(scratch.join(name), text).unwrap();
    }
    let base = scratch.join("pgbraid.toml");
    let extra = scratch.join("extra.toml");
    let result = match files.iter().find(|(name, _)| *name == "extra.toml") {
        Some((_, text)) => config::parse_with_extra(&std::fs::read_to_string(&base).unwrap(), &base, text, &extra),
        None => config::load(&base),
    };
    let text = match result {
        Ok(config) => format!("ok\n{config:#?}\n"),
        Err(mistakes) => format!("{mistakes}\n"),
    };
    std::fs::remove_dir_all(&scratch).unwrap();
    text.replace(&format!("{}/", scratch.display()), "")
}

#[test]
fn every_case_says_what_it_expects() {
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 10, "the cases are missing");
    for case in cases {
        let found = outcome(&case);
        let name = case.path.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(lines) = case.expected.strip_prefix("ok\n") {
            let missing: Vec<&str> = lines.lines().filter(|line| !squeezed(&found).contains(&squeezed(line))).collect();
            if !found.starts_with("ok\n") || !missing.is_empty() {
                wrong.push(format!("{name}: not found: {missing:?} in\n{found}"));
            }
        } else if found != case.expected {
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&case.path, format!("{}\n----\n{found}", case.input.trim_end())).unwrap();
            }
            wrong.push(format!("{name}: expected\n{}found\n{found}", case.expected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Without white space and the commas of pretty debug output, so that cases need not care for line breaks.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != ',').collect()
}

fn parsed(text: &str) -> Result<Config, ConfigErrors> {
    config::parse(text, Path::new("/etc/pgbraid.toml"))
}

const LEAST: &str =
    "[sharding]\nkey = \"customer_id\"\n[[shard]]\nname = \"s0\"\nprimary = \"postgres://app:hunter2@db/shop\"\n";

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let mistakes = config::load(Path::new("/nowhere/pgbraid.toml")).unwrap_err();
    assert_eq!(mistakes.to_string(), "/nowhere/pgbraid.toml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn no_secret_is_shown_by_debug_or_by_mistakes() {
    let users = "[[user]]\nname = \"app\"\npassword = \"hunter2\"\nserver_password = \"hunter2\"\n";
    let config = parsed(&format!("{LEAST}{users}")).unwrap();
    assert_eq!(config.shards[0].primary.password.as_deref(), Some("hunter2"));
    assert_eq!(config.users[0].server_password, Some(ServerSecret::Password("hunter2".to_owned())));
    assert!(!format!("{config:?}").contains("hunter2"));
    for mistake in ["auth = \"cert\"", "password_file = \"x\"", "verifier = \"y\"", "reads = \"all\"", "nme = 1"] {
        let mistakes = parsed(&format!("{LEAST}{users}{mistake}\n")).unwrap_err().to_string();
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }
}

#[test]
fn networks_contain_what_their_prefix_says() {
    let inside = |network: &str, address: &str| {
        let config = parsed(&format!("[auth]\ntrust = \"{network}\"\n{LEAST}")).unwrap();
        config.auth.trust[0].contains(address.parse().unwrap())
    };
    for (network, address) in [
        ("10.1.0.0/16", "10.1.255.255"),
        ("10.1.2.3/16", "10.1.0.1"),
        ("0.0.0.0/0", "255.255.255.255"),
        ("127.0.0.1", "127.0.0.1"),
        ("10.0.0.0/8", "::ffff:10.9.9.9"),
        ("::/0", "fe80::1"),
        ("fe80::/64", "fe80::ffff"),
    ] {
        assert!(inside(network, address), "{address} in {network}");
    }
    for (network, address) in [
        ("10.1.0.0/16", "10.2.0.0"),
        ("127.0.0.1/32", "127.0.0.2"),
        ("0.0.0.0/0", "::1"),
        ("::/0", "10.0.0.1"),
        ("::/0", "::ffff:10.0.0.1"),
        ("fe80::/64", "fe80:0:0:1::"),
    ] {
        assert!(!inside(network, address), "{address} in {network}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~\n]{0,200}") {
        let _ = parsed(&text);
        let _ = parsed(&format!("{LEAST}{text}"));
    }
}
