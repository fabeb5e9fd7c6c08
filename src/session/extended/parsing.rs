//! Parse: compiled at once, and not sent anywhere. The client is owed a ParseComplete until a Bind says on which shard the statement
//! is wanted, or something else has to be answered first.

use super::messages::{is_local, known_part, malformed};
use crate::pool::expect::{Audience, Step};
use crate::pool::server::{Server, StatementName, statement_name};
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::own_statements::made_now;
use crate::session::plans::compiled::Compiled;
use crate::session::simple::in_failed_block;
use crate::session::statement::{Origin, Prepared, Renamed};
use crate::wire::frontend;
use crate::wire::name::Name;
use crate::wire::reply::{self, Report};

pub(super) const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";

impl Session {
    /// Gives names back what they stood for before messages that an error has had skipped: to the client these never came.
    pub(super) fn restore_names(&mut self) {
        let Session { link, names, pipeline, .. } = self;
        let pending = usize::from(names.pending.take().is_some());
        let (mut lost, mut failed) = (pending, false);
        for expects in link.servers.iter_mut().map(|enlisted| &mut enlisted.server.expects) {
            // Servers that still owe answers now are closed.
            lost += std::mem::take(&mut expects.names_lost) + expects.names_owed();
            failed |= std::mem::take(&mut expects.parse_failed);
        }
        for earlier in (0..lost).rev() {
            let Some(Renamed { name, before }) = pipeline.renamed.pop() else { break };
            // A Parse that has failed itself has taken the old unnamed statement away all the same.
            match before.filter(|_| earlier > 0 || !failed) {
                Some(before) => names.statements.insert(name, before),
                None => drop(names.statements.remove(&name)),
            }
        }
    }

    pub(in crate::session) async fn parse(&mut self, body: &[u8]) -> Result<(), Failure> {
        let mut parse = frontend::Parse::read(body).map_err(malformed)?;
        parse.name = known_part(parse.name);
        self.settle_parse(None).await?;
        let unnamed = parse.name.is_empty();
        if unnamed && self.link.is_drained() {
            // Source: postgres.c, exec_parse_message: the old one goes first, whatever becomes of the new one.
            self.names.statements.remove(&b""[..]);
        }
        let prepared = match self.parsed(&parse).await {
            Ok(prepared) => prepared,
            Err(failure) => {
                if unnamed && matches!(failure, Failure::Statement(_)) {
                    // Unless a message before it has failed.
                    self.settle_all().await?;
                    self.names.statements.remove(&b""[..]);
                }
                return Err(failure);
            }
        };
        let before = self.names.statements.remove(parse.name);
        match prepared.origin {
            Origin::ParsePending => {
                self.names.pending = Some(parse.name.into());
                self.pipeline.rename(parse.name.into(), before);
            }
            Origin::Parse | Origin::Sql => self.say_of_name(parse.name, before, PARSE_COMPLETE),
        }
        self.names.statements.insert(parse.name.into(), prepared);
        Ok(())
    }

    /// What a Parse makes.
    async fn parsed(&mut self, parse: &frontend::Parse<'_>) -> Result<Prepared, Failure> {
        let types: Vec<u32> = parse.types().collect();
        self.check_statement_room(parse.name, parse.text)?;
        self.check_declared(parse.text, &types).await?;
        let mut compiled = self.compile_seen(parse.text, &types).await?;
        if !compiled.is_certain() {
            self.drain().await?;
            if parse.name.is_empty() {
                self.names.statements.remove(&b""[..]);
            }
            if self.transaction.has_failed() && compiled.statements.is_some() {
                // Its servers may not know that it has. What ends it names nothing that could be unknown.
                return Err(in_failed_block().into());
            }
            compiled = Box::pin(self.compiled(parse.text, &types)).await?;
        }
        let mut prepared = Prepared {
            compiled,
            origin: Origin::ParsePending,
            resolved_types: None,
            described: None,
            made: made_now(parse.name),
            source: None,
        };
        let plan = prepared.plan().ok_or_else(|| {
            // Source: postgres.c, exec_parse_message.
            Failure::from(Report::error("42601", "cannot insert multiple commands into a prepared statement"))
        })?;
        self.check_not_failed(plan)?;
        if is_local(plan) {
            prepared.origin = Origin::Parse;
        }
        if !parse.name.is_empty() && self.names.statements.contains_key(parse.name) {
            // Errors of the text come first. Source: postgres.c, exec_parse_message; prepare.c, StorePreparedStatement.
            self.drain().await?;
            Box::pin(self.probe(parse.text, &types)).await?;
            let name = String::from_utf8_lossy(parse.name);
            return Err(Report::error("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        Ok(prepared)
    }

    /// Answers behind all that is still owed that a name, which meant `before`, has changed.
    pub(super) fn say_of_name(&mut self, name: &[u8], before: Option<Prepared>, frames: &'static [u8]) {
        match self.last_owed() {
            Some(expects) => {
                expects.say_of_name(frames.into());
                self.pipeline.rename(name.into(), before);
            }
            None => self.link.client.answer(frames),
        }
    }

    /// Has a server see a Parse that is still pending, unless it is the statement that the current message is about.
    pub(in crate::session) async fn settle_parse(&mut self, except: Option<&[u8]>) -> Result<(), Failure> {
        if self.names.pending.as_deref().is_none_or(|name| Some(name) == except) {
            return Ok(());
        }
        Box::pin(self.settle_pending()).await
    }

    async fn settle_pending(&mut self) -> Result<(), Failure> {
        let Some(name) = self.names.pending.take() else { return Ok(()) };
        if self.names.statements.get(&name).is_none_or(|prepared| prepared.origin != Origin::ParsePending) {
            self.pipeline.renamed.pop();
            return Ok(());
        }
        // Put back: the statement is forgotten if no server can be had.
        self.names.pending = Some(name.clone());
        let at = self.enlist_to_ask().await?;
        self.engage(at).await?;
        self.hold(at, &name, true);
        self.names.pending = None;
        Ok(())
    }

    /// Makes sure a server holds a statement; the client gets its ParseComplete if it is still owed one and `answers`.
    pub(in crate::session) fn hold(&mut self, at: usize, name: &[u8], answers: bool) -> Option<StatementName> {
        let kept = self.names.statements.name(name)?;
        let prepared = self.names.statements.get_mut(name)?;
        let owed = answers && prepared.origin == Origin::ParsePending;
        if owed {
            prepared.origin = Origin::Parse;
            self.names.pending = None;
        }
        let audience = match (owed, answers) {
            (true, _) => Audience::Client,
            (false, true) => Audience::ClientIfError,
            (false, false) => Audience::Gateway,
        };
        let compiled = prepared.compiled.clone();
        Some(self.hold_known(at, kept, &compiled, audience))
    }

    /// The same for a statement that has been looked up. `audience`: the client's if it is owed a ParseComplete.
    pub(in crate::session) fn hold_known(
        &mut self,
        at: usize,
        name: Name,
        compiled: &Compiled,
        audience: Audience,
    ) -> StatementName {
        let enlisted = &mut self.link.servers[at];
        enlisted.needs_sync = true;
        let server: &mut Server = &mut enlisted.server;
        let unnamed = name.is_empty();
        if !unnamed {
            self.pipeline.held.push((compiled.id, name));
        }
        let sent = if unnamed {
            if std::mem::take(&mut server.expects.unnamed_lost) {
                server.unnamed = None;
            }
            let known = server.unnamed == Some(compiled.id);
            if !known {
                let types = server.oids.declared(&compiled.types);
                reply::parse(&mut server.outbound, b"", &compiled.text, &types);
                server.expects.push(Step::Parse(None), audience);
                server.unnamed = Some(compiled.id);
            }
            !known
        } else {
            server.prepare(compiled.id, &compiled.text, &compiled.types, audience)
        };
        let name = if unnamed { StatementName::default() } else { statement_name(compiled.id) };
        if sent {
            server.infer(&name, compiled.id, compiled.inferred.as_ref());
        }
        if audience == Audience::Client && !sent {
            server.expects.say_of_name(PARSE_COMPLETE.into());
        }
        name
    }
}
