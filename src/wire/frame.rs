//! Cuts a byte stream into frames by their five-byte header. Knows nothing of what is in them.

/// Tag, and length of the whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// First byte: the message type.
    pub tag: u8,
    /// Bytes of the frame: tag, length field and body. At least [`HEADER_BYTES`].
    pub frame_bytes: usize,
}

/// One byte of tag and four of length.
pub const HEADER_BYTES: usize = 5;

/// No longer frame can be sent to or by a PostgreSQL. *Source*: libpq/libpq.h, PQ_LARGE_MESSAGE_LIMIT is MaxAllocSize - 1 (to
/// which the tag is added); what a server sends is made in a StringInfo, lib/stringinfo.c, which has the same limit.
pub const LARGEST_MESSAGE_BYTES: usize = 0x3fff_ffff;

/// A frame's length field is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid message length {length} of message type 0x{tag:02x}")]
pub struct BadLength {
    /// The frame's tag.
    pub tag: u8,
    /// The length field as sent.
    pub length: i32,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when fewer than [`HEADER_BYTES`] are there.
    ///
    /// # Errors
    /// A length below 4, which counts itself.
    pub fn read(bytes: &[u8]) -> Result<Option<Header>, BadLength> {
        let Some((&[tag, a, b, c, d], _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes([a, b, c, d]);
        match usize::try_from(length) {
            Ok(body) if body >= 4 => Ok(Some(Header { tag, frame_bytes: body + 1 })),
            _ => Err(BadLength { tag, length }),
        }
    }
}

/// How many bytes at the start are whole frames of this tag.
pub fn whole_frames(bytes: &[u8], tag: u8) -> usize {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..)
        && let Ok(Some(header)) = Header::read(rest)
        && header.tag == tag
        && header.frame_bytes <= rest.len()
    {
        at += header.frame_bytes;
    }
    at
}

/// Takes bytes away from the start. A buffer that becomes empty begins at its start again, which `advance` would have to win back
/// before the next read.
pub fn consume(buffer: &mut bytes::BytesMut, count: usize) {
    if count == buffer.len() {
        buffer.clear();
    } else {
        bytes::Buf::advance(buffer, count);
    }
}

/// Appends a frame whose body is written by `body`; the length is patched afterwards.
pub fn write(out: &mut bytes::BytesMut, tag: u8, body: impl FnOnce(&mut bytes::BytesMut)) {
    use bytes::BufMut;
    out.put_u8(tag);
    let at = out.len();
    out.put_u32(0);
    body(out);
    let length = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whole_frames_end_with_another_tag_half_a_frame_or_a_wrong_length() {
        let row = b"D\0\0\0\x05x";
        for end in [&b""[..], b"D\0\0", b"D\0\0\0\x06x", b"C\0\0\0\x04", b"D\0\0\0\x03", b"D\xff\xff\xff\xffx"] {
            assert_eq!(whole_frames(&[&row[..], row, end].concat(), b'D'), 12, "{end:?}");
            assert_eq!(whole_frames(end, b'D'), 0, "{end:?}");
        }
    }

    #[test]
    fn an_incomplete_header_is_not_an_error() {
        assert_eq!(Header::read(b"Z\0\0\0"), Ok(None));
    }

    #[test]
    fn the_frame_counts_its_tag() {
        assert_eq!(Header::read(b"Z\0\0\0\x05I"), Ok(Some(Header { tag: b'Z', frame_bytes: 6 })));
    }

    #[test]
    fn lengths_that_do_not_count_themselves_are_refused() {
        assert!(Header::read(b"Q\0\0\0\x03").is_err());
        assert!(Header::read(b"Q\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn written_frames_are_read_back() {
        let mut out = bytes::BytesMut::new();
        write(&mut out, b'Q', |body| body.extend_from_slice(b"abc\0"));
        assert_eq!(Header::read(&out).unwrap().unwrap(), Header { tag: b'Q', frame_bytes: out.len() });
    }
}
