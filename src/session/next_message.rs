//! The next message of a client, cut from its bytes: what is too long is refused before it is read, what a COPY has left over is skipped.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::extended::volley::VolleyPlan;
use super::failure::{Failure, protocol_violation};
use super::life::Session;
use crate::execute::fault::LinkFault;
use crate::wire::frame::{Header, LARGEST_MESSAGE_BYTES};
use crate::wire::reply::Report;

/// *Source*: libpq/libpq.h, PQ_SMALL_MESSAGE_LIMIT: 10,000 bytes, to which the tag is added.
const SMALL_MESSAGE_BYTES: usize = 10_001;

impl Session {
    /// The next whole message, or volley of them. `looked`: what is at the start of the client's bytes is known to be no volley.
    pub(super) async fn next_message(&mut self, mut looked: bool) -> Result<Next, Failure> {
        loop {
            let rest = std::mem::take(&mut self.discard_bytes);
            if rest > 0 {
                self.link.client.flush().await?;
                self.skip_frame(rest).await?;
            }
            let inbound = &mut self.link.client.inbound;
            if let Some(header) = Header::read(inbound).map_err(|_| lost_sync())? {
                if !std::mem::take(&mut looked)
                    && matches!(header.tag, b'P' | b'B')
                    && let Some(planned) = self.plan_volley()
                {
                    return Ok(Next::Volley(planned));
                }
                if !is_small(header) || (header.tag == b'B' && self.is_long_bind(header.frame_bytes)) {
                    match Box::pin(self.unusual(header)).await? {
                        Unusual::Wanted => {}
                        Unusual::Whole(message) => return Ok(Next::Message(message)),
                        Unusual::Skipped => continue,
                    }
                }
                let inbound = &mut self.link.client.inbound;
                match inbound.len().cmp(&header.frame_bytes) {
                    // The rule, and cheaper: two halves of one buffer would have to be counted.
                    std::cmp::Ordering::Equal => return Ok(Next::Message(std::mem::take(inbound))),
                    std::cmp::Ordering::Greater => {
                        return Ok(Next::Message(inbound.split_to(header.frame_bytes)));
                    }
                    std::cmp::Ordering::Less => {}
                }
                inbound.reserve(header.frame_bytes - inbound.len());
            }
            self.link.client.flush().await?;
            self.note_bytes();
            if self.link.client.inbound.is_empty() && self.link.is_drained() {
                return Ok(Next::Idle);
            }
            if poll_fn(|cx| self.poll_more(cx)).await? == 0 {
                return Ok(Next::End);
            }
        }
    }

    /// Waits for bytes of the client; between transactions also for the end of the gateway.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Failure>> {
        if let Poll::Ready(count) = self.link.client.poll_fill(cx) {
            return Poll::Ready(Ok(count?));
        }
        // Asked once, it wakes this task whenever it comes: the lock in it, which all clients share, is not taken again. A task that has
        // used up its turn is told nothing.
        if !self.drain_awaited {
            self.drain_awaited = tokio::task::coop::has_budget_remaining();
            let _ = self.drain_signal.as_mut().poll(cx);
        }
        let idle = self.transaction.block().is_none() && self.link.is_drained() && self.link.servers.is_empty();
        if idle && self.gateway.drains() {
            // Source: postgres.c, ProcessInterrupts, ProcDiePending.
            let report = Report::fatal("57P01", "terminating connection due to administrator command");
            return Poll::Ready(Err(Failure::Fatal(Box::new(report))));
        }
        Poll::Pending
    }

    /// A message that is not short, or not one of those that may come at any time.
    async fn unusual(&mut self, header: Header) -> Result<Unusual, Failure> {
        if header.tag == b'd' {
            // Left over from a COPY that failed. Source: postgres.c, "Accept but ignore these messages".
            self.skip_frame(header.frame_bytes).await?;
            return Ok(Unusual::Skipped);
        }
        if !self.check_length(header).await? {
            return Ok(Unusual::Skipped);
        }
        if header.tag == b'B' && self.is_long_bind(header.frame_bytes) {
            return Ok(self.long_bind(header.frame_bytes).await?.map_or(Unusual::Skipped, Unusual::Whole));
        }
        Ok(Unusual::Wanted)
    }

    /// Refuses messages that are too long to be held, before they are read.
    ///
    /// Whether the message is to be read.
    async fn check_length(&mut self, header: Header) -> Result<bool, Failure> {
        if header.frame_bytes > LARGEST_MESSAGE_BYTES {
            return Err(lost_sync());
        }
        let limits = &self.gateway.config.load().limits;
        let (max, name) = match header.tag {
            b'Q' | b'P' | b'F' | b'B' if self.pipeline.skipping => {
                self.skip_frame(header.frame_bytes).await?;
                return Ok(false);
            }
            b'B' => return Ok(true), // see long_bind
            b'Q' | b'P' | b'F' => (limits.statement_bytes_max, "statement_bytes_max"),
            b'f' => (limits.held_bytes_max, "held_bytes_max"),
            b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'c' => return Err(protocol_violation("invalid message length")),
            // Source: postgres.c, SocketBackend.
            other => return Err(protocol_violation(format!("invalid frontend message type {other}"))),
        };
        if header.frame_bytes <= max {
            return Ok(true);
        }
        self.skip_frame(header.frame_bytes).await?;
        let report = Report::error("54000", format!("message of {} bytes exceeds {name} ({max})", header.frame_bytes))
            .with_hint(format!("Raise {name} in [limits], or send the data with COPY."));
        match header.tag {
            b'Q' => self.conclude(Err(report.into())).await?,
            _ => self.conclude_extended(Err(report.into())).await?,
        }
        Ok(false)
    }

    pub(super) async fn skip_frame(&mut self, frame_bytes: usize) -> Result<(), Failure> {
        let mut rest = frame_bytes;
        loop {
            let inbound = &mut self.link.client.inbound;
            let count = rest.min(inbound.len());
            drop(inbound.split_to(count));
            rest -= count;
            if rest == 0 {
                return Ok(());
            }
            if self.link.client.fill().await? == 0 {
                return Err(Failure::Link(LinkFault::Client(std::io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }
}

/// What is to be handled next.
pub(super) enum Next {
    /// A message.
    Message(BytesMut),
    /// Several at the start of the client's bytes.
    Volley(VolleyPlan),
    /// Nothing has come, and the client waits for nothing.
    Idle,
    /// Nothing: the client has left.
    End,
}

/// What becomes of an unusual message.
enum Unusual {
    /// It is to be read and handled as any other.
    Wanted,
    /// It has been read.
    Whole(BytesMut),
    /// It has been handled, or is not wanted.
    Skipped,
}

/// A message that is read and handled without further ado.
pub(super) fn is_small(header: Header) -> bool {
    header.frame_bytes <= SMALL_MESSAGE_BYTES
        && matches!(header.tag, b'Q' | b'P' | b'B' | b'F' | b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'c' | b'f')
}

/// The client's bytes cannot be cut into messages any more: it is not told, as PostgreSQL does not. *Source*: pqcomm.c,
/// pq_getmessage, COMMERROR.
fn lost_sync() -> Failure {
    Failure::Link(LinkFault::Client(std::io::ErrorKind::InvalidData.into()))
}
