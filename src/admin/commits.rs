//! What `pgbraid check` looks at so that several shards can commit as one.

use tokio_postgres::Client;

use super::report::Report;
use crate::config::{Config, Shard};
use crate::topology;
use crate::txn::install;

/// The tables are there and of one cluster; what is left prepared can be finished; what was decided survives a failover.
pub(super) async fn check_commits(config: &Config, primaries: &[Option<Client>], report: &mut Report) {
    let mut first: Option<(&str, String)> = None;
    for (shard, client) in config.shards.iter().zip(primaries) {
        let Some(client) = client else { continue };
        let subject = format!("shard {}", shard.name);
        let cluster = match install::facts(client).await {
            Ok(facts) => facts.cluster,
            Err(error) => {
                let message = format!("its tables for commits cannot be read: {}", topology::describe(&error));
                report.error(subject, message, "run `pgbraid init` as the owner of the schema pgbraid");
                continue;
            }
        };
        match (&first, cluster) {
            (_, None) => {
                let message = "the tables that commits on several shards need are not installed";
                report.error(subject.clone(), message, "run `pgbraid init`");
            }
            (None, Some(id)) => first = Some((&shard.name, id)),
            (Some((other, expected)), Some(id)) if *expected != id => {
                let message = format!("belongs to cluster {id}, and shard {other} to {expected}");
                report.error(subject.clone(), message, "correct the addresses of the shards");
            }
            (Some(_), Some(_)) => {}
        }
        if let Err(error) = judge(config, shard, client, &subject, report).await {
            let message = format!("its settings cannot be read: {}", topology::describe(&error));
            report.error(subject, message, "see the server's log");
        }
    }
}

async fn judge(
    config: &Config,
    shard: &Shard,
    client: &Client,
    subject: &str,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let query = "SELECT r.rolsuper, pg_catalog.current_setting('synchronous_standby_names') <> ''
        FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";
    let row = client.query_one(query, &[]).await?;
    let (superuser, synchronous): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let user = &shard.primary.user;
    // Source: manual of PostgreSQL 15, COMMIT PREPARED: the same user or a superuser.
    if !superuser && let Some(other) = config.users.iter().find(|other| other.server_user != *user) {
        let message = format!(
            "user {user} of its URL cannot finish what \"{}\" has left prepared when a gateway dies",
            other.server_user
        );
        report.warning(subject, message, "use a superuser in the shard's URL, or the same user for clients");
    }
    if !shard.replicas.is_empty() && !synchronous {
        let message = "has replicas and no synchronous one: a failover may forget what it decided for other shards";
        report.warning(subject, message, "set synchronous_standby_names on its primary");
    }
    Ok(())
}
