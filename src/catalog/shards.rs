//! Keeps the numbers that every shard has given to users' types and relations, and what they are on the home shard.
//!
//! Part of a reload (see `watch`). A shard that cannot be asked keeps what it had; one that was never asked has no types of
//! users until it is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::oids::{NUMBERS, NUMBERS_FINGERPRINT, Numbers, OidMap};
use super::sequences::{DRAWN, Drawn};
use super::{Connect, LoadError, OwnNumbers};

/// A shard that does not answer in so long does not hold up the others.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A shard that is busy is given longer when a client waits for the number of a type, which would be refused without.
const AWAITED_TIMEOUT: Duration = Duration::from_secs(20);

/// A shard that could not be asked is left alone for so long, unless somebody waits for it.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// By shard; `None` for the home shard, whose numbers need no translation.
pub type OidMaps = Arc<[Option<Arc<OidMap>>]>;

/// What is known of all shards.
#[derive(Default)]
pub(super) struct ShardNumbers {
    shards: Vec<Shard>,
    maps: OidMaps,
    own: Arc<OwnNumbers>,
}

#[derive(Default)]
struct Shard {
    client: Option<Client>,
    fingerprint: Option<String>,
    numbers: Option<Numbers>,
    drawn: Option<Vec<Drawn>>,
    /// It could not be asked; not to be asked before.
    retry_at: Option<Instant>,
}

impl ShardNumbers {
    /// Asks all shards whether something changed, and reads what has.
    ///
    /// # Cancel safety
    /// Cancel safe: a connection in use is closed.
    pub(super) async fn read(&mut self, connect: &dyn Connect, insist: bool) {
        if connect.shards() < 2 {
            self.own = Arc::new(OwnNumbers::all());
            return; // one shard's numbers are the home shard's
        }
        self.shards.resize_with(connect.shards(), Shard::default);
        let reads = self.shards.iter_mut().enumerate().map(|(at, shard)| shard.read(at, connect, insist));
        let changed = join_all(reads).await.contains(&true);
        if changed || self.maps.len() != self.shards.len() {
            self.maps = self.translate(connect.home());
            let drawn: Vec<_> = self.shards.iter().map(|shard| shard.drawn.as_deref()).collect();
            let own = OwnNumbers::agreed(&drawn);
            if own != *self.own {
                self.own = Arc::new(own);
            }
        }
    }

    /// Which sequences each shard draws from for itself.
    pub(super) fn own(&self) -> Arc<OwnNumbers> {
        self.own.clone()
    }

    /// How each shard's numbers translate.
    pub(super) fn maps(&self) -> OidMaps {
        self.maps.clone()
    }

    fn translate(&self, home: usize) -> OidMaps {
        let canonical = self.shards.get(home).and_then(|shard| shard.numbers.as_ref());
        let map = |(at, shard): (usize, &Shard)| {
            (at != home).then(|| Arc::new(OidMap::between(shard.numbers.as_ref(), canonical)))
        };
        self.shards.iter().enumerate().map(map).collect()
    }
}

impl Shard {
    /// Whether its numbers have changed.
    async fn read(&mut self, at: usize, connect: &dyn Connect, insist: bool) -> bool {
        if !insist && self.retry_at.is_some_and(|retry_at| Instant::now() < retry_at) {
            return false;
        }
        // Taken out, so that a connection on which something failed is not used again.
        let client = self.client.take().filter(|client| !client.is_closed());
        let former = self.fingerprint.clone();
        let asking = async {
            let client = match client {
                Some(client) => client,
                None => connect.connect_shard(at).await.map_err(|error| LoadError::Connect(error.into()))?,
            };
            let rows = texts(client.simple_query(NUMBERS_FINGERPRINT).await?);
            let fingerprint = rows.first().and_then(|row| row.get(0)).unwrap_or_default().to_owned();
            if former.as_ref() == Some(&fingerprint) {
                return Ok((client, None));
            }
            let numbers = numbers(&client).await?;
            let rows = texts(client.simple_query(DRAWN).await?);
            let drawn = Drawn::of(rows.first().and_then(|row| row.get(0)).unwrap_or_default());
            Ok::<_, LoadError>((client, Some((fingerprint, numbers, drawn))))
        };
        let limit = if insist { AWAITED_TIMEOUT } else { ANSWER_TIMEOUT };
        match timeout(limit, asking).await.unwrap_or(Err(LoadError::Timeout(limit))) {
            Ok((client, read)) => {
                (self.client, self.retry_at) = (Some(client), None);
                let Some((fingerprint, numbers, drawn)) = read else { return false };
                self.fingerprint = Some(fingerprint);
                let others = self.drawn.as_ref() != Some(&drawn);
                self.drawn = Some(drawn);
                self.numbers.replace(numbers) != self.numbers || others
            }
            Err(error) => {
                tracing::debug!(shard = at, %error, "a shard's types cannot be read");
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
                false
            }
        }
    }
}

/// The numbers that a shard has given.
///
/// # Errors
/// When the query fails.
pub async fn numbers(client: &Client) -> Result<Numbers, LoadError> {
    let rows = texts(client.simple_query(NUMBERS).await?);
    Ok(Numbers::of(rows.iter().map(|row| std::array::from_fn(|column| row.get(column)))))
}

fn texts(messages: Vec<SimpleQueryMessage>) -> Vec<SimpleQueryRow> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}
