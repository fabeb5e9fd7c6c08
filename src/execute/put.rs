//! Rows that a merge server gives in text format go to the shards on which they are to be stored: COPY TO on one side, COPY FROM on the
//! others. Nothing piles up: while the shards have more than they take, the merge server is not read.

use bytes::{Buf, BytesMut};

use super::copy_in::{CopyAnswers, CopyIn};
use super::fault::{LinkFault, ServerFault};
use super::link::Link;
use super::relay::{Frame, HELD_FRAME_BYTES, Handling, Joiner};
use crate::pool::expect::Step;
use crate::pool::server::Server;
use crate::wire::fields;
use crate::wire::frame::{self, HEADER_BYTES, Header};
use crate::wire::reply::Report;
use crate::wire::row_description::Columns;

/// Above this much unsent to the shards, the merge server is not read.
const BACKLOG_BYTES: usize = 256 * 1024;

/// Why rows are not stored.
#[derive(Debug)]
pub enum PutError {
    /// The merge server's ErrorResponse, body as it came.
    Merge(Vec<u8>),
    /// A row has no shard.
    Row(Box<Report>),
}

/// Rows on their way.
#[derive(Debug)]
struct Flow {
    /// Bytes of the current CopyData that are still to come.
    rest_bytes: usize,
    error: Option<PutError>,
}

impl Flow {
    /// Takes what the merge server has sent; whether there was something.
    fn take(&mut self, link: &mut Link, merge: usize, copy: &mut CopyIn, parts: usize) -> Result<bool, ServerFault> {
        let Some((from, targets)) = link.servers.get_mut(..=merge).and_then(<[_]>::split_last_mut) else {
            return Ok(false);
        };
        let Some(targets) = targets.get_mut(..parts) else { return Ok(false) };
        let server: &mut Server = &mut from.server;
        server.frame_bytes_wanted = 0;
        if self.rest_bytes > 0 {
            let chunk = server.inbound.split_to(self.rest_bytes.min(server.inbound.len()));
            self.rest_bytes -= chunk.len();
            if let Err(report) = copy.feed(&chunk, targets) {
                self.error.get_or_insert(PutError::Row(report));
            }
            return Ok(!chunk.is_empty());
        }
        let header = Header::read(&server.inbound).map_err(|bad| ServerFault::Protocol(bad.to_string()))?;
        let Some(header) = header else { return Ok(false) };
        if header.tag == b'd' {
            server.inbound.advance(HEADER_BYTES);
            self.rest_bytes = header.frame_bytes.saturating_sub(HEADER_BYTES);
            return Ok(true);
        }
        if header.frame_bytes > HELD_FRAME_BYTES {
            return Err(ServerFault::Protocol(format!("message of {} bytes", header.frame_bytes)));
        }
        if server.inbound.len() < header.frame_bytes {
            server.frame_bytes_wanted = header.frame_bytes;
            return Ok(false);
        }
        let message = server.inbound.split_to(header.frame_bytes);
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        if header.tag == b'E' && matches!(fields::field(body, b'V'), Some(b"FATAL" | b"PANIC")) {
            return Err(ServerFault::fatal(body));
        }
        let verdict = server.expects.frame(header.tag, body.first().copied().unwrap_or(0));
        verdict.map_err(|unexpected| ServerFault::Protocol(unexpected.to_string()))?;
        if header.tag == b'E' {
            self.error.get_or_insert_with(|| PutError::Merge(body.to_vec()));
        }
        Ok(true)
    }
}

impl Link {
    /// Passes on what the link's server `merge` has been asked for by COPY TO, until it has sent all (`None`) or something failed: a row,
    /// or a shard (see [`CopyAnswers::errors`]). The shards are servers `0..parts`, which wait for data.
    ///
    /// # Errors
    /// A server or the client was lost.
    ///
    /// # Cancel safety
    /// Cancel safe, but the servers are then in the middle of an answer and are closed when the link is dropped.
    pub async fn put(
        &mut self,
        merge: usize,
        parts: usize,
        copy: &mut CopyIn,
        answers: &mut CopyAnswers,
    ) -> Result<Option<PutError>, LinkFault> {
        let mut flow = Flow { rest_bytes: 0, error: None };
        loop {
            let mut moved = false;
            for at in 0..parts {
                let pumped = self.pump(at, answers);
                moved |= pumped.map_err(|cause| self.lost_at(at, cause))?.moved;
            }
            if flow.error.is_some() || answers.failed() {
                return Ok(flow.error);
            }
            let backlog: usize = self.servers.iter().take(parts).map(|target| target.server.outbound.len()).sum();
            if backlog < BACKLOG_BYTES {
                moved |= flow.take(self, merge, copy, parts).map_err(|cause| self.lost_at(merge, cause))?;
            }
            if self.servers.get(merge).is_none_or(|merge| merge.server.expects.is_empty()) && flow.error.is_none() {
                return Ok(None);
            }
            if !moved {
                self.turn().await?;
            }
        }
    }

    fn lost_at(&mut self, at: usize, cause: ServerFault) -> LinkFault {
        let enlisted = &mut self.servers[at];
        enlisted.server.mark_broken();
        LinkFault::Server { shard: enlisted.shard, cause }
    }
}

/// Describes columns to the client before the first row that another joiner lets through.
#[derive(Debug)]
pub struct Announce<J> {
    /// The other one.
    pub inner: J,
    columns: Option<Columns>,
}

impl<J> Announce<J> {
    /// `None`: the client is told nothing.
    pub fn new(inner: J, columns: Option<Columns>) -> Self {
        Announce { inner, columns }
    }

    /// Describes them now unless that has been done.
    pub fn tell(&mut self, client: &mut BytesMut) {
        if let Some(columns) = self.columns.take() {
            frame::write(client, b'T', |to| to.extend_from_slice(columns.body()));
        }
    }
}

impl<J: Joiner> Joiner for Announce<J> {
    fn admits(&self, server: usize, expected: Option<Step>) -> bool {
        self.inner.admits(server, expected)
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        let handling = self.inner.frame(frame, client);
        if frame.tag == b'D' && handling == Handling::Forward {
            self.tell(client);
        }
        handling
    }

    fn stops_at_copy_in(&self) -> bool {
        self.inner.stops_at_copy_in()
    }

    fn cancels(&mut self) -> bool {
        self.inner.cancels()
    }
}
