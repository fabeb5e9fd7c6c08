//! After DDL: the sequences of sharded tables are put one beside the other, so that each shard draws numbers of its own.
//! In the transaction of the DDL, which holds the locks that keep others from drawing in between.

use super::failure::Failure;
use super::life::Session;
use crate::catalog::sequences::{DRAWN, Drawn, Position, spread, to_spread};
use crate::execute::plain::Plain;
use crate::pool::expect::Audience;

impl Session {
    /// Looks at what the tables draw from, and changes what would give a number twice. All shards are in the block, in order.
    pub(super) async fn spread_sequences(&mut self) -> Result<(), Failure> {
        let shards = self.link.servers.len();
        if shards < 2 || shards != self.gateway.shards() {
            return Ok(());
        }
        let Some(answer) = self.hidden_value(0, DRAWN).await? else { return Ok(()) };
        let rules = self.gateway.rules.load_full();
        let mut drawn = to_spread(Drawn::of(&answer), &rules);
        // Whose owner is another stays as it is: numbers are drawn on the home shard.
        drawn.retain(|drawn| drawn.own);
        if drawn.is_empty() {
            return Ok(());
        }
        let query = Position::query(drawn.iter().map(|drawn| drawn.sequence.as_str()));
        let mut positions = Vec::with_capacity(shards);
        for at in 0..shards {
            positions.push(Position::of(&self.hidden_value(at, &query).await?.unwrap_or_default()));
        }
        let mut alters = vec![String::new(); shards];
        for (nth, drawn) in drawn.iter().enumerate() {
            let Some(places) = positions.iter().map(|shard| shard.get(nth).copied()).collect::<Option<Vec<_>>>() else {
                continue;
            };
            for (text, alter) in alters.iter_mut().zip(spread(drawn, &places).unwrap_or_default()) {
                text.push_str(&alter);
                text.push(';');
            }
        }
        for (at, alter) in alters.iter().enumerate().filter(|(_, alter)| !alter.is_empty()) {
            self.hidden_value(at, alter).await?;
        }
        Ok(())
    }

    /// Has one server of the block run a text whose answer the client does not see; the last row's only column.
    async fn hidden_value(&mut self, at: usize, text: &str) -> Result<Option<String>, Failure> {
        self.link.servers[at].server.send_query(text.as_bytes(), Audience::Gateway);
        let mut plain = Plain { keep_row: true, ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        self.note(&plain);
        self.pass_on_hidden_error(&plain)?;
        if plain.error.is_some() { Err(Failure::Told) } else { Ok(plain.row.into_iter().next().flatten()) }
    }
}
