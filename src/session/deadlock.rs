//! Finds transactions that wait for each other on several shards, which no shard can see, and breaks the circle.
//!
//! A shard knows which of its processes wait for which; the gateway knows which processes of several shards are one client's.
//! Only clients of this gateway are known: a circle through another gateway, or through a transaction around the gateways, is
//! not found.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::Client;

use super::cancel::CancelSlot;
use super::gateway::Gateway;
use crate::config::Config;
use crate::pool::server::CancelServer;
use crate::topology;

/// Half of the second that finding a deadlock may take beyond `deadlock_timeout`; the questions take some of the rest.
const INTERVAL: Duration = Duration::from_millis(500);

/// A shard that takes longer to say who waits is left out.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Who has waited longer than a deadlock on one shard is left alone, and for whom.
const WAITS: &str = "
    SELECT DISTINCT l.pid, pg_catalog.pg_blocking_pids(l.pid) FROM pg_catalog.pg_locks l
    WHERE NOT l.granted AND l.pid IS NOT NULL
        AND l.waitstart < pg_catalog.clock_timestamp() - pg_catalog.current_setting('deadlock_timeout')::interval";

/// One client's wait for another on a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    from: usize,
    to: usize,
    shard: usize,
    process_id: i32,
}

/// Looks for deadlocks as long as the gateway runs.
pub struct Detector {
    gateway: Arc<Gateway>,
    clients: HashMap<usize, Client>,
}

impl Detector {
    /// For the clients of a gateway.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Detector { gateway, clients: HashMap::new() }
    }

    /// Goes on for ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let known = self.gateway.cancels.with_several_servers();
            // One such client alone cannot wait for itself.
            if known.len() > 1 {
                self.look(&known).await;
            }
        }
    }

    async fn look(&mut self, known: &[(Arc<CancelSlot>, Vec<CancelServer>)]) {
        let config = self.gateway.config.load_full();
        let owners = owners(&config, known);
        let mut waits = Vec::new();
        for (shard, process_id, blockers) in self.ask(&config).await {
            let Some(from) = owners.get(&(shard, process_id)) else { continue };
            let to = blockers.iter().filter_map(|blocker| owners.get(&(shard, *blocker)));
            waits.extend(to.map(|to| Wait { from: *from, to: *to, shard, process_id }));
        }
        let Some(circle) = circle(&waits, known.len()) else { return };
        // The one whose wait is found first gives way; what it held lets the others go on.
        let Some(wait) = circle.first() else { return };
        let Some((slot, servers)) = known.get(wait.from) else { return };
        let shard = &config.shards.get(wait.shard).map(|shard| shard.name.clone()).unwrap_or_default();
        tracing::info!(shard, process = wait.process_id, "a deadlock over several shards is broken");
        metrics::counter!("pgbraid_deadlocks_total").increment(1);
        if let Some(server) =
            servers.iter().find(|server| place(&config, server) == Some((wait.shard, wait.process_id)))
        {
            slot.break_deadlock(server).await;
        }
    }

    /// Who waits for whom: shard, process, processes.
    async fn ask(&mut self, config: &Config) -> Vec<(usize, i32, Vec<i32>)> {
        self.clients.retain(|shard, client| !client.is_closed() && *shard < config.shards.len());
        let missing = config.shards.iter().enumerate().filter(|(at, _)| !self.clients.contains_key(at));
        let opened =
            join_all(missing.map(|(at, shard)| async move { (at, topology::connect(&shard.primary, None).await) }))
                .await;
        self.clients.extend(opened.into_iter().filter_map(|(at, client)| Some((at, client.ok()?))));
        let asked = self.clients.iter().map(|(shard, client)| async move {
            let rows = tokio::time::timeout(QUERY_TIMEOUT, client.query(WAITS, &[])).await.ok()?.ok()?;
            let read = |row: &tokio_postgres::Row| Some((*shard, row.try_get(0).ok()?, row.try_get(1).ok()?));
            Some(rows.iter().filter_map(read).collect::<Vec<_>>())
        });
        join_all(asked).await.into_iter().flatten().flatten().collect()
    }
}

/// Shard and process of a server; `None` for a replica's.
fn place(config: &Config, server: &CancelServer) -> Option<(usize, i32)> {
    let address = &server.target().address;
    let shard = config.shards.iter().position(|shard| shard.primary == *address)?;
    Some((shard, server.process_id()))
}

/// Which client each process works for.
fn owners(config: &Config, known: &[(Arc<CancelSlot>, Vec<CancelServer>)]) -> HashMap<(usize, i32), usize> {
    let servers = known.iter().enumerate().flat_map(|(client, (_, servers))| {
        servers.iter().filter_map(move |server| Some((place(config, server)?, client)))
    });
    servers.collect()
}

/// A circle of waits on more than one shard: what is on one shard, that shard finds itself.
fn circle(waits: &[Wait], clients: usize) -> Option<Vec<Wait>> {
    (0..clients).find_map(|start| {
        let mut path = Vec::new();
        let mut seen = vec![false; clients];
        (walk(waits, start, start, &mut seen, &mut path)
            && path.iter().any(|wait| Some(wait.shard) != path.first().map(|first| first.shard)))
        .then_some(path)
    })
}

/// Whether `from` waits for `goal` in the end; the waits on the way.
fn walk(waits: &[Wait], from: usize, goal: usize, seen: &mut [bool], path: &mut Vec<Wait>) -> bool {
    for wait in waits.iter().filter(|wait| wait.from == from) {
        path.push(*wait);
        if wait.to == goal {
            return true;
        }
        if seen.get_mut(wait.to).is_some_and(|seen| !std::mem::replace(seen, true))
            && walk(waits, wait.to, goal, seen, path)
        {
            return true;
        }
        path.pop();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(from: usize, to: usize, shard: usize) -> Wait {
        Wait { from, to, shard, process_id: 0 }
    }

    #[test]
    fn a_circle_over_two_shards_is_found_whoever_waits_beside_it() {
        let waits = [wait(3, 0, 0), wait(0, 1, 0), wait(1, 2, 1), wait(2, 0, 1)];
        assert_eq!(circle(&waits, 4), Some(vec![wait(0, 1, 0), wait(1, 2, 1), wait(2, 0, 1)]));
    }

    #[test]
    fn a_circle_on_one_shard_is_that_shards_business() {
        assert_eq!(circle(&[wait(0, 1, 1), wait(1, 0, 1)], 2), None);
    }

    #[test]
    fn a_queue_is_no_circle() {
        assert_eq!(circle(&[wait(0, 1, 0), wait(1, 2, 1), wait(3, 2, 0)], 4), None);
    }
}
