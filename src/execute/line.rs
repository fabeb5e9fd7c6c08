//! A line: a server on which several clients' reads are in flight, and the task that serves it. What a line is for, and what keeps it short, is
//! told in [`multiplex`](super::multiplex).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::Sleep;

use super::link::{poll_read, poll_write};
use super::ticket::{ReadNumber, Ticket};
use crate::pool::lend::{Lent, ServerPool};
use crate::pool::ordinary::First;
use crate::pool::server::Server;
use crate::wire::fields::is_of_moment;
use crate::wire::frame::{Header, consume};

/// A line is as long as its server answers within this time: a read waits for so long behind others, about. An idle server would have
/// answered it within about as long where the shard is another machine.
pub(super) const WAIT: Duration = Duration::from_millis(1);

/// And so many times as long where all servers are in use: who is not in a line waits for one.
pub(super) const EXHAUSTED: usize = 10;

/// And no longer than this.
const READS_MAX: usize = 128;

/// So many reads are in a line before another is begun.
const READS_USUAL: usize = 8;

/// After so long a server is given back: whoever waits for one gets it, one that has become old is closed.
pub(super) const LOAN: Duration = Duration::from_millis(5);

/// Who has waited for so long behind a read that is not answered leaves the line. Long for a row by its key, and longer than
/// a busy machine keeps a process waiting.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// An answer that is dropped is waited for so long; then its server is closed.
const DROP_PATIENCE: Duration = Duration::from_secs(1);

/// Longer answers are not for lines: a slow client would have to be waited for.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A server on which several clients' reads are in flight.
#[derive(Debug, Default)]
pub(super) struct Line {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// While there are reads.
    server: Option<Lent>,
    /// Since when it has had it.
    lent_at: Instant,
    /// In the order in which they were sent.
    reads: VecDeque<Read>,
    /// How long it may be, by what the last ones have taken.
    reads_max: usize,
    /// What one takes, in the mean of the last ones.
    each: Duration,
    /// Since when the first one is waited for.
    since: Instant,
    /// What is to come of the first one's answer is nobody's: so much of the frame of it that has begun.
    drops: Option<usize>,
    /// Nothing comes in before all reads in it have left.
    closed: bool,
    /// Of the task that serves it, once there is one.
    waker: Option<Waker>,
    /// The task has been spawned.
    served: bool,
    /// The task has been woken.
    woken: bool,
    /// Fires when the first one may have been waited for too long.
    alarm: Option<Pin<Box<Sleep>>>,
    /// When, if it is set.
    alarm_at: Option<Instant>,
    /// The multiplexer is gone.
    ended: bool,
}

#[derive(Debug)]
struct Read {
    /// Whose it is; nobody's any more, if it has left.
    ticket: Option<Arc<Ticket>>,
    number: ReadNumber,
    /// Steps that answer it.
    steps: usize,
}

impl Read {
    fn is_over(&self) -> bool {
        self.ticket.as_ref().is_none_or(|ticket| Arc::strong_count(ticket) == 1 || ticket.is_over(self.number))
    }

    fn again(self, alone: bool) {
        if let Some(ticket) = self.ticket {
            ticket.again(self.number, alone);
        }
    }
}

/// Why a server of a line is given up.
#[derive(Debug)]
enum Lost {
    /// The connection is gone.
    Closed(io::Error),
    /// What answers the first read is not for a line.
    Unfit,
    /// Nobody waits for the first read, and it takes long.
    Forsaken,
}

/// How long a line may be for one more read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// As long as lines are before another is begun.
    Usual,
    /// As long as its server answers soon.
    Quick,
    /// As long as it may be where all servers are in use.
    Any,
}

impl Room {
    /// How long a line is that takes one more read: each is asked once.
    fn of(self, state: &State) -> Range<usize> {
        let quick = state.reads_max;
        let usual = READS_USUAL.min(quick);
        match self {
            Room::Usual => 0..usual,
            Room::Quick => usual..quick,
            Room::Any => quick..READS_MAX.min(EXHAUSTED * quick),
        }
    }
}

/// The task that serves a line. However it ends, nobody waits for it then.
struct Service(Arc<Line>);

impl Drop for Service {
    fn drop(&mut self) {
        let state = &mut *self.0.state();
        state.give_up(&Lost::Forsaken);
        (state.served, state.woken, state.waker) = (false, false, None);
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Multiplexer::send`](super::multiplex::Multiplexer::send). `None`: another line may take it.
    pub fn send(
        self: &Arc<Self>,
        pool: &ServerPool,
        ticket: &Arc<Ticket>,
        room: Room,
        send: &mut impl FnMut(&mut Server) -> bool,
    ) -> Option<bool> {
        let state = &mut *self.state();
        if state.closed || !room.of(state).contains(&state.reads.len()) {
            return None;
        }
        if state.server.is_none() {
            (state.server, state.lent_at) = (Some(pool.idle()?), Instant::now());
        }
        let server = state.server.as_mut()?;
        let before = server.expects.len();
        if !send(server) {
            if !state.reads.is_empty() {
                return None;
            }
            // It is the next one to be lent, for this read.
            state.server = None;
            return Some(false);
        }
        let steps = server.expects.len() - before;
        if state.reads.is_empty() {
            state.since = Instant::now();
        }
        state.reads.push_back(Read { ticket: Some(ticket.clone()), number: ticket.begin(), steps });
        self.serve(state);
        Some(true)
    }

    /// No more reads come.
    pub fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.wake();
    }

    /// Has its task look at it.
    fn serve(self: &Arc<Self>, state: &mut State) {
        if !std::mem::replace(&mut state.served, true) {
            let service = Service(self.clone());
            tokio::spawn(poll_fn(move |cx| service.0.poll(cx)));
        }
        state.wake();
    }

    /// Serves it, for as long as there is one.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.state();
        state.woken = false;
        if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        let now = match state.advance(cx) {
            Ok(now) => now,
            Err(lost) => {
                state.give_up(&lost);
                None
            }
        };
        state.look_at_clock(cx, now);
        if !state.ended || !state.reads.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Default for State {
    fn default() -> State {
        State {
            server: None,
            lent_at: Instant::now(),
            reads: VecDeque::new(),
            // What it takes is not known.
            reads_max: READS_USUAL,
            each: WAIT / 8,
            since: Instant::now(),
            drops: None,
            closed: false,
            waker: None,
            served: false,
            woken: false,
            alarm: None,
            alarm_at: None,
            ended: false,
        }
    }
}

impl State {
    fn wake(&mut self) {
        if !self.woken
            && let Some(waker) = &self.waker
        {
            self.woken = true;
            waker.wake_by_ref();
        }
    }

    /// Sends what is to be sent and passes on what has come; the time, if something has.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<Option<Instant>, Lost> {
        let mut now = None;
        loop {
            let Some(server) = self.server.as_mut() else { return Ok(now) };
            let server: &mut Server = server;
            let wrote = poll_write(Pin::new(&mut server.stream), cx, &mut server.outbound, &mut server.unflushed);
            let wrote = wrote.map_err(Lost::Closed)?;
            // A server that has just been asked has hardly answered yet.
            if wrote && server.stream.poll_readable(cx).is_pending() {
                return Ok(now);
            }
            match poll_read(Pin::new(&mut server.stream), cx, &mut server.inbound) {
                Poll::Pending => return Ok(now),
                Poll::Ready(Ok(0)) => return Err(Lost::Closed(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(read) => drop(read.map_err(Lost::Closed)?),
            }
            now = self.hear()?.or(now);
            if self.reads.is_empty() {
                self.server = None;
                self.closed = false;
                return Ok(now);
            }
        }
    }

    /// Passes on the answers that are there; the time, if there are any.
    fn hear(&mut self) -> Result<Option<Instant>, Lost> {
        let Some(server) = self.server.as_mut() else { return Ok(None) };
        let server: &mut Server = server;
        let mut heard = 0;
        while let Some(Read { ticket, number, steps }) = self.reads.front() {
            if let Some(rest_bytes) = &mut self.drops {
                if !drop_answer(&mut server.inbound, rest_bytes)? {
                    break;
                }
                self.drops = None;
                server.expects.take_first(*steps);
                self.reads.pop_front();
                continue;
            }
            let bytes = match server.expects.first(*steps, &server.inbound) {
                First::Whole(answer) => {
                    let columns = answer.columns.clone().and_then(|columns| server.inbound.get(columns));
                    let frames = server.inbound.get(answer.hidden_bytes..answer.bytes).unwrap_or_default();
                    match ticket {
                        Some(ticket) if server.oids.passes_rows(columns) => ticket.answer(*number, frames),
                        Some(ticket) => ticket.again(*number, true),
                        None => {}
                    }
                    answer.bytes
                }
                First::Other { bytes, hidden_bytes, error } => {
                    let frames = server.inbound.get(hidden_bytes..bytes).unwrap_or_default();
                    // To run it again would be to wait once more.
                    match (ticket, error.filter(|error| is_of_moment(*error))) {
                        (Some(ticket), Some(error)) => ticket.fail(*number, error, frames),
                        (Some(ticket), None) => ticket.again(*number, true),
                        (None, _) => {}
                    }
                    bytes
                }
                First::Part if server.inbound.len() <= ANSWER_BYTES_MAX => break,
                First::Part => {
                    ticket.iter().for_each(|ticket| ticket.again(*number, true));
                    self.drops = Some(0);
                    self.leave_behind_first();
                    return self.hear();
                }
                First::Strange => return Err(Lost::Unfit),
            };
            server.expects.take_first(*steps);
            consume(&mut server.inbound, bytes);
            self.reads.pop_front();
            heard += 1;
        }
        Ok((heard > 0).then(|| self.measure(heard)))
    }

    /// So many have been answered since the first one was waited for.
    fn measure(&mut self, heard: u32) -> Instant {
        let now = Instant::now();
        self.learn(now.saturating_duration_since(self.since) / heard);
        self.since = now;
        self.closed |= now.saturating_duration_since(self.lent_at) >= LOAN;
        now
    }

    /// Each of the last ones took so long.
    fn learn(&mut self, took: Duration) {
        // One that took long is no reason to let none in for long.
        self.each = (self.each * 7 + took.min(4 * WAIT)) / 8;
        let fit = WAIT.as_nanos() / self.each.as_nanos().max(1);
        self.reads_max = usize::try_from(fit).unwrap_or(READS_MAX).clamp(1, READS_MAX);
    }

    /// Sees to it that nobody waits for long behind others. `now`: the time, if something has come.
    fn look_at_clock(&mut self, cx: &mut Context<'_>, now: Option<Instant>) {
        if self.reads.is_empty() {
            return;
        }
        if let Some(at) = self.alarm_at {
            let now = now.unwrap_or_else(Instant::now);
            if now < at {
                return;
            }
            if now.saturating_duration_since(self.since) >= PATIENCE {
                self.leave_behind_first();
                // Nobody waits for it: it is stopped, as when a client leaves.
                let patience = if self.drops.is_some() { DROP_PATIENCE } else { PATIENCE };
                let late = now.saturating_duration_since(self.since) >= patience;
                if late && self.reads.front().is_some_and(Read::is_over) {
                    self.give_up(&Lost::Forsaken);
                }
            }
        }
        // It is not heard of by a task that has used up its turn, which comes again at once.
        if self.reads.is_empty() || !tokio::task::coop::has_budget_remaining() {
            self.alarm_at = None;
            return;
        }
        let at = Instant::now() + PATIENCE;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        alarm.as_mut().reset(at.into());
        let _ = alarm.as_mut().poll(cx);
        self.alarm_at = Some(at);
    }

    /// The first one takes long.
    fn leave_behind_first(&mut self) {
        self.closed = true;
        for read in self.reads.iter_mut().skip(1) {
            let steps = read.steps;
            std::mem::replace(read, Read { ticket: None, number: ReadNumber::default(), steps }).again(false);
        }
    }

    /// Closes the server; its reads are run again. One that still works is told to stop: see `pool::lend`.
    fn give_up(&mut self, lost: &Lost) {
        if let (Some(server), Lost::Closed(error)) = (&mut self.server, lost) {
            tracing::warn!(host = server.target.address.host, port = server.target.address.port, %error, "server lost");
            metrics::counter!("pgbraid_servers_lost_total").increment(1);
            server.mark_broken();
        }
        (self.server, self.closed, self.drops) = (None, false, None);
        for (at, read) in std::mem::take(&mut self.reads).into_iter().enumerate() {
            read.again(at == 0 && matches!(lost, Lost::Unfit));
        }
    }
}

/// Drops what there is of an answer; whether that is all of it. `rest_bytes`: what is still to come of a frame.
fn drop_answer(inbound: &mut BytesMut, rest_bytes: &mut usize) -> Result<bool, Lost> {
    loop {
        let dropped = inbound.len().min(*rest_bytes);
        consume(inbound, dropped);
        *rest_bytes -= dropped;
        if *rest_bytes > 0 {
            return Ok(false);
        }
        let Some(header) = Header::read(inbound).map_err(|_| Lost::Unfit)? else { return Ok(false) };
        // What the server says of itself is not dropped.
        if header.tag == b'S' {
            return Err(Lost::Unfit);
        }
        if header.tag == b'Z' {
            let whole = inbound.len() >= header.frame_bytes;
            if whole {
                consume(inbound, header.frame_bytes);
            }
            return Ok(whole);
        }
        *rest_bytes = header.frame_bytes;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Rows, the end, and the next answer.
    const ANSWER: &[u8] = b"2\0\0\0\x04D\0\0\0\x10Z\0\0\0\x05IZ\0\0\0\x05IC\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I2\0\0\0\x04";

    #[test]
    fn an_answer_is_dropped_up_to_its_end_however_it_comes() {
        for piece in 1..ANSWER.len() {
            let (mut inbound, mut rest_bytes, mut left) = (BytesMut::new(), 0, BytesMut::new());
            let mut whole = false;
            for bytes in ANSWER.chunks(piece) {
                if whole {
                    left.extend_from_slice(bytes);
                    continue;
                }
                inbound.extend_from_slice(bytes);
                whole = drop_answer(&mut inbound, &mut rest_bytes).unwrap();
            }
            inbound.unsplit(left);
            assert!(whole && *inbound == b"2\0\0\0\x04"[..], "in pieces of {piece}: {inbound:?}");
        }
    }

    #[test]
    fn what_a_server_says_of_itself_is_not_dropped() {
        let mut inbound = BytesMut::from(&b"D\0\0\0\x04S\0\0\0\x08a\0b\0"[..]);
        assert!(drop_answer(&mut inbound, &mut 0).is_err());
        let mut garbage = BytesMut::from(&b"D\0\0\0\x01"[..]);
        assert!(drop_answer(&mut garbage, &mut 0).is_err());
    }

    #[test]
    fn a_line_is_as_long_as_its_server_answers_soon() {
        let mut state = State::default();
        let rooms = |state: &State| [Room::Usual, Room::Quick, Room::Any].map(|room| room.of(state));
        assert_eq!(rooms(&state), [0..8, 8..8, 8..80]);
        (0..100).for_each(|_| state.learn(Duration::from_millis(50)));
        assert_eq!(rooms(&state), [0..1, 1..1, 1..10]);
        (0..100).for_each(|_| state.learn(Duration::from_micros(1)));
        assert_eq!(rooms(&state), [0..8, 8..128, 128..128]);
    }
}
