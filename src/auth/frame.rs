//! Typed messages one at a time, for logins only: small, whole, and read no further than asked.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// One message: its tag and what follows the length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// First byte.
    pub tag: u8,
    /// Without tag and length.
    pub body: Bytes,
}

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side has closed, between messages or within one.
    #[error("connection closed")]
    Closed,
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The length is below 4 or above the limit.
    #[error("message of type {} has length {length}", *tag as char)]
    Length {
        /// First byte of the message.
        tag: u8,
        /// As sent.
        length: u32,
    },
}

/// Reads the next message; what is read beyond it stays in `buffer`.
///
/// # Errors
/// See [`FrameError`].
///
/// # Cancel safety
/// Safe: what has been read is in `buffer`.
pub async fn read_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    body_bytes_max: usize,
) -> Result<Frame, FrameError> {
    loop {
        if let Some(frame) = take_frame(buffer, body_bytes_max)? {
            return Ok(frame);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(FrameError::Closed);
        }
    }
}

fn take_frame(buffer: &mut BytesMut, body_bytes_max: usize) -> Result<Option<Frame>, FrameError> {
    let Some(&[tag, a, b, c, d]) = buffer.first_chunk::<5>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    let Some(body) = body.filter(|body| *body <= body_bytes_max) else {
        return Err(FrameError::Length { tag, length });
    };
    if buffer.len() < 5 + body {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(Frame { tag, body: buffer.split_to(body).freeze() }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn messages_arrive_whole_however_they_are_cut_and_the_rest_stays() {
        let bytes = b"p\0\0\0\x07abcQ\0\0\0\x04more";
        for cut in 0..bytes.len() {
            let mut buffer = BytesMut::from(&bytes[..cut]);
            let mut stream = &bytes[cut..];
            let first = read_frame(&mut stream, &mut buffer, 100).await.unwrap();
            assert_eq!(first, Frame { tag: b'p', body: Bytes::from_static(b"abc") });
            let second = read_frame(&mut stream, &mut buffer, 100).await.unwrap();
            assert_eq!(second, Frame { tag: b'Q', body: Bytes::new() });
        }
    }

    #[tokio::test]
    async fn lengths_out_of_range_are_refused_before_the_body_is_read() {
        for length in [0_u32, 3, 15, u32::MAX] {
            let mut buffer = BytesMut::from(&b"p"[..]);
            buffer.extend_from_slice(&length.to_be_bytes());
            let error = read_frame(&mut &b""[..], &mut buffer, 10).await.unwrap_err();
            assert!(matches!(error, FrameError::Length { tag: b'p', .. }), "{length}");
        }
    }

    #[tokio::test]
    async fn an_end_within_a_message_is_closed() {
        let error = read_frame(&mut &b"p\0\0\0\x07ab"[..], &mut BytesMut::new(), 10).await.unwrap_err();
        assert!(matches!(error, FrameError::Closed));
    }
}
