//! A text that several shards run: their rows joined, or, where all do the same, the answer of the first.

use super::failure::Failure;
use super::life::{Ended, Session};
use super::transaction::snapshot_reads::Moment;
use super::transaction::verbs::needs_block;
use super::write::turn::{TURN, first_then_others};
use crate::execute::chorus::Chorus;
use crate::execute::explain::{ExplainMany, Notation};
use crate::execute::scatter::Scatter;
use crate::plan::{Access, CursorVerb, Output, Plan, Route};
use crate::pool::expect::Audience;
use crate::sql::tokens::behind_comments;
use crate::txn::state::BlockKind;
use crate::wire::copy::JoinFormat;
use shardmap::ShardId;

impl Session {
    /// Runs a statement on several shards, at one moment if that is asked for.
    pub(super) async fn scatter_at(
        &mut self,
        text: &[u8],
        shards: &[ShardId],
        access: Access,
        output: Output,
    ) -> Result<Ended, Failure> {
        let moment = self.moment(access)?;
        let held = if let Moment::Held = moment { Some(self.hold_commits_off().await?) } else { None };
        let own = self.begin_if_own(&moment);
        let ended = self.scatter(text, shards, access, output).await?;
        if let Some(held) = held {
            self.confirm_held(held).await?;
        }
        if own {
            self.commit_block().await?;
        }
        Ok(ended)
    }

    /// Runs a statement on several shards and joins their rows; all of them have changed theirs, or none.
    pub(super) async fn scatter(
        &mut self,
        text: &[u8],
        shards: &[ShardId],
        access: Access,
        output: Output,
    ) -> Result<Ended, Failure> {
        let own = access == Access::Write && self.begin_own_block();
        let places = self.enlist_many(shards, access).await?;
        for at in &places {
            self.link.servers[*at].server.send_query(text, Audience::Joiner);
        }
        let leader = places.first().copied().unwrap_or(0);
        let mut end = bytes::BytesMut::new();
        let succeeded = if let Some(mut explain) = self.explain_many(output, shards, places.clone()) {
            self.relay_in_block(&mut explain).await?;
            if access != Access::Write {
                Box::pin(self.count_scattered(text, None, &places, &mut explain)).await?;
            }
            explain.finish(&mut end)
        } else {
            let aliases = std::mem::take(&mut self.pipeline.held);
            let longer_by = std::mem::take(&mut self.pipeline.longer_by);
            let scatter = Scatter::new(leader, self.link.servers.len(), rows_of(output));
            let mut scatter = scatter.with_names(aliases, longer_by);
            self.relay_in_block(&mut scatter).await?;
            scatter.finish(&mut end);
            !scatter.failed()
        };
        self.settle(own, &end, succeeded).await
    }

    /// Ends a statement on several shards: its own block commits before the client hears that it is complete.
    /// *Source*: postgres.c, exec_simple_query, finish_xact_command before EndCommand.
    pub(super) async fn settle(&mut self, own: bool, end: &[u8], succeeded: bool) -> Result<Ended, Failure> {
        if own && succeeded {
            self.commit_block().await?;
        }
        self.link.client.outbound.extend_from_slice(end);
        finish(succeeded)
    }

    /// Enlists several shards, after noting that all may be written.
    pub(super) async fn enlist_many(&mut self, shards: &[ShardId], access: Access) -> Result<Vec<usize>, Failure> {
        if access == Access::Write {
            for shard in shards {
                self.note_write(*shard).await?;
            }
        }
        for shard in shards {
            self.note_touched(*shard, access)?;
        }
        self.enlist_each(shards.iter().copied(), access).await
    }

    /// What joins the answers of an EXPLAIN; `None` for another statement.
    pub(super) fn explain_many(&self, output: Output, shards: &[ShardId], servers: Vec<usize>) -> Option<ExplainMany> {
        let notation = match output {
            Output::Explain => Notation::Text,
            Output::ExplainJson => Notation::Json,
            Output::ExplainYaml => Notation::Yaml,
            Output::ExplainXml => Notation::Xml,
            Output::Rows | Output::CopyText | Output::CopyTextWithHeader | Output::CopyBinary => return None,
        };
        let names = shards.iter().map(|shard| self.gateway.shard_name(*shard)).collect();
        Some(ExplainMany::new(notation, servers, names))
    }

    /// Runs a write that is the same on every shard.
    pub(super) async fn replicated(&mut self, text: &[u8], takes_turn: bool) -> Result<Ended, Failure> {
        if self.transaction.block().is_none() {
            check_locks_nothing(text)?;
        }
        let own = self.begin_own_block();
        self.note_all_touched(Access::Write)?;
        self.enlist_all().await?;
        let turn = takes_turn.then_some(TURN);
        let end = self.sing_behind(turn, text).await?;
        self.settle(own, &end, true).await
    }

    /// Has every server of the block run a text; the client sees the first one's answer.
    pub(super) async fn chorus(&mut self, text: &[u8]) -> Result<(), Failure> {
        let end = self.sing(text).await?;
        self.link.client.outbound.extend_from_slice(&end);
        Ok(())
    }

    /// The same; what ends the answer is returned, to be sent when all is done.
    pub(super) async fn sing(&mut self, text: &[u8]) -> Result<bytes::BytesMut, Failure> {
        self.sing_behind(None, text).await
    }

    /// The same with a statement of the gateway's own before it.
    async fn sing_behind(&mut self, own: Option<&[u8]>, text: &[u8]) -> Result<bytes::BytesMut, Failure> {
        self.note_write_everywhere().await?;
        let mut chorus = Chorus::new(0);
        for part in first_then_others(self.link.servers.len()) {
            if chorus.error().is_some() {
                break;
            }
            for at in part {
                if let Some(own) = own {
                    self.send_sparing(at, own, Audience::Gateway);
                }
                self.send_sparing(at, text, Audience::Joiner);
            }
            self.relay_in_block(&mut chorus).await?;
        }
        let mut end = bytes::BytesMut::new();
        if chorus.finish(&mut end) {
            return Ok(end);
        }
        self.link.client.outbound.extend_from_slice(&end);
        Err(Failure::Told)
    }

    /// Enlists all shards for writing, and puts them in their order: whatever a block did before, what runs on all shards
    /// begins on the same one.
    pub(super) async fn enlist_all(&mut self) -> Result<(), Failure> {
        self.enlist_each(self.gateway.each_shard(), Access::Write).await?;
        self.link.servers.sort_by_key(|enlisted| enlisted.shard);
        Ok(())
    }

    /// Whether the transaction may hold locks already: one that does waits for no turn, as the one whose turn it is may wait for them.
    pub(super) fn may_hold_locks(&self) -> bool {
        self.transaction.block().is_some_and(|block| block.kind == BlockKind::Explicit)
            || self.link.servers.iter().any(|enlisted| enlisted.begun || enlisted.needs_sync)
    }

    /// Outside a block, begins one for a statement that needs several servers; whether it did.
    pub(super) fn begin_own_block(&mut self) -> bool {
        let idle = self.transaction.block().is_none();
        if idle {
            self.transaction.begin(BlockKind::Implicit, "BEGIN".to_owned(), false, self.settings.clone());
        }
        idle
    }
}

/// A statement is outside the client's transaction blocks, though its servers may be in one: that of a pipeline.
///
/// # Errors
/// It needs one. *Source*: xact.c, RequireTransactionBlock (from PostgreSQL 18 on, a pipeline is one behind its first Execute).
pub(super) fn check_needs_no_block(plan: &Plan, text: &[u8]) -> Result<(), Failure> {
    match plan {
        Plan::Cursor(CursorVerb::Declare { hold: false, .. }) => Err(needs_block("DECLARE CURSOR")),
        Plan::Rows(Route { access: Access::Write, .. }) => check_locks_nothing(text),
        _ => Ok(()),
    }
}

/// The same of a statement that writes.
fn check_locks_nothing(text: &[u8]) -> Result<(), Failure> {
    let locks = behind_comments(text).get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"lock"));
    if locks { Err(needs_block("LOCK TABLE")) } else { Ok(()) }
}

/// How rows of an output are joined.
pub(super) fn rows_of(output: Output) -> JoinFormat {
    match output {
        Output::Rows | Output::CopyText => JoinFormat::Rows,
        Output::Explain | Output::ExplainJson | Output::ExplainYaml | Output::ExplainXml => JoinFormat::Rows,
        Output::CopyTextWithHeader => JoinFormat::Header,
        Output::CopyBinary => JoinFormat::Binary,
    }
}

fn finish(succeeded: bool) -> Result<Ended, Failure> {
    if succeeded { Ok(Ended::NotReady) } else { Err(Failure::Told) }
}
