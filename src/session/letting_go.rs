//! Servers that have nothing of the transaction yet: given back before others are waited for.
//!
//! Any shard's server can tell what a statement means before it is known where it runs (a Parse or Describe without a Bind). A client
//! that kept it while it waited for the one where the statement does run would hold up clients who wait the other way round.

use super::failure::Failure;
use super::life::Session;
use crate::execute::plain::Plain;
use crate::plan::Access;
use crate::pool::expect::Audience;

impl Session {
    /// As `enlist_any`, for a server that is only asked.
    ///
    /// # Cancel safety
    /// Cancel safe, as `enlist`.
    pub(super) async fn enlist_to_ask(&mut self) -> Result<usize, Failure> {
        let only = self.link.servers.iter().all(|enlisted| enlisted.only_asked);
        let at = self.enlist_any(Access::Read).await?;
        // Where several have enlisted at once, all have the transaction's snapshot.
        if let (true, [enlisted]) = (only, self.link.servers.as_mut_slice()) {
            enlisted.only_asked = true;
        }
        Ok(at)
    }

    /// Gives back a server that has only been asked, before another shard's is waited for.
    ///
    /// # Cancel safety
    /// Cancel safe: a server is in the link until it is clean.
    pub(super) async fn let_go_asked(&mut self) -> Result<(), Failure> {
        match self.link.servers.as_slice() {
            [enlisted] if enlisted.only_asked => self.leave_servers().await,
            _ => Ok(()),
        }
    }

    /// Ends on every server what the transaction has there, which is nothing worth keeping, and gives them back.
    ///
    /// # Cancel safety
    /// As `let_go_asked`.
    pub(super) async fn leave_servers(&mut self) -> Result<(), Failure> {
        self.drain().await?;
        for enlisted in &mut self.link.servers {
            if std::mem::take(&mut enlisted.needs_sync) {
                enlisted.server.send_sync(Audience::Gateway);
            }
            if std::mem::take(&mut enlisted.begun) {
                enlisted.server.send_query(b"ROLLBACK", Audience::Gateway);
            }
        }
        self.link.relay(&mut Plain::default()).await?;
        self.give_back().await;
        Ok(())
    }
}
