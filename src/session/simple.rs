//! The simple protocol: Query.

use std::ops::Range;
use std::sync::Arc;

use super::failure::Failure;
use super::life::{Ended, Session, follow};
use super::plans::Compiled;
use super::statement::NoArguments;
use crate::catalog::RelationKind;
use crate::execute::chorus::Chorus;
use crate::execute::copy_in::copy_fail;
use crate::execute::explain::ExplainMany;
use crate::execute::relay::{Joiner, Plain, RelayEnd};
use crate::execute::scatter::Scatter;
use crate::plan::{Access, Arguments, Destination, Output, Plan, Planned, Route, Target, TransactionVerb};
use crate::pool::expect::{Audience, Step};
use crate::txn::state::{Block, BlockKind, Writes};
use crate::wire::copy::JoinFormat;
use crate::wire::fields::field;
use crate::wire::reply::{self, Report};
use crate::wire::{frame, frontend};
use shardmap::ShardId;

/// Error positions in a script are kept right by padding up to this much; beyond, they count from the statement.
const PADDED_SCRIPT_BYTES: usize = 64 * 1024;

impl Session {
    /// Handles a Query message.
    pub(super) async fn query(&mut self, body: &[u8]) -> Result<Ended, Failure> {
        let text = frontend::query(body).map_err(super::extended::malformed)?;
        // Behind a pipeline without Sync: its answers come first.
        self.settle_parse(None).await?;
        self.drain().await?;
        // Source: manual, "Extended Query": a simple Query also destroys the unnamed statement and portal.
        self.names.statements.remove(&b""[..]);
        self.names.portals.remove(&b""[..]);
        self.pipeline = Default::default();
        let compiled = self.known(text, &[]).await;
        if compiled.statements.is_none() {
            self.probe(text, &[]).await?;
            return Err(not_understood(None).into());
        }
        let statements = compiled.statements.as_deref().unwrap_or_default();
        match statements {
            [] => self.statement(&compiled, text, &Plan::Empty, true).await,
            [Planned { plan, range, .. }] => {
                let statement = compiled.text.get(range.clone()).unwrap_or_default();
                self.statement(&compiled, statement, plan, true).await
            }
            many => match self.common_place(many) {
                Some((shard, access)) => {
                    self.count_script(many.len());
                    self.whole_script(text, shard, access).await
                }
                None => self.script(&compiled, text).await,
            },
        }
    }

    /// Compiles a text, with the catalog read anew if that may help.
    async fn known(&mut self, text: &[u8], types: &[u32]) -> Arc<Compiled> {
        let compiled = self.compile(text, types);
        if compiled.is_certain() {
            return compiled;
        }
        // The schema may have been changed behind the gateway's back a moment ago.
        if compiled.statements.is_some() && self.catalog.refresh().await.is_ok() {
            return self.compile(text, types);
        }
        compiled
    }

    /// Compiles a text; what is not SQL, or names what the catalog does not know, is shown to a server, which says so.
    pub(super) async fn compiled(&mut self, text: &[u8], types: &[u32]) -> Result<Arc<Compiled>, Failure> {
        let compiled = self.known(text, types).await;
        if compiled.is_certain() {
            return Ok(compiled);
        }
        self.probe(text, types).await?;
        Err(not_understood(self.transaction.block()).into())
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
        Err(not_understood(self.transaction.block()).into())
    }

    /// Has a server parse a text, without running it, so that the client gets PostgreSQL's own error for it.
    async fn probe(&mut self, text: &[u8], types: &[u32]) -> Result<(), Failure> {
        let at = self.enlist_any(Access::Read).await?;
        let server = &mut self.link.servers[at].server;
        reply::parse(&mut server.outbound, b"", text, types);
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
    async fn statement(
        &mut self,
        compiled: &Arc<Compiled>,
        text: &[u8],
        plan: &Plan,
        alone: bool,
    ) -> Result<Ended, Failure> {
        self.check_not_failed(plan)?;
        self.check_not_changed(text, plan)?;
        self.count_plan(plan);
        match plan {
            Plan::Empty => {
                if alone {
                    reply::empty_query(&mut self.link.client.outbound);
                }
            }
            Plan::Rows(Route { target: Target::Unknown, .. }) => self.unresolved(text).await?,
            Plan::Rows(route) => return self.rows(text, route, &NoArguments, alone).await,
            Plan::CopyIn(copy) => self.copy_in(text, copy).await?,
            Plan::Everywhere(everywhere) => self.everywhere(text, everywhere).await?,
            Plan::Transaction(verb) => self.transaction_verb(text, verb).await?,
            Plan::Setting(verb) => self.setting(text, verb).await?,
            Plan::SettingQuery(names) => {
                let at = self.enlist_any(Access::Read).await?;
                self.forward_query(at, text, false).await?;
                self.ask_settings(at, names).await?;
            }
            Plan::Discard(verb) => self.discard(*verb, text).await?,
            Plan::Prepared(verb) => return self.prepared_verb(compiled, verb, alone).await,
            Plan::Cursor(verb) => return self.cursor_verb(text, verb, alone).await,
            Plan::Refuse(refusal) => {
                // PostgreSQL's own error goes before ours, as it does when a statement is prepared.
                self.probe(text, &[]).await?;
                return Err(refusal.clone().into());
            }
        }
        Ok(Ended::NotReady)
    }

    /// In a block that ran DDL, the catalog does not know what became of the relations it named: statements that name them, or
    /// a view, are refused. Words are compared, so that a statement may be refused for nothing but never run by a wrong plan.
    pub(super) fn check_not_changed(&self, text: &[u8], plan: &Plan) -> Result<(), Failure> {
        let Some(block) = self.transaction.block().filter(|block| block.changed_catalog) else { return Ok(()) };
        if !matches!(plan, Plan::Rows(_) | Plan::CopyIn(_) | Plan::Cursor(_)) {
            return Ok(());
        }
        let catalog = self.catalog.current();
        let unsure = words(text).into_iter().find(|word| {
            let mut relations = catalog.schemas.values().filter_map(|schema| schema.get(word));
            relations.any(|relation| match relation.kind {
                RelationKind::System => false,
                RelationKind::View { .. } => true,
                _ => block.ddl_words.contains(word),
            })
        });
        match unsure {
            None => Ok(()),
            Some(word) => {
                Err(Report::error("0A000", format!("\"{word}\" may have been changed by DDL of this transaction"))
                    .with_hint("Commit the DDL first.")
                    .into())
            }
        }
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
        let at = match destination {
            Destination::Any => self.enlist_any(route.access).await?,
            Destination::One(shard) => self.enlist_for(shard, route.access).await?,
            Destination::Many(shards) => return self.scatter(text, &shards, route.output).await,
            Destination::All => return self.replicated(text).await,
            Destination::Gather(gather) => return self.gather_simple(text, &gather, route.output).await,
            Destination::NeedsParameterTypes => {
                return Err(Report::error("0A000", "the type of a parameter cannot be told").into());
            }
        };
        self.forward_query(at, text, alone).await
    }

    /// Enlists a shard and notes that it may be written.
    pub(super) async fn enlist_for(&mut self, shard: ShardId, access: Access) -> Result<usize, Failure> {
        if access == Access::Write {
            self.note_write(shard)?;
        }
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

    /// Runs a statement on several shards and joins their rows.
    async fn scatter(&mut self, text: &[u8], shards: &[ShardId], output: Output) -> Result<Ended, Failure> {
        let mut places = Vec::with_capacity(shards.len());
        for shard in shards {
            places.push(self.enlist(*shard, Access::Read).await?);
        }
        for at in &places {
            self.link.servers[*at].server.send_query(text, Audience::Joiner);
        }
        let leader = places.first().copied().unwrap_or(0);
        if output == Output::Explain {
            let names = shards.iter().map(|shard| self.gateway.shard_name(*shard)).collect();
            let mut explain = ExplainMany::new(places, names);
            self.relay_in_block(&mut explain).await?;
            return finish(explain.finish(&mut self.link.client.outbound));
        }
        let mut scatter = Scatter::new(leader, self.link.servers.len(), rows_of(output));
        self.relay_in_block(&mut scatter).await?;
        scatter.finish(&mut self.link.client.outbound);
        finish(!scatter.failed())
    }

    /// Runs a write that is the same on every shard.
    async fn replicated(&mut self, text: &[u8]) -> Result<Ended, Failure> {
        let own = self.begin_own_block();
        self.enlist_all().await?;
        self.chorus(text).await?;
        if own {
            self.commit_block().await?;
        }
        Ok(Ended::NotReady)
    }

    /// Has every server of the block run a text; the client sees the first one's answer.
    pub(super) async fn chorus(&mut self, text: &[u8]) -> Result<(), Failure> {
        if let Some(block) = self.transaction.block_mut() {
            block.writes = Writes::Everywhere;
        }
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
        if chorus.finish(&mut self.link.client.outbound) { Ok(()) } else { Err(Failure::Told) }
    }

    /// Enlists all shards for writing.
    pub(super) async fn enlist_all(&mut self) -> Result<(), Failure> {
        for shard in 0..self.gateway.shards() {
            self.enlist(ShardId(u16::try_from(shard).unwrap_or(u16::MAX)), Access::Write).await?;
        }
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
            if route.access == Access::Write {
                access = Access::Write;
            }
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
            let statement = padded(text, &planned.range);
            if !planned.replan {
                self.statement(compiled, &statement, &planned.plan, false).await?;
                continue;
            }
            // What ran before it may have changed what its names mean.
            let anew = self.known(&statement, &[]).await;
            match anew.statements.as_deref() {
                Some([Planned { plan, .. }]) => self.statement(&anew, &statement, plan, false).await?,
                Some(_) | None => return Err(not_understood(self.transaction.block()).into()),
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
        Output::Rows | Output::CopyText | Output::Explain => JoinFormat::Rows,
        Output::CopyTextWithHeader => JoinFormat::Header,
        Output::CopyBinary => JoinFormat::Binary,
    }
}

/// The words of a text that may be names, folded to lower case.
pub(super) fn words(text: &[u8]) -> std::collections::HashSet<String> {
    let text = String::from_utf8_lossy(text).to_lowercase();
    text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What the gateway can say of a statement that it could not analyse and PostgreSQL takes.
fn not_understood(block: Option<&Block>) -> Report {
    let hint = if block.is_some_and(|block| block.changed_catalog) {
        "Commit the transaction that made the table first."
    } else {
        "Check the statement against the manual of PostgreSQL; if it is right, report it."
    };
    Report::error("0A000", "the gateway does not understand the statement, so it cannot be routed").with_hint(hint)
}

fn finish(succeeded: bool) -> Result<Ended, Failure> {
    if succeeded { Ok(Ended::NotReady) } else { Err(Failure::Told) }
}

/// A statement of a script behind as many blanks as there are characters before it, so that positions in errors are right.
pub(super) fn padded<'a>(text: &'a [u8], range: &Range<usize>) -> std::borrow::Cow<'a, [u8]> {
    let statement = text.get(range.clone()).unwrap_or_default();
    if range.start == 0 || text.len() > PADDED_SCRIPT_BYTES {
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
        assert_eq!(padded("é;select".as_bytes(), &(3..9)).as_ref(), b"  select");
    }
}
