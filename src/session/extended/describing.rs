//! Describe and Close, of statements and portals, and what the gateway itself asks servers of a statement.

use std::sync::Arc;

use shardmap::ShardId;

use super::messages::{is_local, known_part, malformed};
use crate::execute::plain::Plain;
use crate::plan::{CursorVerb, Plan, PreparedVerb};
use crate::pool::expect::{Audience, Step};
use crate::pool::server::{Server, statement_name};
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::plans::compiled::Compiled;
use crate::session::simple::in_failed_block;
use crate::session::statement::Place;
use crate::wire::frontend::{Malformed, Named};
use crate::wire::reply::{self, Report};

const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";
pub(in crate::session) const NO_DATA: &[u8] = b"n\0\0\0\x04";
const NO_PARAMETERS: &[u8] = b"t\0\0\0\x06\0\0";

impl Session {
    pub(in crate::session) async fn describe(&mut self, body: &[u8]) -> Result<(), Failure> {
        match Named::read(body).map_err(|bad| bad_subtype(bad, body, "DESCRIBE"))? {
            Named::Statement(name) => self.describe_statement(known_part(name)).await,
            Named::Portal(name) => self.describe_portal(known_part(name)).await,
        }
    }

    async fn describe_statement(&mut self, name: &[u8]) -> Result<(), Failure> {
        self.settle_parse(Some(name)).await?;
        let prepared = self.current(name).await?;
        if let Some(Plan::Prepared(PreparedVerb::Execute { name: of, .. })) = prepared.plan()
            && Box::pin(self.describe_executed(name, of)).await?
        {
            return Ok(());
        }
        if prepared.plan().is_none_or(is_local) {
            self.say(NO_PARAMETERS);
            self.say(NO_DATA);
            return Ok(());
        }
        self.number_block(prepared.plan().unwrap_or(&Plan::Empty)).await?;
        if let Some(Plan::Cursor(_)) = prepared.plan()
            && Box::pin(self.describe_fetch(&prepared.compiled.text, prepared.plan())).await?
        {
            return Ok(());
        }
        if self.transaction.has_failed() {
            return Box::pin(self.describe_statement_in_failed_block(name, &prepared.compiled)).await;
        }
        let at = match self.cursor_to_describe(prepared.plan()) {
            Some((shard, replica, name)) => self.portal_server(shard, Some(replica), name.as_bytes())?,
            None => self.enlist_to_ask().await?,
        };
        self.engage(at).await?;
        let held = self.hold(at, name, true).unwrap_or_default();
        let server: &mut Server = &mut self.link.servers[at].server;
        reply::named(&mut server.outbound, b'D', b'S', &held);
        server.expects.push(Step::DescribeStatement, Audience::Client);
        self.describing(name);
        Ok(())
    }

    /// One that returns rows cannot be described then, and its servers may not know that the block has failed. *Source*: postgres.c,
    /// exec_describe_statement_message.
    async fn describe_statement_in_failed_block(
        &mut self,
        name: &[u8],
        compiled: &Arc<Compiled>,
    ) -> Result<(), Failure> {
        let answer = self.ask(name, compiled).await?;
        if answer.row_description.is_some() {
            return Err(in_failed_block().into());
        }
        reply::parameters(&mut self.link.client.outbound, &answer.parameter_types);
        self.say(NO_DATA);
        Ok(())
    }

    /// The client waits for a description of a statement, which is noted unless it is known: it cannot become another one
    /// unnoticed (see `current`).
    pub(in crate::session) fn describing(&mut self, statement: &[u8]) {
        let wanted = self.names.statements.get(statement).is_some_and(|prepared| prepared.described.is_none());
        let name = if wanted { self.names.statements.name(statement) } else { None };
        self.pipeline.describing.push_back(name.unwrap_or_default());
    }

    async fn describe_portal(&mut self, name: &[u8]) -> Result<(), Failure> {
        self.settle_parse(None).await?;
        if self.transaction.has_failed() {
            return Box::pin(self.describe_in_failed_block(name)).await;
        }
        let place = self.portal_place(name)?;
        if place.has_run() && matches!(place.as_bound(), Place::Stepwise { .. }) {
            return Box::pin(self.describe_stepwise(name, place.as_bound())).await;
        }
        let at = match place.as_bound().clone() {
            Place::Local | Place::Done | Place::Ended { .. } => {
                self.say(NO_DATA);
                return Ok(());
            }
            Place::Gather(gathering) => {
                self.describe_gather(name, &gathering);
                return Ok(());
            }
            Place::Fetch(formats) => return Box::pin(self.describe_fetch_portal(name, &formats)).await,
            Place::Cursor => return Box::pin(self.describe_cursor(name)).await,
            Place::One { shard, replica } | Place::Stepwise { shard, replica, .. } => {
                self.portal_server(shard, Some(replica), name)?
            }
            Place::Many { shards, .. } | Place::Every { shards, .. } => {
                // All of them owe their BindComplete; the first one's answers go to the client.
                self.drain().await?;
                self.portal_server(shards.first().copied().unwrap_or(ShardId(0)), None, name)?
            }
        };
        self.engage(at).await?;
        let enlisted = &mut self.link.servers[at];
        enlisted.needs_sync = true;
        reply::named(&mut enlisted.server.outbound, b'D', b'P', name);
        enlisted.server.expects.push(Step::DescribePortal, Audience::Client);
        let statement = self.names.portals.get(name).map(|portal| portal.statement.clone());
        self.describing(&statement.unwrap_or_default());
        Ok(())
    }

    /// A portal that returns rows cannot be described then. *Source*: postgres.c, exec_describe_portal_message.
    async fn describe_in_failed_block(&mut self, name: &[u8]) -> Result<(), Failure> {
        if self.portal_returns_rows(name).await? {
            return Err(in_failed_block().into());
        }
        self.say(NO_DATA);
        Ok(())
    }

    /// Whether a portal has columns.
    pub(in crate::session) async fn portal_returns_rows(&mut self, name: &[u8]) -> Result<bool, Failure> {
        let place = self.portal_place(name)?;
        Ok(match place.as_bound().clone() {
            Place::Stepwise { .. } if place.has_run() => self.stepwise_returns_rows(name),
            Place::Local | Place::Done | Place::Ended { .. } => false,
            Place::Gather(gathering) => self.returns_rows(name, &gathering),
            Place::Fetch(_) => {
                let portal = self.names.portals.get(name);
                let plan = portal.and_then(|portal| portal.compiled.plan());
                matches!(plan, Some(Plan::Cursor(CursorVerb::Fetch { .. })))
            }
            Place::Cursor => true,
            Place::One { shard, replica } | Place::Stepwise { shard, replica, .. } => {
                self.server_tells_columns(shard, Some(replica), name).await?
            }
            Place::Many { shards, .. } | Place::Every { shards, .. } => {
                let first = shards.first().copied().unwrap_or(ShardId(0));
                self.server_tells_columns(first, None, name).await?
            }
        })
    }

    /// Whether a portal of a server returns rows; one that the block has lost does. A server on which the block has failed says so itself.
    async fn server_tells_columns(
        &mut self,
        shard: ShardId,
        replica: Option<bool>,
        name: &[u8],
    ) -> Result<bool, Failure> {
        self.drain().await?;
        let Ok(at) = self.portal_server(shard, replica, name) else { return Ok(true) };
        let enlisted = &mut self.link.servers[at];
        enlisted.needs_sync = true;
        reply::named(&mut enlisted.server.outbound, b'D', b'P', name);
        enlisted.server.expects.push(Step::DescribePortal, Audience::Gateway);
        enlisted.server.send_flush();
        let mut plain = Plain::default();
        self.relay_in_block(&mut plain).await?;
        self.pass_on_hidden_error(&plain)?;
        Ok(plain.row_description.is_some())
    }

    /// Parameter types as a server resolves them.
    pub(in crate::session) async fn ask_types(
        &mut self,
        name: &[u8],
        compiled: &Arc<Compiled>,
    ) -> Result<Arc<[u32]>, Failure> {
        let types: Arc<[u32]> = self.ask(name, compiled).await?.parameter_types.into();
        if let Some(prepared) = self.names.statements.get_mut(name) {
            prepared.resolved_types = Some(types.clone());
        }
        Ok(types)
    }

    /// Has a server describe a statement, for the gateway's own use.
    pub(in crate::session) async fn ask(&mut self, name: &[u8], compiled: &Arc<Compiled>) -> Result<Plain, Failure> {
        self.drain().await?;
        let at = self.enlist_to_ask().await?;
        self.engage(at).await?;
        let held = self.hold(at, name, true).unwrap_or_else(|| statement_name(compiled.id));
        let server: &mut Server = &mut self.link.servers[at].server;
        reply::named(&mut server.outbound, b'D', b'S', &held);
        server.expects.push(Step::DescribeStatement, Audience::Gateway);
        server.send_flush();
        let mut plain = Plain::default();
        self.relay_in_block(&mut plain).await?;
        self.pass_on_hidden_error(&plain)?;
        if plain.error.is_some() {
            return Err(Failure::Told);
        }
        Ok(plain)
    }

    pub(in crate::session) async fn close(&mut self, body: &[u8]) -> Result<(), Failure> {
        let named = Named::read(body).map_err(|bad| bad_subtype(bad, body, "CLOSE"))?;
        self.settle_parse(None).await?;
        match named {
            Named::Statement(name) => {
                // Servers keep it: other clients may use the same text, and the least recently used one goes first.
                let name = known_part(name);
                let before = self.names.statements.remove(name);
                self.say_of_name(name, before, CLOSE_COMPLETE);
            }
            Named::Portal(name) => self.close_portal(known_part(name)).await?,
        }
        Ok(())
    }

    async fn close_portal(&mut self, name: &[u8]) -> Result<(), Failure> {
        if self.names.portals.get(name).is_some() {
            // Behind an error it stays.
            self.drain().await?;
        }
        let shards = match self.names.portals.remove(name).map(|portal| portal.place.as_bound().clone()) {
            None if self.held_cursor(name).is_some() => {
                self.drain().await?;
                let name = String::from_utf8_lossy(name).into_owned();
                self.end_held(&crate::session::gather::portal::HeldName::Cursor(name)).await?;
                self.say(CLOSE_COMPLETE);
                return Ok(());
            }
            None if let Some((shard, replica)) = self.names.cursors.remove(&*String::from_utf8_lossy(name)) => {
                vec![(shard, Some(replica))]
            }
            None | Some(Place::Fetch(_) | Place::Cursor | Place::Local | Place::Done | Place::Ended { .. }) => {
                self.say(CLOSE_COMPLETE);
                return Ok(());
            }
            Some(Place::Gather(_)) => {
                self.drain().await?;
                self.end_held(&crate::session::gather::portal::HeldName::Portal(name.into())).await?;
                self.say(CLOSE_COMPLETE);
                return Ok(());
            }
            Some(Place::One { shard, replica } | Place::Stepwise { shard, replica, .. }) => {
                vec![(shard, Some(replica))]
            }
            Some(Place::Many { shards, .. } | Place::Every { shards, .. }) => {
                shards.into_iter().map(|shard| (shard, None)).collect()
            }
        };
        self.drain().await?;
        for (nth, (shard, replica)) in shards.into_iter().enumerate() {
            let at = self.portal_server(shard, replica, name)?;
            self.send_close(at, name, if nth == 0 { Audience::Client } else { Audience::Gateway });
        }
        Ok(())
    }

    /// Closes a server's portal.
    pub(super) fn send_close(&mut self, at: usize, name: &[u8], audience: Audience) {
        let enlisted = &mut self.link.servers[at];
        enlisted.needs_sync = true;
        reply::named(&mut enlisted.server.outbound, b'C', b'P', name);
        enlisted.server.expects.push(Step::Close, audience);
    }
}

/// A Describe or Close of something that is neither. *Source*: postgres.c, PostgresMain.
fn bad_subtype(bad: Malformed, body: &[u8], message: &str) -> Failure {
    match (bad, body.first()) {
        (Malformed::Subtype, Some(subtype)) => {
            Report::error("08P01", format!("invalid {message} message subtype {subtype}")).into()
        }
        _ => malformed(bad),
    }
}
