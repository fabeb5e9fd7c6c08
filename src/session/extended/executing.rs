//! Execute: runs a portal, wherever it is.

use std::collections::VecDeque;

use bytes::BytesMut;
use shardmap::ShardId;

use super::messages::{known_part, malformed, no_portal};
use crate::execute::hoard::Hoard;
use crate::execute::interleave::Interleave;
use crate::execute::plain::Plain;
use crate::execute::portion::Portion;
use crate::execute::scatter::Scatter;
use crate::plan::{Access, CursorVerb, DiscardVerb, Output, Plan, PreparedVerb, SettingVerb, TransactionVerb};
use crate::pool::expect::{Audience, Step};
use crate::session::failure::Failure;
use crate::session::gather::run::too_many_returned;
use crate::session::life::Session;
use crate::session::plans::compiled::Compiled;
use crate::session::scatter::{check_needs_no_block, rows_of};
use crate::session::setting::{concerns_next_transaction, concerns_transaction};
use crate::session::simple::in_failed_block;
use crate::session::statement::{BOUND_IN_FAILED, Ending, Place, Undelivered};
use crate::session::transaction::verbs::begin_tag;
use crate::session::write::rewritten::RowOrder;
use crate::txn::state::{BlockKind, Transaction};
use crate::wire::fields;
use crate::wire::frontend::Execute;
use crate::wire::reply::{self, Report};

const PORTAL_SUSPENDED: u8 = b's';

impl Session {
    /// Handles an Execute message.
    pub(in crate::session) async fn execute(&mut self, body: &[u8]) -> Result<(), Failure> {
        let mut execute = Execute::read(body).map_err(malformed)?;
        execute.portal = known_part(execute.portal);
        self.settle_parse(None).await?;
        let place = self.portal_place(execute.portal)?;
        let compiled = self.names.portals.get(execute.portal).map(|portal| portal.compiled.clone());
        let plan = compiled.as_ref().and_then(|compiled| compiled.plan()).unwrap_or(&Plan::Empty);
        self.check_executable(execute.portal, compiled.as_deref())?;
        if self.in_implicit_block() {
            check_needs_no_block(plan, compiled.as_ref().map_or(b"", |compiled| &compiled.text))?;
        }
        if place.has_run() && Box::pin(self.deliver_rest(&execute)).await? {
            return Ok(());
        }
        match (place, &compiled) {
            (Place::One { shard, replica }, _) => {
                let at = self.portal_server(shard, Some(replica), execute.portal)?;
                self.engage(at).await?;
                self.send_execute(at, &execute, Audience::Client);
                self.note_cursor(plan, (shard, replica));
                if let Plan::SettingQuery(names) = plan {
                    Box::pin(self.spread_settings(at, names)).await?;
                }
            }
            (Place::Stepwise { bind, types, shard, replica }, Some(compiled)) => {
                self.portal_ended(execute.portal, Ending::Run);
                // It has served to describe the rows.
                let at = self.portal_server(shard, Some(replica), execute.portal)?;
                self.send_close(at, execute.portal, Audience::Gateway);
                if let Plan::Rows(route) = plan {
                    Box::pin(self.execute_stepwise((&bind, &types), compiled, route, &execute)).await?;
                }
            }
            (Place::Gather(gathering), Some(compiled)) if matches!(plan, Plan::Cursor(_)) => {
                if let Plan::Cursor(CursorVerb::Declare { name, hold, .. }) = plan {
                    let declare = self.execute_declare(&compiled.text, (name, *hold), &gathering);
                    Box::pin(declare).await?;
                }
                self.portal_done(execute.portal);
            }
            (Place::Fetch(formats), Some(compiled)) => {
                if let Plan::Cursor(verb) = plan {
                    Box::pin(self.execute_fetch(&compiled.text, verb, &formats, &execute)).await?;
                }
            }
            (Place::Cursor, _) => Box::pin(self.execute_cursor(&execute)).await?,
            (place @ (Place::Many { .. } | Place::Gather(_) | Place::Every { .. }), _) => {
                Box::pin(self.execute_on_several(place, &execute, plan)).await?;
            }
            (Place::Local, Some(compiled)) => {
                Box::pin(self.drain()).await?;
                match plan {
                    Plan::Prepared(verb @ PreparedVerb::Prepare { .. }) => {
                        Box::pin(self.execute_prepare(compiled, verb)).await?;
                    }
                    plan => Box::pin(self.execute_local(&compiled.text, plan)).await?,
                }
                if !matches!(plan, Plan::Empty) {
                    self.portal_done(execute.portal);
                }
            }
            (Place::Ended { by: Ending::Rollback, .. }, _) => return Err(rest_lost(execute.portal)),
            (Place::Ended { by: Ending::Failure | Ending::Run, .. }, _)
            | (Place::Local | Place::Done | Place::Fetch(_) | Place::Stepwise { .. }, _) => {
                return Err(cannot_be_run(execute.portal));
            }
        }
        self.note_executed(plan);
        Ok(())
    }

    /// Whether a portal may run in the transaction's state; a cursor that was declared in SQL is known without its statement.
    fn check_executable(&self, portal: &[u8], compiled: Option<&Compiled>) -> Result<(), Failure> {
        match compiled {
            Some(compiled) => {
                let plan = compiled.plan().unwrap_or(&Plan::Empty);
                self.check_not_failed(plan)?;
                self.check_survived(portal, plan)
            }
            None if self.transaction.has_failed() => Err(in_failed_block().into()),
            None => Ok(()),
        }
    }

    /// Of the portals that were bound before the block failed, the failure has taken the statements of those that a rollback to the last
    /// savepoint would end: not even the block's end is run by them. *Source*: portalmem.c, AtAbort_Portals, AtSubAbort_Portals.
    fn check_survived(&self, portal: &[u8], plan: &Plan) -> Result<(), Failure> {
        let (Transaction::Failed(block), Plan::Transaction(_)) = (&self.transaction, plan) else { return Ok(()) };
        let bound = self.names.portals.get(portal).map_or(BOUND_IN_FAILED, |portal| portal.log_length);
        let survives = bound == BOUND_IN_FAILED || bound < block.log.savepoint_length();
        if survives { Ok(()) } else { Err(in_failed_block().into()) }
    }

    /// *Source*: postgres.c, exec_execute_message, XACT_FLAGS_PIPELINING.
    fn note_executed(&mut self, plan: &Plan) {
        match plan {
            Plan::Transaction(TransactionVerb::Commit { .. } | TransactionVerb::Rollback { .. }) => {
                self.pipeline.executed = false;
            }
            Plan::Transaction(_) | Plan::Empty => {}
            _ => self.pipeline.executed = true,
        }
    }

    /// Execute of a portal over several shards. If its run fails it cannot be run again, though not all of them know of it.
    /// *Source*: pquery.c, PortalRun, MarkPortalFailed.
    async fn execute_on_several(&mut self, place: Place, execute: &Execute<'_>, plan: &Plan) -> Result<(), Failure> {
        // A failure of what comes before it is not the portal's.
        self.drain().await?;
        let ran = match place {
            Place::Many { shards, order } => Box::pin(self.execute_many(&shards, order, execute, plan)).await,
            Place::Gather(gathering) => Box::pin(self.execute_gather(execute, &gathering)).await,
            Place::Every { shards, takes_turn } => Box::pin(self.execute_every(&shards, takes_turn, execute)).await,
            Place::One { .. }
            | Place::Stepwise { .. }
            | Place::Fetch(_)
            | Place::Cursor
            | Place::Local
            | Place::Done
            | Place::Ended { .. } => Err(cannot_be_run(execute.portal)),
        };
        if ran.is_err() {
            self.portal_ended(execute.portal, Ending::Failure);
        }
        ran
    }

    fn portal_ended(&mut self, name: &[u8], by: Ending) {
        if let Some(portal) = self.names.portals.get_mut(name) {
            portal.end(by);
        }
    }

    fn portal_done(&mut self, name: &[u8]) {
        if let Some(portal) = self.names.portals.get_mut(name) {
            portal.place = Place::Done;
        }
    }

    fn send_execute(&mut self, at: usize, execute: &Execute<'_>, audience: Audience) {
        let embeds = self.may_embed(at, execute.portal);
        let enlisted = &mut self.link.servers[at];
        enlisted.needs_sync = true;
        if embeds {
            // So that the columns are known when the rows come.
            reply::named(&mut enlisted.server.outbound, b'D', b'P', execute.portal);
            let hidden = if audience == Audience::Client { Audience::ClientIfError } else { Audience::Gateway };
            enlisted.server.expects.push(Step::DescribePortal, hidden);
        }
        reply::execute(&mut enlisted.server.outbound, execute.portal, execute.rows_max);
        enlisted.server.expects.push(Step::Execute, audience);
    }

    async fn execute_many(
        &mut self,
        shards: &[ShardId],
        order: Option<RowOrder>,
        execute: &Execute<'_>,
        plan: &Plan,
    ) -> Result<(), Failure> {
        self.drain().await?;
        let reached = self.names.portals.get(execute.portal).map_or(0, |portal| portal.reached);
        let (output, access) = match plan {
            Plan::Rows(route) => (route.output, route.access),
            _ => (Output::Rows, Access::Read),
        };
        if output.is_explain() {
            return self.execute_explain(shards, access, output, execute).await;
        }
        if output.is_copy() {
            // Whatever the row limit, and once only. Source: pquery.c, PORTAL_MULTI_QUERY.
            if reached > 0 {
                return Err(cannot_be_run(execute.portal));
            }
            if let Some(portal) = self.names.portals.get_mut(execute.portal) {
                portal.reached = shards.len();
            }
            return self.execute_to_end(shards, order, &Execute { rows_max: 0, ..*execute }, output).await;
        }
        if access == Access::Write && (execute.rows_max > 0 || reached > 0) {
            return self.execute_kept(shards, order, execute).await;
        }
        if execute.rows_max > 0 || reached > 0 {
            return self.execute_portion(shards, reached, execute).await;
        }
        self.execute_to_end(shards, order, execute, output).await
    }

    async fn execute_to_end(
        &mut self,
        shards: &[ShardId],
        order: Option<RowOrder>,
        execute: &Execute<'_>,
        output: Output,
    ) -> Result<(), Failure> {
        let servers = self.send_to_all(shards, execute)?;
        if let Some(order) = order {
            let mut joiner = Interleave::new(self.servers_of(&order), self.link.servers.len());
            self.relay_in_block(&mut joiner).await?;
            joiner.finish(&mut self.link.client.outbound);
            return if joiner.failed() { Err(Failure::Told) } else { Ok(()) };
        }
        let leader = servers.first().copied().unwrap_or(0);
        let mut scatter = Scatter::new(leader, self.link.servers.len(), rows_of(output));
        self.relay_in_block(&mut scatter).await?;
        scatter.finish(&mut self.link.client.outbound);
        if let Some(portal) = self.names.portals.get_mut(execute.portal) {
            portal.reached = shards.len();
        }
        if scatter.failed() { Err(Failure::Told) } else { Ok(()) }
    }

    /// An EXPLAIN; with a row limit its rows are kept for the Executes that follow.
    async fn execute_explain(
        &mut self,
        shards: &[ShardId],
        access: Access,
        output: Output,
        execute: &Execute<'_>,
    ) -> Result<(), Failure> {
        if self.deliver_kept(execute)? {
            return Ok(());
        }
        let servers = self.send_to_all(shards, &Execute { rows_max: 0, ..*execute })?;
        let Some(mut explain) = self.explain_many(output, shards, servers.clone()) else { return Ok(()) };
        self.relay_in_block(&mut explain).await?;
        let portal = self.names.portals.get_mut(execute.portal);
        let bound = portal.and_then(|portal| Some((portal.explained.take()?, portal.compiled.clone())));
        if let Some((parameters, compiled)) = bound.filter(|_| access != Access::Write) {
            let bound = Some((&parameters, &compiled.types[..]));
            Box::pin(self.count_scattered(&compiled.text, bound, &servers, &mut explain)).await?;
        }
        let mut answer = BytesMut::new();
        if !explain.finish(&mut answer) {
            self.link.client.outbound.extend_from_slice(&answer);
            return Err(Failure::Told);
        }
        self.deliver_answer(&answer, execute)
    }

    /// A write with a row limit: it runs to its end on all shards, and its rows are kept for the Executes that follow.
    async fn execute_kept(
        &mut self,
        shards: &[ShardId],
        order: Option<RowOrder>,
        execute: &Execute<'_>,
    ) -> Result<(), Failure> {
        if !self.deliver_kept(execute)? {
            let (rows, end) = self.run_and_keep(shards, order, execute).await?;
            self.deliver_first(rows, end, execute)?;
        }
        if let Some(portal) = self.names.portals.get_mut(execute.portal) {
            portal.reached = shards.len();
        }
        Ok(())
    }

    /// What a portal has from an Execute before, if anything; whether it had.
    pub(in crate::session) fn deliver_kept(&mut self, execute: &Execute<'_>) -> Result<bool, Failure> {
        let Some(kept) = self.take_kept(execute.portal) else { return Ok(false) };
        self.deliver(kept, execute)?;
        Ok(true)
    }

    pub(in crate::session) fn take_kept(&mut self, portal: &[u8]) -> Option<Undelivered> {
        self.names.portals.change(portal, |portal| portal.kept.take()).flatten()
    }

    /// As many of the rows that are kept as an Execute asks for; the rest stays with the portal.
    ///
    /// # Errors
    /// The client has too much kept already.
    pub(in crate::session) fn deliver(&mut self, mut kept: Undelivered, execute: &Execute<'_>) -> Result<(), Failure> {
        let rows_max = usize::try_from(execute.rows_max).ok().filter(|max| *max > 0).unwrap_or(usize::MAX);
        let out = &mut self.link.client.outbound;
        let count = kept.rows.len().min(rows_max);
        for row in std::iter::from_fn(|| kept.pop()).take(count) {
            crate::wire::frame::write(out, b'D', |to| to.extend_from_slice(&row));
        }
        self.check_rows_room(&kept)?;
        let out = &mut self.link.client.outbound;
        let Undelivered { end, returns, .. } = &kept;
        if count == rows_max {
            reply::bare(out, PORTAL_SUSPENDED);
        } else {
            // Of the rows returned the tag counts those of the last part. Source: pquery.c, PortalRun, PORTAL_ONE_RETURNING.
            let (words, changed) = fields::tag_rows(fields::tag(end.get(5..).unwrap_or_default()));
            // That of an EXPLAIN counts nothing.
            let count = changed.map(|changed| if *returns { count as u64 } else { changed });
            let words = String::from_utf8_lossy(words);
            reply::complete(out, &count.map_or(words.to_string(), |count| format!("{words} {count}")));
        }
        self.names.portals.change(execute.portal, |portal| portal.kept = Some(kept));
        Ok(())
    }

    async fn run_and_keep(
        &mut self,
        shards: &[ShardId],
        order: Option<RowOrder>,
        execute: &Execute<'_>,
    ) -> Result<(VecDeque<Box<[u8]>>, BytesMut), Failure> {
        let servers = self.send_to_all(shards, &Execute { rows_max: 0, ..*execute })?;
        let bytes_max = self.gateway.config.load().limits.held_bytes_max;
        let mut end = BytesMut::new();
        let count = self.link.servers.len();
        let (rows, overflow, failed) = if let Some(order) = order {
            let mut hoard = Hoard::new(Interleave::new(self.servers_of(&order), count), bytes_max);
            self.relay_in_block(&mut hoard).await?;
            hoard.inner.finish(&mut end);
            (hoard.rows, hoard.overflow, hoard.inner.failed())
        } else {
            let leader = servers.first().copied().unwrap_or(0);
            let mut hoard = Hoard::new(Scatter::new(leader, count, rows_of(Output::Rows)), bytes_max);
            self.relay_in_block(&mut hoard).await?;
            hoard.inner.finish(&mut end);
            (hoard.rows, hoard.overflow, hoard.inner.failed())
        };
        if overflow {
            return Err(too_many_returned(bytes_max).into());
        }
        if failed {
            self.link.client.outbound.extend_from_slice(&end);
            return Err(Failure::Told);
        }
        Ok((rows, end))
    }

    /// A part of the rows: one shard after the other, from where the last part ended.
    async fn execute_portion(&mut self, shards: &[ShardId], from: usize, execute: &Execute<'_>) -> Result<(), Failure> {
        let mut rows: u64 = 0;
        let rows_max = u64::from(execute.rows_max.unsigned_abs());
        for (reached, shard) in shards.iter().enumerate().skip(from) {
            let at = self.portal_server(*shard, None, execute.portal)?;
            let rest = i32::try_from(rows_max.saturating_sub(rows)).unwrap_or(0);
            self.send_execute(at, &Execute { rows_max: rest, ..*execute }, Audience::Joiner);
            self.link.servers[at].server.send_flush();
            let mut portion = Portion::default();
            self.relay_in_block(&mut portion).await?;
            if let Some(body) = &portion.error {
                return Err(self.tell_error(body));
            }
            rows += portion.rows;
            if let Some(portal) = self.names.portals.get_mut(execute.portal) {
                portal.reached = if portion.suspended { reached } else { reached + 1 };
            }
            if rows_max > 0 && rows >= rows_max {
                reply::bare(&mut self.link.client.outbound, PORTAL_SUSPENDED);
                return Ok(());
            }
        }
        reply::complete(&mut self.link.client.outbound, &format!("SELECT {rows}"));
        Ok(())
    }

    pub(super) fn send_to_all(&mut self, shards: &[ShardId], execute: &Execute<'_>) -> Result<Vec<usize>, Failure> {
        let mut servers = Vec::with_capacity(shards.len());
        for shard in shards {
            let at = self.portal_server(*shard, None, execute.portal)?;
            self.send_execute(at, execute, Audience::Joiner);
            self.link.servers[at].server.send_flush();
            servers.push(at);
        }
        Ok(servers)
    }

    /// What the gateway carries out itself. Statements before it in the same pipeline share its implicit transaction only if
    /// they are in a block.
    async fn execute_local(&mut self, text: &[u8], plan: &Plan) -> Result<(), Failure> {
        let unsynced =
            self.transaction.block().is_none() && self.link.servers.iter().any(|enlisted| enlisted.needs_sync);
        self.count_plan(plan);
        match plan {
            Plan::Empty => reply::empty_query(&mut self.link.client.outbound),
            Plan::Everywhere(everywhere) => {
                // What cannot be in a transaction is one of its own, or is refused by a server behind a write.
                if everywhere.in_transaction || self.wrote_outside_block() {
                    self.begin_behind_pipeline();
                }
                self.settle_implicit().await?;
                self.everywhere(text, everywhere).await?;
            }
            Plan::CopyIn(copy) => {
                self.begin_behind_pipeline();
                self.settle_implicit().await?;
                self.copy_in(text, copy).await?;
            }
            // What was done before BEGIN in the same pipeline is in its transaction.
            Plan::Transaction(TransactionVerb::Begin { read_only }) if unsynced => {
                self.begin_in_pipeline(text, *read_only == Some(true)).await?;
            }
            Plan::Transaction(verb) => {
                let modes = matches!(verb, TransactionVerb::Modes { .. } | TransactionVerb::Constraints { .. });
                if modes && self.is_outside_block() {
                    let statement =
                        if matches!(verb, TransactionVerb::Modes { .. }) { "TRANSACTION" } else { "CONSTRAINTS" };
                    self.begin_warned(&format!("SET {statement}")).await?;
                }
                // All but COMMIT undo what was written before them, or fail. Source: xact.c, TBLOCK_STARTED.
                if self.wrote_outside_block() && !matches!(verb, TransactionVerb::Commit { chain: false }) {
                    self.begin_behind_pipeline();
                }
                self.settle_implicit().await?;
                let done = self.transaction_verb(text, verb).await;
                let ends = matches!(verb, TransactionVerb::Commit { .. } | TransactionVerb::Rollback { .. });
                if ends && done.is_ok() || matches!(verb, TransactionVerb::Prepare) {
                    self.names.portals.clear();
                }
                done?;
            }
            Plan::Setting(verb) => {
                match verb {
                    _ if !self.is_outside_block() => {}
                    SettingVerb::Set { local: true, .. } => self.begin_warned("SET LOCAL").await?,
                    // It may take several statements, of which the extended protocol sends one at a time.
                    SettingVerb::ResetAll if unsynced => self.begin_here().await?,
                    // What runs behind it in the pipeline has the modes that its transaction began with.
                    _ if concerns_transaction(plan) || concerns_next_transaction(plan) => self.begin_here().await?,
                    _ => {}
                }
                self.setting(text, verb).await?;
            }
            Plan::Discard(verb) => self.execute_discard(*verb, text).await?,
            Plan::Prepared(verb) => self.deallocate(verb)?,
            Plan::Refuse(refusal) => return Err(refusal.clone().into()),
            Plan::Cursor(CursorVerb::Close(None)) => self.execute_close_all().await?,
            Plan::Rows(_) | Plan::Cursor(_) | Plan::SettingQuery(_) => return Err(no_portal(b"")),
        }
        Ok(())
    }

    /// A statement that acts on its transaction alone, outside a block: PostgreSQL warns, but until Sync there is a transaction.
    /// *Source*: xact.c, CheckTransactionBlock.
    async fn begin_warned(&mut self, statement: &str) -> Result<(), Failure> {
        self.warn(Report::warning("25P01", format!("{statement} can only be used in transaction blocks")));
        self.begin_here().await
    }

    /// Outside a block, begins one that ends with the pipeline, for what holds as long.
    pub(in crate::session) async fn begin_here(&mut self) -> Result<(), Failure> {
        self.begin_behind_pipeline();
        self.drain().await
    }

    async fn execute_discard(&mut self, verb: DiscardVerb, text: &[u8]) -> Result<(), Failure> {
        match verb {
            // Source: xact.c, PreventInTransactionBlock, XACT_FLAGS_PIPELINING.
            DiscardVerb::All
                if self.pipeline.executed && self.is_outside_block()
                    || self.wrote_outside_block()
                    || self.in_implicit_block() =>
            {
                return Err(Report::error("25001", "DISCARD ALL cannot be executed within a pipeline").into());
            }
            DiscardVerb::Other if self.wrote_outside_block() => self.begin_behind_pipeline(),
            // Portals go on.
            DiscardVerb::Other => {}
            DiscardVerb::All => self.settle_implicit().await?,
        }
        self.discard(verb, text).await?;
        if verb == DiscardVerb::All {
            // It is committed at once. Source: postgres.c, exec_execute_message, XACT_FLAGS_NEEDIMMEDIATECOMMIT.
            self.pipeline.settings_before = None;
            self.keep_reported();
            self.names.portals.clear();
        }
        Ok(())
    }

    /// The client has begun no block.
    fn is_outside_block(&self) -> bool {
        self.transaction.is_idle() || self.in_implicit_block() && !self.transaction.has_failed()
    }

    /// Ends the implicit transaction that earlier messages of the pipeline have begun on servers outside a block: what comes
    /// now is sent in the simple protocol, which does the same.
    pub(in crate::session) async fn settle_implicit(&mut self) -> Result<(), Failure> {
        for enlisted in self.link.servers.iter_mut().filter(|enlisted| enlisted.needs_sync) {
            enlisted.needs_sync = false;
            enlisted.server.send_sync(Audience::Gateway);
        }
        let mut plain = Plain::default();
        self.relay_in_block(&mut plain).await?;
        self.note(&plain);
        self.pass_on_hidden_error(&plain)?;
        if self.transaction.block().is_none() {
            self.give_back().await;
        }
        Ok(())
    }

    /// BEGIN behind other messages of a pipeline turns their implicit transactions into explicit ones.
    async fn begin_in_pipeline(&mut self, text: &[u8], read_only: bool) -> Result<(), Failure> {
        for enlisted in self.link.servers.iter_mut().filter(|enlisted| enlisted.needs_sync) {
            enlisted.server.send_extended(text);
            enlisted.server.send_flush();
            enlisted.begun = true;
        }
        let mut plain = Plain::default();
        self.relay_in_block(&mut plain).await?;
        self.pass_on_hidden_error(&plain)?;
        let text = String::from_utf8_lossy(text).trim().to_owned();
        let tag = begin_tag(&text);
        self.take_pipeline_in(BlockKind::Explicit, text, read_only);
        reply::complete(&mut self.link.client.outbound, tag);
        Ok(())
    }
}

/// *Source*: pquery.c, PortalRun and postgres.c, exec_execute_message.
fn cannot_be_run(portal: &[u8]) -> Failure {
    Report::error("55000", format!("portal \"{}\" cannot be run", String::from_utf8_lossy(portal))).into()
}

fn rest_lost(portal: &[u8]) -> Failure {
    let name = String::from_utf8_lossy(portal);
    let text = format!("the rest of portal \"{name}\" is lost: it was first run behind the savepoint rolled back to");
    Report::error("0A000", text)
        .with_hint("Over several shards, run a portal before the savepoint that it is to outlive, or bind it again.")
        .into()
}
