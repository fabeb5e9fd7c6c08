//! The client's end: its socket and the bytes read and not yet handled, made and not yet sent.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncWrite as _;

use super::spare;
use super::stopped::Stopped;
use crate::net::ClientStream;
use crate::wire::frame::consume;

/// A client's socket with its two buffers.
#[derive(Debug)]
pub struct ClientIo {
    /// The socket.
    pub stream: ClientStream,
    /// Read, not yet handled.
    pub inbound: BytesMut,
    /// To be written.
    pub outbound: BytesMut,
    /// At its start, answers of the gateway's own that may wait for what comes behind them; see [`ClientIo::answer`].
    pub unhurried_bytes: usize,
    /// TLS holds bytes that the socket has not taken.
    pub unflushed: bool,
    /// Length of a frame that must be held whole; it may exceed what is read ahead.
    pub frame_bytes_wanted: usize,
    /// Why servers have been cancelled, if not because the client asked: errors say so.
    pub stopped: Arc<Stopped>,
    /// The client has closed its end, or its socket has failed: it is neither read nor written any more. Only a commit that is
    /// under way goes on then.
    pub gone: bool,
    /// What the next read asks for.
    read_bytes: usize,
    /// All that it has sent has been read, or it has just been answered: it has probably sent nothing since.
    silent: bool,
    /// Read since somebody last took note.
    pub received_bytes: usize,
    /// Written since somebody last took note.
    pub sent_bytes: usize,
}

/// One read asks for this much. 16 KiB holds most statements and most answers whole.
pub const READ_BYTES: usize = 16 * 1024;

/// A client is asked for this much until it has sent as much at once: its buffer is a spare one, and most messages are short.
const SHORT_READ_BYTES: usize = spare::SPARE_BYTES;

impl ClientIo {
    /// `read_ahead`: what came behind the start-up packet.
    pub fn new(stream: ClientStream, read_ahead: BytesMut) -> Self {
        ClientIo {
            stream,
            inbound: read_ahead,
            outbound: BytesMut::new(),
            unhurried_bytes: 0,
            unflushed: false,
            frame_bytes_wanted: 0,
            stopped: Arc::default(),
            gone: false,
            read_bytes: SHORT_READ_BYTES,
            silent: false,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// Adds answers of the gateway's own. They need not be written before something that comes behind them is, or the client is
    /// waited for. *Source*: postgres.c, pqcomm.c: a server, too, holds ParseComplete and the like back until Sync or Flush.
    pub fn answer(&mut self, frames: &[u8]) {
        if !self.hurries() {
            self.unhurried_bytes += frames.len();
        }
        self.make_room(frames.len());
        self.outbound.extend_from_slice(frames);
    }

    /// Before so many bytes are added: a buffer made anew has room for most answers, and need not grow with each piece.
    pub(super) fn make_room(&mut self, bytes: usize) {
        if self.outbound.capacity() == 0 {
            self.outbound = spare::take();
        }
        self.outbound.reserve(bytes);
    }

    /// Adds an answer that is there whole.
    pub fn take_answer(&mut self, mut answer: BytesMut) {
        if self.outbound.is_empty() {
            std::mem::swap(&mut self.outbound, &mut answer);
        } else {
            self.outbound.extend_from_slice(&answer);
        }
        spare::give(answer);
    }

    /// There is something to be written that is not to wait.
    pub fn hurries(&self) -> bool {
        self.outbound.len() > self.unhurried_bytes
    }

    /// Reads more from the client; 0 when it has closed its end.
    ///
    /// While there is nothing to read and nothing to be sent, the client has no buffers: most clients are idle most of the time.
    ///
    /// # Cancel safety
    /// Cancel safe: either bytes are in `inbound` or nothing was read.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// See [`ClientIo::fill`].
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = self.poll_read(cx);
        if read.is_pending() && self.inbound.is_empty() && self.outbound.is_empty() {
            spare::give(std::mem::take(&mut self.inbound));
            spare::give(std::mem::take(&mut self.outbound));
        }
        read
    }

    /// Reads more, as [`ClientIo::fill`] does. Takes memory only when there is something to read.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.silent) {
            ready!(self.stream.poll_readable(cx))?;
        }
        let had = self.inbound.len();
        let mut room = self.inbound.capacity() - had;
        if self.inbound.capacity() == 0 {
            self.inbound = spare::take();
            room = self.inbound.capacity();
        }
        if room < self.read_bytes {
            ready!(self.stream.poll_readable(cx))?;
            self.inbound.reserve(self.read_bytes);
            room = self.inbound.capacity() - had;
        }
        ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.inbound))?;
        let count = self.inbound.len() - had;
        self.read_bytes = if count == room { READ_BYTES } else { SHORT_READ_BYTES };
        self.silent = count < room;
        self.gone |= count == 0;
        self.received_bytes += count;
        Poll::Ready(Ok(count))
    }

    /// Writes all that is to be written.
    ///
    /// # Cancel safety
    /// Cancel safe: what was written has left `outbound`.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// See [`ClientIo::flush`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unhurried_bytes = 0;
        // One buffer, so `send` and not `writev`, which costs the kernel more.
        while !self.outbound.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outbound))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            consume(&mut self.outbound, count);
            self.sent_bytes += count;
            (self.unflushed, self.silent) = (true, true);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn answers_wait_for_what_comes_behind_them_or_a_flush() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut client = ClientIo::new(ClientStream::Tcp(listener.accept().await.unwrap().0), BytesMut::new());
        client.answer(b"1");
        client.answer(b"2");
        assert!(!client.hurries());
        client.outbound.extend_from_slice(b"E");
        assert!(client.hurries());
        client.answer(b"3");
        assert!(client.hurries());
        client.flush().await.unwrap();
        peer.readable().await.unwrap();
        let mut got = [0; 8];
        assert_eq!(peer.try_read(&mut got).unwrap(), 4);
        assert_eq!(&got[..4], b"12E3");
        client.answer(b"4");
        assert!(!client.hurries());
    }
}
