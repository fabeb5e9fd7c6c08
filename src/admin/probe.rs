//! Asks each server of the configuration what it is: reachable, of which version, primary or replica, and how it is set up.

use futures_util::future::join_all;
use tokio_postgres::Client;

use crate::admin::init::OLDEST;
use crate::admin::report::Report;
use crate::config::{Config, ServerAddress};
use crate::topology::{self, Place};

/// What a server should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Replica,
}

/// What a server says of itself.
struct Facts {
    version: String,
    version_number: i32,
    in_recovery: bool,
    encoding: String,
    wal_level: String,
    prepared_transactions_max: i32,
    /// The cluster's identifier and the database's OID: equal on a primary and its replicas, and on what was copied from either.
    identity: String,
    /// The running server and the database's OID: shards that were made from one base backup share the identity and not this.
    instance: String,
}

/// A server that answered.
struct Answer {
    client: Client,
    facts: Facts,
}

const FACTS: &str = "
    SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::integer,
        pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_encoding'),
        pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('max_prepared_transactions')::integer,
        pg_catalog.concat_ws('/', (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s), d.oid),
        pg_catalog.concat_ws('/', (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s),
            extract(epoch FROM pg_catalog.pg_postmaster_start_time()), pg_catalog.current_setting('port'), d.oid)
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

/// Looks at all servers at once, and returns the connections to primaries that are fit to be asked more, by shard.
pub(super) async fn probe(config: &Config, report: &mut Report) -> Vec<Option<Client>> {
    let shards = join_all(config.shards.iter().map(|shard| async {
        let primary = ask(&shard.primary).await;
        let replicas = join_all(shard.replicas.iter().map(ask)).await;
        (primary, replicas)
    }));
    let mut primaries: Vec<Option<Client>> = Vec::new();
    let mut instances: Vec<(String, String)> = Vec::new();
    for (shard, (primary, replicas)) in config.shards.iter().zip(shards.await) {
        let subject = format!("shard {}", shard.name);
        let primary = judge(&subject, &shard.primary, Role::Primary, primary, report);
        for (address, replica) in shard.replicas.iter().zip(replicas) {
            let replica = judge(&subject, address, Role::Replica, replica, report);
            if let (Some(primary), Some(replica)) = (&primary, &replica)
                && primary.facts.identity != replica.facts.identity
            {
                let place = Place::new(address, None);
                let message = format!("{place} is no copy of its primary {}", Place::new(&shard.primary, None));
                report.error(&subject, message, "list each replica with the shard whose primary it follows");
            }
        }
        if let Some(primary) = &primary {
            match instances.iter().find(|(instance, _)| *instance == primary.facts.instance) {
                Some((_, other)) => {
                    let message = format!("is the same database as shard {other}");
                    report.error(&subject, message, "give each shard a database of its own");
                }
                None => instances.push((primary.facts.instance.clone(), shard.name.clone())),
            }
        }
        primaries.push(primary.map(|answer| answer.client));
    }
    primaries
}

/// Connects and asks.
async fn ask(address: &ServerAddress) -> Result<Answer, String> {
    let client = topology::connect(address, None).await.map_err(|error| error.to_string())?;
    match facts(&client).await {
        Ok(facts) => Ok(Answer { client, facts }),
        Err(error) => Err(format!("{}: {}", Place::new(address, None), topology::describe(&error))),
    }
}

async fn facts(client: &Client) -> Result<Facts, tokio_postgres::Error> {
    let row = client.query_one(FACTS, &[]).await?;
    Ok(Facts {
        version: row.try_get(0)?,
        version_number: row.try_get(1)?,
        in_recovery: row.try_get(2)?,
        encoding: row.try_get(3)?,
        wal_level: row.try_get(4)?,
        prepared_transactions_max: row.try_get(5)?,
        identity: row.try_get(6)?,
        instance: row.try_get(7)?,
    })
}

/// Says what is wrong with a server; gives it back if it can be used.
fn judge(
    subject: &str,
    address: &ServerAddress,
    role: Role,
    answer: Result<Answer, String>,
    report: &mut Report,
) -> Option<Answer> {
    let place = Place::new(address, None);
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            report.error(subject, error, "see that the server runs and that its URL in the configuration is right");
            return None;
        }
    };
    let facts = &answer.facts;
    let errors_before = report.count(super::Severity::Error);
    if facts.version_number < OLDEST {
        let message = format!("{place} runs PostgreSQL {}", facts.version);
        report.error(subject, message, "upgrade it: 14 is the oldest that will do");
    }
    match (role, facts.in_recovery) {
        (Role::Primary, true) => {
            let message = format!("{place} is listed as primary and is a replica");
            report.error(subject, message, "list the server that takes writes as primary, and this one under replicas");
        }
        (Role::Replica, false) => {
            let message = format!("{place} is listed as replica and is a primary");
            report.error(
                subject,
                message,
                "it would serve rows of its own: take it out, or make it follow the primary",
            );
        }
        (Role::Primary, false) | (Role::Replica, true) => {}
    }
    if facts.encoding != "UTF8" {
        let message = format!("{place} has the encoding {}, and keys are hashed as UTF-8", facts.encoding);
        report.error(subject, message, "create the database again with ENCODING 'UTF8' and carry the data over");
    }
    if role == Role::Primary {
        judge_settings(subject, &place, facts, report);
    }
    if report.count(super::Severity::Error) > errors_before {
        return None;
    }
    let role = match role {
        Role::Primary => "primary",
        Role::Replica => "replica",
    };
    report.fine(subject, format!("{role} {place} answers, PostgreSQL {}", facts.version));
    Some(answer)
}

/// Settings that limit what the gateway can do with a primary.
fn judge_settings(subject: &str, place: &Place, facts: &Facts, report: &mut Report) {
    if facts.prepared_transactions_max == 0 {
        let message = format!("{place} has max_prepared_transactions = 0: no transaction can write on several shards");
        report.warning(subject, message, "set it to at least max_connections and restart the server");
    }
    if facts.wal_level != "logical" {
        let message = format!("{place} has wal_level = {}: its rows cannot be moved online", facts.wal_level);
        report.warning(subject, message, "set wal_level = logical and restart the server");
    }
}
