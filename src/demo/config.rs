//! The configuration of a demo, written where its user can read it: `pgbraid.toml` and `shardmap.toml`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use shardmap::BUCKETS;
use thiserror::Error;
use toml::{Table, Value};

use super::postgres::APP;
use super::shards::Shards;

/// Tables of the sample data that are not sharded by `customer_id`.
const SAMPLE_TABLES: &str = r#"
[tables.countries]
kind = "reference"

[tables.products]
kind = "reference"

[tables.settings]
kind = "home"
"#;

/// Why the configuration could not be written.
#[derive(Debug, Error)]
pub enum DemoConfigError {
    /// The user's additions cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The user's additions are not TOML.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// With line and column.
        source: toml::de::Error,
    },
    /// What came out cannot be written as TOML.
    #[error("the merged configuration: {0}")]
    Render(#[from] toml::ser::Error),
}

/// What differs from demo to demo.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Port of the gateway; 0 finds a free one.
    pub port: u16,
    /// Port of metrics and health; 0 finds a free one.
    pub http_port: u16,
    /// Whether the sample data will be loaded.
    pub sample: bool,
    /// Settings of the user's, from [`extra`].
    pub extra: Option<&'a Table>,
}

/// Reads the user's additions.
///
/// # Errors
/// No such file, or not TOML.
pub fn extra(path: &Path) -> Result<Table, DemoConfigError> {
    let text = fs::read_to_string(path).map_err(|source| DemoConfigError::Io { path: path.to_owned(), source })?;
    text.parse().map_err(|source| DemoConfigError::Syntax { path: path.to_owned(), source })
}

/// Writes both files and returns the path of the configuration.
///
/// # Errors
/// The disk is full, or the like.
pub fn write(directory: &Path, shards: &Shards, facts: &Facts<'_>) -> Result<PathBuf, DemoConfigError> {
    let names: Vec<&str> = shards.shards.iter().map(|shard| shard.name.as_str()).collect();
    write_file(&directory.join("shardmap.toml"), &even_map(&names))?;
    let path = directory.join("pgbraid.toml");
    let text = render(shards, facts);
    let text = match facts.extra {
        None => text,
        Some(extra) => {
            let own = text.parse::<Table>();
            let mut merged = own.map_err(|source| DemoConfigError::Syntax { path: path.clone(), source })?;
            merge(&mut merged, extra);
            toml::to_string_pretty(&merged)?
        }
    };
    write_file(&path, &text)?;
    Ok(path)
}

/// The configuration before the user's additions.
fn render(shards: &Shards, facts: &Facts<'_>) -> String {
    let Facts { port, http_port, .. } = facts;
    let mut text = format!(
        r#"# Written by `pgbraid demo`.

[gateway]
listen = "127.0.0.1:{port}"
http_listen = "127.0.0.1:{http_port}"

[sharding]
key = "customer_id"
home = "s0"
map = "shardmap.toml"

[[user]]
name = "{APP}"
password = "{APP}"

[[user]]
name = "analyst"
password = "analyst"
reads = "prefer-replica"
"#
    );
    if facts.sample {
        text.push_str(SAMPLE_TABLES);
    }
    for shard in &shards.shards {
        let replicas: Vec<String> = shard.replicas.iter().map(|server| format!("{:?}", shards.url(server))).collect();
        let (name, primary, replicas) = (&shard.name, shards.url(&shard.primary), replicas.join(", "));
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[shard]]\nname = \"{name}\"\nprimary = \"{primary}\"\nreplicas = [{replicas}]\n");
    }
    text
}

/// A first map: the buckets dealt out in equal ranges.
fn even_map(names: &[&str]) -> String {
    let count = names.len().max(1);
    let first = |index: usize| index * usize::from(BUCKETS) / count;
    let lines = names.iter().enumerate();
    let lines = lines.map(|(index, name)| format!("{name} = [\"{}-{}\"]\n", first(index), first(index + 1) - 1));
    format!("version = 1\n\n[shards]\n{}", lines.collect::<String>())
}

/// Lays additions over a table: tables are merged, lists of named tables (`[[user]]`, `[[shard]]`) by their names, and
/// anything else is replaced.
fn merge(into: &mut Table, extra: &Table) {
    for (key, value) in extra {
        match (into.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(new)) if new.iter().all(|item| name_of(item).is_some()) => {
                new.iter().for_each(|item| merge_named(old, item));
            }
            (_, value) => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

/// Merges an item into the one of the same name, or appends it.
fn merge_named(items: &mut Vec<Value>, new: &Value) {
    let old = items.iter_mut().find(|item| name_of(item) == name_of(new));
    match (old, new) {
        (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
        _ => items.push(new.clone()),
    }
}

fn name_of(item: &Value) -> Option<&str> {
    item.get("name")?.as_str()
}

/// Writes a file that only its owner reads: there are passwords in it.
fn write_file(path: &Path, text: &str) -> Result<(), DemoConfigError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| DemoConfigError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn merged(own: &str, extra: &str) -> Table {
        let mut table = own.parse().unwrap();
        merge(&mut table, &extra.parse().unwrap());
        table
    }

    #[test]
    fn additions_join_tables_and_replace_values() {
        let own = "[sharding]\nkey = \"customer_id\"\nhome = \"s0\"\n";
        let extra = "[sharding]\nkey = \"tenant\"\n[tables.lineitem]\nkey = \"l_orderkey\"\n";
        let expected = "[sharding]\nkey = \"tenant\"\nhome = \"s0\"\n[tables.lineitem]\nkey = \"l_orderkey\"\n";
        assert_eq!(merged(own, extra), expected.parse().unwrap());
    }

    #[test]
    fn users_and_shards_are_merged_by_name() {
        let own = "[[user]]\nname = \"app\"\npassword = \"app\"\n";
        let extra = "[[user]]\nname = \"app\"\npool_max = 3\n[[user]]\nname = \"eve\"\npassword = \"x\"\n";
        let expected =
            "[[user]]\nname = \"app\"\npassword = \"app\"\npool_max = 3\n[[user]]\nname = \"eve\"\npassword = \"x\"\n";
        assert_eq!(merged(own, extra), expected.parse().unwrap());
    }

    #[test]
    fn a_list_of_plain_values_is_replaced() {
        assert_eq!(merged("a = [1, 2]", "a = [3]"), "a = [3]".parse().unwrap());
    }

    #[test]
    fn the_first_map_has_no_gap_and_no_overlap() {
        for count in [1, 2, 3, 4, 7, 64] {
            let names: Vec<String> = (0..count).map(|index| format!("s{index}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let map: Table = even_map(&names).parse().unwrap();
            let mut next = 0;
            for name in names {
                let range = map["shards"][name][0].as_str().unwrap();
                let (low, high) = range.split_once('-').unwrap();
                assert_eq!(low.parse::<u16>().unwrap(), next);
                next = high.parse::<u16>().unwrap() + 1;
            }
            assert_eq!(next, BUCKETS);
        }
    }
}
