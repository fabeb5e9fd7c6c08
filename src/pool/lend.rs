//! Lending servers: a pool of those of one address, user and database, and the guard that gives them back only when clean.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connect::{self, ConnectError, Target};
use super::queue::{Closed, Place, Queue, Status};
use super::server::Server;
use crate::config::{self, ServerAddress};

/// Why no server was lent.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// All servers stayed busy for `[pool] wait_timeout`.
    #[error("no server became free within {0:?}")]
    Busy(Duration),
    /// The server could not be reached or refused us.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A user confined to replicas, a shard without.
    #[error("the shard has no replica")]
    NoReplica,
    /// Certificates of the configuration cannot be read.
    #[error("{0}")]
    Tls(String),
    /// The pool is being closed.
    #[error("the gateway is shutting down")]
    Closed,
}

/// Boxed, because a loan moves it several times.
type Servers = Queue<Box<Server>>;

/// A pool of servers of one address, user and database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerPool {
    queue: Arc<Servers>,
    opener: Arc<Opener>,
}

/// Connects servers for one pool.
#[derive(Debug)]
struct Opener {
    target: Arc<Target>,
    prepared_max: usize,
    lifetime: Duration,
    wait_timeout: Duration,
}

/// A server in use looks at the clock after so many loans, whether it has lived too long; an idle one is found by `close_old`.
const LOANS_BETWEEN_LOOKS: u64 = 64;

impl ServerPool {
    /// Of at most `max` servers.
    pub fn new(target: Arc<Target>, max: usize, prepared_max: usize, settings: &config::Pool) -> Self {
        let config::Pool { lifetime, wait_timeout, .. } = *settings;
        let queue: Arc<Servers> = Queue::new(max, |server| server.is_here());
        ServerPool { queue, opener: Arc::new(Opener { target, prepared_max, lifetime, wait_timeout }) }
    }

    /// Where it connects.
    pub fn address(&self) -> &ServerAddress {
        &self.opener.target.address
    }

    /// Whether somebody uses one, and the pool is not closed.
    pub fn has_lent(&self) -> bool {
        self.queue.has_lent()
    }

    /// Whether who wants one has to wait until somebody gives one back.
    pub fn is_exhausted(&self) -> bool {
        self.queue.is_exhausted()
    }

    /// Both are the same pool.
    pub fn is(&self, other: &ServerPool) -> bool {
        Arc::ptr_eq(&self.queue, &other.queue)
    }

    /// Lends a server if one is idle.
    pub fn idle(&self) -> Option<Lent> {
        loop {
            let mut lent = Lent { place: self.queue.take_idle()? };
            if lent.is_usable(self.opener.lifetime) {
                return Some(lent);
            }
        }
    }

    /// Lends a server: an idle one, else one that is connected now, else the next that somebody gives back. First come, first
    /// served, nearly: see [`Queue::take`]; a caller that is dropped while waiting loses nothing.
    ///
    /// # Errors
    /// None became free in time, none could be connected, or the pool is closed.
    ///
    /// # Cancel safety
    /// Cancel safe: see [`Queue::take`].
    pub async fn get(&self) -> Result<Lent, CheckoutError> {
        let wait = self.opener.wait_timeout;
        let deadline = tokio::time::Instant::now().checked_add(wait);
        loop {
            let turn = self.queue.take();
            let place = match deadline {
                Some(deadline) => {
                    tokio::time::timeout_at(deadline, turn).await.map_err(|_| CheckoutError::Busy(wait))?
                }
                None => turn.await,
            };
            let mut lent = Lent { place: place.map_err(|Closed| CheckoutError::Closed)? };
            if lent.place.item().is_none() {
                return Ok(self.connected(lent).await?);
            }
            if lent.is_usable(self.opener.lifetime) {
                return Ok(lent);
            }
        }
    }

    /// Connects one more server, if there is room for it, and leaves it in the pool; whether it did.
    pub async fn open(&self) -> bool {
        let Some(place) = self.queue.take_free() else { return false };
        self.connected(Lent { place }).await.is_ok()
    }

    async fn connected(&self, mut lent: Lent) -> Result<Lent, ConnectError> {
        let Opener { target, prepared_max, .. } = &*self.opener;
        // On the heap: with TLS its future is large, and it would lie in the future of every client.
        let connected = Box::pin(connect::connect(target)).await?;
        metrics::counter!("pgbraid_server_logins_total").increment(1);
        lent.place.fill(Box::new(Server::new(connected, target.clone(), *prepared_max)));
        Ok(lent)
    }

    /// Closes idle servers that have lived too long or, but for `min`, have been idle too long.
    pub fn close_old(&self, min: usize, idle_timeout: Duration) {
        let lifetime = self.opener.lifetime;
        let now = Instant::now();
        let mut kept = 0;
        let gone = self.queue.retain(|server, idle| {
            let young = now.saturating_duration_since(server.born) <= lifetime;
            let keep = young && (kept < min || idle <= idle_timeout);
            kept += usize::from(keep);
            keep
        });
        drop(gone);
    }

    /// Closes idle servers.
    pub fn close_idle(&self) {
        drop(self.queue.retain(|_, _| false));
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.queue.status()
    }

    /// Closes it: idle servers now, lent ones when they come back; waiting clients get an error.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

/// A server on loan. Dropping it returns it to its pool if it is clean; else the server is told to stop and closed.
#[derive(Debug)]
pub struct Lent {
    place: Place<Box<Server>>,
}

impl Lent {
    /// No round trip: a server that died while idle has its socket readable, which costs nothing to know.
    fn is_usable(&mut self, lifetime: Duration) -> bool {
        self.loans += 1;
        let old = self.loans.is_multiple_of(LOANS_BETWEEN_LOOKS) && self.born.elapsed() > lifetime;
        let usable = !old && self.is_clean() && !self.stream.has_pending_input() && self.come_here();
        if !usable {
            drop(self.place.empty());
        }
        usable
    }
}

impl Deref for Lent {
    type Target = Server;

    #[allow(clippy::expect_used)] // It is there from `connected` to `drop`.
    fn deref(&self) -> &Server {
        self.place.item().expect("a lent server is there until dropped")
    }
}

impl DerefMut for Lent {
    #[allow(clippy::expect_used)] // As in `deref`.
    fn deref_mut(&mut self) -> &mut Server {
        self.place.item_mut().expect("a lent server is there until dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.place.item().is_none_or(|server| server.is_clean()) {
            return;
        }
        let Some(server) = self.place.empty() else { return };
        // A Postgres whose client has gone runs its statement to the end all the same; tell it.
        if !server.is_broken()
            && !server.expects.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let key = server.cancel_key();
            runtime.spawn(async move {
                key.cancel().await;
                drop(server);
            });
        }
    }
}
