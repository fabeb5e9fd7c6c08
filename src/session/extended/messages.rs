//! The extended protocol: its messages, Bind and Flush; Parse is in `parsing`, Describe and Close in `describing`, Execute in
//! `executing`, Sync in `sync`. What comes all at once is carried out by `volley`.
//!
//! Messages are passed on as they come and answered in order. Only one server owes answers at a time: before another one is
//! spoken to, the first is drained, so that the client sees answers in the order of its messages.

use std::borrow::Cow;
use std::sync::Arc;

use shardmap::ShardId;

use super::binding::Binding;
use crate::catalog::Oid;
use crate::execute::link::Enlisted;
use crate::execute::plain::Plain;
use crate::plan::{Access, CursorVerb, Destination, Output, Plan, PreparedVerb, Route};
use crate::pool::expect::Expectations;
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::life::Session;
use crate::session::parameters::Parameters;
use crate::session::plans::compiled::{Compiled, Embeds};
use crate::session::setting::{concerns_next_transaction, concerns_transaction};
use crate::session::simple::in_failed_block;
use crate::session::statement::{BOUND_IN_FAILED, BoundArguments, Origin, Place, Portal, Prepared};
use crate::session::type_numbers::Protocol;
use crate::sql::tokens;
use crate::wire::frontend::{Bind, Malformed};
use crate::wire::reply::Report;

/// Above this much unsent, a pipeline is pushed on before more of it is read.
const PIPELINE_BYTES: usize = 64 * 1024;

/// Answers of the gateway's own that may wait for a server's; one more, and the server is waited for.
const SAID_MAX: usize = 1_000;

/// So much may be kept of statements whose names have been given to others, which an error may undo; above it, servers are waited for.
const RENAMED_BYTES_MAX: usize = 1024 * 1024;

pub(in crate::session) const BIND_COMPLETE: &[u8] = b"2\0\0\0\x04";

impl Session {
    /// Handles one extended-protocol message other than Sync.
    pub(in crate::session) async fn extended(&mut self, tag: u8, body: &[u8]) -> Result<(), Failure> {
        let result = match tag {
            b'P' => self.parse(body).await,
            b'B' => self.bind(body).await,
            b'D' => self.describe(body).await,
            b'E' => self.execute(body).await,
            b'C' => Box::pin(self.close(body)).await,
            _ => Box::pin(self.flush()).await,
        };
        result?;
        if self.link.servers.iter().any(|enlisted| enlisted.server.expects.said_count() > SAID_MAX)
            || self.pipeline.held.len().max(self.pipeline.renamed.len()) > SAID_MAX
            || self.pipeline.renamed_bytes > RENAMED_BYTES_MAX
        {
            self.drain().await?;
            // What was asked of servers in between has drained them, or nothing was owed.
            self.forget_answered();
            self.pipeline.held.clear();
        }
        while self.link.servers.iter().any(|enlisted| enlisted.server.outbound.len() > PIPELINE_BYTES) {
            let mut plain = Plain { aliases: self.pipeline.held.clone(), ..Plain::default() };
            self.link.pump_all(&mut plain)?;
            self.note(&plain);
            if plain.error.is_some() {
                self.pass_on_hidden_error(&plain)?;
                return Err(Failure::Told);
            }
            self.link.turn().await?;
        }
        Ok(())
    }

    /// Reports a failure behind the answers that are still owed, and skips to Sync. A failure of an earlier message wins.
    pub(in crate::session) async fn conclude_extended(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        match result {
            Ok(()) => Ok(()),
            Err(failure) => Box::pin(self.fail_extended(failure)).await,
        }
    }

    async fn fail_extended(&mut self, failure: Failure) -> Result<(), Failure> {
        let failure = match failure {
            Failure::Statement(report) => match self.settle_all().await {
                Ok(()) => Failure::Statement(report),
                Err(earlier) => earlier,
            },
            other => other,
        };
        self.pipeline.skipping = true;
        self.restore_names();
        self.fail(failure).await?;
        self.end_implicit_block().await?;
        self.link.client.flush().await?;
        Ok(())
    }

    /// Gets all answers that come before what is to be said now.
    pub(in crate::session) async fn settle_all(&mut self) -> Result<(), Failure> {
        self.settle_parse(None).await?;
        if self.link.is_drained() { Ok(()) } else { Box::pin(self.drain()).await }
    }

    async fn bind(&mut self, body: &[u8]) -> Result<(), Failure> {
        let mut bind = Bind::read(body).map_err(malformed)?;
        (bind.portal, bind.statement) = (known_part(bind.portal), known_part(bind.statement));
        match self.bind_message(&bind).await? {
            Bound::Done => Ok(()),
            Bound::WholeNeeded => Err(malformed(Malformed::Short)),
        }
    }

    /// Binds, with a message that may be only the beginning of one.
    pub(super) async fn bind_message(&mut self, bind: &Bind<'_>) -> Result<Bound, Failure> {
        self.settle_parse(Some(bind.statement)).await?;
        let prepared = self.current(bind.statement).await?;
        let plan = prepared.plan().unwrap_or(&Plan::Empty);
        if is_local(plan) && bind.more_bytes > 0 {
            return Ok(Bound::WholeNeeded);
        }
        self.check_bindable(bind, &prepared.compiled, plan)?;
        if let Err(exists) = self.check_portal_name(bind.portal) {
            Box::pin(self.count_parameters(bind, &prepared)).await?;
            return Err(exists);
        }
        self.check_portal_room(bind.portal, Some(&prepared.compiled))?;
        if bind.portal.is_empty() && self.holds_unnamed() {
            // Unless a message before this one has failed.
            self.drain().await?;
            Box::pin(self.end_held_unnamed()).await;
        }
        self.number_block(plan).await?;
        let embeds = self.embeds(bind, &prepared, plan).await?;
        if bind.more_bytes > 0 && embeds.as_ref().is_some_and(|embeds| !embeds.parameters.is_empty()) {
            return Ok(Bound::WholeNeeded);
        }
        if let Plan::Prepared(PreparedVerb::Execute { name, arguments, tail }) = plan
            && self.names.statements.contains_key(name.as_bytes())
        {
            let tail = prepared.compiled.text.get(tail.clone()).unwrap_or_default();
            return Box::pin(self.bind_executed(bind, name, (arguments.len(), tail))).await;
        }
        let place = match plan {
            Plan::Rows(route) => match self.bind_rows(route, bind, &prepared, embeds.as_ref()).await? {
                Some(place) => place,
                None => return Ok(Bound::WholeNeeded),
            },
            Plan::Cursor(verb) => match Box::pin(self.bind_cursor(verb, bind, &prepared)).await? {
                Some(place) => place,
                None => return Ok(Bound::WholeNeeded),
            },
            Plan::SettingQuery(_) => {
                if concerns_transaction(plan) || concerns_next_transaction(plan) {
                    self.begin_here().await?;
                }
                let at = self.enlist_any(Access::Read).await?;
                self.bind_on(at, (bind, None)).await?
            }
            Plan::Refuse(refusal) => return Err(refusal.clone().into()),
            _ => {
                self.say(BIND_COMPLETE);
                Place::Local
            }
        };
        let explained = explained(plan, &place, embeds.as_ref(), bind);
        let portal = Portal {
            place,
            compiled: prepared.compiled,
            statement: self.names.statements.name(bind.statement).unwrap_or_default(),
            binary_rows: bind.asks_for_binary(),
            reached: 0,
            kept: None,
            explained,
            log_length: if self.transaction.has_failed() { BOUND_IN_FAILED } else { self.log_length() },
        };
        self.names.portals.insert(bind.portal.into(), portal);
        Ok(Bound::Done)
    }

    /// Whether a Bind has the parameters of its statement, if no server says so, and is taken in the transaction's state.
    fn check_bindable(&self, bind: &Bind<'_>, compiled: &Compiled, plan: &Plan) -> Result<(), Failure> {
        let failed = self.transaction.has_failed();
        if failed || is_local(plan) {
            check_named_parameters(bind, compiled)?;
        }
        if failed && (matches!(plan, Plan::Empty) || bind.parameter_count() > 0) {
            // Source: postgres.c, exec_bind_message: unlike Parse and Query it takes nothing but the block's end.
            return Err(in_failed_block().into());
        }
        self.check_not_failed(plan)
    }

    /// Whether a Bind has as many parameters as its statement, which is found before the portal's name is taken. *Source*: postgres.c,
    /// exec_bind_message.
    async fn count_parameters(&mut self, bind: &Bind<'_>, prepared: &Prepared) -> Result<(), Failure> {
        if prepared.plan().is_none_or(is_local) {
            return Ok(());
        }
        let types = match &prepared.resolved_types {
            Some(types) => types.clone(),
            None => self.ask_types(bind.statement, &prepared.compiled).await?,
        };
        check_parameters(bind, types.len())
    }

    /// Binds a statement whose rows live somewhere; `None` when the whole message is needed.
    async fn bind_rows(
        &mut self,
        route: &Route,
        bind: &Bind<'_>,
        prepared: &Prepared,
        embeds: Option<&Embeds>,
    ) -> Result<Option<Place>, Failure> {
        let destination = self.bound_destination(route, bind, prepared).await?;
        self.count_rows(route, &destination);
        self.note_locks(&prepared.compiled.text);
        if bind.more_bytes > 0 && !matches!(destination, Destination::Any | Destination::One(_)) {
            return Ok(None);
        }
        if route.output == Output::CopyBinary && !matches!(destination, Destination::Gather(_)) {
            self.check_copy_out(&prepared.compiled.text, Protocol::Extended).await?;
        }
        check_embedded(&destination, embeds)?;
        self.check_moments((route, &destination), bind, prepared).await?;
        let place = match destination {
            Destination::Stepwise => Box::pin(self.bind_stepwise(route, bind)).await?,
            Destination::Split(_) | Destination::Compute => {
                Box::pin(self.bind_rewritten((route, destination), bind, prepared)).await?
            }
            Destination::Gather(gather) => {
                self.begin_if_own(&self.moment(route.access)?);
                Box::pin(self.bind_gather(&gather, bind, prepared, route.output)).await?
            }
            destination => self.place(destination, route.access, (bind, embeds)).await?,
        };
        Ok(Some(place))
    }

    /// *Source*: portalmem.c, CreatePortal.
    fn check_portal_name(&self, portal: &[u8]) -> Result<(), Failure> {
        if portal.is_empty() || !self.names.portals.contains_key(portal) {
            return Ok(());
        }
        let name = String::from_utf8_lossy(portal);
        Err(Report::error("42P03", format!("cursor \"{name}\" already exists")).into())
    }

    /// Binds DECLARE, FETCH, MOVE or CLOSE; `None` when the whole message is needed.
    async fn bind_cursor(
        &mut self,
        verb: &CursorVerb,
        bind: &Bind<'_>,
        prepared: &Prepared,
    ) -> Result<Option<Place>, Failure> {
        let declared = match verb {
            CursorVerb::Declare { route, .. } => Some(self.bound_destination(route, bind, prepared).await?),
            CursorVerb::Fetch { .. } | CursorVerb::Close(_) => None,
        };
        let here = match verb {
            CursorVerb::Declare { .. } => matches!(declared, Some(Destination::Gather(_))),
            CursorVerb::Fetch { name } | CursorVerb::Close(Some(name)) => self.held_cursor(name.as_bytes()).is_some(),
            CursorVerb::Close(None) => true,
        };
        if bind.more_bytes > 0 && here {
            return Ok(None);
        }
        if let Some(place) = Box::pin(self.bind_held_cursor(verb, declared.as_ref(), bind, prepared)).await? {
            return Ok(Some(place));
        }
        let at = Box::pin(self.cursor_server(verb, declared, Wire::Extended)).await?;
        self.bind_on(at, (bind, None)).await.map(Some)
    }

    /// A prepared statement, compiled anew if the catalog has changed since, or what its names and literals mean.
    pub(in crate::session) async fn current(&mut self, name: &[u8]) -> Result<Prepared, Failure> {
        let Some(prepared) = self.names.statements.copy(name) else { return Err(no_statement(name)) };
        if self.is_current(prepared.compiled.version) && self.is_in_scope(&prepared.compiled) {
            return Ok(prepared);
        }
        Box::pin(self.compiled_anew(name, prepared)).await
    }

    async fn compiled_anew(&mut self, name: &[u8], before: Prepared) -> Result<Prepared, Failure> {
        let types = self.types_to_keep(name, &before).await?;
        let compiled = self.compiled(&before.compiled.text, &types).await?;
        let prepared = Prepared { compiled, resolved_types: None, ..before.clone() };
        self.names.statements.insert(name.into(), prepared.clone());
        let Some(described) = prepared.described.as_deref().filter(|_| !name.is_empty()) else { return Ok(prepared) };
        let columns = self.ask(name, &prepared.compiled).await.map(|answer| answer.row_description);
        if !columns.as_ref().is_ok_and(|columns| columns.as_deref() == Some(described)) {
            // It is looked at again the next time.
            self.names.statements.insert(name.into(), before);
        }
        if columns?.as_deref() != Some(described) {
            return Err(changed_result());
        }
        Ok(prepared)
    }

    /// The types of a statement's parameters, with which it is compiled anew. *Source*: plancache.c, RevalidateCachedQuery.
    pub(in crate::session) async fn types_to_keep(
        &mut self,
        name: &[u8],
        before: &Prepared,
    ) -> Result<Arc<[Oid]>, Failure> {
        let compiled = &before.compiled;
        let unseen = before.origin == Origin::ParsePending || before.plan().is_none_or(is_local);
        let Some(inferred) = compiled.inferred.as_ref().filter(|_| !unseen) else {
            return Ok(compiled.types[..].into());
        };
        if inferred.get().is_none() {
            self.drain().await?;
        }
        inferred.get().cloned().ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            let text = format!("the parameter types of prepared statement \"{name}\" are no longer known");
            Report::error("0A000", text).with_hint("Prepare it again, with declared types.").into()
        })
    }

    /// Where a bound statement runs; a server is asked for parameter types if the values cannot be read without.
    async fn bound_destination(
        &mut self,
        route: &Route,
        bind: &Bind<'_>,
        prepared: &Prepared,
    ) -> Result<Destination, Failure> {
        let arguments = BoundArguments::new(bind, prepared.resolved_types.as_deref());
        match self.destination(route, &arguments)? {
            Destination::NeedsParameterTypes => {}
            destination => return Ok(destination),
        }
        let types = Box::pin(self.ask_types(bind.statement, &prepared.compiled)).await?;
        let arguments = BoundArguments::new(bind, Some(&types));
        match self.destination(route, &arguments)? {
            Destination::NeedsParameterTypes => Err(Report::error("0A000", "the type of a parameter cannot be told")
                .with_hint("Cast the parameter, for instance $1::bigint.")
                .into()),
            destination => Ok(destination),
        }
    }

    /// Binds where the destination says.
    async fn place(&mut self, to: Destination, access: Access, bind: Binding<'_>) -> Result<Place, Failure> {
        match to {
            Destination::Any => {
                let text = self.names.statements.get(bind.0.statement).map(|prepared| prepared.compiled.clone());
                let at = self.enlist_anywhere(text.as_ref().map_or(b"", |compiled| &compiled.text), access).await?;
                self.bind_on(at, bind).await
            }
            Destination::One(shard) => {
                let at = self.enlist_for(shard, access).await?;
                self.bind_on(at, bind).await
            }
            Destination::Many(shards) => Box::pin(self.bind_at(shards, access, bind)).await,
            Destination::All { takes_turn } => {
                self.drain().await?;
                self.note_write_everywhere().await?;
                let place = Box::pin(self.bind_many(self.gateway.each_shard().collect(), Access::Write, bind)).await?;
                Ok(match place {
                    Place::Many { shards, .. } => Place::Every { shards, takes_turn },
                    place => place,
                })
            }
            Destination::Split(_)
            | Destination::Compute
            | Destination::Stepwise
            | Destination::Gather(_)
            | Destination::NeedsParameterTypes => Err(Failure::Told),
        }
    }

    /// Where a portal is; a cursor declared in SQL is one too.
    pub(super) fn portal_place(&self, name: &[u8]) -> Result<Place, Failure> {
        let cursor = || {
            let (shard, replica) = *self.names.cursors.get(std::str::from_utf8(name).ok()?)?;
            Some(Place::One { shard, replica })
        };
        let portal = self.names.portals.get(name).map(|portal| portal.place.clone());
        let held = || self.held_cursor(name).map(|_| Place::Cursor);
        portal.or_else(cursor).or_else(held).ok_or_else(|| no_portal(name))
    }

    /// The server that holds a portal.
    pub(in crate::session) fn portal_server(
        &self,
        shard: ShardId,
        replica: Option<bool>,
        name: &[u8],
    ) -> Result<usize, Failure> {
        self.link
            .servers
            .iter()
            .position(|enlisted| enlisted.shard == shard && replica.is_none_or(|replica| enlisted.replica == replica))
            .ok_or_else(|| no_portal(name))
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.settle_parse(None).await?;
        self.drain().await?;
        self.link.client.flush().await?;
        Ok(())
    }

    /// Answers behind all that is still owed.
    pub(in crate::session) fn say(&mut self, frames: impl Into<Cow<'static, [u8]>>) {
        let frames = frames.into();
        match self.last_owed() {
            Some(expects) => expects.say(frames),
            None => self.link.client.answer(&frames),
        }
    }

    /// What is owed last: to the client, by the one server that owes it anything; what others owe beside it is hidden, and may come sooner.
    pub(super) fn last_owed(&mut self) -> Option<&mut Expectations> {
        let owe = |enlisted: &Enlisted| !enlisted.server.expects.is_empty();
        let tells = |enlisted: &Enlisted| enlisted.server.expects.owes_client();
        let servers = &mut self.link.servers;
        let at = servers.iter().rposition(tells).or_else(|| servers.iter().rposition(owe))?;
        Some(&mut servers[at].server.expects)
    }

    /// Makes a server the one that may be spoken to: all others have answered.
    pub(in crate::session) async fn engage(&mut self, at: usize) -> Result<(), Failure> {
        let others_owe = self
            .link
            .servers
            .iter()
            .enumerate()
            .any(|(other, enlisted)| other != at && !enlisted.server.expects.is_empty());
        if others_owe { Box::pin(self.drain()).await } else { Ok(()) }
    }

    /// Waits for all answers owed.
    ///
    /// # Errors
    /// `Told` when one of them was an error: what the client sent behind it is to be skipped.
    pub(in crate::session) async fn drain(&mut self) -> Result<(), Failure> {
        if self.link.is_drained() {
            return Ok(());
        }
        for enlisted in self.link.servers.iter_mut().filter(|enlisted| !enlisted.server.expects.is_empty()) {
            enlisted.server.send_flush();
        }
        let mut plain = Plain { aliases: std::mem::take(&mut self.pipeline.held), ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        self.note(&plain);
        if plain.error.is_none() {
            self.forget_answered();
            return Ok(());
        }
        self.pass_on_hidden_error(&plain)?;
        Err(Failure::Told)
    }

    /// All that was owed has come: no error takes back what names have become, but for what no server has seen yet.
    fn forget_answered(&mut self) {
        let pending = usize::from(self.names.pending.is_some());
        self.pipeline.renamed.drain(..self.pipeline.renamed.len().saturating_sub(pending));
        self.pipeline.renamed_bytes = 0;
    }
}

/// What became of a Bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// The portal is made; what is not here of the message is to be passed on to its server.
    Done,
    /// Nothing: the beginning of the message is not enough.
    WholeNeeded,
}

/// Statements that the gateway itself carries out, at Execute.
pub(super) fn is_local(plan: &Plan) -> bool {
    match plan {
        // What is refused can be described all the same: drivers ask for columns without meaning to run anything.
        Plan::Rows(_) | Plan::Cursor(_) | Plan::SettingQuery(_) | Plan::Refuse(_) => false,
        Plan::Empty
        | Plan::CopyIn(_)
        | Plan::Everywhere(_)
        | Plan::Transaction(_)
        | Plan::Setting(_)
        | Plan::Discard(_)
        | Plan::Prepared(_) => true,
    }
}

/// *Source*: postgres.c, exec_bind_message.
pub(in crate::session) fn check_parameters(bind: &Bind<'_>, wanted: usize) -> Result<(), Failure> {
    let (formats, given) = (bind.format_count(), bind.parameter_count());
    if formats > 1 && formats != given {
        let text = format!("bind message has {formats} parameter formats but {given} parameters");
        return Err(Report::error("08P01", text).into());
    }
    if given == wanted {
        return Ok(());
    }
    let name = String::from_utf8_lossy(bind.statement);
    let text = format!("bind message supplies {given} parameters, but prepared statement \"{name}\" requires {wanted}");
    Err(Report::error("08P01", text).into())
}

/// The same for a statement that no server sees bound: its parameters are those declared and those it names.
pub(in crate::session) fn check_named_parameters(bind: &Bind<'_>, compiled: &Compiled) -> Result<(), Failure> {
    let declared = compiled.types.len();
    if let Some(Plan::Prepared(PreparedVerb::Prepare { .. })) = compiled.plan() {
        // Those it names are the other statement's.
        return check_parameters(bind, declared);
    }
    if memchr::memchr(b'$', &compiled.text).is_none() {
        return check_parameters(bind, declared);
    }
    // The lexer is to be given something.
    let text = format!("{};", String::from_utf8_lossy(&compiled.text));
    let named = tokens::parameters(&text).into_iter().map(|index| index + 1);
    check_parameters(bind, named.chain([declared]).max().unwrap_or(0))
}

pub(in crate::session) fn malformed(malformed: Malformed) -> Failure {
    Report::error("08P01", malformed.to_string()).into()
}

/// As much of a name as PostgreSQL looks at: NAMEDATALEN - 1 bytes. *Source*: prepare.c and portalmem.c, whose tables have
/// keys of that size.
pub(super) fn known_part(name: &[u8]) -> &[u8] {
    name.get(..63).unwrap_or(name)
}

/// The client would read rows by the description it has. *Source*: plancache.c, RevalidateCachedQuery.
pub(in crate::session) fn changed_result() -> Failure {
    let mut report = Report::error("0A000", "cached plan must not change result type");
    report.routine = Some("RevalidateCachedQuery");
    report.into()
}

/// *Source*: postgres.c, exec_bind_message; prepare.c, FetchPreparedStatement.
pub(in crate::session) fn no_statement(name: &[u8]) -> Failure {
    let text = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name))
    };
    Report::error("26000", text).into()
}

/// *Source*: postgres.c, exec_execute_message.
pub(in crate::session) fn no_portal(name: &[u8]) -> Failure {
    Report::error("34000", format!("portal \"{}\" does not exist", String::from_utf8_lossy(name))).into()
}

/// What an EXPLAIN that several shards answer was given: what each of them sends is counted with it.
fn explained(plan: &Plan, place: &Place, embeds: Option<&Embeds>, bind: &Bind<'_>) -> Option<Parameters> {
    let embedded = embeds.is_some_and(|embeds| !embeds.parameters.is_empty());
    match (plan, place) {
        (Plan::Rows(route), Place::Many { .. }) if route.output.is_explain() && !embedded => Some(Parameters::of(bind)),
        _ => None,
    }
}

/// Numbers of types inside values are translated in a Bind that goes out as it came.
fn check_embedded(destination: &Destination, embeds: Option<&Embeds>) -> Result<(), Failure> {
    let rewritten = matches!(destination, Destination::Stepwise | Destination::Split(_) | Destination::Compute);
    let embedded = rewritten && embeds.is_some_and(|embeds| !embeds.parameters.is_empty());
    if embedded { Err(crate::session::type_numbers::not_rewritten()) } else { Ok(()) }
}
