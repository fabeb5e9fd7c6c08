//! Lending servers: the manager that `deadpool` asks for them, and the guard that gives them back only when clean.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};

use super::connect::{self, ConnectError, Target};
use super::server::Server;
use crate::config::ServerAddress;

/// Connects servers for one pool.
#[derive(Debug)]
pub struct ServerManager {
    target: Arc<Target>,
    lifetime: Duration,
    prepared_max: usize,
}

impl ServerManager {
    /// For one address, user and database.
    pub fn new(target: Arc<Target>, lifetime: Duration, prepared_max: usize) -> Self {
        ServerManager { target, lifetime, prepared_max }
    }

    /// Where it connects.
    pub fn address(&self) -> &ServerAddress {
        &self.target.address
    }
}

impl Manager for ServerManager {
    /// Boxed, because the pool moves it a dozen times for each loan.
    type Type = Box<Server>;
    type Error = ConnectError;

    async fn create(&self) -> Result<Box<Server>, ConnectError> {
        // On the heap: with TLS its future is large, and it would lie in the future of every client.
        let connected = Box::pin(connect::connect(&self.target)).await?;
        metrics::counter!("pgbraid_server_logins_total").increment(1);
        Ok(Box::new(Server::new(connected, self.target.clone(), self.prepared_max)))
    }

    /// No round trip: a server that died while idle has its socket readable, which costs nothing to know.
    async fn recycle(&self, server: &mut Box<Server>, _: &Metrics) -> RecycleResult<ConnectError> {
        if !server.is_clean() || server.stream.has_pending_input() {
            return Err(RecycleError::message("the server has something to say, or has gone"));
        }
        if server.born.elapsed() > self.lifetime {
            return Err(RecycleError::message("the server is older than lifetime"));
        }
        Ok(())
    }
}

/// A server on loan. Dropping it returns it to its pool if it is clean; else the server is told to stop and closed.
#[derive(Debug)]
pub struct Lent {
    object: Option<Object<ServerManager>>,
}

impl Lent {
    /// Takes what the pool gave.
    pub fn new(object: Object<ServerManager>) -> Self {
        Lent { object: Some(object) }
    }
}

impl Deref for Lent {
    type Target = Server;

    #[allow(clippy::expect_used)] // `object` is taken in `drop` only.
    fn deref(&self) -> &Server {
        self.object.as_ref().expect("a lent server is there until dropped")
    }
}

impl DerefMut for Lent {
    #[allow(clippy::expect_used)] // As in `deref`.
    fn deref_mut(&mut self) -> &mut Server {
        self.object.as_mut().expect("a lent server is there until dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if object.is_clean() {
            return;
        }
        let server = Object::take(object);
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
