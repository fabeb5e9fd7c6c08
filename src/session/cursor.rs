//! SQL cursors: each lives on the shard where it was declared, for the rest of the transaction.

use shardmap::ShardId;

use super::failure::Failure;
use super::gather::described::Wire;
use super::gather::portal::HeldName;
use super::life::{Ended, Session};
use super::statement::{NoArguments, Place, Portal};
use crate::execute::link::Enlisted;
use crate::plan::{Access, Arguments, CursorVerb, Destination, Plan, literal};
use crate::wire::reply::{self, Report};

impl Session {
    /// DECLARE, FETCH, MOVE and CLOSE in the simple protocol.
    pub(super) async fn cursor_verb(&mut self, text: &[u8], verb: &CursorVerb, alone: bool) -> Result<Ended, Failure> {
        if let CursorVerb::Close(None) = verb {
            self.close_all(&String::from_utf8_lossy(text)).await?;
            return Ok(Ended::NotReady);
        }
        let destination = self.cursor_destination(verb, &NoArguments)?;
        if let (CursorVerb::Declare { name, hold, .. }, Some(Destination::Gather(gather))) = (verb, &destination) {
            return Box::pin(self.declare_gather(text, (name, *hold), gather)).await;
        }
        if let Some(ended) = self.held_cursor_verb(text, verb).await? {
            return Ok(ended);
        }
        let at = self.cursor_server(verb, destination, Wire::Simple).await?;
        let place = (self.link.servers[at].shard, self.link.servers[at].replica);
        self.note_cursor_verb(verb, place);
        self.forward_query(at, text, alone).await
    }

    /// CLOSE ALL: portals of the protocol are cursors too, all but the one that it runs in. *Source*: portalmem.c, PortalHashTableDeleteAll.
    pub(super) async fn close_all(&mut self, text: &str) -> Result<(), Failure> {
        self.end_held_cursors().await;
        self.end_held_portals().await;
        self.tell_servers(text).await?;
        self.names.cursors.clear();
        let own = |portal: &Portal| matches!(portal.compiled.plan(), Some(Plan::Cursor(CursorVerb::Close(None))));
        self.names.portals.retain(|_, portal| own(portal));
        reply::complete(&mut self.link.client.outbound, "CLOSE CURSOR ALL");
        Ok(())
    }

    /// Where a cursor is declared; `None` for statements about one that is.
    fn cursor_destination(&self, verb: &CursorVerb, arguments: &dyn Arguments) -> Result<Option<Destination>, Failure> {
        match verb {
            CursorVerb::Declare { route, .. } => Ok(Some(self.destination(route, arguments)?)),
            CursorVerb::Fetch { .. } | CursorVerb::Close(_) => Ok(None),
        }
    }

    /// The server that a cursor statement runs on. A cursor nobody declared is any server's to complain about.
    pub(super) async fn cursor_server(
        &mut self,
        verb: &CursorVerb,
        declared: Option<Destination>,
        wire: Wire,
    ) -> Result<usize, Failure> {
        let CursorVerb::Declare { name, .. } = verb else { return self.place_of_cursor(verb, None).await };
        self.check_portal_room(name.as_bytes(), None)?;
        let at = self.place_of_cursor(verb, declared).await?;
        let place = self.link.servers.get(at).map(|enlisted| (enlisted.shard, enlisted.replica));
        Box::pin(self.check_cursor_name(name, place, wire)).await?;
        Ok(at)
    }

    /// Whether a cursor of this name is open elsewhere than in this place, whose server says itself what is open there.
    pub(super) async fn check_cursor_name(
        &mut self,
        name: &str,
        place: Option<(ShardId, bool)>,
        wire: Wire,
    ) -> Result<(), Failure> {
        // Source: portalmem.c, CreatePortal.
        let exists = || Err(Report::error("42P03", format!("cursor \"{name}\" already exists")).into());
        if self.held_position(&HeldName::Cursor(name.to_owned())).is_some() || self.portal_of_several(name) {
            return exists();
        }
        let Some(known) = self.names.cursors.get(name).copied().filter(|known| Some(*known) != place) else {
            return Ok(());
        };
        let server = |enlisted: &Enlisted| (enlisted.shard, enlisted.replica) == known;
        if let Some(at) = self.link.servers.iter().position(server) {
            // It may have ended with a savepoint.
            self.drain().await?;
            let text = format!("SELECT true FROM pg_catalog.pg_cursors WHERE name = {}", literal(name));
            if self.one_value(at, &text, &[], wire).await? == b"t" {
                return exists();
            }
        }
        self.names.cursors.remove(name);
        Ok(())
    }

    async fn place_of_cursor(&mut self, verb: &CursorVerb, declared: Option<Destination>) -> Result<usize, Failure> {
        match verb {
            CursorVerb::Declare { route, .. } => match declared.unwrap_or(Destination::NeedsParameterTypes) {
                Destination::Any => self.enlist_anywhere(b"", route.access).await,
                Destination::One(shard) => self.enlist_for(shard, route.access).await,
                Destination::Many(_)
                | Destination::Gather(_)
                | Destination::All { .. }
                | Destination::Split(_)
                | Destination::Compute
                | Destination::Stepwise
                | Destination::NeedsParameterTypes => {
                    Err(Report::error("0A000", "a cursor over several shards is not supported yet")
                        .with_hint("Restrict the query to one key, or fetch all rows with a SELECT.")
                        .into())
                }
            },
            CursorVerb::Fetch { name } | CursorVerb::Close(Some(name)) => match self.cursor_shard(name) {
                Some((shard, replica)) => self.portal_server(shard, Some(replica), name.as_bytes()),
                None => {
                    self.check_one_place(name)?;
                    self.enlist_any(Access::Read).await
                }
            },
            CursorVerb::Close(None) => self.enlist_any(Access::Read).await,
        }
    }

    /// A portal of the protocol is a cursor to SQL too: each shard has one of that name, or none has.
    fn check_one_place(&self, name: &str) -> Result<(), Failure> {
        if self.portal_of_several(name) {
            return Err(Report::error(
                "0A000",
                "FETCH, MOVE and CLOSE of a portal over several shards are not supported",
            )
            .with_hint("Send Execute with a row limit, or Close; or declare a cursor in SQL.")
            .into());
        }
        Ok(())
    }

    fn portal_of_several(&self, name: &str) -> bool {
        let portal = self.names.portals.get(name.as_bytes());
        portal.is_some_and(|portal| {
            matches!(
                portal.place.as_bound(),
                Place::Many { .. } | Place::Every { .. } | Place::Gather(_) | Place::Stepwise { .. }
            )
        })
    }

    /// Only the server of a cursor knows what a FETCH from it returns.
    pub(super) fn cursor_to_describe(&self, plan: Option<&Plan>) -> Option<(ShardId, bool, String)> {
        let Some(Plan::Cursor(CursorVerb::Fetch { name })) = plan else { return None };
        let (shard, replica) = self.cursor_shard(name)?;
        Some((shard, replica, name.clone()))
    }

    /// The shard of a cursor; a portal of the protocol is one too.
    fn cursor_shard(&self, name: &str) -> Option<(ShardId, bool)> {
        let portal = || match self.names.portals.get(name.as_bytes())?.place.as_bound() {
            Place::One { shard, replica } => Some((*shard, *replica)),
            Place::Many { .. } | Place::Every { .. } | Place::Gather(_) | Place::Fetch(_) | Place::Stepwise { .. } => {
                None
            }
            Place::Cursor | Place::Local | Place::Done | Place::Ended { .. } => None,
        };
        self.names.cursors.get(name).copied().or_else(portal)
    }

    /// Remembers where a cursor is, if the plan is about one.
    pub(super) fn note_cursor(&mut self, plan: &Plan, place: (ShardId, bool)) {
        if let Plan::Cursor(verb) = plan {
            self.note_cursor_verb(verb, place);
        }
    }

    fn note_cursor_verb(&mut self, verb: &CursorVerb, place: (ShardId, bool)) {
        match verb {
            CursorVerb::Declare { name, .. } => {
                self.names.cursors.insert(name.clone(), place);
            }
            CursorVerb::Close(Some(name)) => {
                self.names.cursors.remove(name);
            }
            CursorVerb::Close(None) => self.names.cursors.clear(),
            CursorVerb::Fetch { .. } => {}
        }
    }
}
