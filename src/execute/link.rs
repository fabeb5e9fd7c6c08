//! A client and the servers lent to it, and the one place where the data path waits: [`Link::turn`].

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use shardmap::ShardId;
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::{ClientIo, READ_BYTES};
use super::fault::{LinkFault, ServerFault};
use crate::catalog::CatalogHandle;
use crate::pool::lend::Lent;
use crate::pool::server::Server;
use crate::wire::frame::consume;

/// Above this much unsent, the servers are not read: a slow client stops its shards, not the gateway's memory.
pub const CLIENT_BACKLOG_BYTES: usize = 64 * 1024;

/// Above this much unread of one server, it is not read.
pub const SERVER_WINDOW_BYTES: usize = 512 * 1024;

/// Above this much unread of a client during a statement, it is not read; pipelined messages wait in its socket.
pub const CLIENT_READ_AHEAD_BYTES: usize = 64 * 1024;

/// A server that takes part in the client's transaction (or statement).
#[derive(Debug)]
pub struct Enlisted {
    /// Whose server it is.
    pub shard: ShardId,
    /// On loan until the transaction ends.
    pub server: Lent,
    /// The transaction's BEGIN has been sent to it.
    pub begun: bool,
    /// Extended-protocol messages were sent to it since its last Sync.
    pub needs_sync: bool,
    /// It is a replica's, fit for reads only.
    pub replica: bool,
    /// It has been asked what statements mean, and nothing else: it has nothing of the transaction.
    pub only_asked: bool,
    /// Numbers that it remembers to have drawn were drawn for this session.
    pub own_numbers: bool,
}

/// A client and its servers.
pub struct Link {
    /// The client.
    pub client: ClientIo,
    /// Its servers, in the order in which they enlisted.
    pub servers: Vec<Enlisted>,
    /// Where the shards' numbers of types are read.
    pub catalog: Option<Arc<CatalogHandle>>,
}

impl Link {
    /// The server of a shard, if enlisted.
    pub fn position(&self, shard: ShardId) -> Option<usize> {
        self.servers.iter().position(|enlisted| enlisted.shard == shard)
    }

    /// All that servers owe has come.
    pub fn is_drained(&self) -> bool {
        self.servers.iter().all(|enlisted| enlisted.server.expects.is_empty())
    }

    /// Moves what can be moved, in all directions, and returns when something did. Servers that owe nothing are left alone.
    ///
    /// # Errors
    /// A socket failed or was closed. A client that closes its end is reported as an error too: what it waited for is
    /// stopped, as PgBouncer does.
    ///
    /// # Cancel safety
    /// Cancel safe: bytes are in a buffer or in a socket.
    pub async fn turn(&mut self) -> Result<(), LinkFault> {
        if self.renumber().await? {
            return Ok(());
        }
        poll_fn(|cx| self.poll_turn(cx, true)).await
    }

    /// The same for who has sent all it will send: that a server has taken what was written to it is nothing to return for.
    ///
    /// # Errors
    /// As [`Link::turn`].
    ///
    /// # Cancel safety
    /// As [`Link::turn`].
    pub async fn listen(&mut self) -> Result<(), LinkFault> {
        if self.renumber().await? {
            return Ok(());
        }
        poll_fn(|cx| self.poll_listen(cx)).await
    }

    /// The same for who looks after numbers of types by himself.
    pub fn poll_listen(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkFault>> {
        self.poll_turn(cx, false)
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, sends: bool) -> Poll<Result<(), LinkFault>> {
        let backlog = self.client.outbound.len() > CLIENT_BACKLOG_BYTES;
        let mut progress = backlog && poll_client_write(&mut self.client, cx)?;
        let may_read = self.client.outbound.len() <= CLIENT_BACKLOG_BYTES;
        for enlisted in &mut self.servers {
            let server = &mut *enlisted.server;
            let shard = enlisted.shard;
            if server.is_broken() {
                if server.expects.is_empty() {
                    continue;
                }
                // It was spoken to after it was lost: nobody will answer.
                return Poll::Ready(Err(lost(server, shard, ServerFault::Closed)));
            }
            if server.expects.lingers {
                server.expects.lingers = false;
                server.send_flush();
            }
            let wrote = poll_write(Pin::new(&mut server.stream), cx, &mut server.outbound, &mut server.unflushed);
            let wrote = match wrote {
                Ok(wrote) => wrote,
                Err(error) => return Poll::Ready(Err(lost(server, shard, error.into()))),
            };
            progress |= wrote && sends;
            let owes = !server.expects.is_empty();
            // A server that has just been asked has hardly answered yet.
            let silent = wrote && matches!(server.stream.poll_readable(cx), Poll::Pending);
            if owes && !silent && may_read && server.inbound.len() < SERVER_WINDOW_BYTES.max(server.frame_bytes_wanted)
            {
                match poll_read(Pin::new(&mut server.stream), cx, &mut server.inbound) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(lost(server, shard, ServerFault::Closed))),
                    Poll::Ready(Ok(_)) => progress = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(server, shard, error.into()))),
                    Poll::Pending => {}
                }
            }
        }
        if progress {
            return Poll::Ready(Ok(()));
        }
        // The servers are silent: now is the time to pass on what came, and to listen to the client.
        if (self.client.hurries() || self.client.unflushed) && poll_client_write(&mut self.client, cx)? {
            return Poll::Ready(Ok(()));
        }
        self.poll_client_read(cx)
    }

    /// Reads what the client has sent beyond what it waits for.
    ///
    /// # Errors
    /// As [`Link::turn`].
    pub fn poll_client_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkFault>> {
        let client = &mut self.client;
        if client.gone || client.inbound.len() >= CLIENT_READ_AHEAD_BYTES.max(client.frame_bytes_wanted) {
            return Poll::Pending;
        }
        match ready!(client.poll_read(cx))? {
            0 => Poll::Ready(Err(LinkFault::Client(io::ErrorKind::UnexpectedEof.into()))),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// A server that is not to be used again, and whose loss the caller learns of.
fn lost(server: &mut Server, shard: ShardId, cause: ServerFault) -> LinkFault {
    let torn = server.partial.is_some_and(|partial| partial.forward);
    server.mark_broken();
    match torn {
        true => LinkFault::Torn(shard),
        false => LinkFault::Server { shard, cause },
    }
}

fn poll_client_write(client: &mut ClientIo, cx: &mut Context<'_>) -> Result<bool, LinkFault> {
    client.unhurried_bytes = 0;
    if client.gone {
        client.outbound.clear();
        return Ok(false);
    }
    let before = client.outbound.len();
    let wrote = poll_write(Pin::new(&mut client.stream), cx, &mut client.outbound, &mut client.unflushed);
    client.sent_bytes += before - client.outbound.len();
    Ok(wrote?)
}

/// Writes what the socket takes; whether it took something. `unflushed`: TLS holds bytes that the socket did not take yet.
pub(super) fn poll_write<W: AsyncWrite>(
    mut to: Pin<&mut W>,
    cx: &mut Context<'_>,
    from: &mut BytesMut,
    unflushed: &mut bool,
) -> io::Result<bool> {
    let mut wrote = false;
    while !from.is_empty() {
        match to.as_mut().poll_write(cx, from)? {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(count) => {
                consume(from, count);
                wrote = true;
            }
            Poll::Pending => break,
        }
    }
    if wrote || *unflushed {
        *unflushed = to.poll_flush(cx)?.is_pending();
    }
    Ok(wrote)
}

/// Reads what there is, up to [`READ_BYTES`].
pub(super) fn poll_read<R: AsyncRead>(
    from: Pin<&mut R>,
    cx: &mut Context<'_>,
    into: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    into.reserve(READ_BYTES);
    tokio_util::io::poll_read_buf(from, cx, into)
}
