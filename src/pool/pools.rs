//! All pools of a gateway: one per server address, user and database, made when first needed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::connect::Target;
pub use super::lend::{CheckoutError, ServerPool};
use super::queue::Status;
use crate::config;

/// What the servers of a pool are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Clients' transactions.
    Transactions,
    /// Finishing queries over several shards. A client takes one last of all, so that it never holds one and waits for another
    /// server: no deadlock is possible.
    Merges,
}

/// Server address, database, user and what it proves itself by: after a change of password nobody gets the old pool.
type Address = (config::ServerAddress, String, String, Option<config::ServerSecret>, Purpose);

/// The pools of one configuration.
#[derive(Debug)]
pub struct Pools {
    pools: Mutex<HashMap<Address, (Arc<Target>, ServerPool)>>,
    closed: AtomicBool,
    settings: config::Pool,
    prepared_max: usize,
}

impl Pools {
    /// No pool yet.
    pub fn new(settings: config::Pool, prepared_max: usize) -> Self {
        Pools { pools: Mutex::default(), closed: AtomicBool::new(false), settings, prepared_max }
    }

    /// The pool for a target; `max` servers when it is made now. Callers keep it, so that the lock is off the hot path.
    pub fn pool(&self, target: Target, purpose: Purpose, max: usize) -> Result<ServerPool, CheckoutError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let Target { address, database, user, password, .. } = target.clone();
        let address = (address, database, user, password, purpose);
        if self.closed.load(Ordering::Relaxed) {
            return Err(CheckoutError::Closed);
        }
        if let Some((_, pool)) = pools.get(&address) {
            return Ok(pool.clone());
        }
        let target = Arc::new(target);
        let pool = ServerPool::new(target.clone(), max, self.prepared_max, &self.settings);
        pools.insert(address, (target, pool.clone()));
        Ok(pool)
    }

    /// Closes servers that have been idle or alive for too long, and opens what `[pool] min` asks for. Pools that nobody uses
    /// are forgotten, so that users and databases that came once leave nothing behind.
    pub async fn maintain(&self) {
        self.forget_unused();
        let pools: Vec<(Purpose, ServerPool)> = {
            let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
            pools.iter().map(|((.., purpose), (_, pool))| (*purpose, pool.clone())).collect()
        };
        for (purpose, pool) in pools {
            let min = match purpose {
                Purpose::Transactions => self.settings.min.min(pool.status().max_size),
                Purpose::Merges => 0,
            };
            pool.close_old(min, self.settings.idle_timeout);
            for _ in pool.status().size..min {
                if pool.status().size >= min || !pool.open().await {
                    break;
                }
            }
        }
    }

    /// A session that still knows the pool finds it closed and asks for another, as after a reload.
    fn forget_unused(&self) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, (_, pool)| {
            let status = pool.status();
            // A place that is being filled counts.
            let used = status.size > 0 || status.waiting > 0;
            if !used {
                pool.close();
            }
            used
        });
    }

    /// Servers per address, database and user, whatever they are for: open, idle, clients waiting.
    pub fn status(&self) -> Vec<(Arc<Target>, Status)> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums: HashMap<Address, (Arc<Target>, Status)> = HashMap::new();
        for ((address, database, user, secret, _), (target, pool)) in pools.iter() {
            let key = (address.clone(), database.clone(), user.clone(), secret.clone(), Purpose::Transactions);
            let status = pool.status();
            sums.entry(key)
                .and_modify(|(_, sum)| {
                    sum.max_size += status.max_size;
                    sum.size += status.size;
                    sum.available += status.available;
                    sum.waiting += status.waiting;
                })
                .or_insert_with(|| (target.clone(), status));
        }
        sums.into_values().collect()
    }

    /// Closes all pools, for others to come: sessions find theirs closed and ask again, as after a reload. Servers that are lent are closed when
    /// they come back.
    pub fn renew(&self) {
        let pools = std::mem::take(&mut *self.pools.lock().unwrap_or_else(PoisonError::into_inner));
        pools.into_values().for_each(|(_, pool)| pool.close());
    }

    /// Closes all pools: idle servers now, lent ones when they come back; waiting clients get an error.
    pub fn close(&self) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Relaxed);
        pools.values().for_each(|(_, pool)| pool.close());
    }

    /// Closes idle servers of a database, so that it can be dropped.
    pub fn close_idle(&self, database: &str) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, pool) in pools.values().filter(|(target, _)| target.database == database) {
            pool.close_idle();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn target(user: &str) -> Target {
        let tls =
            config::ServerTls { mode: config::SslMode::Disable, root_certificate: None, certificate: None, key: None };
        let (host, database, user) = ("127.0.0.1".to_owned(), "shop".to_owned(), user.to_owned());
        let address = config::ServerAddress {
            host,
            port: 1,
            database: database.clone(),
            user: user.clone(),
            password: None,
            tls,
        };
        Target { address, database, user, password: None, tls: None, timeout: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn pools_that_nobody_uses_are_forgotten_and_made_anew() {
        let second = Duration::from_secs(1);
        let settings = config::Pool {
            max: 2,
            multiplex: true,
            merge_max: 2,
            min: 0,
            idle_timeout: second,
            lifetime: second,
            wait_timeout: second,
            connect_timeout: second,
        };
        let pools = Pools::new(settings, 1);
        let kept: Vec<ServerPool> =
            (0..100).map(|at| pools.pool(target(&format!("u{at}")), Purpose::Transactions, 2).unwrap()).collect();
        assert_eq!(pools.status().len(), 100);
        // Somebody is at it.
        let mut connecting = Box::pin(kept[7].get());
        assert!(futures_util::poll!(&mut connecting).is_pending());
        pools.maintain().await;
        assert_eq!(pools.status().len(), 1);
        assert!(kept[8].is_closed() && !kept[7].is_closed());
        assert!(!pools.pool(target("u8"), Purpose::Transactions, 2).unwrap().is_closed());
    }
}
