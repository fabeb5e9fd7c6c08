//! The simple protocol: Query.

use std::ops::Range;
use std::sync::Arc;

use super::failure::Failure;
use super::life::{Ended, Session, follow};
use super::lookup::Found;
use super::moment::Moment;
use super::numbers::Protocol;
use super::plans::Compiled;
use super::statement::NoArguments;
use crate::execute::chorus::Chorus;
use crate::execute::copy_in::copy_fail;
use crate::execute::explain::{ExplainMany, Notation};
use crate::execute::relay::{Joiner, Plain, RelayEnd};
use crate::execute::scatter::Scatter;
use crate::plan::{Access, Arguments, Destination, Output, Plan, Planned, Route, Target, TransactionVerb};
use crate::pool::expect::{Audience, Step};
use crate::pool::server::Server;
use crate::txn::state::BlockKind;
use crate::wire::copy::JoinFormat;
use crate::wire::fields::field;
use crate::wire::reply::{self, Report};
use crate::wire::{frame, frontend};
use shardmap::ShardId;

/// Error positions in a script are kept right by padding, of up to so much in all; beyond, they count from the statement.
const PADDING_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Session {
    /// Handles a Query message.
    pub(super) async fn query(&mut self, body: &[u8]) -> Result<Ended, Failure> {
        let text = frontend::query(body).map_err(super::extended::malformed)?;
        // Behind a pipeline without Sync: its answers come first.
        self.settle_parse(None).await?;
        if !self.link.is_drained() {
            Box::pin(self.drain()).await?;
        }
        if self.in_implicit_block() {
            Box::pin(self.commit_pipeline()).await?;
        }
        // Source: manual, "Extended Query": a simple Query also destroys the unnamed statement and portal.
        self.names.statements.remove(&b""[..]);
        self.names.portals.remove(&b""[..]);
        self.pipeline.clear();
        let compiled = match self.shared(text)? {
            Found::Placed(access, destination) => {
                return self.rows_at(text, destination, access, Output::Rows, true).await;
            }
            Found::Compiled(compiled) => compiled,
            Found::Unknown => match self.compile_alone(text) {
                Some(compiled) => compiled,
                None => Box::pin(self.known(text, &[])).await?,
            },
        };
        if compiled.statements.is_none() {
            Box::pin(self.probe(text, &[])).await?;
            return Err(not_understood().into());
        }
        let statements = compiled.statements.as_deref().unwrap_or_default();
        match statements {
            [] => self.statement(&compiled, text, &Plan::Empty, true).await,
            [Planned { plan, range, .. }] => {
                let statement = match plan {
                    // Errors count characters from the start of what the client sent.
                    Plan::Rows(_) => padded(&compiled.text, range, 1),
                    _ => compiled.text.get(range.clone()).unwrap_or_default().into(),
                };
                self.statement(&compiled, &statement, plan, true).await
            }
            many => match self.common_place(many) {
                Some((shard, access)) => {
                    self.count_script(many.len());
                    Box::pin(self.whole_script(text, shard, access)).await
                }
                None => Box::pin(self.script(&compiled, text)).await,
            },
        }
    }

    /// Compiles a text, with the catalog read anew if that may help.
    async fn known(&mut self, text: &[u8], types: &[u32]) -> Result<Arc<Compiled>, Failure> {
        let compiled = self.compile_seen(text, types).await?;
        if compiled.is_certain() {
            return Ok(compiled);
        }
        // The schema may have been changed behind the gateway's back a moment ago.
        if compiled.statements.is_some() && self.catalog.refresh().await.is_ok() {
            return Ok(self.compile(text, types));
        }
        Ok(compiled)
    }

    /// Compiles a text; what is not SQL, or names what the catalog does not know, is shown to a server, which says so.
    pub(super) async fn compiled(&mut self, text: &[u8], types: &[u32]) -> Result<Arc<Compiled>, Failure> {
        let compiled = self.known(text, types).await?;
        if compiled.is_certain() {
            return Ok(compiled);
        }
        self.probe(text, types).await?;
        Err(not_understood().into())
    }

    /// A statement that PostgreSQL will refuse, as far as the gateway knows: a server parses it; if that does not show the
    /// error, because the statement is one that is analysed when it runs, it runs in a transaction that is rolled back.
    async fn unresolved(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.probe(text, &[]).await?;
        self.begin_own_block();
        let at = self.enlist_any(Access::Write).await?;
        self.link.servers[at].server.send_query(text, Audience::Gateway);
        let mut plain = Plain::default();
        while let RelayEnd::CopyIn(waiting) = self.link.relay(&mut plain).await? {
            copy_fail(&mut self.link.servers[waiting].server.outbound, "not understood by the gateway");
        }
        self.pass_on_hidden_error(&plain)?;
        Err(not_understood().into())
    }

    /// Has a server parse a text, without running it, so that the client gets PostgreSQL's own error for it.
    pub(super) async fn probe(&mut self, text: &[u8], types: &[u32]) -> Result<(), Failure> {
        let at = self.enlist_any(Access::ReadPrimary).await?;
        self.probe_on(at, text, types).await
    }

    /// As `probe`, on a server that is enlisted.
    pub(super) async fn probe_on(&mut self, at: usize, text: &[u8], types: &[u32]) -> Result<(), Failure> {
        let server: &mut Server = &mut self.link.servers[at].server;
        reply::parse(&mut server.outbound, b"", text, &server.oids.declared(types));
        server.expects.push(Step::Parse(None), Audience::Gateway);
        server.unnamed = None;
        server.send_sync(Audience::Gateway);
        let mut plain = Plain::default();
        self.link.relay(&mut plain).await?;
        self.pass_on_hidden_error(&plain)
    }

    /// Sends the client an error that came in answer to something it did not send itself.
    pub(super) fn pass_on_hidden_error(&mut self, plain: &Plain) -> Result<(), Failure> {
        let Some(body) = &plain.hidden_error else { return Ok(()) };
        if plain.told_error {
            return Err(Failure::Told);
        }
        frame::write(&mut self.link.client.outbound, b'E', |out| out.extend_from_slice(body));
        Err(Failure::Told)
    }

    /// Runs one statement of a Query message. `alone`: it is the only one.
    pub(super) async fn statement(
        &mut self,
        compiled: &Arc<Compiled>,
        text: &[u8],
        plan: &Plan,
        alone: bool,
    ) -> Result<Ended, Failure> {
        self.check_not_failed(plan)?;
        if self.transaction.block().is_some_and(|block| block.changed_catalog) {
            Box::pin(self.number_block(plan)).await?;
        }
        self.count_plan(plan);
        match plan {
            Plan::Empty => {
                if alone {
                    reply::empty_query(&mut self.link.client.outbound);
                }
            }
            Plan::Rows(Route { target: Target::Unknown, .. }) => Box::pin(self.unresolved(text)).await?,
            Plan::Rows(route) => return self.rows(text, route, &NoArguments, alone).await,
            Plan::CopyIn(copy) => Box::pin(self.copy_in(text, copy)).await?,
            Plan::Everywhere(everywhere) => Box::pin(self.everywhere(text, everywhere)).await?,
            Plan::Transaction(TransactionVerb::Begin { read_only }) if self.transaction.is_idle() => {
                self.begin_explicit(text, *read_only == Some(true));
            }
            Plan::Transaction(TransactionVerb::Commit { chain: false }) => self.commit(false).await?,
            Plan::Transaction(verb) => Box::pin(self.transaction_verb(text, verb)).await?,
            Plan::Setting(verb) => Box::pin(self.setting(text, verb)).await?,
            Plan::SettingQuery(names) => {
                let at = self.enlist_any(Access::Read).await?;
                self.forward_query(at, text, false).await?;
                Box::pin(self.ask_settings(at, names)).await?;
            }
            Plan::Discard(verb) => Box::pin(self.discard(*verb, text)).await?,
            Plan::Prepared(verb) => return Box::pin(self.prepared_verb(compiled, verb, alone)).await,
            Plan::Cursor(verb) => return Box::pin(self.cursor_verb(text, verb, alone)).await,
            Plan::Refuse(refusal) => {
                // PostgreSQL's own error goes before ours, as it does when a statement is prepared.
                Box::pin(self.probe(text, &[])).await?;
                return Err(refusal.clone().into());
            }
        }
        Ok(Ended::NotReady)
    }

    /// In a failed block only its end is accepted. *Source*: postgres.c, exec_simple_query, "commands ignored until end".
    pub(super) fn check_not_failed(&self, plan: &Plan) -> Result<(), Failure> {
        let exits = match plan {
            Plan::Empty => true,
            Plan::Transaction(verb) => matches!(
                verb,
                TransactionVerb::Commit { .. } | TransactionVerb::Rollback { .. } | TransactionVerb::RollbackTo(_)
            ),
            Plan::Rows(_)
            | Plan::CopyIn(_)
            | Plan::Everywhere(_)
            | Plan::Setting(_)
            | Plan::SettingQuery(_)
            | Plan::Discard(_)
            | Plan::Prepared(_)
            | Plan::Cursor(_)
            | Plan::Refuse(_) => false,
        };
        if exits || !self.transaction.has_failed() {
            return Ok(());
        }
        Err(Report::error("25P02", "current transaction is aborted, commands ignored until end of transaction block")
            .into())
    }

    /// Runs a statement that returns or changes rows.
    pub(super) async fn rows(
        &mut self,
        text: &[u8],
        route: &Route,
        arguments: &dyn Arguments,
        alone: bool,
    ) -> Result<Ended, Failure> {
        let destination = self.destination(route, arguments)?;
        self.count_rows(route, &destination);
        match &destination {
            Destination::Split(order) => return Box::pin(self.split(text, route, order)).await,
            Destination::Move => return Box::pin(self.move_rows(text, route)).await,
            Destination::Compute => return Box::pin(self.compute(text, route, alone)).await,
            _ => {}
        }
        self.rows_at(text, destination, route.access, route.output, alone).await
    }

    /// Runs a statement that returns or changes rows where they are.
    async fn rows_at(
        &mut self,
        text: &[u8],
        destination: Destination,
        access: Access,
        output: Output,
        alone: bool,
    ) -> Result<Ended, Failure> {
        if output == Output::CopyBinary {
            Box::pin(self.check_copy_out(text, Protocol::Simple)).await?;
        }
        let at = match destination {
            Destination::Any => self.enlist_anywhere(text, access).await?,
            Destination::One(shard) => self.enlist_for(shard, access).await?,
            Destination::Many(shards) => return Box::pin(self.scatter_at(text, &shards, access, output)).await,
            Destination::All => return Box::pin(self.replicated(text)).await,
            Destination::Split(_) | Destination::Move | Destination::Compute => {
                return Err(Report::error("XX000", "where the statement runs could not be decided").into());
            }
            Destination::Gather(gather) => {
                let own = self.begin_if_own(&self.moment(access)?);
                let ended = Box::pin(self.gather_simple(text, &gather, output)).await?;
                if own {
                    Box::pin(self.commit_block()).await?;
                }
                return Ok(ended);
            }
            Destination::NeedsParameterTypes => {
                return Err(Report::error("0A000", "the type of a parameter cannot be told").into());
            }
        };
        self.forward_query(at, text, alone).await
    }

    /// Enlists a shard and notes that it may be written.
    pub(super) async fn enlist_for(&mut self, shard: ShardId, access: Access) -> Result<usize, Failure> {
        if access == Access::Write {
            self.note_write(shard).await?;
        }
        self.note_touched(shard, access)?;
        self.enlist(shard, access).await
    }

    /// Sends a text to one server and relays its answer.
    pub(super) async fn forward_query(&mut self, at: usize, text: &[u8], alone: bool) -> Result<Ended, Failure> {
        self.link.servers[at].server.send_query(text, Audience::Client);
        let aliases = std::mem::take(&mut self.pipeline.held);
        let longer_by = std::mem::take(&mut self.pipeline.longer_by);
        let mut plain = Plain { hide_ready: !alone, aliases, longer_by, ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        self.note(&plain);
        if let Some(body) = &plain.hidden_error {
            // The server did not take the session's settings, or not the block's BEGIN: what ran, ran under others.
            let code = String::from_utf8_lossy(field(body, b'C').unwrap_or_default()).into_owned();
            tracing::warn!(sqlstate = code, "a server refused the session's settings");
            self.link.servers[at].server.mark_broken();
        }
        if alone && self.transaction.block().is_none() {
            self.release().await;
        }
        match (alone, plain.error) {
            (true, _) => Ok(Ended::Ready),
            (false, None) => Ok(Ended::NotReady),
            (false, Some(_)) => Err(Failure::Told),
        }
    }

    /// Relays, and lets the block fail when a server says that it has.
    pub(super) async fn relay_in_block(&mut self, joiner: &mut impl Joiner) -> Result<(), Failure> {
        self.link.relay(joiner).await?;
        for enlisted in &self.link.servers {
            follow(&mut self.transaction, enlisted.server.expects.status);
        }
        Ok(())
    }

    /// Runs a statement on several shards, at one moment if that is asked for.
    async fn scatter_at(
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
                Box::pin(self.count_scattered(text, &places, &mut explain)).await?;
            }
            explain.finish(&mut end)
        } else {
            let mut scatter = Scatter::new(leader, self.link.servers.len(), rows_of(output));
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
        let mut places = Vec::with_capacity(shards.len());
        for shard in shards {
            self.note_touched(*shard, access)?;
            places.push(self.enlist(*shard, access).await?);
        }
        Ok(places)
    }

    /// What joins the answers of an EXPLAIN; `None` for another statement.
    pub(super) fn explain_many(&self, output: Output, shards: &[ShardId], servers: Vec<usize>) -> Option<ExplainMany> {
        let notation = match output {
            Output::Explain => Notation::Text,
            Output::ExplainJson => Notation::Json,
            Output::ExplainYaml => Notation::Yaml,
            Output::Rows | Output::CopyText | Output::CopyTextWithHeader | Output::CopyBinary => return None,
        };
        let names = shards.iter().map(|shard| self.gateway.shard_name(*shard)).collect();
        Some(ExplainMany::new(notation, servers, names))
    }

    /// Runs a write that is the same on every shard.
    async fn replicated(&mut self, text: &[u8]) -> Result<Ended, Failure> {
        if self.transaction.block().is_none()
            && text.trim_ascii_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"lock"))
        {
            // PostgreSQL says that it needs a transaction block.
            let at = self.enlist_any(Access::Write).await?;
            return self.forward_query(at, text, false).await;
        }
        let own = self.begin_own_block();
        self.note_all_touched(Access::Write)?;
        self.enlist_all().await?;
        let end = self.sing(text).await?;
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
        self.note_write_everywhere().await?;
        // The first shard goes first, so that two such statements wait for each other there and nowhere else.
        let mut chorus = Chorus::new(0);
        let count = self.link.servers.len();
        for part in [0..count.min(1), 1..count] {
            if chorus.error().is_some() {
                break;
            }
            for enlisted in self.link.servers.get_mut(part).unwrap_or_default() {
                enlisted.server.send_query(text, Audience::Joiner);
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
        for shard in 0..self.gateway.shards() {
            self.enlist(ShardId(u16::try_from(shard).unwrap_or(u16::MAX)), Access::Write).await?;
        }
        self.link.servers.sort_by_key(|enlisted| enlisted.shard);
        Ok(())
    }

    /// Outside a block, begins one for a statement that needs several servers; whether it did.
    pub(super) fn begin_own_block(&mut self) -> bool {
        let idle = self.transaction.block().is_none();
        if idle {
            self.transaction.begin(BlockKind::Implicit, "BEGIN".to_owned(), false, self.settings.clone());
        }
        idle
    }

    /// The one shard on which all statements of a script run as they are, if there is one: PostgreSQL can have it whole.
    fn common_place(&self, statements: &[Planned]) -> Option<(ShardId, Access)> {
        let mut place = None;
        let mut access = Access::Read;
        for Planned { plan, .. } in statements {
            let Plan::Rows(route) = plan else { return None };
            let Ok(Destination::One(shard)) = self.destination(route, &NoArguments) else { return None };
            if *place.get_or_insert(shard) != shard {
                return None;
            }
            access = access.max(route.access);
        }
        if self.transaction.has_failed() { None } else { place.map(|shard| (shard, access)) }
    }

    async fn whole_script(&mut self, text: &[u8], shard: ShardId, access: Access) -> Result<Ended, Failure> {
        let at = self.enlist_for(shard, access).await?;
        self.forward_query(at, text, true).await
    }

    /// Runs a script statement by statement, in one implicit block.
    async fn script(&mut self, compiled: &Arc<Compiled>, text: &[u8]) -> Result<Ended, Failure> {
        for planned in compiled.statements.iter().flatten() {
            self.begin_own_block();
            let statement = padded(text, &planned.range, compiled.count());
            if !planned.replan {
                self.statement(compiled, &statement, &planned.plan, false).await?;
                continue;
            }
            // What ran before it may have changed what its names mean.
            let anew = self.known(&statement, &[]).await?;
            match anew.statements.as_deref() {
                Some([Planned { plan, .. }]) => self.statement(&anew, &statement, plan, false).await?,
                Some(_) | None => return Err(not_understood().into()),
            };
        }
        if self.transaction.block().is_some_and(|block| block.kind == BlockKind::Implicit) {
            self.commit_block().await?;
        }
        Ok(Ended::NotReady)
    }
}

/// How rows of an output are joined.
pub(super) fn rows_of(output: Output) -> JoinFormat {
    match output {
        Output::Rows | Output::CopyText | Output::Explain | Output::ExplainJson | Output::ExplainYaml => {
            JoinFormat::Rows
        }
        Output::CopyTextWithHeader => JoinFormat::Header,
        Output::CopyBinary => JoinFormat::Binary,
    }
}

/// What the gateway can say of a statement that it could not analyse and PostgreSQL takes.
fn not_understood() -> Report {
    Report::error("0A000", "the gateway does not understand the statement, so it cannot be routed")
        .with_hint("Check the statement against the manual of PostgreSQL; if it is right, report it.")
}

fn finish(succeeded: bool) -> Result<Ended, Failure> {
    if succeeded { Ok(Ended::NotReady) } else { Err(Failure::Told) }
}

/// A statement of a script of so many behind as many blanks as there are characters before it, so that positions in errors are
/// right.
pub(super) fn padded<'a>(text: &'a [u8], range: &Range<usize>, statements: usize) -> std::borrow::Cow<'a, [u8]> {
    let statement = text.get(range.clone()).unwrap_or_default();
    if range.start == 0 || range.start.saturating_mul(statements) > PADDING_BYTES_MAX {
        return statement.into();
    }
    let characters = text[..range.start].iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
    let mut padded = vec![b' '; characters];
    padded.extend_from_slice(statement);
    padded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        assert_eq!(padded("é;select".as_bytes(), &(3..9), 2).as_ref(), b"  select");
    }

    #[test]
    fn padding_does_not_grow_with_the_square_of_a_script() {
        for statements in [10, 1_000, 100_000] {
            let script = b"select;".repeat(statements);
            let padded = (0..statements).map(|at| padded(&script, &(at * 7..at * 7 + 6), statements).len());
            assert!(padded.sum::<usize>() <= script.len() + PADDING_BYTES_MAX, "{statements} statements");
        }
    }
}
