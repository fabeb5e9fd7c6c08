//! `pgbraid status`: transactions over several shards that are prepared and not finished. Changes nothing.

use std::fmt::Write as _;

use crate::config::Config;
use crate::topology;
use crate::txn::in_doubt::{self, InDoubt};
use crate::txn::install;
use crate::txn::name::TransactionName;

/// A line for each transaction that is in doubt on a shard, with its age, and a line for each shard that could not be asked; the
/// number of both together.
pub async fn status(config: &Config) -> (String, usize) {
    let mut text = String::new();
    let mut problems = 0;
    for (at, shard) in config.shards.iter().enumerate() {
        match found_on(config, at).await {
            Ok(found) => {
                for found in &found {
                    problems += 1;
                    line(&mut text, &shard.name, found);
                }
                if found.is_empty() {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{}: no transaction is in doubt", shard.name);
                }
            }
            Err(cause) => {
                problems += 1;
                let _ = writeln!(text, "{}: {cause}", shard.name);
            }
        }
    }
    (text, problems)
}

fn line(text: &mut String, shard: &str, found: &InDoubt) {
    let decision = TransactionName::parse(&found.name).map(|name| name.decision_shard).unwrap_or_default();
    let InDoubt { name, database, age, owner, .. } = found;
    let age = age.as_secs_f64();
    let _ = writeln!(
        text,
        "{shard}: {name} in database {database} by {owner} is prepared for {age:.1} s; shard {decision} decides"
    );
}

async fn found_on(config: &Config, at: usize) -> Result<Vec<InDoubt>, String> {
    let Some(shard) = config.shards.get(at) else { return Ok(Vec::new()) };
    let client = topology::connect(&shard.primary, None).await.map_err(|error| error.to_string())?;
    let failed = |error| topology::describe(&error);
    match install::cluster(&client).await.map_err(failed)? {
        Some(cluster) => in_doubt::list(&client, at, &cluster).await.map_err(failed),
        None => Err("no tables for commits on several shards: run `pgbraid init`".to_owned()),
    }
}
