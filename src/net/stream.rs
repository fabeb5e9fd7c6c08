//! Streams to clients and servers: TCP, TLS, Unix socket.
//!
//! TLS holds written bytes back until it is flushed: flush after the last write of a batch.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// A peer that is gone without a word is noticed after about two minutes: the first probe, then [`KEEPALIVE_PROBES`] at this distance.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Sends small messages at once and notices dead peers.
///
/// # Errors
/// The socket is already broken.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// A client's connection.
#[derive(Debug)]
pub enum ClientStream {
    /// Not encrypted.
    Tcp(TcpStream),
    /// Encrypted.
    Tls(Box<server::TlsStream<TcpStream>>),
}

/// A connection to a server.
#[derive(Debug)]
pub enum ServerStream {
    /// Not encrypted.
    Tcp(TcpStream),
    /// Unix socket.
    Unix(UnixStream),
    /// Encrypted.
    Tls(Box<client::TlsStream<TcpStream>>),
}

impl ClientStream {
    /// The socket under it, for readiness and addresses.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether there may be something to read: less work than a read that finds nothing. TLS may hold what has been read, and always may.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(_) => true,
        }
    }
}

impl ServerStream {
    /// Whether something has come that nobody asked for: bytes, or the end. Costs a system call only when the runtime has
    /// seen the socket become readable. What has come may be lost, so the connection is not to be used any more.
    pub fn has_pending_input(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Unix(stream) => stream.try_read(&mut byte),
            Self::Tls(stream) => stream.get_ref().0.try_read(&mut byte),
        };
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether there may be something to read: less work than a read that finds nothing. TLS may hold what has been read, and always may.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Has the runtime of the caller watch the socket from now on, not the one that has done so. Without TLS only: its stream
    /// cannot be taken apart and put together again.
    ///
    /// # Errors
    /// The system has no descriptor to spare; nothing has changed then.
    pub fn rewatch(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => *stream = TcpStream::from_std(SockRef::from(&*stream).try_clone()?.into())?,
            Self::Unix(stream) => *stream = UnixStream::from_std(SockRef::from(&*stream).try_clone()?.into())?,
            Self::Tls(_) => {}
        }
        Ok(())
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(_) => true,
        }
    }
}

/// Passes every call to whichever stream it is.
macro_rules! delegate {
    ($stream:ident: $($variant:ident),+) => {
        impl AsyncRead for $stream {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_read(cx, buf),)+
                }
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_write(cx, buf),)+
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),)+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $(Self::$variant(stream) => stream.is_write_vectored(),)+
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_flush(cx),)+
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_shutdown(cx),)+
                }
            }
        }
    };
}

delegate!(ClientStream: Tcp, Tls);
delegate!(ServerStream: Tcp, Unix, Tls);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_stream_outlives_the_runtime_that_watched_it() {
        let first = Builder::new_current_thread().enable_all().build().unwrap();
        let (mut peer, mut stream) = first.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            (listener.accept().await.unwrap().0.into_std().unwrap(), ServerStream::Tcp(stream))
        });
        let second = Builder::new_current_thread().enable_all().build().unwrap();
        second.block_on(async { stream.rewatch().unwrap() });
        drop(first);
        second.block_on(async {
            assert!(!stream.has_pending_input());
            peer.set_nonblocking(false).unwrap();
            stream.write_all(b"ping").await.unwrap();
            let mut got = [0; 4];
            std::io::Read::read_exact(&mut peer, &mut got).unwrap();
            std::io::Write::write_all(&mut peer, &got).unwrap();
            stream.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"ping");
        });
    }
}
