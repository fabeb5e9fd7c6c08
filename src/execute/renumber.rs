//! A number of a type that is not known holds up its server while the shards' numbers are read anew.

use super::fault::LinkFault;
use super::link::Link;

impl Link {
    /// Reads the numbers anew if one is not known; whether it did. Part of [`Link::turn`].
    ///
    /// # Cancel safety
    /// Cancel safe: what has come waits, and is looked at again.
    pub(super) async fn renumber(&mut self) -> Result<bool, LinkFault> {
        let Some(catalog) = &self.catalog else { return Ok(false) };
        if !self.servers.iter().any(|enlisted| enlisted.server.oids.is_held_up()) {
            return Ok(false);
        }
        if let Err(error) = catalog.refresh_numbers().await {
            tracing::debug!(%error, "the catalog could not be read for the number of a type");
        }
        for enlisted in &mut self.servers {
            enlisted.server.oids.follow(catalog.version(), || catalog.oids(enlisted.shard));
            if enlisted.server.oids.is_held_up() {
                enlisted.server.oids.try_again();
            }
        }
        Ok(true)
    }
}
