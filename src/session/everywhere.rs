//! DDL and maintenance: on every shard, and the catalog follows before the client hears of it.

use super::failure::Failure;
use super::life::Session;
use crate::execute::chorus::Chorus;
use crate::plan::{Everywhere, Vacated};
use crate::pool::expect::Audience;
use crate::wire::fields::field;
use crate::wire::reply::{self, Report};

impl Session {
    /// Runs a statement on all shards; everything but ReadyForQuery is answered.
    pub(super) async fn everywhere(&mut self, text: &[u8], everywhere: &Everywhere) -> Result<(), Failure> {
        if !everywhere.in_transaction && self.transaction.block().is_none() {
            return self.outside_transaction(text, everywhere).await;
        }
        let catalog = self.catalog.clone();
        let _turn = if self.may_hold_locks() { None } else { catalog.ddl_turn().await };
        self.vacate(everywhere).await;
        let own = self.begin_own_block();
        self.enlist_all().await?;
        // Only now, so that the leader is the session's first server on every shard alike.
        self.chorus(text).await?;
        self.renew(everywhere);
        if everywhere.changes_catalog && names_sequences(text) {
            Box::pin(self.spread_sequences()).await?;
        }
        self.note_altered(text);
        if let Some(block) = self.transaction.block_mut() {
            block.note_ddl(everywhere.changes_catalog);
            block.changed_logins |= everywhere.changes_logins;
        }
        if own {
            self.commit_block().await?;
        }
        Ok(())
    }

    /// The gateway's own connections must not be in the way.
    async fn vacate(&self, everywhere: &Everywhere) {
        match &everywhere.vacates {
            Some(Vacated::Dropped(database)) => self.gateway.forget(database).await,
            Some(Vacated::Left(database)) => self.gateway.leave(database),
            None => {}
        }
    }

    /// What is known of databases of these names is known of others.
    fn renew(&self, everywhere: &Everywhere) {
        everywhere.renews.iter().for_each(|database| self.gateway.commits.forget(database));
    }

    /// CREATE DATABASE, VACUUM and the like cannot be rolled back: one shard after the other, stopping at the first error.
    async fn outside_transaction(&mut self, text: &[u8], everywhere: &Everywhere) -> Result<(), Failure> {
        self.vacate(everywhere).await;
        self.enlist_all().await?;
        let mut done: Vec<String> = Vec::new();
        let mut out = bytes::BytesMut::new();
        for at in 0..self.link.servers.len() {
            let name = self.gateway.shard_name(self.link.servers[at].shard);
            self.link.servers[at].server.send_query(text, Audience::Joiner);
            let mut chorus = Chorus::new(if done.is_empty() { at } else { usize::MAX });
            self.link.relay(&mut chorus).await?;
            if let Some(body) = chorus.error() {
                if done.is_empty() {
                    chorus.finish(&mut self.link.client.outbound);
                    return Err(Failure::Told);
                }
                let text = |code| String::from_utf8_lossy(field(body, code).unwrap_or_default()).into_owned();
                return Err(Report::error(&text(b'C'), format!("shard \"{name}\": {}", text(b'M')))
                    .with_detail(format!("Done on {}.", done.join(", ")))
                    .with_hint("Remove the cause and repeat the statement.")
                    .into());
            }
            if done.is_empty() {
                chorus.finish(&mut out);
            }
            done.push(name);
            self.renew(everywhere);
        }
        if everywhere.changes_catalog {
            self.refresh_catalog().await;
        }
        self.link.client.outbound.extend_from_slice(&out);
        if done.is_empty() {
            reply::empty_query(&mut self.link.client.outbound);
        }
        Ok(())
    }
}

/// Whether DDL may make, change or come to use a sequence.
fn names_sequences(text: &[u8]) -> bool {
    /// The last ones are of ALTER TABLE ... ALTER COLUMN, which need not say that the column draws numbers.
    const WORDS: [&str; 10] =
        ["serial", "identity", "nextval", "like", "sequence", "restart", "increment", "minvalue", "maxvalue", "start"];
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}
