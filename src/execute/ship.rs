//! Ships rows from shards to a merge server: each part of a query becomes one COPY into a temporary table there.
//!
//! A row in binary format has the same bytes in a DataRow and in a binary COPY, so rows are moved without being read. A shard is
//! not read before the COPY of the part that it speaks of is open, nor while the merge server has more than it takes: nothing piles up.
//! *Source*: manual of PostgreSQL 15, 55.7 "Message Formats", DataRow; COPY, "Binary Format"; 55.2.6 "COPY Operations".

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use super::fault::{LinkFault, ServerFault};
use super::link::{Enlisted, Link};
use super::relay::{Frame, HELD_FRAME_BYTES, Handling, Joiner, STREAM_FRAME_BYTES};
use crate::pool::expect::{Audience, Step};
use crate::pool::server::{Partial, Server};
use crate::wire::fields;
use crate::wire::frame::{self, HEADER_BYTES, Header, LARGEST_MESSAGE_BYTES};
use crate::wire::reply;

/// Above this much unsent to the merge server, the shards are not read.
const BACKLOG_BYTES: usize = 256 * 1024;

/// Rows are put together to CopyData messages of about this size: the server looks at each message.
const COPY_DATA_BYTES: usize = 32 * 1024;

/// Signature, flags and length of the header's extension. *Source*: manual, COPY, "File Header".
const COPY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// *Source*: manual, COPY, "File Trailer".
const COPY_TRAILER: &[u8; 2] = b"\xff\xff";

/// A part of a query on its way.
#[derive(Clone, Debug)]
pub struct Lot {
    /// The COPY statement that takes its rows.
    pub copy: String,
    /// Sent to the merge server when the rows are there, for instance ANALYZE; each with the number of rows from which it is.
    pub then: Vec<(u64, String)>,
    /// In which format the shards send it.
    pub format: LotFormat,
    /// The servers that send it, as indexes into the link's; each sends its lots in the order in which they stand.
    pub servers: Vec<usize>,
}

/// In which format rows travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LotFormat {
    /// Binary: as they are.
    Binary,
    /// Text, for types without binary format, or whose binary format holds numbers that differ between servers.
    Text,
}

/// What has been shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shipped {
    /// Rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What one server has shipped of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How much.
    pub shipped: Shipped,
    /// From when all were asked to when it had sent its last row.
    pub took: Duration,
}

/// Why no more is shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShipError {
    /// A server's ErrorResponse, body as it came.
    Server(Vec<u8>),
    /// More bytes than one query may ship.
    TooMuch,
}

/// All parts of a query on their way.
#[derive(Debug)]
pub struct Shipment {
    merge: usize,
    lots: Vec<Lot>,
    /// The lot whose COPY is open, or is opened next.
    current: usize,
    open: bool,
    /// Rows of the current lot.
    lot_rows: u64,
    /// Rows of the lots before it.
    lots_rows: Vec<u64>,
    /// Servers that have sent the current lot.
    delivered: usize,
    /// By server: how many lots it has sent.
    sent: Vec<usize>,
    /// The server of whose current row the merge server has had a part.
    torn: Option<usize>,
    shipped: Shipped,
    /// By lot and server.
    senders: BTreeMap<(usize, usize), Sent>,
    started: Instant,
    bytes_max: u64,
    error: Option<ShipError>,
}

impl Shipment {
    /// To the server `merge` of a link that has `servers`; at most `bytes_max` bytes.
    pub fn new(merge: usize, servers: usize, lots: Vec<Lot>, bytes_max: u64) -> Self {
        Shipment {
            merge,
            lots,
            current: 0,
            open: false,
            lot_rows: 0,
            lots_rows: Vec::new(),
            delivered: 0,
            sent: vec![0; servers],
            torn: None,
            shipped: Shipped::default(),
            senders: BTreeMap::new(),
            started: Instant::now(),
            bytes_max,
            error: None,
        }
    }

    /// How much has been shipped.
    pub fn shipped(&self) -> Shipped {
        self.shipped
    }

    /// Rows of each lot that is through.
    pub fn lots_rows(&self) -> &[u64] {
        &self.lots_rows
    }

    /// What each server has sent of each lot, by lot and server.
    pub fn senders(&self) -> &BTreeMap<(usize, usize), Sent> {
        &self.senders
    }

    /// Why it ended early.
    pub fn error(&self) -> Option<&ShipError> {
        self.error.as_ref()
    }

    fn is_over(&self) -> bool {
        self.error.is_some() || self.current >= self.lots.len()
    }

    /// Handles all that has been read.
    fn pump(&mut self, link: &mut Link) -> Result<(), LinkFault> {
        loop {
            let mut moved = self.open_or_close(link);
            for at in 0..link.servers.len() {
                match self.pump_one(link, at) {
                    Ok(progress) => moved |= progress,
                    Err(cause) => {
                        let enlisted = &mut link.servers[at];
                        enlisted.server.mark_broken();
                        return Err(LinkFault::Server { shard: enlisted.shard, cause });
                    }
                }
            }
            if !moved || self.error.is_some() {
                return Ok(());
            }
        }
    }

    fn pump_one(&mut self, link: &mut Link, at: usize) -> Result<bool, ServerFault> {
        // The rest of a row is not for the relay, which would drop it.
        let moved = self.torn != Some(at) && link.pump(at, self)?.moved;
        Ok(if at == self.merge { moved } else { self.take_rows(link, at)? || moved })
    }

    /// Opens the COPY of the current lot, or closes it when all its rows are there; whether it did.
    fn open_or_close(&mut self, link: &mut Link) -> bool {
        let (Some(lot), Some(merge)) = (self.lots.get(self.current), link.servers.get_mut(self.merge)) else {
            return false;
        };
        let server: &mut Server = &mut merge.server;
        if !self.open {
            server.send_query(lot.copy.as_bytes(), Audience::Gateway);
            if lot.format == LotFormat::Binary {
                frame::write(&mut server.outbound, b'd', |to| to.extend_from_slice(COPY_HEADER));
            }
            self.open = true;
            return true;
        }
        if self.delivered < lot.servers.len() {
            return false;
        }
        if lot.format == LotFormat::Binary {
            frame::write(&mut server.outbound, b'd', |to| to.extend_from_slice(COPY_TRAILER));
        }
        reply::bare(&mut server.outbound, b'c');
        for (_, text) in lot.then.iter().filter(|(rows_min, _)| self.lot_rows >= *rows_min) {
            server.send_query(text.as_bytes(), Audience::Gateway);
        }
        self.lots_rows.push(self.lot_rows);
        (self.open, self.delivered, self.lot_rows) = (false, 0, 0);
        self.current += 1;
        true
    }

    /// The format of the lot that a server sends now, if it is the one whose COPY is open.
    fn admitted(&self, at: usize) -> Option<LotFormat> {
        let nth = self.sent.get(at).copied()?;
        let lot = self.lots.iter().enumerate().filter(|(_, lot)| lot.servers.contains(&at)).nth(nth);
        let (index, lot) = lot?;
        let undisturbed = self.torn.is_none_or(|torn| torn == at);
        (self.open && index == self.current && undisturbed && self.error.is_none()).then_some(lot.format)
    }

    /// Moves what a shard has sent of the current lot; whether it moved anything.
    fn take_rows(&mut self, link: &mut Link, at: usize) -> Result<bool, ServerFault> {
        let mut moved = false;
        loop {
            let Some(format) = self.admitted(at) else { return Ok(moved) };
            let Ok([Enlisted { server: from, .. }, Enlisted { server: to, .. }]) =
                link.servers.get_disjoint_mut([at, self.merge])
            else {
                return Ok(moved);
            };
            let (from, to): (&mut Server, &mut Server) = (from, to);
            if from.expects.front().is_none_or(|expect| expect.step != Step::Execute)
                || to.outbound.len() > BACKLOG_BYTES
            {
                return Ok(moved);
            }
            let progress = match from.partial {
                Some(_) => self.go_on(from, to),
                None => self.next_frames(from, to, at, format)?,
            };
            if !progress || self.error.is_some() {
                return Ok(moved || progress);
            }
            moved = true;
        }
    }

    /// Moves on with a row that is longer than what is held.
    fn go_on(&mut self, from: &mut Server, to: &mut Server) -> bool {
        let Some(partial) = from.partial else { return false };
        let count = partial.rest_bytes.min(from.inbound.len());
        to.outbound.extend_from_slice(&from.inbound[..count]);
        from.inbound.advance(count);
        let rest_bytes = partial.rest_bytes - count;
        from.partial = (rest_bytes > 0).then_some(Partial { rest_bytes, forward: false });
        if rest_bytes == 0 {
            self.torn = None;
        }
        count > 0
    }

    fn next_frames(
        &mut self,
        from: &mut Server,
        to: &mut Server,
        at: usize,
        format: LotFormat,
    ) -> Result<bool, ServerFault> {
        from.frame_bytes_wanted = 0;
        let Some(header) = Header::read(&from.inbound).map_err(|bad| ServerFault::Protocol(bad.to_string()))? else {
            return Ok(false);
        };
        let whole = from.inbound.len() >= header.frame_bytes;
        let is_row = header.tag == b'D';
        let streams = is_row && format == LotFormat::Binary && header.frame_bytes > STREAM_FRAME_BYTES;
        let frame_bytes_max = if is_row { LARGEST_MESSAGE_BYTES + 4 } else { HELD_FRAME_BYTES };
        if header.frame_bytes > frame_bytes_max {
            return Err(ServerFault::Protocol(format!("message of {} bytes", header.frame_bytes)));
        }
        if !whole && !streams {
            from.frame_bytes_wanted = header.frame_bytes;
            return Ok(false);
        }
        if !is_row {
            self.other_frame(from, header, at)?;
            return Ok(true);
        }
        if !whole {
            self.count(at, 1, header.frame_bytes - HEADER_BYTES);
            // The frame's length is the same; its tag becomes that of CopyData.
            to.outbound.extend_from_slice(b"d");
            to.outbound.extend_from_slice(&from.inbound[1..HEADER_BYTES]);
            from.inbound.advance(HEADER_BYTES);
            from.partial = Some(Partial { rest_bytes: header.frame_bytes - HEADER_BYTES, forward: false });
            self.torn = Some(at);
            self.go_on(from, to);
            return Ok(true);
        }
        let (rows, row_bytes, frame_bytes) = move_rows(&from.inbound, &mut to.outbound, format);
        from.inbound.advance(frame_bytes);
        self.count(at, rows, row_bytes);
        Ok(true)
    }

    /// A frame of an Execute step that is not a row.
    fn other_frame(&mut self, from: &mut Server, header: Header, at: usize) -> Result<(), ServerFault> {
        let message = from.inbound.split_to(header.frame_bytes);
        let body = &message[HEADER_BYTES..];
        if header.tag == b'E' && matches!(fields::field(body, b'V'), Some(b"FATAL" | b"PANIC")) {
            return Err(ServerFault::fatal(body));
        }
        let verdict = from
            .expects
            .frame(header.tag, body.first().copied().unwrap_or(0))
            .map_err(|unexpected| ServerFault::Protocol(unexpected.to_string()))?;
        if header.tag == b'E' {
            self.error.get_or_insert_with(|| ShipError::Server(body.to_vec()));
        } else if verdict.ends {
            self.delivered += 1;
            self.senders.entry((self.current, at)).or_default().took = self.started.elapsed();
            if let Some(sent) = self.sent.get_mut(at) {
                *sent += 1;
            }
        }
        Ok(())
    }

    fn count(&mut self, at: usize, rows: u64, bytes: usize) {
        let sent = self.senders.entry((self.current, at)).or_default();
        sent.shipped.rows += rows;
        sent.shipped.bytes += bytes as u64;
        self.lot_rows += rows;
        self.shipped.rows += rows;
        self.shipped.bytes += bytes as u64;
        if self.shipped.bytes > self.bytes_max {
            self.error.get_or_insert(ShipError::TooMuch);
        }
    }
}

/// Moves whole rows, up to about [`COPY_DATA_BYTES`], as one CopyData; returns rows, their bytes, and the bytes of their frames.
fn move_rows(from: &[u8], to: &mut BytesMut, format: LotFormat) -> (u64, usize, usize) {
    let (mut rows, mut bytes, mut at) = (0, 0, 0);
    frame::write(to, b'd', |to| {
        while let Ok(Some(Header { tag: b'D', frame_bytes })) = Header::read(&from[at..]) {
            let Some(body) = from[at..].get(HEADER_BYTES..frame_bytes) else { break };
            match format {
                LotFormat::Binary => to.extend_from_slice(body),
                LotFormat::Text => text_line(body, to),
            }
            rows += 1;
            bytes += body.len();
            at += frame_bytes;
            if bytes >= COPY_DATA_BYTES {
                break;
            }
        }
    });
    (rows, bytes, at)
}

/// A DataRow of text values as a line of COPY's text format. *Source*: manual, COPY, "Text Format".
fn text_line(body: &[u8], to: &mut BytesMut) {
    let mut rest = body.get(2..).unwrap_or_default();
    let mut first = true;
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        if !std::mem::take(&mut first) {
            to.extend_from_slice(b"\t");
        }
        let length = usize::try_from(i32::from_be_bytes(*head)).ok();
        let (value, next) = after.split_at(length.unwrap_or(0).min(after.len()));
        rest = next;
        if length.is_none() {
            to.extend_from_slice(b"\\N");
            continue;
        }
        for byte in value {
            match byte {
                b'\\' => to.extend_from_slice(b"\\\\"),
                b'\n' => to.extend_from_slice(b"\\n"),
                b'\r' => to.extend_from_slice(b"\\r"),
                b'\t' => to.extend_from_slice(b"\\t"),
                other => to.extend_from_slice(&[*other]),
            }
        }
    }
    to.extend_from_slice(b"\n");
}

impl Joiner for Shipment {
    /// Rows and what ends them are taken by [`Shipment::take_rows`].
    fn admits(&self, server: usize, expected: Option<Step>) -> bool {
        server == self.merge || expected != Some(Step::Execute)
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        if frame.tag == b'E' {
            self.error.get_or_insert_with(|| ShipError::Server(frame.body.to_vec()));
        }
        Handling::Drop
    }
}

/// Lets nothing through, until the servers owe nothing.
#[derive(Debug, Default)]
pub struct Silence {
    /// Servers that owe something are told to stop.
    pub cancel: bool,
    /// The first error that came.
    pub error: Option<Vec<u8>>,
}

impl Joiner for Silence {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        if frame.tag == b'E' {
            self.error.get_or_insert_with(|| frame.body.to_vec());
        }
        Handling::Drop
    }

    fn stops_at_copy_in(&self) -> bool {
        false
    }

    fn cancels(&mut self) -> bool {
        std::mem::take(&mut self.cancel)
    }
}

impl Link {
    /// Ships until all rows are on their way to the merge server, or something failed (see [`Shipment::error`]).
    ///
    /// # Errors
    /// A server or the client was lost.
    ///
    /// # Cancel safety
    /// Cancel safe, but the servers are then in the middle of an answer and are closed when the link is dropped.
    pub async fn ship(&mut self, shipment: &mut Shipment) -> Result<(), LinkFault> {
        loop {
            shipment.pump(self)?;
            if shipment.is_over() {
                return Ok(());
            }
            self.turn().await?;
        }
    }

    /// Stops everyone after a shipment that failed, and waits until they owe nothing.
    pub async fn stop_shipping(&mut self, shipment: &Shipment) -> Result<(), LinkFault> {
        if let Some(merge) = self.servers.get_mut(shipment.merge) {
            if shipment.torn.is_some() {
                // A row was begun that cannot be ended.
                merge.server.mark_broken();
            } else if shipment.open {
                // Outside a COPY it is ignored. Source: postgres.c, PostgresMain, "Accept but ignore these messages".
                frame::write(&mut merge.server.outbound, b'f', |to| to.extend_from_slice(b"stopped\0"));
            }
        }
        let mut silence = Silence { cancel: true, ..Silence::default() };
        self.relay(&mut silence).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(rows: &[&[u8]]) -> BytesMut {
        let mut out = BytesMut::new();
        rows.iter().for_each(|row| frame::write(&mut out, b'D', |to| to.extend_from_slice(row)));
        out
    }

    #[test]
    fn rows_become_one_message_of_copy_data_up_to_what_is_no_row() {
        let mut from = frames(&[b"\0\x01\0\0\0\x01a", b"\0\x01\xff\xff\xff\xff"]);
        let whole = from.len();
        frame::write(&mut from, b'C', |to| to.extend_from_slice(b"SELECT 2\0"));
        let mut to = BytesMut::new();
        assert_eq!(move_rows(&from, &mut to, LotFormat::Binary), (2, 13, whole));
        assert_eq!(&to[..], b"d\0\0\0\x11\0\x01\0\0\0\x01a\0\x01\xff\xff\xff\xff");
    }

    #[test]
    fn a_row_cut_short_waits() {
        let from = frames(&[b"\0\x01\0\0\0\x01a", b"\0\x01\xff\xff\xff\xff"]);
        let mut to = BytesMut::new();
        assert_eq!(move_rows(&from[..from.len() - 1], &mut to, LotFormat::Binary).0, 1);
    }

    #[test]
    fn text_values_are_escaped_as_copy_wants_them() {
        let mut to = BytesMut::new();
        text_line(b"\0\x03\0\0\0\x04a\tb\\\xff\xff\xff\xff\0\0\0\0", &mut to);
        assert_eq!(&to[..], b"a\\tb\\\\\t\\N\t\n");
    }
}
