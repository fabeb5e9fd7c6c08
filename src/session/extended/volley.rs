//! A volley (see `wire::volley`) carried out in one step: what the messages of it do one by one, when nothing about them is out
//! of the ordinary.
//!
//! First everything is decided, and nothing changed ([`Session::plan_volley`]): unless the statement is known, runs on one server and the
//! session is between two pipelines, the messages are handled one by one. Then a server is taken, all is written to it at
//! once, and what follows is what follows any Sync.

use std::sync::Arc;

use shardmap::ShardId;

use super::describing::NO_DATA;
use super::messages::{BIND_COMPLETE, check_parameters, known_part};
use super::parsing::PARSE_COMPLETE;
use crate::config::Limits;
use crate::counters::QueryKind;
use crate::plan::{Access, Destination, Output, Plan, Route, Target, TransactionVerb};
use crate::pool::expect::Audience;
use crate::pool::server::{Server, StatementName, statement_name};
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::plans::compiled::Compiled;
use crate::session::statement::{BoundArguments, Origin, Place, Portal, Prepared};
use crate::txn::state::{BlockKind, Transaction};
use crate::wire::embedded::FIRST_NORMAL_OID;
use crate::wire::frame::consume;
use crate::wire::name::Name;
use crate::wire::reply;
use crate::wire::volley::Volley;

/// How a volley at the start of the client's bytes is to be carried out.
#[derive(Debug)]
pub(in crate::session) struct VolleyPlan {
    kind: QueryKind,
    compiled: Arc<Compiled>,
    /// Of the statement.
    name: Name,
    /// It begins with a Parse.
    parses: bool,
    describes: bool,
    /// What it describes is known already.
    described: bool,
    binary_rows: bool,
    place: Course,
    access: Access,
    /// It holds although shards have other numbers for users' types.
    renumbered: bool,
    /// What follows the names in Bind begins here, and ends where Describe or Execute begins.
    rest: usize,
    bind_end: usize,
    end: usize,
}

impl VolleyPlan {
    /// The shard on which it may share a server with other clients' reads; see `execute::multiplex`.
    pub(in crate::session) fn shareable_on(&self) -> Option<ShardId> {
        let kept = self.describes && !self.described && !self.name.is_empty();
        match self.place {
            Course::On(shard)
                if self.access == Access::Read && self.compiled.finds_one_row() && !kept && !self.renumbered =>
            {
                Some(shard)
            }
            Course::On(_) | Course::Any | Course::Here => None,
        }
    }

    /// Sends it, found at the start of these bytes, to a server that is shared; `false` if that does not hold the statement.
    pub(in crate::session) fn send_shared(&self, server: &mut Server, inbound: &[u8]) -> bool {
        let id = self.compiled.id;
        let (name, held) = match self.name.is_empty() {
            true => (StatementName::default(), server.holds_unnamed(id)),
            false => (statement_name(id), server.holds(id)),
        };
        if !held {
            return false;
        }
        let parts = (inbound.get(self.rest..self.bind_end), inbound.get(self.bind_end..self.end));
        let (Some(rest), Some(tail)) = parts else { return false };
        reply::bind(&mut server.outbound, b"", &name, rest, 0);
        server.outbound.extend_from_slice(tail);
        server.expects.push_volley(self.describes);
        true
    }
}

/// Who carries a volley out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// The gateway: transaction control.
    Here,
    /// A server of any shard.
    Any,
    /// A server of this shard.
    On(ShardId),
}

impl Session {
    /// How the volley at the start of the client's bytes is carried out; `None` if there is none, or something about it is out
    /// of the ordinary: then nothing has changed, and its messages are handled one by one.
    pub(in crate::session) fn plan_volley(&mut self) -> Option<VolleyPlan> {
        if !self.is_between_pipelines() || self.reported.has_news() {
            return None;
        }
        let inbound = std::mem::take(&mut self.link.client.inbound);
        let planned = Volley::read(&inbound).and_then(|volley| self.planned(&volley));
        self.link.client.inbound = inbound;
        planned
    }

    /// No message has come since the last Sync, and no statement would be refused because of the transaction's state.
    pub(in crate::session) fn is_between_pipelines(&self) -> bool {
        let between = match &self.transaction {
            Transaction::Idle => self.link.servers.is_empty(),
            Transaction::Open(block) => {
                block.kind == BlockKind::Explicit
                    && !block.changed_catalog
                    && self.link.is_drained()
                    && !self.link.servers.iter().any(|enlisted| enlisted.needs_sync)
            }
            Transaction::Failed(_) => false,
        };
        between && self.names.pending.is_none() && self.pipeline.is_clear() && self.reported.conforming_strings
    }

    fn planned(&mut self, volley: &Volley<'_>) -> Option<VolleyPlan> {
        let statement = known_part(volley.bind.statement);
        let (compiled, name, resolved_types, described) = match &volley.parse {
            None => {
                let (name, prepared) = self.names.statements.get_key_value(statement)?;
                let described = prepared.described.is_some();
                (prepared.compiled.clone(), name.clone(), prepared.resolved_types.clone(), described)
            }
            Some(parse) => {
                let types: Vec<u32> = parse.types().collect();
                if types.iter().any(|oid| *oid >= FIRST_NORMAL_OID) {
                    return None;
                }
                let again = self.unnamed_again(parse.text, &types);
                let compiled = again.unwrap_or_else(|| self.compile(parse.text, &types));
                let known = self.names.statements.get(statement);
                let known = known.filter(|known| Arc::ptr_eq(&known.compiled, &compiled));
                let described = known.is_some_and(|known| known.described.is_some());
                (compiled, Name::default(), known.and_then(|known| known.resolved_types.clone()), described)
            }
        };
        if volley.parse.is_none() && !self.is_in_scope(&compiled) {
            return None;
        }
        if compiled.version != self.catalog.version() || !self.has_room(&compiled) {
            return None;
        }
        let renumbered = self.numbers_differ();
        if renumbered && !holds_no_numbers(volley, &compiled) {
            return None;
        }
        let (kind, place, access) = match compiled.plan()? {
            Plan::Transaction(_) => {
                check_parameters(&volley.bind, compiled.types.len()).ok()?;
                (QueryKind::Control, Course::Here, Access::Read)
            }
            Plan::Rows(route @ Route { output: Output::Rows, .. }) if !matches!(route.target, Target::Unknown) => {
                let found = self.course(route, volley, resolved_types.as_deref())?;
                if renumbered && found.1 == Course::Any {
                    return None; // see `Session::enlist_anywhere`
                }
                found
            }
            _ => return None,
        };
        Some(VolleyPlan {
            kind,
            compiled,
            name,
            parses: volley.parse.is_some(),
            describes: volley.describes,
            described,
            binary_rows: volley.bind.asks_for_binary(),
            place,
            access,
            renumbered,
            rest: volley.bind_end - volley.bind.rest.len(),
            bind_end: volley.bind_end,
            end: volley.end,
        })
    }

    fn course(
        &mut self,
        route: &Route,
        volley: &Volley<'_>,
        resolved_types: Option<&[u32]>,
    ) -> Option<(QueryKind, Course, Access)> {
        let arguments = BoundArguments::new(&volley.bind, resolved_types);
        let destination = route.resolve(&**self.map.load(), self.gateway.home(), &arguments).ok()?;
        let course = match destination {
            Destination::One(shard) => Course::On(shard),
            Destination::Any => Course::Any,
            Destination::Many(_)
            | Destination::All { .. }
            | Destination::Split(_)
            | Destination::Compute
            | Destination::Stepwise
            | Destination::Gather(_)
            | Destination::NeedsParameterTypes => return None,
        };
        Some((crate::session::tally::kind_of(route, &destination), course, route.access))
    }

    /// The unnamed statement, if the same text under the same settings is parsed once more: drivers that prepare nothing send it
    /// each time. Its version is still to be looked at.
    fn unnamed_again(&self, text: &[u8], types: &[u32]) -> Option<Arc<Compiled>> {
        let known = &self.names.statements.get(&b""[..])?.compiled;
        let (version, settings, scoped) = self.scope.as_ref()?;
        let same = !known.fleeting
            && *known.text == *text
            && *known.types == *types
            && (known.version, known.scope) == (*version, scoped.id)
            && Arc::ptr_eq(settings, self.current_settings());
        same.then(|| known.clone())
    }

    /// One more statement and one more portal are within the client's limits. The rough sum of both is looked at: who is near a
    /// limit is told by those who handle single messages.
    fn has_room(&mut self, compiled: &Compiled) -> bool {
        let Limits { client_statements_max, client_bytes_max, .. } = self.config.load().limits;
        let portals = self.names.portals.len() + self.names.cursors.len();
        self.names.statements.len().max(portals) < client_statements_max
            && self.kept_bytes().saturating_add(2 * crate::session::kept::compiled_bytes(compiled)) <= client_bytes_max
            && self
                .names
                .portals
                .get(&b""[..])
                .is_none_or(|portal| matches!(portal.place, Place::One { .. } | Place::Local | Place::Done))
    }

    /// Carries a volley out.
    ///
    /// # Cancel safety
    /// Cancel safe as far as any statement is: the link's servers are closed when it is dropped.
    pub(in crate::session) async fn volley(&mut self, planned: VolleyPlan) -> Result<(), Failure> {
        let enlisted = match planned.place {
            Course::Here => return Box::pin(self.control_volley(planned)).await,
            Course::On(shard) => self.enlist_for(shard, planned.access).await,
            Course::Any => self.enlist_any(planned.access).await,
        };
        let at = match enlisted {
            Ok(at) => at,
            Err(failure) => {
                // As if Bind had just been read; what follows it is skipped.
                self.take_parse(&planned);
                consume(&mut self.link.client.inbound, planned.bind_end);
                return Box::pin(self.conclude_extended(Err(failure))).await;
            }
        };
        match self.begin_volley(at, planned) {
            true => self.finish_volley(Ok(())).await,
            // The messages are handled one by one, as there is a server now.
            false => Ok(()),
        }
    }

    /// Sends a volley, if that can be done without waiting; else says how it is to be carried out.
    pub(in crate::session) fn volley_now(&mut self, planned: VolleyPlan) -> Result<usize, Option<VolleyPlan>> {
        let at = match planned.place {
            Course::Here => None,
            Course::On(shard) => self.enlist_for_now(shard, planned.access),
            Course::Any => self.enlist_any_now(planned.access),
        };
        let Some(at) = at else { return Err(Some(planned)) };
        if self.begin_volley(at, planned) { Ok(at) } else { Err(None) }
    }

    /// Whether the volley was sent: not if the shards' numbers of types have come to differ a moment ago.
    fn begin_volley(&mut self, at: usize, planned: VolleyPlan) -> bool {
        if !planned.renumbered && self.link.servers.get(at).is_none_or(|enlisted| enlisted.server.oids.differs()) {
            return false;
        }
        self.tally.query(planned.kind);
        self.note_locks(&planned.compiled.text);
        self.take_parse(&planned);
        self.send_volley(at, planned);
        true
    }

    /// Passes on what is owed for a volley, unless it cannot be `heard`.
    pub(in crate::session) async fn finish_volley(&mut self, heard: Result<(), Failure>) -> Result<(), Failure> {
        let answered = match heard {
            Ok(()) => self.answers_to_sync(false).await,
            failed => failed,
        };
        self.end_sync(answered.map(|()| true)).await?;
        self.note_handled(b'S');
        Ok(())
    }

    /// Carries out a volley of transaction control. Nothing is owed by any server.
    async fn control_volley(&mut self, planned: VolleyPlan) -> Result<(), Failure> {
        self.answer_control(&planned);
        let result = match planned.compiled.plan() {
            Some(Plan::Transaction(verb)) => self.transaction_verb(&planned.compiled.text, verb).await,
            _ => Ok(()),
        };
        if result.is_ok() && self.transaction.block().is_some() {
            self.keep_portal(planned, Place::Done);
        }
        self.conclude_extended(result).await?;
        self.sync().await?;
        self.note_handled(b'S');
        Ok(())
    }

    /// Answers what comes before Execute in a volley of transaction control.
    fn answer_control(&mut self, planned: &VolleyPlan) {
        consume(&mut self.link.client.inbound, planned.end);
        self.answer_parse(planned);
        self.link.client.answer(BIND_COMPLETE);
        if planned.describes {
            self.link.client.answer(NO_DATA);
        }
        self.tally.query(planned.kind);
    }

    /// Answers its Parse, if it has one, of a text that has no error.
    fn answer_parse(&mut self, planned: &VolleyPlan) {
        if !planned.parses {
            return;
        }
        self.take_parse(planned);
        self.names.pending = None;
        self.pipeline.renamed.clear();
        if let Some(prepared) = self.names.statements.get_mut(b"") {
            prepared.origin = Origin::Parse;
        }
        self.link.client.answer(PARSE_COMPLETE);
    }

    /// What a volley does to the session that has been answered on a server that is shared. What answers it follows.
    pub(in crate::session) fn end_shared_volley(&mut self, planned: &VolleyPlan) {
        consume(&mut self.link.client.inbound, planned.end);
        self.answer_parse(planned);
        self.tally.query(planned.kind);
    }

    /// Carries out a volley that begins a block, which no server has to know yet; else says that it does not.
    pub(in crate::session) fn begin_now(&mut self, planned: VolleyPlan) -> Result<(), VolleyPlan> {
        let Some(Plan::Transaction(TransactionVerb::Begin { read_only })) = planned.compiled.plan() else {
            return Err(planned);
        };
        if !self.transaction.is_idle() {
            return Err(planned);
        }
        let read_only = *read_only == Some(true);
        self.answer_control(&planned);
        self.begin_explicit(&planned.compiled.text, read_only);
        self.keep_portal(planned, Place::Done);
        self.end_pipeline();
        self.ready();
        self.note_handled(b'S');
        Ok(())
    }

    /// What Parse does to the session.
    fn take_parse(&mut self, planned: &VolleyPlan) {
        if !planned.parses {
            return;
        }
        self.names.pending = Some(Name::default());
        // Nothing is owed that could fail and leave the old one.
        self.pipeline.rename(Name::default(), None);
        if let Some(before) = self.names.statements.get_mut(b"")
            && Arc::ptr_eq(&before.compiled, &planned.compiled)
        {
            before.origin = Origin::ParsePending;
            return;
        }
        let compiled = planned.compiled.clone();
        let prepared = Prepared {
            compiled,
            origin: Origin::ParsePending,
            resolved_types: None,
            described: None,
            made: None,
            source: None,
        };
        self.names.statements.insert(Name::default(), prepared);
    }

    fn send_volley(&mut self, at: usize, mut planned: VolleyPlan) {
        // What has been described before, or has no name, is not kept.
        if planned.describes && !planned.described && !planned.name.is_empty() {
            self.describing(&planned.name);
        }
        let held = if planned.name.is_empty() {
            self.hold(at, b"", true).unwrap_or_default()
        } else {
            // The portal ends with its transaction, at Sync, unless there is a block: then nobody asks for its statement's name.
            let name = match self.transaction.block() {
                None => std::mem::take(&mut planned.name),
                Some(_) => planned.name.clone(),
            };
            // It is no Parse that the client waits for: nothing is owed before a volley.
            self.hold_known(at, name, &planned.compiled, Audience::ClientIfError)
        };
        let enlisted = &mut self.link.servers[at];
        enlisted.needs_sync = false;
        let place = Place::One { shard: enlisted.shard, replica: enlisted.replica };
        let server: &mut Server = &mut enlisted.server;
        let inbound = &mut self.link.client.inbound;
        reply::bind(&mut server.outbound, b"", &held, &inbound[planned.rest..planned.bind_end], 0);
        server.outbound.extend_from_slice(&inbound[planned.bind_end..planned.end]);
        consume(inbound, planned.end);
        server.expects.push_volley(planned.describes);
        if self.transaction.block().is_none() {
            // The portal ends with its transaction, at Sync.
            return;
        }
        self.keep_portal(planned, place);
    }

    fn keep_portal(&mut self, planned: VolleyPlan, place: Place) {
        let VolleyPlan { compiled, name: statement, binary_rows, .. } = planned;
        let portal = Portal {
            place,
            compiled,
            statement,
            binary_rows,
            reached: 0,
            kept: None,
            explained: None,
            log_length: self.log_length(),
        };
        self.names.portals.insert(Name::default(), portal);
    }
}

/// Nothing in a volley's values, or in the rows that answer it, need be translated where shards have other numbers for types.
fn holds_no_numbers(volley: &Volley<'_>, compiled: &Compiled) -> bool {
    let binary = volley.bind.sends_binary() || volley.bind.asks_for_binary();
    !binary || compiled.embeds.get().is_some_and(|embeds| embeds.parameters.is_empty() && !embeds.rows)
}
