//! The client's end: its socket and the bytes read and not yet handled, made and not yet sent.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::ClientStream;

/// A client's socket with its two buffers.
#[derive(Debug)]
pub struct ClientIo {
    /// The socket.
    pub stream: ClientStream,
    /// Read, not yet handled.
    pub inbound: BytesMut,
    /// To be written.
    pub outbound: BytesMut,
    /// TLS holds bytes that the socket has not taken.
    pub unflushed: bool,
    /// Length of a frame that must be held whole; it may exceed what is read ahead.
    pub frame_bytes_wanted: usize,
    /// The client has closed its end, or its socket has failed: it is neither read nor written any more. Only a commit that is
    /// under way goes on then.
    pub gone: bool,
}

/// One read asks for this much. 16 KiB holds most statements and most answers whole.
pub const READ_BYTES: usize = 16 * 1024;

impl ClientIo {
    /// `read_ahead`: what came behind the start-up packet.
    pub fn new(stream: ClientStream, read_ahead: BytesMut) -> Self {
        ClientIo {
            stream,
            inbound: read_ahead,
            outbound: BytesMut::new(),
            unflushed: false,
            frame_bytes_wanted: 0,
            gone: false,
        }
    }

    /// Reads more from the client; 0 when it has closed its end.
    ///
    /// # Cancel safety
    /// Cancel safe: either bytes are in `inbound` or nothing was read.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.inbound.reserve(READ_BYTES);
        let count = self.stream.read_buf(&mut self.inbound).await?;
        self.gone |= count == 0;
        Ok(count)
    }

    /// Writes all that is to be written.
    ///
    /// # Cancel safety
    /// Cancel safe: what was written has left `outbound`.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.outbound.is_empty() {
            if self.stream.write_buf(&mut self.outbound).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.stream.flush().await
    }
}
