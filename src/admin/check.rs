//! `pgbraid check`: is everything in place for serving? Changes nothing.

use futures_util::future::join_all;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::admin::commits;
use crate::admin::constraints::check_constraints;
use crate::admin::placement;
use crate::admin::probe::probe;
use crate::admin::report::Report;
use crate::admin::schema::{self, Difference, Schema};
use crate::admin::sequences;
use crate::catalog::{self, Catalog, CatalogVersion, RelationKind, Rules};
use crate::config::Config;
use crate::topology::{self, MapFile};

/// Differences told per shard; the rest is counted.
const DIFFERENCES_TOLD: usize = 10;

/// Characters of a definition told.
const DEFINITION_CHARS: usize = 120;

/// Looks at the map, at every server, at the shards' schemas and at the bucket function. What cannot be looked at is an error
/// in the report, so that one run says all.
pub async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    check_map(config, &mut report);
    let primaries = probe(config, &mut report).await;
    check_placement(config, &primaries, &mut report).await;
    commits::check_commits(config, &primaries, &mut report).await;
    check_schemas(config, &primaries, &mut report).await;
    check_numbers(config, &primaries, &mut report).await;
    sequences::check_sequences(config, &primaries, &mut report).await;
    let home = primaries.get(usize::from(config.sharding.home.0)).and_then(Option::as_ref);
    if let Some(client) = home {
        check_tables(config, client, &mut report).await;
    }
    report
}

/// The map is there, complete and of these shards.
fn check_map(config: &Config, report: &mut Report) {
    let file = MapFile::new(config);
    if !file.exists() {
        let message = format!("{} is not there yet", file.path().display());
        return report.warning("map", message, "nothing to do for a new cluster: `pgbraid serve` makes an even one");
    }
    match file.load() {
        Ok(map) => {
            let counts = map.bucket_counts();
            let owners: Vec<String> =
                map.shards().iter().zip(&counts).map(|(name, count)| format!("{name} {count}")).collect();
            report.fine("map", format!("version {}, all buckets owned: {}", map.version(), owners.join(", ")));
            for (name, _) in map.shards().iter().zip(&counts).filter(|(_, count)| **count == 0) {
                let message = format!("shard {name} owns no buckets: no sharded row goes there");
                report.warning("map", message, "nothing need be done; only a new cluster's map is made even");
            }
        }
        Err(error) => report.error("map", error.to_string(), "put the map back that was in use last"),
    }
}

/// `pgbraid.bucket` is on every shard and right.
async fn check_placement(config: &Config, primaries: &[Option<Client>], report: &mut Report) {
    for (shard, client) in config.shards.iter().zip(primaries) {
        let Some(client) = client else { continue };
        let subject = format!("shard {}", shard.name);
        match placement::first_misplaced(client).await {
            Ok(None) => report.fine(subject, "pgbraid.bucket is installed and right"),
            Ok(Some(wrong)) => {
                let found = wrong.found.map_or("NULL".to_owned(), |bucket| bucket.to_string());
                let message = format!("pgbraid.bucket gives {found} for {:?}, not {}", wrong.key, wrong.expected);
                report.error(subject, message, "run `pgbraid init`, which replaces it");
            }
            Err(error) if is_missing(&error) => {
                report.error(subject, "pgbraid.bucket is not installed", "run `pgbraid init`");
            }
            Err(error) => {
                let message = format!("pgbraid.bucket cannot be tested: {}", topology::describe(&error));
                report.error(subject, message, "run `pgbraid init` as the owner of the schema pgbraid");
            }
        }
    }
}

/// Neither schema nor function.
fn is_missing(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| [SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_FUNCTION].contains(code))
}

/// All shards define the same.
async fn check_schemas(config: &Config, primaries: &[Option<Client>], report: &mut Report) {
    let reads = join_all(primaries.iter().map(|client| async {
        match client {
            Some(client) => Some(schema::read(client).await),
            None => None,
        }
    }));
    let mut first: Option<(&str, Schema)> = None;
    for (shard, read) in config.shards.iter().zip(reads.await) {
        let subject = format!("shard {}", shard.name);
        let schema = match read {
            Some(Ok(schema)) => schema,
            Some(Err(error)) => {
                let message = format!("its schema cannot be read: {}", topology::describe(&error));
                report.error(subject, message, "see the server's log");
                continue;
            }
            None => continue,
        };
        match &first {
            None => first = Some((&shard.name, schema)),
            Some((other, expected)) => {
                tell(&subject, other, &schema::differences(expected, &schema), report);
            }
        }
    }
}

/// The first differences between two shards.
fn tell(subject: &str, other: &str, differences: &[Difference], report: &mut Report) {
    if differences.is_empty() {
        return report.fine(subject, format!("its schema is that of shard {other}"));
    }
    let remedy = format!(
        "make it the same on both, by DDL through the gateway or on the shard that is behind ({other} is only the first in the configuration)"
    );
    for difference in differences.iter().take(DIFFERENCES_TOLD) {
        let Difference { kind, name, here, there } = difference;
        let message = match (here, there) {
            (Some(_), None) => format!("{kind} {name} is on shard {other} and not here"),
            (None, _) => format!("{kind} {name} is here and not on shard {other}"),
            (Some(here), Some(there)) => {
                format!("{kind} {name} is `{}` on shard {other} and `{}` here", short(here), short(there))
            }
        };
        report.error(subject, message, &remedy);
    }
    if let Some(more) = differences.len().checked_sub(DIFFERENCES_TOLD).filter(|more| *more > 0) {
        report.error(subject, format!("{more} more differences from shard {other}"), &remedy);
    }
}

/// A definition on one line, cut where it gets long.
fn short(definition: &str) -> String {
    let mut line = definition.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(DEFINITION_CHARS) {
        line.truncate(cut);
        line.push_str("...");
    }
    line
}

/// All shards call users' types by the same numbers.
async fn check_numbers(config: &Config, primaries: &[Option<Client>], report: &mut Report) {
    let home = usize::from(config.sharding.home.0);
    let reads = join_all(primaries.iter().map(|client| async { catalog::numbers(client.as_ref()?).await.ok() })).await;
    let (Some(name), Some(Some(canonical))) = (config.shards.get(home).map(|shard| &shard.name), reads.get(home))
    else {
        return;
    };
    for (shard, numbers) in config.shards.iter().zip(&reads).filter(|(shard, _)| shard.name != *name) {
        let Some(numbers) = numbers else { continue };
        let subject = format!("shard {}", shard.name);
        let types = numbers.differences(canonical);
        if types.is_empty() {
            report.fine(subject, format!("its types have the numbers that they have on shard {name}"));
            continue;
        }
        let told = types.iter().take(DIFFERENCES_TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = types.len().checked_sub(DIFFERENCES_TOLD).filter(|more| *more > 0);
        let more = more.map_or(String::new(), |more| format!(" and {more} more"));
        report.warning(
            subject,
            format!("types that have other numbers (pg_type.oid) than on shard {name}: {told}{more}"),
            "nothing need be done: the gateway translates, and asks the home shard what concerns the catalog; statements with \
             binary values cost more, and binary COPY of arrays and composites of these types is refused",
        );
    }
}

/// The tables suit the rules of the configuration.
async fn check_tables(config: &Config, client: &Client, report: &mut Report) {
    let rules = Rules { key: config.sharding.key.clone(), tables: config.tables.clone() };
    let catalog = match catalog::load(client, &rules, CatalogVersion::default()).await {
        Ok(catalog) => catalog,
        Err(error) => return report.error("catalog", error.to_string(), "see the server's log"),
    };
    let mut relations: Vec<_> = catalog.schemas.values().flat_map(|schema| schema.values()).collect();
    relations.sort_by_key(|relation| (&relation.schema, &relation.name));
    let mut kinds = [0_usize; 3];
    for relation in relations {
        let subject = format!("table {}.{}", relation.schema, relation.name);
        match &relation.kind {
            RelationKind::Sharded { .. } => kinds[0] += 1,
            RelationKind::Reference => kinds[1] += 1,
            RelationKind::Home => kinds[2] += 1,
            RelationKind::Unusable { reason } => {
                report.warning(
                    subject,
                    format!("every use is refused: {reason}"),
                    "give it a [tables.NAME] rule or change it",
                );
            }
            RelationKind::System | RelationKind::View { .. } | RelationKind::Sequence => {}
        }
    }
    check_constraints(client, &catalog, &rules, report).await;
    let [sharded, reference, home] = kinds;
    report.fine("tables", format!("{sharded} sharded, {reference} reference, {home} home"));
    for name in config.tables.keys().filter(|name| !is_table(&catalog, name)) {
        let message = "the configuration has a rule for it and there is no such table";
        report.warning(format!("table {name}"), message, "correct the name in [tables.NAME], or create the table");
    }
}

/// Whether a rule's name, `schema.name` or `name`, is a relation's.
fn is_table(catalog: &Catalog, rule: &str) -> bool {
    let qualified = rule.split_once('.').and_then(|(schema, name)| catalog.schemas.get(schema)?.get(name));
    qualified.is_some() || catalog.schemas.values().any(|schema| schema.contains_key(rule))
}
