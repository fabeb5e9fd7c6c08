//! Reads of one row by its key on servers that the client shares with others: see `execute::multiplex`.
//!
//! Until such a read is answered it has changed nothing of the session: what the client sent is still at the start of its bytes, so that it can
//! be run on a server of the client's own instead, as what the fast path leaves.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use shardmap::ShardId;

use super::extended::volley::VolleyPlan;
use super::failure::Failure;
use super::fast_path::Left;
use super::gateway::Role;
use super::life::Session;
use super::one_row::send_bound;
use super::plans::lookup::Found;
use super::plans::shapes::Placed;
use crate::execute::multiplex::Multiplexer;
use crate::execute::ticket::{Outcome, Ticket};
use crate::pool::lend::ServerPool;
use crate::pool::server::Server;
use crate::sql::lift::Lifted;
use crate::wire::reply::Report;

/// After a read that was not fit to be shared, so many others get servers of the client's own: the next ones may be like it.
const ALONE: u32 = 1000;

/// A pool that the session uses, and where it shares its servers.
pub(super) struct Pooled {
    pub of: (ShardId, Role),
    pub pool: ServerPool,
    pub lines: Arc<Multiplexer>,
}

/// What a session knows of its shared reads.
#[derive(Default)]
pub(super) struct Sharing {
    /// Once there has been one.
    ticket: Option<Arc<Ticket>>,
    /// The one that is under way.
    read: Option<SharedRead>,
    /// So many are not to be shared.
    alone: u32,
}

/// A read that is under way, as the fast path has found it.
enum SharedRead {
    Volley(VolleyPlan),
    Query(ShardId, Arc<Placed>),
}

impl Sharing {
    /// A read is under way.
    pub fn is_under_way(&self) -> bool {
        self.read.is_some()
    }
}

impl Session {
    /// Sends a volley on a server that is shared, if it may be; else gives it back.
    pub(super) fn share_volley(&mut self, planned: VolleyPlan) -> Result<(), VolleyPlan> {
        let Some(shard) = planned.shareable_on() else { return Err(planned) };
        if !self.share(shard, |server, inbound, _| planned.send_shared(server, inbound)) {
            return Err(planned);
        }
        self.sharing.read = Some(SharedRead::Volley(planned));
        Ok(())
    }

    /// The same of a Query whose literals have just been lifted; whether it was sent.
    pub(super) fn share_query(&mut self, shard: ShardId, placed: &Arc<Placed>, text: &[u8]) -> bool {
        let (Some(bound), Ok(text)) = (&placed.bound, std::str::from_utf8(text)) else { return false };
        let sent = self.share(shard, |server, _, lifted| {
            let holds = server.holds_beside(bound.id);
            if holds {
                send_bound(server, bound, text, lifted);
            }
            holds
        });
        if sent {
            self.sharing.read = Some(SharedRead::Query(shard, placed.clone()));
        }
        sent
    }

    /// `send`: given the client's bytes and lifted literals.
    fn share(&mut self, shard: ShardId, send: impl Fn(&mut Server, &[u8], &Lifted) -> bool) -> bool {
        let shares = self.transaction.is_idle()
            && self.merges.is_empty()
            && self.config.load().pool.multiplex
            && !self.catalog.numbers_differ();
        if !shares {
            return false;
        }
        if let Some(alone) = self.sharing.alone.checked_sub(1) {
            self.sharing.alone = alone;
            return false;
        }
        let role = if self.may_use_replica() { self.gateway.reader_now(shard, &self.user) } else { Role::Primary };
        let Session { gateway, pools, sharing, cancel, catalog, settings, link, lifted, .. } = self;
        let Some(Pooled { lines, pool, .. }) = pools.iter().find(|pooled| pooled.of == (shard, role)) else {
            return false;
        };
        let ticket = sharing.ticket.get_or_insert_with(|| {
            let ticket = Arc::<Ticket>::default();
            cancel.share(&ticket);
            ticket
        });
        let sent = lines.send(ticket, |server| {
            server.oids.begin(catalog.version(), || catalog.oids(shard));
            !server.oids.differs() && server.agrees(settings) && send(server, &link.client.inbound, lifted)
        });
        if sent {
            gateway.end_turn(role);
            gateway.note_up(pool.address());
        }
        sent
    }

    /// Hears of the read that is under way; `None` when the client has its answer in its buffer, and the session is what it is behind it.
    ///
    /// # Errors
    /// The session ends.
    pub(super) fn poll_shared(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Left>, Failure>> {
        let mut answer = BytesMut::new();
        let outcome = match &self.sharing.ticket {
            Some(ticket) => ticket.poll(cx, &mut answer),
            None => Poll::Ready(None),
        };
        let Poll::Ready(outcome) = outcome else {
            // A client that closes its end waits for nothing any more.
            loop {
                ready!(self.link.poll_client_read(cx))?;
            }
        };
        let Some(read) = self.sharing.read.take() else { return Poll::Ready(Ok(None)) };
        if let Some(Outcome::Failed(sqlstate)) = outcome {
            self.count_error(&sqlstate);
        }
        Poll::Ready(Ok(match (outcome, read) {
            (Some(Outcome::Answered | Outcome::Failed(_)), read) => {
                self.tally.multiplexed();
                match read {
                    SharedRead::Volley(planned) => {
                        self.end_shared_volley(&planned);
                        self.link.client.take_answer(answer);
                        self.end_pipeline();
                        self.note_handled(b'S');
                    }
                    SharedRead::Query(..) => {
                        self.link.client.take_answer(answer);
                        self.end_shared_query();
                    }
                }
                None
            }
            (Some(Outcome::Cancelled), read) => {
                let failure = Report::error("57014", self.cancel.stopped.message()).into();
                Some(match read {
                    SharedRead::Volley(planned) => {
                        self.end_shared_volley(&planned);
                        Left::volley_failed(failure)
                    }
                    SharedRead::Query(..) => {
                        self.shrink_lifted();
                        Left::Query(Err(failure))
                    }
                })
            }
            (outcome, read) => {
                if matches!(outcome, Some(Outcome::Again { alone: true })) {
                    self.sharing.alone = ALONE;
                }
                Some(match read {
                    SharedRead::Volley(planned) => Left::Volley(planned),
                    SharedRead::Query(shard, placed) => Left::Query(Ok(Found::OneRow(shard, placed))),
                })
            }
        }))
    }
}
