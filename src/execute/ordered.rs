//! Merges the sorted rows of several shards into one sorted stream as they come, and leaves out what LIMIT and OFFSET leave out.
//!
//! A shard's row stays in the server's buffer until it is the smallest; so one row per shard is held, besides what was read with it. No server is
//! read while the client has much to read. Rows are compared by [`sort_key`](super::sort_key) as they came, and passed on as they came,
//! but for columns that only the order needs.

use std::cmp::Ordering;

use bytes::{Buf, BytesMut};

use super::fault::{LinkFault, ServerFault};
use super::link::{CLIENT_BACKLOG_BYTES, Link, SERVER_WINDOW_BYTES};
use super::relay::{Frame, HELD_FRAME_BYTES, Handling, Joiner};
use super::sort_key::{KeyFormat, KeyKind};
use crate::pool::expect::Step;
use crate::pool::server::Server;
use crate::wire::fields;
use crate::wire::frame::{self, HEADER_BYTES, Header, LARGEST_MESSAGE_BYTES};
use crate::wire::row_description::{self, Columns};

/// A column that rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// Counted from 0.
    pub column: usize,
    /// How its values are compared.
    pub kind: KeyKind,
    /// How they came.
    pub format: KeyFormat,
    /// Largest first.
    pub descending: bool,
    /// NULLs come first.
    pub nulls_first: bool,
}

/// What is wanted of the rows.
#[derive(Debug)]
pub struct Wanted {
    /// None: in any order.
    pub keys: Vec<RowKey>,
    /// How many columns of each row the client gets.
    pub columns: usize,
    /// Rows that it does not get.
    pub offset: u64,
    /// Rows that it gets at the most.
    pub limit: u64,
    /// Columns of each shard's answer.
    pub described: Columns,
    /// What the client is told of its columns, if it wants that.
    pub tells: Option<Columns>,
}

/// Why it ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderedError {
    /// A server's ErrorResponse, body as it came.
    Server(Vec<u8>),
    /// The shards do not agree on the columns.
    Columns,
}

/// One statement on several shards.
#[derive(Debug)]
pub struct Ordered {
    wanted: Wanted,
    streams: Vec<Stream>,
    /// Streams with a row, in the order of these rows.
    line: Vec<usize>,
    rows: u64,
    error: Option<OrderedError>,
}

/// One shard's rows.
#[derive(Debug)]
struct Stream {
    /// Index into the link's servers.
    server: usize,
    state: State,
    /// Of the row at the start of the server's buffer: bytes of its frame.
    frame_bytes: usize,
    /// Where the client's columns end.
    end: usize,
    /// Where each key is; `None` for NULL.
    keys: Vec<Option<(usize, usize)>>,
    /// By which rows are compared first.
    lead: Lead,
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its next row has not come.
    Waiting,
    /// Its next row is in the server's buffer.
    Ready,
    /// It has no more.
    Ended,
}

/// The first key of a row: NULL's rank, a number, and whether equal ones are equal rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lead {
    rank: u8,
    number: u64,
    exact: bool,
}

impl Ordered {
    /// Of these servers of a link.
    pub fn new(servers: &[usize], wanted: Wanted) -> Ordered {
        let stream = |server: &usize| Stream {
            server: *server,
            state: State::Waiting,
            frame_bytes: 0,
            end: 0,
            keys: vec![None; wanted.keys.len()],
            lead: Lead::default(),
        };
        let streams = servers.iter().map(stream).collect();
        Ordered { wanted, streams, line: Vec::with_capacity(servers.len()), rows: 0, error: None }
    }

    /// Rows that the client got.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Why it ended early.
    pub fn error(&self) -> Option<&OrderedError> {
        self.error.as_ref()
    }

    /// The client gets no more rows.
    fn is_over(&self) -> bool {
        self.is_full() || self.error.is_some() || self.streams.iter().all(|stream| stream.state == State::Ended)
    }

    /// There may be rows that the client shall not get.
    fn is_full(&self) -> bool {
        self.rows >= self.wanted.limit && self.wanted.tells.is_none()
    }

    /// Handles all that has been read.
    fn pump(&mut self, link: &mut Link) -> Result<(), LinkFault> {
        for at in 0..link.servers.len() {
            if let Err(cause) = link.pump(at, self).map(|_| ()) {
                return Err(lost(link, at, cause));
            }
        }
        while !self.is_over() && link.client.outbound.len() <= CLIENT_BACKLOG_BYTES {
            for nth in 0..self.streams.len() {
                if self.streams.get(nth).is_some_and(|stream| stream.state == State::Waiting) {
                    self.take(link, nth)?;
                }
            }
            let complete = self.streams.iter().all(|stream| stream.state != State::Waiting);
            let any = self.wanted.keys.is_empty();
            if self.line.is_empty() || !(complete || any) || self.error.is_some() {
                break;
            }
            self.pass_on(link)?;
        }
        Ok(())
    }

    /// Passes on the smallest rows as long as every stream has one.
    fn pass_on(&mut self, link: &mut Link) -> Result<(), LinkFault> {
        while let Some(first) = self.line.first().copied() {
            self.give(link, first);
            self.line.remove(0);
            if self.is_over() || link.client.outbound.len() > CLIENT_BACKLOG_BYTES {
                break;
            }
            self.take(link, first)?;
            if self.streams.get(first).is_some_and(|stream| stream.state == State::Waiting) {
                break;
            }
        }
        Ok(())
    }

    /// Gives the client a stream's row, or leaves it out.
    fn give(&mut self, link: &mut Link, nth: usize) {
        let Some(stream) = self.streams.get_mut(nth) else { return };
        stream.state = State::Waiting;
        let Some(enlisted) = link.servers.get_mut(stream.server) else { return };
        let server: &mut Server = &mut enlisted.server;
        let out = &mut link.client.outbound;
        if self.wanted.offset > 0 {
            self.wanted.offset -= 1;
        } else if let Some(row) = server.inbound.get(..stream.end) {
            self.rows += 1;
            if stream.end == stream.frame_bytes {
                out.extend_from_slice(row);
            } else {
                let columns = u16::try_from(self.wanted.columns).unwrap_or(u16::MAX);
                // The length counts itself, not the tag.
                let length = u32::try_from(stream.end - 1).unwrap_or(u32::MAX);
                out.extend_from_slice(b"D");
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&columns.to_be_bytes());
                out.extend_from_slice(row.get(HEADER_BYTES + 2..).unwrap_or_default());
            }
        }
        server.inbound.advance(stream.frame_bytes.min(server.inbound.len()));
        if stream.frame_bytes > SERVER_WINDOW_BYTES {
            // The buffer had grown to hold it.
            server.inbound = BytesMut::from(&server.inbound[..]);
        }
    }

    /// Looks for a stream's next row.
    fn take(&mut self, link: &mut Link, nth: usize) -> Result<(), LinkFault> {
        let Some(at) = self.streams.get(nth).map(|stream| stream.server) else { return Ok(()) };
        match self.next_frame(link, nth, at) {
            Ok(()) => Ok(()),
            Err(cause) => Err(lost(link, at, cause)),
        }
    }

    fn next_frame(&mut self, link: &mut Link, nth: usize, at: usize) -> Result<(), ServerFault> {
        let Some(enlisted) = link.servers.get_mut(at) else { return Ok(()) };
        let server: &mut Server = &mut enlisted.server;
        server.frame_bytes_wanted = 0;
        while server.expects.front().is_some_and(|expect| expect.step == Step::Execute) {
            let header = Header::read(&server.inbound).map_err(|bad| ServerFault::Protocol(bad.to_string()))?;
            let Some(header) = header else { return Ok(()) };
            let frame_bytes_max = if header.tag == b'D' { LARGEST_MESSAGE_BYTES + 4 } else { HELD_FRAME_BYTES };
            if header.frame_bytes > frame_bytes_max {
                return Err(ServerFault::Protocol(format!("message of {} bytes", header.frame_bytes)));
            }
            if server.inbound.len() < header.frame_bytes {
                server.frame_bytes_wanted = header.frame_bytes;
                return Ok(());
            }
            if header.tag == b'D' {
                let row = &server.inbound[..header.frame_bytes];
                let Some(stream) = self.streams.get_mut(nth) else { return Ok(()) };
                let read = stream.read(row, &self.wanted);
                read.ok_or_else(|| ServerFault::Protocol("a row that is not as described".to_owned()))?;
                self.stand_in_line(link, nth);
                return Ok(());
            }
            let message = server.inbound.split_to(header.frame_bytes);
            let body = &message[HEADER_BYTES..];
            if header.tag == b'N' {
                link.client.outbound.extend_from_slice(&message);
            }
            self.other_frame(server, header.tag, body, nth)?;
        }
        Ok(())
    }

    /// A frame of an Execute step that is not a row.
    fn other_frame(&mut self, server: &mut Server, tag: u8, body: &[u8], nth: usize) -> Result<(), ServerFault> {
        if tag == b'E' && matches!(fields::field(body, b'V'), Some(b"FATAL" | b"PANIC")) {
            return Err(ServerFault::fatal(body));
        }
        let verdict = server
            .expects
            .frame(tag, body.first().copied().unwrap_or(0))
            .map_err(|unexpected| ServerFault::Protocol(unexpected.to_string()))?;
        if tag == b'E' {
            self.error.get_or_insert_with(|| OrderedError::Server(body.to_vec()));
        }
        if let Some(stream) = self.streams.get_mut(nth).filter(|_| verdict.ends) {
            stream.state = State::Ended;
        }
        Ok(())
    }

    /// A stream has a row: it takes its place among the others.
    fn stand_in_line(&mut self, link: &Link, nth: usize) {
        let before = |other: &usize| match (self.streams.get(*other), self.streams.get(nth)) {
            (Some(other), Some(this)) => other.compare(this, link, &self.wanted.keys) != Ordering::Greater,
            _ => true,
        };
        let place = self.line.iter().take_while(|other| before(other)).count();
        self.line.insert(place, nth);
        if let Some(stream) = self.streams.get_mut(nth) {
            stream.state = State::Ready;
        }
    }
}

impl Stream {
    /// Finds a row's keys; `None` if it is not as described.
    fn read(&mut self, row: &[u8], wanted: &Wanted) -> Option<()> {
        let count = usize::from(u16::from_be_bytes(row.get(HEADER_BYTES..HEADER_BYTES + 2)?.try_into().ok()?));
        self.frame_bytes = row.len();
        let last = wanted.keys.iter().map(|key| key.column).max();
        // The client's columns end where the last of them does.
        let read_to = last.map_or(0, |last| last + 1).max(if count == wanted.columns { 0 } else { wanted.columns });
        if read_to > count || count < wanted.columns {
            return None;
        }
        let mut at = HEADER_BYTES + 2;
        self.end = if wanted.columns == 0 { at } else { row.len() };
        for column in 0..read_to {
            let head: &[u8; 4] = row.get(at..)?.first_chunk()?;
            at += 4;
            let length = usize::try_from(i32::from_be_bytes(*head)).ok();
            let value = length.map(|length| (at, at.saturating_add(length)));
            at = value.map_or(at, |(_, end)| end);
            for (key, place) in wanted.keys.iter().zip(&mut self.keys) {
                if key.column == column {
                    *place = value;
                }
            }
            if column + 1 == wanted.columns && count > wanted.columns {
                self.end = at;
            }
        }
        if at > row.len() {
            return None;
        }
        self.lead = match (wanted.keys.first(), self.keys.first()) {
            (Some(key), Some(value)) => lead(key, *value, row, wanted.keys.len() == 1)?,
            _ => Lead { exact: true, ..Lead::default() },
        };
        Some(())
    }

    /// Compares the rows of two streams.
    fn compare(&self, other: &Stream, link: &Link, keys: &[RowKey]) -> Ordering {
        let ranked = self.lead.rank.cmp(&other.lead.rank).then(self.lead.number.cmp(&other.lead.number));
        if ranked != Ordering::Equal || (self.lead.exact && other.lead.exact) {
            return ranked;
        }
        let value = |stream: &Stream, at: usize| -> Option<&[u8]> {
            let (from, to) = stream.keys.get(at).copied().flatten()?;
            link.servers.get(stream.server)?.server.inbound.get(from..to)
        };
        let compare = |(at, key): (usize, &RowKey)| {
            let (a, b) = (value(self, at), value(other, at));
            match (a, b) {
                (Some(a), Some(b)) => {
                    let order = key.kind.compare(key.format, a, b);
                    if key.descending { order.reverse() } else { order }
                }
                _ => rank(key, a.is_none()).cmp(&rank(key, b.is_none())),
            }
        };
        keys.iter().enumerate().map(compare).find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
    }
}

fn rank(key: &RowKey, null: bool) -> u8 {
    u8::from(null != key.nulls_first)
}

fn lead(key: &RowKey, value: Option<(usize, usize)>, row: &[u8], only: bool) -> Option<Lead> {
    let rank = rank(key, value.is_none());
    let Some((from, to)) = value else { return Some(Lead { rank, number: 0, exact: only }) };
    let (number, exact) = key.kind.lead(key.format, row.get(from..to)?)?;
    Some(Lead { rank, number: if key.descending { !number } else { number }, exact: exact && only })
}

fn lost(link: &mut Link, at: usize, cause: ServerFault) -> LinkFault {
    let enlisted = &mut link.servers[at];
    enlisted.server.mark_broken();
    LinkFault::Server { shard: enlisted.shard, cause }
}

impl Joiner for Ordered {
    /// Rows and what ends them are taken by [`Ordered::pump`].
    fn admits(&self, server: usize, expected: Option<Step>) -> bool {
        expected != Some(Step::Execute) || self.streams.iter().all(|stream| stream.server != server)
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        match (frame.tag, frame.verdict.step) {
            (b'E', _) => {
                self.error.get_or_insert_with(|| OrderedError::Server(frame.body.to_vec()));
            }
            (b'T' | b'n', Some(Step::DescribePortal)) => {
                if !row_description::same_types(frame.body, self.wanted.described.body()) {
                    self.error.get_or_insert(OrderedError::Columns);
                } else if let Some(columns) = self.wanted.tells.take() {
                    frame::write(client, b'T', |to| to.extend_from_slice(columns.body()));
                }
            }
            _ => {}
        }
        Handling::Drop
    }
}

impl Link {
    /// Passes rows on until there are no more, or as many as are wanted, or something failed (see [`Ordered::error`]). Servers may owe
    /// more then.
    ///
    /// # Errors
    /// A server or the client was lost.
    ///
    /// # Cancel safety
    /// Cancel safe, but the servers are then in the middle of an answer and are closed when the link is dropped.
    pub async fn merge(&mut self, ordered: &mut Ordered) -> Result<(), LinkFault> {
        loop {
            ordered.pump(self)?;
            if ordered.is_over() {
                return Ok(());
            }
            self.turn().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(column: usize, descending: bool) -> RowKey {
        RowKey { column, kind: KeyKind::Integer, format: KeyFormat::Text, descending, nulls_first: descending }
    }

    fn wanted(keys: Vec<RowKey>, columns: usize) -> Wanted {
        let described = Columns::new(Vec::new());
        Wanted { keys, columns, offset: 0, limit: u64::MAX, described, tells: None }
    }

    fn stream(keys: usize) -> Stream {
        Stream {
            server: 0,
            state: State::Waiting,
            frame_bytes: 0,
            end: 0,
            keys: vec![None; keys],
            lead: Lead::default(),
        }
    }

    fn row(values: &[Option<&[u8]>]) -> BytesMut {
        let mut out = BytesMut::new();
        frame::write(&mut out, b'D', |to| {
            to.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
            for value in values {
                to.extend_from_slice(&value.map_or(-1, |value| i32::try_from(value.len()).unwrap()).to_be_bytes());
                to.extend_from_slice(value.unwrap_or_default());
            }
        });
        out
    }

    #[test]
    fn columns_behind_the_clients_are_found_and_not_part_of_its_row() {
        let mut stream = stream(1);
        let row = row(&[Some(b"abc"), None, Some(b"7")]);
        stream.read(&row, &wanted(vec![key(2, false)], 2)).unwrap();
        assert_eq!(stream.end, row.len() - 5);
        assert_eq!(&row[stream.keys[0].unwrap().0..], b"7");
        assert!(stream.lead.exact);
    }

    #[test]
    fn nulls_stand_where_the_order_says() {
        let lead = |descending, value: Option<&[u8]>| {
            let mut stream = stream(1);
            stream.read(&row(&[value]), &wanted(vec![key(0, descending)], 1)).unwrap();
            (stream.lead.rank, stream.lead.number)
        };
        assert!(lead(false, Some(b"9")) < lead(false, None));
        assert!(lead(true, None) < lead(true, Some(b"9")));
        assert!(lead(true, Some(b"9")) < lead(true, Some(b"-9")));
    }

    #[test]
    fn a_row_that_is_cut_short_or_no_number_is_refused() {
        let wanted = wanted(vec![key(1, false)], 2);
        assert!(stream(1).read(&row(&[Some(b"1")]), &wanted).is_none());
        assert!(stream(1).read(&row(&[None, Some(b"x")]), &wanted).is_none());
        let mut torn = row(&[None, Some(b"12345")]);
        torn.truncate(torn.len() - 2);
        assert!(stream(1).read(&torn, &wanted).is_none());
    }
}
