//! Sequences of sharded tables: `init` puts them one beside the other on all shards, `check` says where they are not.

use tokio_postgres::Client;

use super::init::InitError;
use super::report::Report;
use crate::catalog::sequences::{DRAWN, Drawn, Position, spread, to_spread};
use crate::config::Config;
use crate::session::gateway::rules;
use crate::topology;

/// Changes the sequences that are to be changed; their names. Gateways may serve meanwhile: they draw on the home shard until
/// all shards agree, so that the home shard is the last to commit.
///
/// # Errors
/// A shard cannot be reached, or a statement fails.
pub(super) async fn spread_all(config: &Config) -> Result<Vec<String>, InitError> {
    if config.shards.len() < 2 {
        return Ok(Vec::new());
    }
    let mut clients = Vec::with_capacity(config.shards.len());
    for shard in &config.shards {
        let connected = topology::connect(&shard.primary, None).await;
        clients.push(connected.map_err(|source| InitError::Connect { shard: shard.name.clone(), source })?);
    }
    let failed = |at: usize| {
        let shard = config.shards.get(at).map_or_else(String::new, |shard| shard.name.clone());
        move |source| InitError::Statement { shard, source }
    };
    let mut changed = Vec::new();
    let Some(first) = clients.first() else { return Ok(changed) };
    for drawn in to_spread(drawn(first).await.map_err(failed(0))?, &rules(config)) {
        // A sequence that is not everywhere is a difference that `check` tells.
        let Ok(places) = positions(&drawn, &clients).await else { continue };
        if !drawn.own || spread(&drawn, &places).is_none() {
            continue;
        }
        let lock = format!("BEGIN; ALTER SEQUENCE {} NO CYCLE", drawn.sequence);
        for (at, client) in clients.iter().enumerate() {
            client.batch_execute(&lock).await.map_err(failed(at))?;
        }
        let places = positions(&drawn, &clients).await.map_err(failed(0))?;
        for (at, (client, alter)) in clients.iter().zip(spread(&drawn, &places).unwrap_or_default()).enumerate() {
            client.batch_execute(&alter).await.map_err(failed(at))?;
        }
        let home = usize::from(config.sharding.home.0);
        let others = (0..clients.len()).filter(|at| *at != home);
        for at in others.chain([home]) {
            if let Some(client) = clients.get(at) {
                client.batch_execute("COMMIT").await.map_err(failed(at))?;
            }
        }
        changed.push(drawn.sequence.replace('"', ""));
    }
    Ok(changed)
}

async fn drawn(client: &Client) -> Result<Vec<Drawn>, tokio_postgres::Error> {
    let row = client.query_one(DRAWN, &[]).await?;
    Ok(Drawn::of(row.try_get::<_, Option<&str>>(0)?.unwrap_or_default()))
}

async fn positions(drawn: &Drawn, clients: &[Client]) -> Result<Vec<Position>, tokio_postgres::Error> {
    let query = Position::query(std::iter::once(drawn.sequence.as_str()));
    let mut places = Vec::with_capacity(clients.len());
    for client in clients {
        let row = client.query_one(&query, &[]).await?;
        places.extend(Position::of(row.try_get(0)?));
    }
    Ok(places)
}

/// Numbers that two shards may both give, or that only the home shard gives.
pub(super) async fn check_sequences(config: &Config, primaries: &[Option<Client>], report: &mut Report) {
    let clients: Vec<&Client> = primaries.iter().flatten().collect();
    let Some(first) = clients.first().filter(|_| clients.len() == primaries.len() && clients.len() > 1) else { return };
    // What cannot be read has been told of already.
    let Ok(drawn) = drawn(first).await else { return };
    for drawn in to_spread(drawn, &rules(config)) {
        let query = Position::query(std::iter::once(drawn.sequence.as_str()));
        let mut places = Vec::new();
        for client in &clients {
            let Ok(row) = client.query_one(&query, &[]).await else { break };
            places.extend(Position::of(row.try_get(0).unwrap_or_default()));
        }
        if places.len() == clients.len() && spread(&drawn, &places).is_some() {
            let subject = format!("sequence {}", drawn.sequence.replace('"', ""));
            let message = "shards have not each numbers of their own: INSERT draws on the home shard first, or numbers may come twice";
            report.warning(subject, message, "run `pgbraid init` as the owner of the sequence");
        }
    }
}
