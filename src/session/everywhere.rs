//! DDL and maintenance: on every shard, and the catalog follows before the client hears of it.

use super::failure::Failure;
use super::life::Session;
use crate::execute::chorus::Chorus;
use crate::plan::Everywhere;
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
        if let Some(database) = left_database(text) {
            self.gateway.leave(&database);
        }
        let own = self.begin_own_block();
        self.enlist_all().await?;
        // Only now, so that the leader is the session's first server on every shard alike.
        self.chorus(text).await?;
        if everywhere.changes_catalog && names_sequences(text) {
            Box::pin(self.spread_sequences()).await?;
        }
        if let Some(block) = self.transaction.block_mut() {
            block.changed_catalog |= everywhere.changes_catalog;
            block.changed_logins |= changes_logins(text);
            block.numbered = false;
            block.seen = None;
        }
        if own {
            self.commit_block().await?;
        }
        Ok(())
    }

    /// CREATE DATABASE, VACUUM and the like cannot be rolled back: one shard after the other, stopping at the first error.
    async fn outside_transaction(&mut self, text: &[u8], everywhere: &Everywhere) -> Result<(), Failure> {
        if let Some(database) = dropped_database(text) {
            self.gateway.forget(&database).await;
        }
        if let Some(database) = left_database(text) {
            self.gateway.leave(&database);
        }
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

/// Whether it may change what servers set when they log in (ALTER ROLE, ALTER DATABASE).
fn changes_logins(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let words: Vec<&str> = text.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| matches!(pair, ["alter", "role" | "user" | "database"]))
}

/// The name in DROP DATABASE [IF EXISTS] name.
fn dropped_database(text: &[u8]) -> Option<String> {
    let mut words = words(text)?.filter(|word| !matches!(word.to_ascii_lowercase().as_str(), "if" | "exists"));
    let drops = words.next()?.eq_ignore_ascii_case("drop") && words.next()?.eq_ignore_ascii_case("database");
    Some(folded(words.next()?)).filter(|_| drops)
}

/// The database that must have no connections: the template in CREATE DATABASE, the one in ALTER DATABASE ... RENAME.
fn left_database(text: &[u8]) -> Option<String> {
    let mut words = words(text)?;
    let verb = words.next()?;
    if !words.next()?.eq_ignore_ascii_case("database") {
        return None;
    }
    let name = words.next()?;
    if verb.eq_ignore_ascii_case("alter") {
        return words.next().filter(|word| word.eq_ignore_ascii_case("rename")).map(|_| folded(name));
    }
    let mut words = words.skip_while(|word| !word.eq_ignore_ascii_case("template"));
    words.next().filter(|_| verb.eq_ignore_ascii_case("create"))?;
    words.next().map(folded)
}

fn words(text: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let parts = |c: char| c.is_whitespace() || matches!(c, '=' | ';');
    Some(std::str::from_utf8(text).ok()?.split(parts).filter(|word| !word.is_empty()))
}

/// A name as the server folds it.
fn folded(name: &str) -> String {
    let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    quoted.map_or_else(|| name.to_lowercase(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dropped_database_is_named() {
        assert_eq!(dropped_database(b"DROP DATABASE IF EXISTS Shop;").as_deref(), Some("shop"));
        assert_eq!(dropped_database(b"drop database \"Shop\"").as_deref(), Some("Shop"));
        assert_eq!(dropped_database(b"create database shop"), None);
    }

    #[test]
    fn the_database_that_must_have_no_connections_is_named() {
        let left = |text: &str| left_database(text.as_bytes());
        assert_eq!(left("CREATE DATABASE copy WITH OWNER me TEMPLATE = Shop;").as_deref(), Some("shop"));
        assert_eq!(left("create database copy template \"Shop\"").as_deref(), Some("Shop"));
        assert_eq!(left("ALTER DATABASE shop RENAME TO store").as_deref(), Some("shop"));
        for text in ["create database template", "alter database shop set work_mem = 1", "drop database shop", "vacuum"]
        {
            assert_eq!(left(text), None, "{text}");
        }
    }
}
