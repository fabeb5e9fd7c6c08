//! The fast path: what one server answers that is idle, or has begun the client's block, is carried out in one function that is polled,
//! without a future for each step of it, or memory for these.
//!
//! It decides, sends, and passes on an answer with nothing out of the ordinary. Wherever something would have to be waited for but
//! bytes (a server, a cancel request), and whenever anything else comes, it leaves the rest to those who handle
//! messages ([`Left`]): they go on from where it stands.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use super::extended::volley::VolleyPlan;
use super::failure::Failure;
use super::life::{Session, follow};
use super::next_message::is_small;
use super::plans::lookup::Found;
use super::plans::shapes::Placed;
use crate::plan::{Access, Destination, Plan, Planned, TransactionVerb};
use crate::pool::expect::Audience;
use crate::wire::frame::{HEADER_BYTES, Header, consume};
use crate::wire::frontend;

/// What the fast path leaves to be done.
pub(super) enum Left {
    /// Nothing: the client has left.
    Nothing,
    /// To handle what is at the start of the client's bytes, which is no volley.
    Message,
    /// To carry out a volley of which nothing has been done yet.
    Volley(VolleyPlan),
    /// To run the Query at the start of the client's bytes, of which this is known.
    Query(Result<Found, Failure>),
    /// To hear, or what was heard of, what was sent.
    Heard(Sent, Result<(), Failure>),
}

impl Left {
    /// A volley that has been taken from the client's bytes has failed.
    pub(super) fn volley_failed(failure: Failure) -> Left {
        Left::Heard(Sent { at: 0, asked: Asked::Volley }, Err(failure))
    }
}

/// What has been sent to a server.
#[derive(Debug)]
pub(super) struct Sent {
    /// The server's place in the link.
    at: usize,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Volley,
    /// The Query that is still at the start of the client's bytes, by its text.
    Query,
    /// The same by a prepared text.
    OneRow(Arc<Placed>),
}

impl Session {
    /// Serves the client for as long as nothing out of the ordinary comes.
    ///
    /// # Errors
    /// The session ends.
    ///
    /// # Cancel safety
    /// Cancel safe as far as any statement is: the link's servers are closed when it is dropped.
    pub(super) fn poll_fast(&mut self, cx: &mut Context<'_>) -> Poll<Result<Left, Failure>> {
        loop {
            if self.sharing.is_under_way()
                && let Some(left) = ready!(self.poll_shared(cx))?
            {
                return Poll::Ready(Ok(left));
            }
            if self.sent.is_some()
                && let Some(left) = ready!(self.poll_sent(cx))
            {
                return Poll::Ready(Ok(left));
            }
            ready!(self.link.client.poll_flush(cx))?;
            if self.link.client.inbound.is_empty() {
                self.note_bytes();
                if ready!(self.poll_more(cx))? == 0 {
                    return Poll::Ready(Ok(Left::Nothing));
                }
            } else if let Some(left) = self.start() {
                return Poll::Ready(Ok(left));
            }
        }
    }

    /// Begins with what is at the start of the client's bytes; `None` if it has been sent, or answered.
    fn start(&mut self) -> Option<Left> {
        match self.link.client.inbound.first() {
            _ if self.discard_bytes > 0 => Some(Left::Message),
            Some(b'P' | b'B') => {
                let Some(planned) = self.plan_volley() else { return Some(Left::Message) };
                self.note_message(b'B');
                let planned = match self.begin_now(planned) {
                    Ok(()) => return None,
                    Err(planned) => planned,
                };
                let planned = match self.share_volley(planned) {
                    Ok(()) => return None,
                    Err(planned) => planned,
                };
                match self.volley_now(planned) {
                    Ok(at) => {
                        self.sent = Some(Sent { at, asked: Asked::Volley });
                        None
                    }
                    Err(planned) => Some(planned.map_or(Left::Message, Left::Volley)),
                }
            }
            Some(b'Q') if self.is_between_pipelines() && !self.reported.has_news() => {
                let inbound = std::mem::take(&mut self.link.client.inbound);
                let left = self.start_query(&inbound);
                self.link.client.inbound = inbound;
                if left.is_none() && self.sent.is_none() && !self.sharing.is_under_way() {
                    self.consume_message();
                    self.note_handled(b'Q');
                }
                left
            }
            _ => Some(Left::Message),
        }
    }

    fn start_query(&mut self, inbound: &[u8]) -> Option<Left> {
        let whole = |header: &Header| is_small(*header) && header.frame_bytes <= inbound.len();
        let header = Header::read(inbound).ok().flatten().filter(whole);
        let body = header.and_then(|header| inbound.get(HEADER_BYTES..header.frame_bytes));
        let Some(Ok(text)) = body.map(frontend::query) else { return Some(Left::Message) };
        self.note_message(b'Q');
        self.begin_query();
        let found = match self.shared(text) {
            Ok(found) if self.merges.is_empty() => found,
            found => return Some(Left::Query(found)),
        };
        let found = match found {
            Found::Unknown => self.compile_alone(text).map_or(Found::Unknown, Found::Compiled),
            found => found,
        };
        if let Found::Compiled(compiled) = &found
            && self.transaction.is_idle()
            && let Some([Planned { plan, range, .. }]) = compiled.statements.as_deref()
            && let Plan::Transaction(TransactionVerb::Begin { read_only }) = plan
        {
            self.names.portals.remove(&b""[..]);
            self.count_plan(plan);
            self.begin_explicit(compiled.text.get(range.clone()).unwrap_or_default(), *read_only == Some(true));
            self.ready();
            return None;
        }
        if let Found::OneRow(shard, placed) = &found
            && self.share_query(*shard, placed, text)
        {
            return None;
        }
        let at = match &found {
            Found::OneRow(shard, _) => self.enlist_for_now(*shard, Access::Read),
            Found::Placed(access, Destination::One(shard)) => self.enlist_for_now(*shard, *access),
            Found::Placed(access, Destination::Any) if !self.numbers_differ() => self.enlist_any_now(*access),
            Found::Placed(..) | Found::Compiled(_) | Found::Unknown => None,
        };
        let Some(at) = at else { return Some(Left::Query(Ok(found))) };
        self.names.portals.remove(&b""[..]);
        let asked = match found {
            Found::OneRow(_, placed) if self.send_one_row(at, text, &placed) => Asked::OneRow(placed),
            _ => {
                self.link.servers[at].server.send_query(text, Audience::Client);
                Asked::Query
            }
        };
        self.sent = Some(Sent { at, asked });
        self.shrink_lifted();
        None
    }

    /// Hears of what has been sent; `None` when the client has all of the answer in its buffer, and the session is what it is behind it.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Option<Left>> {
        let Some(Sent { at, .. }) = self.sent else { return Poll::Ready(None) };
        let heard = loop {
            let silent = self.link.servers.get(at).is_some_and(|enlisted| enlisted.server.inbound.is_empty());
            if !silent {
                // What is described for the first time is kept.
                let known = self.pipeline.describing.iter().all(|name| name.is_empty());
                break Ok(known && self.link.pass_ordinary(at));
            }
            if let Err(fault) = ready!(self.link.poll_listen(cx)) {
                break Err(fault.into());
            }
        };
        let Some(sent) = self.sent.take() else { return Poll::Ready(None) };
        if !matches!(heard, Ok(true)) {
            return Poll::Ready(Some(Left::Heard(sent, heard.map(drop))));
        }
        if let Some(enlisted) = self.link.servers.get(at) {
            follow(&mut self.transaction, enlisted.server.expects.status);
        }
        let tag = match &sent.asked {
            Asked::Volley => {
                self.end_pipeline();
                b'S'
            }
            Asked::Query | Asked::OneRow(_) => {
                self.pipeline.clear();
                self.keep_reported();
                b'Q'
            }
        };
        if !self.release_if_idle_now() {
            return Poll::Ready(Some(Left::Heard(sent, Ok(()))));
        }
        if tag == b'Q' {
            self.consume_message();
        }
        self.note_handled(tag);
        Poll::Ready(None)
    }

    /// The Query at the start of the client's bytes has been answered on a server that is shared.
    pub(super) fn end_shared_query(&mut self) {
        self.shrink_lifted();
        self.names.portals.remove(&b""[..]);
        self.pipeline.clear();
        self.keep_reported();
        self.consume_message();
        self.note_handled(b'Q');
    }

    fn consume_message(&mut self) {
        let inbound = &mut self.link.client.inbound;
        consume(inbound, message_bytes(inbound));
    }

    fn take_message(&mut self) -> BytesMut {
        let inbound = &mut self.link.client.inbound;
        inbound.split_to(message_bytes(inbound))
    }

    /// Goes on with what the fast path has left.
    pub(super) async fn take_over(&mut self, left: Left) -> Result<(), Failure> {
        let result = match left {
            Left::Nothing | Left::Message => return Ok(()),
            Left::Volley(planned) => return self.volley(planned).await,
            Left::Heard(Sent { asked: Asked::Volley, .. }, heard) => return self.finish_volley(heard).await,
            Left::Query(found) => {
                let message = self.take_message();
                match found {
                    Ok(found) => self.query_found(text_of(&message), found, false).await,
                    Err(failure) => Err(failure),
                }
            }
            Left::Heard(Sent { at, asked }, heard) => {
                let message = self.take_message();
                match (heard, asked) {
                    (Err(failure), _) => Err(failure),
                    (Ok(()), Asked::OneRow(placed)) => self.hear_one_row(at, text_of(&message), &placed).await,
                    (Ok(()), _) => self.hear_query(at, true).await,
                }
            }
        };
        self.conclude(result).await?;
        self.note_handled(b'Q');
        Ok(())
    }
}

/// The length of the message at the start of a client's bytes, which is there as a whole.
fn message_bytes(inbound: &[u8]) -> usize {
    Header::read(inbound).ok().flatten().map_or(0, |header| header.frame_bytes.min(inbound.len()))
}

/// The text of a Query, which has been read before.
fn text_of(message: &[u8]) -> &[u8] {
    message.get(HEADER_BYTES..).and_then(|body| frontend::query(body).ok()).unwrap_or_default()
}
