//! Gathers in the extended protocol, and as SQL prepared statements: a portal is the gateway's own until it is executed; with a row limit, its
//! rest waits on the merge server.

use std::sync::Arc;

use super::described::Wire;
use super::run::{Gathering, PORTAL, Run};
use crate::execute::link::Enlisted;
use crate::execute::merge::Merge;
use crate::execute::ship::Silence;
use crate::plan::{Gather, Output, Plan};
use crate::pool::expect::{Audience, Step};
use crate::pool::server::Server;
use crate::session::extended::describing::NO_DATA;
use crate::session::extended::messages::BIND_COMPLETE;
use crate::session::failure::Failure;
use crate::session::life::{Ended, Session};
use crate::session::parameters::Parameters;
use crate::session::plans::compiled::Compiled;
use crate::session::statement::{Ending, Place, Prepared};
use crate::wire::frame;
use crate::wire::frontend::{Bind, Execute};
use crate::wire::reply::{self, Report, Status};
use crate::wire::row_description::Columns;
use crate::wire::row_description::without_table_oids;

/// Merge servers that one client may hold for cursors and portals with more to say: each keeps a connection of a shard.
const HELD_MAX: usize = 8;

/// A merge server that is kept because its portal or cursor has more to say.
#[derive(Debug)]
pub struct Held {
    /// Whose it is.
    pub name: HeldName,
    /// The server, in its transaction.
    pub server: Enlisted,
    /// Savepoints of the client's block when it was made: rolling back to one of them undoes it.
    pub savepoints: usize,
    /// How long it is kept.
    pub kept: Kept,
    /// Columns as the client has been told of them.
    pub columns: Columns,
    /// Its share of the bound on all clients' servers that are held.
    pub permit: tokio::sync::OwnedSemaphorePermit,
}

/// How long a merge server is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Until the client's block ends.
    Block,
    /// A cursor WITH HOLD of the block that is under way: when it commits, it outlives it.
    Hold,
    /// A cursor that has outlived its block: its rows are on the merge server, whose transaction has ended, and which is closed with
    /// the cursor.
    Session,
}

/// What a merge server is kept for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldName {
    /// A portal of the protocol.
    Portal(Box<[u8]>),
    /// A cursor of SQL.
    Cursor(String),
}

impl Session {
    /// Bind of a statement that is gathered.
    pub(in crate::session) async fn bind_gather(
        &mut self,
        gather: &Arc<Gather>,
        bind: &Bind<'_>,
        prepared: &Prepared,
        output: Output,
    ) -> Result<Place, Failure> {
        self.settle_parse(None).await?;
        self.drain().await?;
        let Compiled { text, types, .. } = &*prepared.compiled;
        let copied = if output.is_copy() { super::output::copied_query(text)? } else { String::new() };
        let text = match gather.make() {
            _ if output.is_copy() => copied.as_bytes(),
            Some(make) => make.query.as_bytes(),
            None => text,
        };
        let described = self.described(text, types, gather, Wire::Extended).await?;
        let (given, wanted) = (bind.parameter_count(), described.parameter_types.len());
        if given != wanted {
            // Source: postgres.c, exec_bind_message.
            let name = String::from_utf8_lossy(bind.statement);
            let text = format!(
                "bind message supplies {given} parameters, but prepared statement \"{name}\" requires {wanted}"
            );
            return Err(Report::error("08P01", text).into());
        }
        let result_formats = bind.result_formats();
        let columns = described.columns.types().len();
        if result_formats.len() > 1 && result_formats.len() != columns {
            // Source: pquery.c, PortalSetResultFormat.
            let text =
                format!("bind message has {} result formats but query has {columns} columns", result_formats.len());
            return Err(Report::error("08P01", text).into());
        }
        self.say(BIND_COMPLETE);
        Ok(Place::Gather(Arc::new(Gathering { described, parameters: Parameters::of(bind), result_formats })))
    }

    /// Describe of such a portal.
    pub(in crate::session) fn describe_gather(&mut self, portal: &[u8], gathering: &Gathering) {
        if !self.returns_rows(portal, gathering) {
            self.say(NO_DATA);
            return;
        }
        let columns = gathering.described.columns.in_formats(&gathering.result_formats);
        let mut out = bytes::BytesMut::new();
        frame::write(&mut out, b'T', |to| to.extend_from_slice(columns.body()));
        self.say(out.to_vec());
        let statement = self.names.portals.get(portal).map(|portal| portal.statement.clone());
        let described = || without_table_oids(columns.body()).into();
        statement.map(|name| self.names.statements.change(&name, |prepared| prepared.described = Some(described())));
    }

    /// Whether Execute of a portal returns rows.
    pub(in crate::session) fn returns_rows(&self, portal: &[u8], gathering: &Gathering) -> bool {
        let gather = &gathering.described.gather;
        let output = self.portal_text(portal).1;
        let compiled = self.names.portals.get(portal).map(|portal| portal.compiled.clone());
        let declares = compiled.is_some_and(|compiled| matches!(compiled.plan(), Some(Plan::Cursor(_))));
        let stores = output == Output::Rows && gather.put().is_some_and(|put| !put.returns);
        !declares && !output.is_copy() && gather.make().is_none() && !stores
    }

    /// The text of a portal's statement, and what its answer travels as.
    fn portal_text(&self, portal: &[u8]) -> (Vec<u8>, Output) {
        let compiled = self.names.portals.get(portal).map(|portal| portal.compiled.clone());
        match compiled.as_ref().map(|compiled| (&compiled.text, compiled.plan())) {
            Some((text, Some(Plan::Rows(route)))) => (text.to_vec(), route.output),
            _ => (Vec::new(), Output::Rows),
        }
    }

    /// Execute of such a portal.
    pub(in crate::session) async fn execute_gather(
        &mut self,
        execute: &Execute<'_>,
        gathering: &Arc<Gathering>,
    ) -> Result<(), Failure> {
        self.drain().await?;
        let name = HeldName::Portal(execute.portal.into());
        if let Some(at) = self.held_position(&name) {
            return self.go_on(at, execute, gathering).await;
        }
        if self.deliver_kept(execute)? {
            return Ok(());
        }
        let portal = self.names.portals.get_mut(execute.portal);
        let again = portal.is_some_and(|portal| std::mem::replace(&mut portal.reached, 1) > 0);
        let (text, output) = self.portal_text(execute.portal);
        if again && !self.returns_rows(execute.portal, gathering) {
            // Source: pquery.c, PortalRun.
            let name = String::from_utf8_lossy(execute.portal);
            return Err(Report::error("55000", format!("portal \"{name}\" cannot be run")).into());
        }
        if again {
            let tag = if gathering.described.gather.put().is_some() { "INSERT 0 0" } else { "SELECT 0" };
            reply::complete(&mut self.link.client.outbound, tag);
            return Ok(());
        }
        if output != Output::Rows {
            if output.is_copy() {
                return Box::pin(self.copy_gathered(&text, gathering, Wire::Extended)).await;
            }
            let answer = Box::pin(self.gather_explain(&text, gathering, Wire::Extended)).await?;
            return self.deliver_answer(&answer, execute);
        }
        if let Some(make) = gathering.described.gather.make() {
            return Box::pin(self.execute_make(gathering, make)).await;
        }
        if let Some(put) = gathering.described.gather.put() {
            return Box::pin(self.execute_put(execute, gathering, put)).await;
        }
        let permit = if execute.rows_max > 0 { Some(self.held_permit()?) } else { None };
        let run = Run {
            wire: Wire::Extended,
            tells_columns: false,
            rows_max: execute.rows_max,
            statement: None,
            keeps: false,
        };
        let merged = self.run_gather(gathering, run).await?;
        match (merged.held, permit) {
            (Some(server), Some(permit)) => {
                let savepoints = self.savepoints();
                let columns = gathering.described.columns.clone();
                self.merges.push(Held { name, server, savepoints, kept: Kept::Block, columns, permit });
                reply::bare(&mut self.link.client.outbound, b's');
            }
            _ => {
                let tag = merged.tag.unwrap_or_default();
                reply::complete(&mut self.link.client.outbound, &String::from_utf8_lossy(&tag));
            }
        }
        Ok(())
    }

    /// The next rows of a portal that was suspended.
    async fn go_on(&mut self, at: usize, execute: &Execute<'_>, gathering: &Gathering) -> Result<(), Failure> {
        let Held { name, server, savepoints, kept, columns, permit } = self.merges.remove(at);
        self.link.servers.push(server);
        let merge = self.link.servers.len() - 1;
        let key = self.link.servers[merge].server.cancel_key();
        let server: &mut Server = &mut self.link.servers[merge].server;
        reply::execute(&mut server.outbound, PORTAL, execute.rows_max);
        server.expects.push(Step::Execute, Audience::Joiner);
        server.send_sync(Audience::Gateway);
        let mut joiner = Merge::new(merge, gathering.described.columns.clone(), false);
        let relayed = self.link.relay(&mut joiner).await.map_err(Failure::from);
        let result = relayed.and_then(|_| self.conclude_merge(joiner));
        match result {
            Ok(None) => {
                if let Some(server) = self.link.servers.pop() {
                    self.merges.push(Held { name, server, savepoints, kept, columns, permit });
                }
                reply::bare(&mut self.link.client.outbound, b's');
                Ok(())
            }
            Ok(Some(tag)) => {
                self.drop_merge(&key).await?;
                reply::complete(&mut self.link.client.outbound, &String::from_utf8_lossy(&tag));
                Ok(())
            }
            Err(failure) => {
                self.drop_merge(&key).await?;
                Err(failure)
            }
        }
    }

    /// SQL EXECUTE of a statement that is gathered.
    pub(in crate::session) async fn execute_sql_gather(
        &mut self,
        gather: &Arc<Gather>,
        (name, compiled): (&str, &Compiled),
        arguments: &[Result<Option<String>, ()>],
    ) -> Result<Ended, Failure> {
        let values: Result<Vec<Option<String>>, ()> = arguments.iter().cloned().collect();
        let Ok(values) = values else {
            return Err(Report::error(
                "0A000",
                "EXECUTE with expressions as arguments is not supported over several shards",
            )
            .with_hint("Give constants, or run the statement itself.")
            .into());
        };
        let described = self.described(&compiled.text, &compiled.types, gather, Wire::Simple).await?;
        let (given, wanted) = (values.len(), described.parameter_types.len());
        if given != wanted {
            // Source: prepare.c, EvaluateParams.
            let text = format!("wrong number of parameters for prepared statement \"{name}\"");
            return Err(Report::error("42601", text)
                .with_detail(format!("Expected {wanted} parameters but got {given}."))
                .into());
        }
        let gathering = Gathering { described, parameters: Parameters::texts(values), result_formats: Vec::new() };
        self.gather_query(&gathering).await
    }

    pub(in crate::session) fn held_position(&self, name: &HeldName) -> Option<usize> {
        self.merges.iter().position(|held| held.name == *name)
    }

    /// A share of the bound on merge servers that are held.
    ///
    /// # Errors
    /// None is left: nobody waits for one, so that clients who hold some cannot wait for each other.
    pub(super) fn held_permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Failure> {
        let permit = self.gateway.held_merges.clone().try_acquire_owned();
        match permit {
            Ok(permit) if self.merges.len() < HELD_MAX => Ok(permit),
            _ => Err(Report::error("53300", "too many cursors or portals over several shards are open")
                .with_hint("Fetch all rows at once, close cursors, or raise merge_max in [pool].")
                .into()),
        }
    }

    /// Savepoints of the block.
    pub(in crate::session) fn savepoints(&self) -> usize {
        self.transaction.block().map_or(0, |block| block.log.savepoints())
    }

    /// Ends a portal or cursor that a merge server holds; whether there was one.
    pub(in crate::session) async fn end_held(&mut self, name: &HeldName) -> Result<bool, Failure> {
        let Some(at) = self.held_position(name) else { return Ok(false) };
        let held = self.merges.remove(at);
        self.give_back_merge(held).await?;
        Ok(true)
    }

    /// A merge server holds the rest of the unnamed portal.
    pub(in crate::session) fn holds_unnamed(&self) -> bool {
        self.merges.iter().any(|held| matches!(&held.name, HeldName::Portal(name) if name.is_empty()))
    }

    /// The unnamed portal is to be another, or none: its merge server, if it had one, is not that of the next.
    pub(in crate::session) async fn end_held_unnamed(&mut self) {
        // One that does not roll back is closed.
        let _ = self.end_held(&HeldName::Portal(Box::default())).await;
    }

    /// Ends portals of the extended protocol.
    pub(in crate::session) async fn end_held_portals(&mut self) {
        while let Some(at) = self.merges.iter().position(|held| matches!(held.name, HeldName::Portal(_))) {
            let held = self.merges.remove(at);
            // One that does not roll back is closed.
            let _ = self.give_back_merge(held).await;
        }
    }

    /// Ends all that do not outlive the block.
    pub(in crate::session) async fn end_all_held(&mut self) {
        while let Some(at) = self.merges.iter().position(|held| held.kept != Kept::Session) {
            let held = self.merges.remove(at);
            // One that does not roll back is closed.
            let _ = self.give_back_merge(held).await;
        }
    }

    /// Ends those that were made since the savepoint to which the block has been rolled back.
    pub(in crate::session) async fn end_held_since(&mut self, savepoints: usize) {
        let (gone, kept) = std::mem::take(&mut self.merges)
            .into_iter()
            .partition(|held| held.savepoints >= savepoints && held.kept != Kept::Session);
        self.merges = kept;
        let gone: Vec<Held> = gone;
        for held in gone {
            if let HeldName::Portal(name) = &held.name
                && let Some(portal) = self.names.portals.get_mut(name)
            {
                // Bound before the savepoint: PostgreSQL goes on with the rest.
                portal.end(Ending::Rollback);
            }
            let _ = self.give_back_merge(held).await;
        }
    }

    async fn give_back_merge(&mut self, held: Held) -> Result<(), Failure> {
        let key = held.server.server.cancel_key();
        let mut lone = std::mem::take(&mut self.link.servers);
        self.link.servers.push(held.server);
        let mut result = Ok(());
        if let Some(enlisted) = self
            .link
            .servers
            .first_mut()
            .filter(|enlisted| !enlisted.server.is_broken() && enlisted.server.expects.status != Status::Idle)
        {
            enlisted.server.send_query(b"ROLLBACK", Audience::Gateway);
            result = self.link.relay(&mut Silence::default()).await.map(|_| ());
        }
        self.cancel.remove(&key).await;
        self.link.servers.clear();
        self.link.servers.append(&mut lone);
        result.map_err(Failure::from)
    }
}
