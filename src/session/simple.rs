//! The simple protocol: Query.

use std::sync::Arc;

use super::failure::Failure;
use super::life::{Ended, Session, follow};
use super::plans::compiled::Compiled;
use super::plans::lookup::Found;
use super::probe::not_understood;
use super::scatter::check_needs_no_block;
use super::script::padded;
use super::statement::NoArguments;
use super::type_numbers::Protocol;
use crate::execute::plain::Plain;
use crate::execute::relay::Joiner;
use crate::plan::{Access, Arguments, Destination, Output, Plan, Planned, Route, Target, TransactionVerb};
use crate::pool::expect::Audience;
use crate::wire::fields::field;
use crate::wire::frontend;
use crate::wire::reply::{self, Report};
use shardmap::ShardId;

impl Session {
    /// Handles a Query message.
    pub(super) async fn query(&mut self, body: &[u8]) -> Result<Ended, Failure> {
        let text = frontend::query(body).map_err(super::extended::messages::malformed)?;
        // What a pipeline without Sync before it has written or set and what the Query does are one transaction.
        let set = self.transaction.is_idle() && self.pipeline.settings_before.is_some();
        let behind = self.in_implicit_block() || self.wrote_outside_block() || set;
        if behind {
            self.begin_behind_pipeline();
            Box::pin(self.settle_implicit()).await?;
        }
        self.begin_query();
        let found = self.shared(text)?;
        self.query_found(text, found, behind).await
    }

    /// What a Query message does to the session, whatever its text.
    pub(super) fn begin_query(&mut self) {
        // Source: manual, "Extended Query": a simple Query also destroys the unnamed statement and portal.
        self.names.statements.remove(&b""[..]);
        self.pipeline.clear();
        self.keep_reported();
    }

    /// Runs a Query of which this is known. `behind`: it is one transaction with what a pipeline before it did.
    pub(super) async fn query_found(&mut self, text: &[u8], found: Found, behind: bool) -> Result<Ended, Failure> {
        let compiled = match found {
            Found::OneRow(shard, placed) => {
                self.forget_unnamed_portal().await;
                return self.one_row(text, shard, &placed).await;
            }
            Found::Placed(access, destination) if !behind => {
                self.forget_unnamed_portal().await;
                return self.rows_at(text, destination, access, Output::Rows, true).await;
            }
            Found::Compiled(compiled) => compiled,
            Found::Placed(..) | Found::Unknown => match self.compile_alone(text) {
                Some(compiled) => compiled,
                None => Box::pin(self.known(text, &[])).await?,
            },
        };
        // Each statement in it takes the portal's place. Source: postgres.c, exec_simple_query.
        if !matches!(compiled.plan(), Some(Plan::Empty)) {
            self.forget_unnamed_portal().await;
        }
        if compiled.statements.is_none() {
            Box::pin(self.probe(text, &[])).await?;
            return Err(not_understood().into());
        }
        let statements = compiled.statements.as_deref().unwrap_or_default();
        match statements {
            [Planned { plan, .. }] if behind => {
                check_needs_no_block(plan, text)?;
                Box::pin(self.script(&compiled, text)).await
            }
            _ if behind => Box::pin(self.script(&compiled, text)).await,
            [] => self.statement(&compiled, text, &Plan::Empty, true).await,
            [Planned { plan, range, .. }] => {
                let statement = match plan {
                    // Errors count characters from the start of what the client sent.
                    Plan::Rows(_) | Plan::Refuse(_) => padded(&compiled.text, range, 1),
                    _ => compiled.text.get(range.clone()).unwrap_or_default().into(),
                };
                self.statement(&compiled, &statement, plan, true).await
            }
            many => match self.common_place(many) {
                Some((shard, access)) => {
                    self.count_script(many.len());
                    for planned in many {
                        self.note_locks(compiled.text.get(planned.range.clone()).unwrap_or_default());
                    }
                    Box::pin(self.whole_script(text, shard, access)).await
                }
                None => Box::pin(self.script(&compiled, text)).await,
            },
        }
    }

    /// A Query ends the implicit transaction of a pipeline without Sync: its servers are not those of the block that begins now, and say what
    /// parameters have become.
    async fn settle_pipeline(&mut self) -> Result<(), Failure> {
        if self.transaction.is_idle() && self.link.servers.iter().any(|enlisted| enlisted.needs_sync) {
            Box::pin(self.settle_implicit()).await?;
        }
        Ok(())
    }

    async fn forget_unnamed_portal(&mut self) {
        self.names.portals.remove(&b""[..]);
        if !self.merges.is_empty() {
            Box::pin(self.end_held_unnamed()).await;
        }
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
            Plan::Rows(route) => {
                self.note_locks(text);
                return self.rows(text, route, &NoArguments, alone).await;
            }
            Plan::CopyIn(copy) => Box::pin(self.copy_in(text, copy)).await?,
            Plan::Everywhere(everywhere) => Box::pin(self.everywhere(text, everywhere)).await?,
            Plan::Transaction(TransactionVerb::Begin { read_only }) if self.transaction.is_idle() => {
                self.settle_pipeline().await?;
                self.begin_explicit(text, *read_only == Some(true));
            }
            Plan::Transaction(TransactionVerb::Commit { chain: false }) => self.commit(false).await?,
            Plan::Transaction(verb) => Box::pin(self.transaction_verb(text, verb)).await?,
            Plan::Setting(verb) => {
                self.settle_pipeline().await?;
                Box::pin(self.setting(text, verb)).await?;
            }
            Plan::SettingQuery(names) => {
                let at = self.enlist_any(Access::Read).await?;
                self.forward_query(at, text, false).await?;
                Box::pin(self.spread_settings(at, names)).await?;
            }
            Plan::Discard(verb) => {
                self.settle_pipeline().await?;
                Box::pin(self.discard(*verb, text)).await?;
            }
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
                TransactionVerb::Commit { .. }
                    | TransactionVerb::Rollback { .. }
                    | TransactionVerb::RollbackTo(_)
                    | TransactionVerb::Prepare
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
        Err(in_failed_block().into())
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
            Destination::Stepwise => return Box::pin(self.stepwise(text, route)).await,
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
            Destination::All { takes_turn } => return Box::pin(self.replicated(text, takes_turn)).await,
            Destination::Split(_) | Destination::Stepwise | Destination::Compute => {
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
        self.hear_query(at, alone).await
    }

    /// Relays a server's answer to a text.
    pub(super) async fn hear_query(&mut self, at: usize, alone: bool) -> Result<Ended, Failure> {
        let aliases = std::mem::take(&mut self.pipeline.held);
        let longer_by = std::mem::take(&mut self.pipeline.longer_by);
        let direct = alone && !self.reported.has_news();
        let mut plain = Plain { hide_ready: !direct, skip_described: true, aliases, longer_by, ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        self.answered(at, &plain, alone).await
    }

    /// What follows the answer of one server, all of which has been relayed.
    pub(super) async fn answered(&mut self, at: usize, plain: &Plain, alone: bool) -> Result<Ended, Failure> {
        self.note(plain);
        if let Some(body) = &plain.hidden_error {
            // The server did not take the session's settings: what ran, ran under others.
            let code = String::from_utf8_lossy(field(body, b'C').unwrap_or_default()).into_owned();
            tracing::warn!(sqlstate = code, "a server refused the session's settings");
            self.link.servers[at].server.mark_broken();
            self.pass_on_hidden_error(plain)?;
        }
        if alone && self.transaction.block().is_none() {
            self.release().await;
        }
        match (plain.hide_ready, plain.error) {
            (false, _) => Ok(Ended::Ready),
            (true, None) => Ok(Ended::NotReady),
            (true, Some(_)) => Err(Failure::Told),
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
}

pub(super) fn in_failed_block() -> Report {
    Report::error("25P02", "current transaction is aborted, commands ignored until end of transaction block")
}
