//! Finds transactions that wait for each other on several shards, which no shard can see, and breaks the circle.
//!
//! A shard knows which of its processes wait for which; a gateway knows which processes of several shards are one client's, and tells
//! the others of those that wait, by a row in `pgbraid.waiting` on the home shard. So each gateway sees the whole circle, through
//! clients of all gateways and transactions around them, and all choose the same victim, whose own gateway ends its wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::Client;

use crate::config::Config;
use crate::pool::server::CancelServer;
use crate::session::cancel::CancelSlot;
use crate::session::gateway::Gateway;
use crate::topology;

/// Half of the second that finding a deadlock may take beyond `deadlock_timeout`; the questions take some of the rest.
const INTERVAL: Duration = Duration::from_millis(500);

/// A shard that takes longer to say who waits is left out.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Who waits for a lock, and, if for longer than a deadlock on one shard is left alone, for whom. Waits half as old are told to other
/// gateways, so that all know them when they are old enough.
const WAITS: &str = "
    SELECT DISTINCT l.pid, CASE WHEN l.waitstart < pg_catalog.clock_timestamp() - t.max
        THEN pg_catalog.pg_blocking_pids(l.pid) ELSE '{}' END
    FROM pg_catalog.pg_locks l, (SELECT pg_catalog.current_setting('deadlock_timeout')::interval) t (max)
    WHERE NOT l.granted AND l.pid IS NOT NULL AND l.waitstart < pg_catalog.clock_timestamp() - t.max / 2";

/// Tells the other gateways, and forgets those that have not been heard of for long.
const TELL: &str = "
    WITH old AS (DELETE FROM pgbraid.waiting WHERE seen < pg_catalog.clock_timestamp() - interval '10 min' AND gateway <> $1)
    INSERT INTO pgbraid.waiting (gateway, clients, shards, processes) VALUES ($1, $2, $3, $4)
    ON CONFLICT (gateway) DO UPDATE SET clients = excluded.clients, shards = excluded.shards,
        processes = excluded.processes, seen = pg_catalog.clock_timestamp()";

/// What the others have told a moment ago.
const HEAR: &str = "SELECT gateway, clients, shards, processes FROM pgbraid.waiting
    WHERE gateway <> $1 AND seen > pg_catalog.clock_timestamp() - interval '3 s'";

/// A process on a shard, by the shard's place in the configuration.
type Process = (usize, i32);

/// Which processes are one client's: of a gateway that is told by its id, or of this one.
type Members = Vec<((String, i32), Process)>;

/// One client's wait for another on a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    from: usize,
    to: usize,
    shard: usize,
    /// Who waits.
    process_id: i32,
    /// For whom.
    blocker_id: i32,
}

/// Looks for deadlocks as long as the gateway runs.
pub struct Detector {
    gateway: Arc<Gateway>,
    clients: HashMap<usize, Client>,
    /// The others have been told of clients that wait.
    told: bool,
}

/// Clients for whom several servers work, with those.
type Known = [(Arc<CancelSlot>, Vec<CancelServer>)];

impl Detector {
    /// For the clients of a gateway.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Detector { gateway, clients: HashMap::new(), told: false }
    }

    /// Goes on for ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let known = self.gateway.cancels.with_several_servers();
            // Somebody in a circle over several shards is on several shards.
            if !known.is_empty() {
                self.look(&known).await;
            }
        }
    }

    async fn look(&mut self, known: &Known) {
        let config = self.gateway.config.load_full();
        let asked = self.ask(&config).await;
        let own = own_members(&config, known);
        let waiting: Vec<i32> = own
            .iter()
            .filter(|(_, process)| asked.iter().any(|(shard, id, _)| (*shard, *id) == *process))
            .map(|((_, client), _)| *client)
            .collect();
        if waiting.is_empty() && !self.told {
            return;
        }
        let own: Members = own.into_iter().filter(|((_, client), _)| waiting.contains(client)).collect();
        let others = self.exchange(&config, &own).await;
        self.told = !own.is_empty();
        let members = [own.clone(), others].concat();
        let (waits, nodes) = graph(&members, &asked);
        let Some(wait) = circle(&waits, nodes).and_then(|circle| victim(&config, &members, &circle)) else { return };
        // Shards were asked at different moments: what they say again was so all the time between.
        let (again, nodes) = graph(&members, &self.ask(&config).await);
        let still = circle(&again, nodes).and_then(|circle| victim(&config, &members, &circle));
        if still.map(|still| (still.shard, still.process_id)) != Some((wait.shard, wait.process_id)) {
            return;
        }
        let place_of_victim = Some((wait.shard, wait.process_id));
        let found = known.iter().find_map(|(slot, servers)| {
            let server = servers.iter().find(|server| place(&config, server) == place_of_victim)?;
            Some((slot, server))
        });
        // Otherwise its own gateway sees the same.
        let Some((slot, server)) = found else { return };
        let shard = config.shards.get(wait.shard).map(|shard| shard.name.clone()).unwrap_or_default();
        tracing::info!(shard, process = wait.process_id, "a deadlock over several shards is broken");
        metrics::counter!("pgbraid_deadlocks_total").increment(1);
        slot.break_deadlock(server).await;
    }

    /// Tells other gateways which of this one's clients wait, and hears of theirs. Without the home shard each is for itself.
    async fn exchange(&self, config: &Config, own: &Members) -> Members {
        let Some(client) = self.clients.get(&usize::from(config.sharding.home.0)) else { return Vec::new() };
        let id = self.gateway.commits.id();
        let clients: Vec<i32> = own.iter().map(|((_, client), _)| *client).collect();
        let name = |shard: usize| config.shards.get(shard).map(|shard| shard.name.clone()).unwrap_or_default();
        let shards: Vec<String> = own.iter().map(|(_, (shard, _))| name(*shard)).collect();
        let processes: Vec<i32> = own.iter().map(|(_, (_, process))| *process).collect();
        let both = async {
            client.execute(TELL, &[&id, &clients, &shards, &processes]).await?;
            client.query(HEAR, &[&id]).await
        };
        let rows = match tokio::time::timeout(QUERY_TIMEOUT, both).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => {
                tracing::debug!(%error, "other gateways cannot be asked for deadlocks");
                return Vec::new();
            }
            Err(_) => return Vec::new(),
        };
        rows.iter().filter_map(|row| heard(config, row)).flatten().collect()
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

/// What another gateway has told.
fn heard(config: &Config, row: &tokio_postgres::Row) -> Option<Members> {
    let gateway: String = row.try_get(0).ok()?;
    let clients: Vec<i32> = row.try_get(1).ok()?;
    let (shards, processes): (Vec<String>, Vec<i32>) = (row.try_get(2).ok()?, row.try_get(3).ok()?);
    let members = clients.into_iter().zip(shards).zip(processes).filter_map(|((client, shard), process)| {
        let shard = config.shards.iter().position(|known| known.name == shard)?;
        Some(((gateway.clone(), client), (shard, process)))
    });
    Some(members.collect())
}

/// Shard and process of a server; `None` for a replica's.
fn place(config: &Config, server: &CancelServer) -> Option<Process> {
    let address = &server.target().address;
    let shard = config.shards.iter().position(|shard| shard.primary == *address)?;
    Some((shard, server.process_id()))
}

/// Which processes work for each of this gateway's clients.
fn own_members(config: &Config, known: &Known) -> Members {
    let servers = known.iter().flat_map(|(slot, servers)| {
        servers.iter().filter_map(|server| Some(((String::new(), slot.process_id), place(config, server)?)))
    });
    servers.collect()
}

/// Who waits for whom, clients and processes that are nobody's being numbered; how many they are.
fn graph(members: &Members, asked: &[(usize, i32, Vec<i32>)]) -> (Vec<Wait>, usize) {
    let mut clients: HashMap<&(String, i32), usize> = HashMap::new();
    let mut processes: HashMap<Process, usize> = HashMap::new();
    let mut nodes = 0;
    let mut next = || {
        nodes += 1;
        nodes - 1
    };
    for (client, process) in members {
        let node = *clients.entry(client).or_insert_with(&mut next);
        processes.insert(*process, node);
    }
    let mut waits = Vec::new();
    for (shard, process_id, blockers) in asked {
        let from = *processes.entry((*shard, *process_id)).or_insert_with(&mut next);
        // 0 is a prepared transaction, which waits for nobody. Source: lockfuncs.c, pg_blocking_pids.
        for blocker in blockers.iter().filter(|blocker| **blocker != 0) {
            let to = *processes.entry((*shard, *blocker)).or_insert_with(&mut next);
            waits.push(Wait { from, to, shard: *shard, process_id: *process_id, blocker_id: *blocker });
        }
    }
    (waits, nodes)
}

/// Which wait is to end: of those of clients on several shards, the first by shard's name and process, whichever gateway asks.
fn victim(config: &Config, members: &Members, circle: &[Wait]) -> Option<Wait> {
    let name = |wait: &Wait| config.shards.get(wait.shard).map(|shard| shard.name.as_str());
    let known = |wait: &&Wait| members.iter().any(|(_, process)| *process == (wait.shard, wait.process_id));
    circle.iter().filter(known).min_by_key(|wait| (name(wait), wait.process_id)).copied()
}

/// A circle of waits that no shard sees: who is waited for by one of its processes waits by another one, on another shard or on the same:
/// a merge server, which is outside the client's block, for a table that the block has locked, or for somebody who waits for the block.
fn circle(waits: &[Wait], clients: usize) -> Option<Vec<Wait>> {
    (0..clients).find_map(|start| {
        let mut path = Vec::new();
        let mut seen = vec![false; clients];
        let changes_process = |(at, next): (&Wait, &Wait)| (at.shard, at.blocker_id) != (next.shard, next.process_id);
        (walk(waits, start, start, &mut seen, &mut path)
            && path.iter().zip(path.iter().cycle().skip(1)).any(changes_process))
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

    /// By a process of each client's own on each shard.
    fn wait(from: usize, to: usize, shard: usize) -> Wait {
        let process = |client: usize| i32::try_from(client).unwrap_or(i32::MAX);
        Wait { from, to, shard, process_id: process(from), blocker_id: process(to) }
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
    fn a_circle_on_one_shard_through_two_servers_of_a_client_is_not() {
        let members = vec![((String::new(), 1), (0, 10)), ((String::new(), 1), (0, 11))];
        // The merge server, 11, waits for a stranger's DDL, and that for what the block has read.
        let (waits, nodes) = graph(&members, &[(0, 11, vec![30]), (0, 30, vec![10])]);
        assert_eq!(circle(&waits, nodes).map(|circle| circle.len()), Some(2));
        let (waits, nodes) = graph(&members, &[(0, 11, vec![30]), (0, 30, vec![11])]);
        assert_eq!(circle(&waits, nodes), None);
    }

    #[test]
    fn a_client_whose_servers_wait_for_each_other_waits_for_itself() {
        let members = vec![((String::new(), 1), (0, 10)), ((String::new(), 1), (0, 11))];
        let (waits, nodes) = graph(&members, &[(0, 11, vec![10])]);
        assert_eq!(circle(&waits, nodes).map(|circle| circle.len()), Some(1));
    }

    #[test]
    fn clients_of_two_gateways_and_a_stranger_are_one_circle() {
        let client = |gateway: &str, number: i32| (gateway.to_owned(), number);
        let members = vec![
            (client("", 1), (0, 10)),
            (client("", 1), (1, 20)),
            (client("other", 1), (0, 11)),
            (client("other", 1), (1, 21)),
        ];
        // The stranger, 30 on shard 1, stands between them there.
        let asked = [(0, 10, vec![11]), (1, 21, vec![30]), (1, 30, vec![20, 0])];
        let (waits, nodes) = graph(&members, &asked);
        assert_eq!((waits.len(), nodes), (3, 3));
        assert_eq!(circle(&waits, nodes).map(|circle| circle.len()), Some(3));
    }

    #[test]
    fn a_queue_is_no_circle() {
        assert_eq!(circle(&[wait(0, 1, 0), wait(1, 2, 1), wait(3, 2, 0)], 4), None);
    }
}
