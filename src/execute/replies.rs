//! What several servers answer to statements of the gateway's own, each for itself, whatever becomes of the others: the rounds of
//! a commit over several shards.

use bytes::BytesMut;

use super::fault::{LinkFault, ServerFault};
use super::link::Link;
use super::plain::Plain;
use super::relay::{Frame, Handling, Joiner, RelayEnd};
use crate::pool::expect::Step;
use crate::wire::fields;

/// The answers of a link's servers, by their places in it.
#[derive(Debug, Default)]
pub struct Replies {
    /// What the session is to note.
    pub plain: Plain,
    servers: Vec<Reply>,
}

/// A server's answer.
#[derive(Debug, Default)]
pub struct Reply {
    /// Tags of its CommandCompletes.
    pub tags: Vec<Vec<u8>>,
    /// Its last row, of text values.
    pub row: Vec<Option<String>>,
    /// Its first error, as an ErrorResponse body.
    pub error: Option<Vec<u8>>,
    /// It was lost: what it was asked for may have happened or not.
    pub lost: Option<ServerFault>,
}

impl Replies {
    /// For as many servers. `notices`: the client sees their notices.
    pub fn new(servers: usize, notices: bool) -> Self {
        let plain = Plain { show_side_effects: notices, ..Plain::default() };
        Replies { plain, servers: (0..servers).map(|_| Reply::default()).collect() }
    }

    /// A server's answer.
    pub fn of(&mut self, server: usize) -> Option<&mut Reply> {
        self.servers.get_mut(server)
    }

    /// Whether a server is known to have done what ends with this tag.
    pub fn has_done(&self, server: usize, tag: &[u8]) -> bool {
        self.servers.get(server).is_some_and(|reply| reply.lost.is_none() && reply.tags.iter().any(|done| done == tag))
    }

    /// The first value of a server's last row.
    pub fn value(&self, server: usize) -> Option<&str> {
        self.servers.get(server)?.row.first()?.as_deref()
    }
}

impl Joiner for Replies {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        if let Some(reply) = self.servers.get_mut(frame.server) {
            match frame.tag {
                b'E' => {
                    reply.error.get_or_insert_with(|| frame.body.to_vec());
                }
                b'C' => reply.tags.push(fields::tag(frame.body).to_vec()),
                b'D' => reply.row = fields::text_row(frame.body),
                _ => {}
            }
        }
        self.plain.frame(frame, client)
    }
}

impl Link {
    /// Relays until every server has answered or is lost. A client that leaves meanwhile is not waited for and stops nothing.
    ///
    /// # Cancel safety
    /// As [`Link::relay`].
    pub async fn collect(&mut self, replies: &mut Replies) {
        loop {
            match self.relay(replies).await {
                Ok(RelayEnd::Drained) => return,
                Ok(RelayEnd::CopyIn(server)) => {
                    if let Some(enlisted) = self.servers.get_mut(server) {
                        enlisted.server.mark_broken();
                    }
                    note_lost(self, replies, ServerFault::Protocol("COPY that nobody asked for".to_owned()));
                }
                Err(LinkFault::Server { cause, .. }) => note_lost(self, replies, cause),
                Err(LinkFault::Torn(_)) => note_lost(self, replies, ServerFault::Closed),
                Err(LinkFault::Client(_)) => self.client.gone = true,
            }
        }
    }
}

/// The server that is broken and has not been noted is the one that was lost just now.
fn note_lost(link: &Link, replies: &mut Replies, cause: ServerFault) {
    let mut lost = link.servers.iter().zip(&mut replies.servers).filter(|(enlisted, _)| enlisted.server.is_broken());
    if let Some((_, reply)) = lost.find(|(_, reply)| reply.lost.is_none()) {
        reply.lost = Some(cause);
    }
}
