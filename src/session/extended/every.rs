//! Execute of a write that is the same on every shard.

use shardmap::ShardId;

use crate::execute::chorus::Chorus;
use crate::execute::hoard::Hoard;
use crate::execute::relay::Joiner;
use crate::session::failure::Failure;
use crate::session::gather::run::too_many_returned;
use crate::session::life::Session;
use crate::session::statement::Undelivered;
use crate::session::write::turn::first_then_others;
use crate::wire::frontend::Execute;

impl Session {
    /// Runs it on all shards, where its portal is. With a row limit its rows are kept for the Executes that follow.
    pub(super) async fn execute_every(
        &mut self,
        shards: &[ShardId],
        takes_turn: bool,
        execute: &Execute<'_>,
    ) -> Result<(), Failure> {
        self.drain().await?;
        if self.deliver_kept(execute)? {
            return Ok(());
        }
        let leader = match shards.first() {
            Some(shard) => self.portal_server(*shard, None, execute.portal)?,
            None => 0,
        };
        let (chorus, to_end) = (Chorus::new(leader), Execute { rows_max: 0, ..*execute });
        if execute.rows_max <= 0 {
            let chorus = self.run_on_every(shards, takes_turn, &to_end, chorus, |chorus| chorus).await?;
            return if chorus.finish(&mut self.link.client.outbound) { Ok(()) } else { Err(Failure::Told) };
        }
        let bytes_max = self.gateway.config.load().limits.held_bytes_max;
        let hoard = Hoard::new(chorus, bytes_max);
        let hoard = self.run_on_every(shards, takes_turn, &to_end, hoard, |hoard| &hoard.inner).await?;
        if hoard.overflow {
            return Err(too_many_returned(bytes_max).into());
        }
        let mut end = bytes::BytesMut::new();
        if !hoard.inner.finish(&mut end) {
            self.link.client.outbound.extend_from_slice(&end);
            return Err(Failure::Told);
        }
        self.deliver_first(hoard.rows, end, execute)
    }

    /// The same as far as the answer, which `joiner` takes; `chorus` is within it.
    async fn run_on_every<J: Joiner>(
        &mut self,
        shards: &[ShardId],
        takes_turn: bool,
        execute: &Execute<'_>,
        mut joiner: J,
        chorus: fn(&J) -> &Chorus,
    ) -> Result<J, Failure> {
        for part in first_then_others(shards.len()).map(|part| &shards[part]) {
            if chorus(&joiner).error().is_some() {
                break;
            }
            for shard in part.iter().filter(|_| takes_turn) {
                let at = self.portal_server(*shard, None, execute.portal)?;
                self.send_turn_in_pipeline(at);
            }
            self.send_to_all(part, execute)?;
            self.relay_in_block(&mut joiner).await?;
        }
        Ok(joiner)
    }

    /// Delivers what the first Execute of a write has returned. If that is nothing its servers say what another Execute comes to, as they know
    /// whether there was anything to return. *Source*: pquery.c, PORTAL_ONE_RETURNING and PORTAL_MULTI_QUERY.
    pub(super) fn deliver_first(
        &mut self,
        rows: std::collections::VecDeque<Box<[u8]>>,
        end: bytes::BytesMut,
        execute: &Execute<'_>,
    ) -> Result<(), Failure> {
        let returns = !rows.is_empty();
        self.deliver(Undelivered::new(rows, end, returns), execute)?;
        if !returns {
            self.take_kept(execute.portal);
        }
        Ok(())
    }
}
