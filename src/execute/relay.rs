//! Forwards what servers answer, frame by frame by header alone, until they owe nothing.
//!
//! A [`Joiner`] says what becomes of each frame.
//! Whole runs of forwarded frames move as one slice; a buffer that is forwarded whole is not even copied.

use bytes::{Buf, BytesMut};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::ClientIo;
use super::fault::{LinkFault, ServerFault};
use super::link::Link;
use super::stopped::CANCEL_AGAIN;
use crate::pool::expect::{Expectations, Step, Verdict};
use crate::pool::ordinary::Ordinary;
use crate::pool::renumber::Untranslated;
use crate::pool::server::{Partial, Server};
use crate::wire::fields;
use crate::wire::frame::{HEADER_BYTES, Header, LARGEST_MESSAGE_BYTES, consume, whole_frames};
use crate::wire::reply::Status;

/// A row or COPY frame longer than this is forwarded piecemeal as it comes; it must be below the server window.
pub const STREAM_FRAME_BYTES: usize = 256 * 1024;

/// Any other frame must be held whole and may be this long: an error message that quotes a long statement.
pub const HELD_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// The client gets it.
    Forward,
    /// The client does not.
    Drop,
}

/// A frame with its verdict. `body` is empty for a row or COPY frame that is streamed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Which of the link's servers.
    pub server: usize,
    /// Message type.
    pub tag: u8,
    /// What it answers.
    pub verdict: Verdict,
    /// Its body.
    pub body: &'a [u8],
}

/// Decides about frames; may add bytes of its own before them.
pub trait Joiner {
    /// Whether a server's frames may be looked at now. Asked before each.
    fn admits(&self, server: usize, expected: Option<Step>) -> bool;
    /// What becomes of a frame. Called once per frame.
    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling;
    /// Rows that follow one that was forwarded are forwarded too, without being shown to it.
    fn passes_rows(&self) -> bool {
        false
    }
    /// An answer with nothing out of the ordinary is forwarded whole, without being shown to it. *See* [`Expectations::ordinary`].
    ///
    /// [`Expectations::ordinary`]: crate::pool::expect::Expectations::ordinary
    fn passes_answers(&self) -> bool {
        false
    }
    /// A server that waits for COPY data ends the relay; not so when the data is on its way already.
    fn stops_at_copy_in(&self) -> bool {
        true
    }
    /// Long rows are held like other frames, not forwarded piecemeal.
    fn holds_rows(&self) -> bool {
        false
    }
    /// All servers that still owe something shall be told to stop. Asked after each round; true once.
    fn cancels(&mut self) -> bool {
        false
    }
}

/// Servers that have been told to stop.
#[derive(Debug)]
struct Cancelling {
    requests: JoinSet<()>,
    /// When those that still owe something are told again.
    again: Instant,
}

impl Cancelling {
    fn new() -> Cancelling {
        Cancelling { requests: JoinSet::new(), again: Instant::now() }
    }
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEnd {
    /// The servers owe nothing.
    Drained,
    /// This server waits for COPY data.
    CopyIn(usize),
}

impl Link {
    /// Relays until no server owes anything or one waits for COPY data.
    ///
    /// # Cancel safety
    /// Cancel safe, but the servers are then in the middle of an answer and are closed when the link is dropped.
    pub async fn relay(&mut self, joiner: &mut impl Joiner) -> Result<RelayEnd, LinkFault> {
        let mut cancels: Option<Cancelling> = None;
        loop {
            match self.pump_all(joiner)? {
                Some(server) if joiner.stops_at_copy_in() => return Ok(RelayEnd::CopyIn(server)),
                Some(_) => continue,
                None => {}
            }
            // What comes before a server has begun its statement is lost: it is said again.
            if joiner.cancels() || cancels.as_ref().is_some_and(|cancels| cancels.again <= Instant::now()) {
                let cancels = cancels.get_or_insert_with(Cancelling::new);
                cancels.again = Instant::now() + CANCEL_AGAIN;
                while cancels.requests.try_join_next().is_some() {}
                for enlisted in self.servers.iter().filter(|enlisted| !enlisted.server.expects.is_empty()) {
                    let key = enlisted.server.cancel_key();
                    cancels.requests.spawn(async move { key.cancel().await });
                }
            }
            if self.is_drained() {
                // A request still under way must not hit the server's next statement.
                while let Some(cancels) = &mut cancels
                    && cancels.requests.join_next().await.is_some()
                {}
                return Ok(RelayEnd::Drained);
            }
            match &cancels {
                None => self.listen().await?,
                Some(cancels) => {
                    let heard = Box::pin(tokio::time::timeout_at(cancels.again, self.listen())).await;
                    heard.unwrap_or(Ok(()))?;
                }
            }
        }
    }

    /// Handles all that has been read; the server that waits for COPY data, if one does.
    pub fn pump_all(&mut self, joiner: &mut impl Joiner) -> Result<Option<usize>, LinkFault> {
        // A server may be admitted because of what another one said: go round until nothing moves.
        loop {
            let mut moved = false;
            for index in 0..self.servers.len() {
                // Nothing may come between the pieces of a frame.
                if self.torn().is_some_and(|torn| torn != index) {
                    continue;
                }
                match self.pump(index, joiner) {
                    Ok(Pumped { copy_in: true, .. }) => return Ok(Some(index)),
                    Ok(pumped) => moved |= pumped.moved,
                    Err(cause) => {
                        let shard = self.servers[index].shard;
                        let torn = self.torn() == Some(index);
                        self.servers[index].server.mark_broken();
                        return Err(if torn { LinkFault::Torn(shard) } else { LinkFault::Server { shard, cause } });
                    }
                }
            }
            if !moved || self.servers.len() == 1 {
                return Ok(None);
            }
        }
    }

    /// Passes on the whole answer to all that a server owes, if it is there and nothing about it is out of the ordinary; whether it did.
    pub fn pass_ordinary(&mut self, index: usize) -> bool {
        let Link { client, servers, .. } = self;
        let Some(enlisted) = servers.get_mut(index) else { return false };
        let server: &mut Server = &mut enlisted.server;
        if server.partial.is_some() {
            return false;
        }
        pump_said(server, client);
        matches!(pump_answer(server, client), Ok(Some(true)))
    }

    /// The server of whose current frame the client has had a part.
    pub fn torn(&self) -> Option<usize> {
        self.servers.iter().position(|enlisted| enlisted.server.partial.is_some_and(|partial| partial.forward))
    }

    pub(super) fn pump(&mut self, index: usize, joiner: &mut impl Joiner) -> Result<Pumped, ServerFault> {
        let Link { client, servers, .. } = self;
        let server: &mut Server = &mut servers[index].server;
        let mut pumped = Pumped { moved: false, copy_in: false };
        server.frame_bytes_wanted = 0;
        pumped.moved |= pump_partial(server, &mut client.outbound);
        if server.partial.is_some() {
            return Ok(pumped);
        }
        pumped.moved |= pump_said(server, client);
        if joiner.passes_answers()
            && let Some(moved) = pump_answer(server, client)?
        {
            pumped.moved |= moved;
            return Ok(pumped);
        }
        let mut run = 0; // inbound[..run] is to be forwarded, and has not been yet
        while !pumped.copy_in {
            if server.expects.is_said() {
                move_run(&mut server.inbound, run, &mut client.outbound);
                run = 0;
                pumped.moved |= pump_said(server, client);
            }
            let out = &mut client.outbound;
            let Some(Head { header, renumbered, whole }) = head(server, run, joiner.holds_rows())? else { break };
            if !joiner.admits(index, server.expects.front().map(|expect| expect.step)) {
                break;
            }
            if renumbered && !renumber(server, run, header)? {
                break; // see `Link::renumber`
            }
            let bytes = &server.inbound[run..];
            let body = if whole { &bytes[HEADER_BYTES..header.frame_bytes] } else { &[][..] };
            let instead = (header.tag == b'E').then(|| client.stopped.instead_of(body)).flatten();
            if let Some(fault) = last_word(header.tag, body, instead.as_deref(), &server.expects) {
                move_run(&mut server.inbound, run, out);
                return Err(fault);
            }
            let verdict = server.expects.frame(header.tag, body.first().copied().unwrap_or(0));
            let verdict = verdict.map_err(|unexpected| ServerFault::Protocol(unexpected.to_string()))?;
            note(&mut server.parameters, &mut server.wrote, &mut server.expects, (header.tag, verdict.step), body);
            let before = out.len();
            let told = instead.as_deref().unwrap_or(body);
            let handling = joiner.frame(Frame { server: index, tag: header.tag, verdict, body: told }, out);
            let forward = handling == Handling::Forward && !told_instead(instead.as_deref(), out);
            pumped.moved = true;
            pumped.copy_in = header.tag == b'G';
            if !whole {
                move_run(&mut server.inbound, run, out);
                server.partial = Some(Partial { rest_bytes: header.frame_bytes, forward });
                pump_partial(server, out);
                return Ok(pumped);
            }
            if forward && out.len() == before {
                run += header.frame_bytes;
                if header.tag == b'D' && !renumbered && joiner.passes_rows() {
                    run += whole_frames(&server.inbound[run..], b'D');
                }
                continue;
            }
            // The joiner added bytes, or the frame is dropped: the run ends here.
            end_run(&mut server.inbound, run, out, before);
            run = if forward { header.frame_bytes } else { 0 };
            server.inbound.advance(header.frame_bytes - run);
        }
        move_run(&mut server.inbound, run, &mut client.outbound);
        Ok(pumped)
    }
}

/// A frame of which enough is there to be handled.
struct Head {
    header: Header,
    /// Numbers of types in it are to be translated.
    renumbered: bool,
    /// All of it is there; else it passes in pieces.
    whole: bool,
}

/// The frame behind the run, in which nothing has been changed yet; `None` if more of it must come first.
#[inline]
fn head(server: &mut Server, run: usize, holds_rows: bool) -> Result<Option<Head>, ServerFault> {
    let bytes = &server.inbound[run..];
    let Some(header) = Header::read(bytes).map_err(|bad| ServerFault::Protocol(bad.to_string()))? else {
        return Ok(None);
    };
    // The client has all of its answer: what ends the connection is not one more. Who uses the server next meets it, and a server of
    // which something is unread is not lent.
    if server.expects.is_empty() && !matches!(header.tag, b'N' | b'S' | b'A') {
        return Ok(None);
    }
    let renumbered = server.oids.reads(header.tag);
    let held_bytes_max = if holds_rows { HELD_FRAME_BYTES } else { STREAM_FRAME_BYTES };
    let streams = matches!(header.tag, b'D' | b'd') && header.frame_bytes > held_bytes_max && !renumbered;
    let frame_bytes_max = if streams { LARGEST_MESSAGE_BYTES + 4 } else { HELD_FRAME_BYTES };
    if header.frame_bytes > frame_bytes_max {
        return Err(ServerFault::Protocol(format!("message of {} bytes", header.frame_bytes)));
    }
    let whole = bytes.len() >= header.frame_bytes;
    if !whole && !streams {
        server.frame_bytes_wanted = header.frame_bytes;
        return Ok(None);
    }
    Ok(Some(Head { header, renumbered, whole }))
}

/// An error after which the server is not used any more: one of a connection that ends, or of the BEGIN behind which a statement waits.
fn last_word(tag: u8, body: &[u8], instead: Option<&[u8]>, expects: &Expectations) -> Option<ServerFault> {
    match tag {
        b'E' if matches!(fields::field(body, b'V'), Some(b"FATAL" | b"PANIC")) => Some(ServerFault::fatal(body)),
        b'E' if expects.front().is_some_and(|expect| expect.step == Step::Begin) => {
            Some(ServerFault::not_begun(instead.unwrap_or(body)))
        }
        _ => None,
    }
}

/// Translates the numbers in a whole frame; false while one is not known yet.
fn renumber(server: &mut Server, run: usize, header: Header) -> Result<bool, ServerFault> {
    let body = &mut server.inbound[run + HEADER_BYTES..run + header.frame_bytes];
    match server.oids.frame(header.tag, body) {
        Ok(()) => Ok(true),
        Err(Untranslated { finally: true }) => Err(ServerFault::UnknownType),
        Err(Untranslated { finally: false }) => Ok(false),
    }
}

/// Keeps what the gateway must know of a server.
#[inline]
fn note(
    parameters: &mut Vec<(String, String)>,
    wrote: &mut bool,
    expects: &mut Expectations,
    (tag, step): (u8, Option<Step>),
    body: &[u8],
) {
    match (tag, step) {
        (b'S', _) => note_parameter(parameters, body),
        (b'C', _) => *wrote |= fields::tells_of_rows_written(body),
        (b'Z', _) => *wrote &= body != b"I",
        (b't', Some(Step::Infer(statement))) => expects.infer(statement, body),
        _ => {}
    }
}

/// Gives answers of the gateway's own whose turn has come; whether there were any.
#[inline]
fn pump_said(server: &mut Server, client: &mut ClientIo) -> bool {
    let mut said = false;
    while let Some(frames) = server.expects.take_said() {
        client.answer(&frames);
        said = true;
    }
    said
}

/// Forwards an answer with nothing out of the ordinary; `None` if it is none.
#[inline]
fn pump_answer(server: &mut Server, client: &mut ClientIo) -> Result<Option<bool>, ServerFault> {
    let Some(answer) = server.expects.ordinary(&server.inbound) else { return Ok(None) };
    if !server.oids.passes_rows(answer.columns.clone().and_then(|columns| server.inbound.get(columns))) {
        return Ok(None);
    }
    if answer.bytes < SWAPPED_BYTES {
        client.make_room(answer.bytes);
    }
    pump_ordinary(server, &answer, &mut client.outbound).map(Some)
}

/// Whether the client is told another error than the server's.
#[inline]
fn told_instead(instead: Option<&[u8]>, out: &mut BytesMut) -> bool {
    if let Some(body) = instead {
        crate::wire::frame::write(out, b'E', |out| out.extend_from_slice(body));
    }
    instead.is_some()
}

/// Moves the run to the client; what a joiner has added since `before` goes behind it.
#[inline]
fn end_run(inbound: &mut BytesMut, run: usize, out: &mut BytesMut, before: usize) {
    if out.len() > before {
        let added = out.split_off(before);
        move_run(inbound, run, out);
        out.extend_from_slice(&added);
    } else {
        move_run(inbound, run, out);
    }
}

/// What handling a server's bytes has come to.
pub(super) struct Pumped {
    /// Something was handled.
    pub(super) moved: bool,
    copy_in: bool,
}

/// Keeps what a ParameterStatus says.
fn note_parameter(parameters: &mut Vec<(String, String)>, body: &[u8]) {
    let Some((name, value)) = fields::parameter(body) else { return };
    let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    match parameters.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value.into_owned(),
        None => parameters.push((name.into_owned(), value.into_owned())),
    }
}

/// Fewer bytes are copied, so that each side keeps its buffer.
const SWAPPED_BYTES: usize = 4 * 1024;

/// Moves the first `count` bytes; without copying when that is all there is, and much.
fn move_run(from: &mut BytesMut, count: usize, to: &mut BytesMut) {
    if count == 0 {
        return;
    }
    if to.is_empty() && count == from.len() && count >= SWAPPED_BYTES {
        std::mem::swap(from, to);
    } else {
        to.extend_from_slice(&from[..count]);
        consume(from, count);
    }
}

/// Moves an answer on as it is; whether it could.
fn pump_ordinary(server: &mut Server, answer: &Ordinary, out: &mut BytesMut) -> Result<bool, ServerFault> {
    if let Some(columns) = &answer.columns
        && server.oids.reads(b'T')
        && let Some(body) = server.inbound.get_mut(columns.clone())
        && let Err(Untranslated { finally }) = server.oids.frame(b'T', body)
    {
        return if finally { Err(ServerFault::UnknownType) } else { Ok(false) }; // see `Link::renumber`
    }
    server.expects.take(answer);
    server.wrote = answer.wrote || (server.wrote && answer.status != Status::Idle);
    if answer.hidden_bytes == 0 {
        move_run(&mut server.inbound, answer.bytes, out);
    } else {
        out.extend_from_slice(server.inbound.get(answer.hidden_bytes..answer.bytes).unwrap_or_default());
        consume(&mut server.inbound, answer.bytes);
    }
    Ok(true)
}

/// Moves on with a frame that is forwarded piecemeal.
fn pump_partial(server: &mut Server, out: &mut BytesMut) -> bool {
    let Some(partial) = server.partial else { return false };
    let count = partial.rest_bytes.min(server.inbound.len());
    if partial.forward {
        out.extend_from_slice(&server.inbound[..count]);
    }
    server.inbound.advance(count);
    let rest_bytes = partial.rest_bytes - count;
    server.partial = (rest_bytes > 0).then_some(Partial { rest_bytes, ..partial });
    count > 0
}
