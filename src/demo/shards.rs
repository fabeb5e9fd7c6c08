//! The demo's shards: primaries and replicas, started side by side, stopped side by side.

use std::fmt;
use std::path::Path;

use futures_util::future::try_join_all;

use super::postgres::{DATABASE, Host, PostgresError, SUPERUSER, Server, Template};

/// One shard's servers.
#[derive(Debug)]
pub struct Shard {
    /// `s0`, `s1`, ...
    pub name: String,
    /// Takes writes.
    pub primary: Server,
    /// Follow it.
    pub replicas: Vec<Server>,
}

/// All of them; dropping them stops them.
#[derive(Debug)]
pub struct Shards {
    /// In order.
    pub shards: Vec<Shard>,
    password: String,
}

/// How many servers.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Shards.
    pub shards: u16,
    /// Replicas of each.
    pub replicas: u16,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u16| if count == 1 { "" } else { "s" };
        let Size { shards, replicas } = *self;
        write!(f, "{shards} shard{}", plural(shards))?;
        if replicas > 0 {
            write!(f, " with {replicas} replica{}{}", plural(replicas), if shards > 1 { " each" } else { "" })?;
        }
        Ok(())
    }
}

impl Shards {
    /// Starts shards under `directory`: `s0/primary`, `s0/replica1`, ...
    ///
    /// # Errors
    /// PostgreSQL says no.
    ///
    /// # Cancel safety
    /// Dropping the future stops what has been started.
    pub async fn start(
        host: &Host,
        directory: &Path,
        cache: Option<&Path>,
        size: Size,
    ) -> Result<Shards, PostgresError> {
        let template = &Template::obtain(host, directory, cache).await?;
        let starting = (0..size.shards).map(|index| async move {
            let name = format!("s{index}");
            let parent = directory.join(&name);
            let primary = Server::primary(host, template, &parent.join("primary")).await?;
            let mut shard = Shard { name, primary, replicas: Vec::new() };
            for replica in 1..=size.replicas {
                let data = parent.join(format!("replica{replica}"));
                shard.replicas.push(shard.primary.replica(host, template.password(), &data).await?);
            }
            Ok::<Shard, PostgresError>(shard)
        });
        let shards = try_join_all(starting).await?;
        Template::clear_scratch(directory)?;
        Ok(Shards { shards, password: template.password().to_owned() })
    }

    /// How the control side connects to one of the servers.
    pub fn url(&self, server: &Server) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{DATABASE}", self.password, server.port())
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        // Replicas first: a primary in fast shutdown waits until they have its last WAL.
        for shard in &mut self.shards {
            shard.replicas.iter_mut().for_each(Server::begin_stop);
            shard.primary.begin_stop();
        }
    }
}
