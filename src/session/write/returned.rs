//! Rows that a write of several steps returns: they go to the client, or are kept for Executes with a row limit.
//! *Source*: pquery.c, PortalRun, PORTAL_ONE_RETURNING: PostgreSQL runs it to its end and keeps the rows.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::turn::first_then_others;
use crate::execute::chorus::Chorus;
use crate::execute::hoard::Hoard;
use crate::execute::put::Announce;
use crate::execute::relay::Joiner;
use crate::session::failure::Failure;
use crate::session::gather::run::too_many_returned;
use crate::session::life::Session;
use crate::session::statement::{Ending, Undelivered};
use crate::wire::fields::tag;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::frontend::Execute;
use crate::wire::row_description::Columns;

/// Where rows go that a write returns.
pub(in crate::session) enum Returned {
    /// To the client, as they come.
    Client,
    /// Here.
    Kept(VecDeque<Box<[u8]>>),
}

impl Returned {
    /// What an Execute asks for.
    pub(in crate::session) fn of(execute: &Execute<'_>) -> Returned {
        if execute.rows_max > 0 { Returned::Kept(VecDeque::new()) } else { Returned::Client }
    }
}

impl Session {
    /// Relays what ends a write; its rows go where they are wanted.
    pub(super) async fn relay_returned<J: Joiner>(
        &mut self,
        mut joiner: J,
        returned: &mut Returned,
    ) -> Result<J, Failure> {
        let Returned::Kept(kept) = returned else {
            self.relay_in_block(&mut joiner).await?;
            return Ok(joiner);
        };
        let bytes_max = self.gateway.config.load().limits.held_bytes_max;
        let mut hoard = Hoard::new(joiner, bytes_max);
        self.relay_in_block(&mut hoard).await?;
        if hoard.overflow {
            return Err(too_many_returned(bytes_max).into());
        }
        kept.append(&mut hoard.rows);
        Ok(hoard.inner)
    }

    /// Passes on what the shards answer, behind `columns`; `finish` takes what ends it and says whether it failed.
    pub(super) async fn answer_joined<J: Joiner>(
        &mut self,
        joiner: J,
        (columns, returned): (Option<Columns>, &mut Returned),
        finish: impl FnOnce(&J) -> bool,
    ) -> Result<bool, Failure> {
        let mut joiner = self.relay_returned(Announce::new(joiner, columns), returned).await?;
        let failed = finish(&joiner.inner);
        if !failed {
            joiner.tell(&mut self.link.client.outbound);
        }
        Ok(failed)
    }

    /// The same of what `send` sends to each server, all of which are to do the same.
    pub(super) async fn answer_everywhere(
        &mut self,
        takes_turn: bool,
        send: impl Fn(&mut Session, usize),
        (columns, returned): (Option<Columns>, &mut Returned),
        end: &mut BytesMut,
    ) -> Result<bool, Failure> {
        let mut chorus = Announce::new(Chorus::new(0), columns);
        for part in first_then_others(self.link.servers.len()) {
            if chorus.inner.error().is_some() {
                break;
            }
            for at in part {
                if takes_turn {
                    self.send_turn(at);
                }
                send(self, at);
            }
            chorus = self.relay_returned(chorus, returned).await?;
        }
        if chorus.inner.error().is_none() {
            chorus.tell(&mut self.link.client.outbound);
        }
        Ok(!chorus.inner.finish(end))
    }

    /// What ends a write whose rows have been passed on; if it failed, the client is told.
    pub(super) fn ended(&mut self, end: BytesMut, failed: bool) -> Result<BytesMut, Failure> {
        if failed {
            self.link.client.outbound.extend_from_slice(&end);
            return Err(Failure::Told);
        }
        Ok(end)
    }

    /// Ends the first Execute of such a write: with its tag, or with as many rows as were asked for.
    ///
    /// # Errors
    /// The client has too much kept already.
    pub(in crate::session) fn conclude_returned(
        &mut self,
        end: BytesMut,
        returned: Returned,
        execute: &Execute<'_>,
    ) -> Result<(), Failure> {
        match returned {
            Returned::Client => {
                self.link.client.outbound.extend_from_slice(&end);
                self.names.portals.change(execute.portal, |portal| {
                    if portal.place.has_run() {
                        portal.kept = Some(Undelivered::new(VecDeque::new(), end, false));
                    }
                });
            }
            Returned::Kept(rows) => {
                // Of a query PostgreSQL keeps the rows even if there are none.
                let returns =
                    !rows.is_empty() || tag(end.get(HEADER_BYTES..).unwrap_or_default()).starts_with(b"SELECT");
                self.deliver(Undelivered::new(rows, end, returns), execute)?;
                self.names.portals.change(execute.portal, |portal| portal.end(Ending::Run));
            }
        }
        Ok(())
    }

    /// Gives what an Execute asks for of an answer that is all there, rows and CommandComplete. The portal has the rest.
    ///
    /// # Errors
    /// The client has too much kept already.
    pub(in crate::session) fn deliver_answer(&mut self, answer: &[u8], execute: &Execute<'_>) -> Result<(), Failure> {
        let (mut rows, mut end) = (std::collections::VecDeque::new(), bytes::BytesMut::new());
        let mut rest = answer;
        while let Some(size) = rest.get(1..5).and_then(|size| <[u8; 4]>::try_from(size).ok()) {
            let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX).saturating_add(1);
            let Some((message, after)) = rest.split_at_checked(size) else { break };
            match message.first() {
                Some(b'D') => rows.extend(message.get(5..).map(Box::from)),
                _ => end.extend_from_slice(message),
            }
            rest = after;
        }
        self.deliver(Undelivered::new(rows, end, false), execute)
    }

    /// Another Execute of such a write; false if it cannot be run again. One that returns columns has no more rows, without any it runs once.
    /// *Source*: pquery.c, PORTAL_ONE_RETURNING and PORTAL_MULTI_QUERY.
    pub(in crate::session) async fn deliver_rest(&mut self, execute: &Execute<'_>) -> Result<bool, Failure> {
        self.drain().await?;
        let Some(mut kept) = self.take_kept(execute.portal) else { return Ok(false) };
        if !kept.returns && !self.portal_returns_rows(execute.portal).await? {
            return Ok(false);
        }
        kept.returns = true;
        self.deliver(kept, execute)?;
        Ok(true)
    }
}
