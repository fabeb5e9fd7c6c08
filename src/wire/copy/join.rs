//! COPY TO from several shards: their streams -> one, with one header and one trailer.

use thiserror::Error;

use super::binary::{HEADER_BYTES, SIGNATURE, TRAILER};

/// What a shard's stream has around its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinFormat {
    /// Text or CSV without header.
    Rows,
    /// Text or CSV; the first message is a header line.
    Header,
    /// Binary; the first message begins with a header and the last is the trailer.
    Binary,
}

/// Joins the streams, whose messages may come in any order among each other.
///
/// Relies on the protocol's promise that the backend sends one CopyData message per row. *Source*: manual of PostgreSQL 15,
/// "COPY Operations".
#[derive(Debug)]
pub struct Join {
    format: JoinFormat,
    /// By stream: its first message has come.
    begun: Vec<bool>,
    header_sent: bool,
}

/// A binary stream that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a shard sent COPY data without a binary header")]
pub struct JoinError;

impl Join {
    /// For so many streams.
    pub fn new(format: JoinFormat, streams: usize) -> Join {
        Join { format, begun: vec![false; streams], header_sent: false }
    }

    /// What to send on of a CopyData message's payload; nothing if empty.
    ///
    /// # Errors
    ///
    /// The first binary message does not begin with a header.
    pub fn message<'m>(&mut self, stream: usize, payload: &'m [u8]) -> Result<&'m [u8], JoinError> {
        let first = self.begun.get_mut(stream).is_some_and(|begun| !std::mem::replace(begun, true));
        match self.format {
            JoinFormat::Rows => Ok(payload),
            JoinFormat::Header if first && std::mem::replace(&mut self.header_sent, true) => Ok(&[]),
            JoinFormat::Header => Ok(payload),
            JoinFormat::Binary => self.binary(first, payload),
        }
    }

    fn binary<'m>(&mut self, first: bool, payload: &'m [u8]) -> Result<&'m [u8], JoinError> {
        let header_bytes = if first { header_bytes(payload).ok_or(JoinError)? } else { 0 };
        let row = payload.get(header_bytes..).unwrap_or_default();
        if row == TRAILER.to_be_bytes() {
            return Ok(&[]);
        }
        // The header comes with the first row, as PostgreSQL sends it, whichever stream that is of.
        Ok(if std::mem::replace(&mut self.header_sent, true) { row } else { payload })
    }

    /// What to send once all streams have ended; nothing if empty.
    pub fn trailer(&self) -> &'static [u8] {
        match self.format {
            JoinFormat::Rows | JoinFormat::Header => &[],
            JoinFormat::Binary if self.header_sent => &[0xff, 0xff],
            JoinFormat::Binary => b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xff",
        }
    }
}

/// The length of the header that `payload` begins with.
fn header_bytes(payload: &[u8]) -> Option<usize> {
    let length = payload.strip_prefix(SIGNATURE)?.get(4..)?.first_chunk()?;
    let bytes = HEADER_BYTES.checked_add(usize::try_from(i32::from_be_bytes(*length)).ok()?)?;
    (bytes <= payload.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    const ROW: &[u8] = b"\0\x01\xff\xff\xff\xff";
    const END: &[u8] = b"\xff\xff";

    fn joined(format: JoinFormat, messages: &[(usize, &[u8])]) -> Vec<u8> {
        let mut join = Join::new(format, 3);
        let mut out: Vec<u8> =
            messages.iter().flat_map(|(stream, payload)| join.message(*stream, payload).unwrap()).copied().collect();
        out.extend_from_slice(join.trailer());
        out
    }

    #[test]
    fn one_header_line_is_kept_whichever_shard_is_first() {
        let messages: [(usize, &[u8]); 6] =
            [(1, b"k\n"), (1, b"1\n"), (0, b"k\n"), (2, b"k\n"), (0, b"k\n"), (1, b"3\n")];
        assert_eq!(joined(JoinFormat::Header, &messages), b"k\n1\nk\n3\n");
        assert_eq!(joined(JoinFormat::Rows, &messages[..2]), b"k\n1\n");
    }

    #[test]
    fn binary_streams_keep_one_header_and_one_trailer() {
        let (first, empty) = ([HEADER, ROW].concat(), [HEADER, END].concat());
        let messages: [(usize, &[u8]); 6] = [(0, &empty), (1, &first), (2, &first), (1, ROW), (1, END), (2, END)];
        assert_eq!(joined(JoinFormat::Binary, &messages), [HEADER, ROW, ROW, ROW, END].concat());
        assert_eq!(joined(JoinFormat::Binary, &[(0, &empty), (1, &empty)]), [HEADER, END].concat());
    }

    #[test]
    fn the_binary_header_comes_with_the_first_row() {
        let (first, empty) = ([HEADER, ROW].concat(), [HEADER, END].concat());
        let mut join = Join::new(JoinFormat::Binary, 3);
        for (stream, payload, sent) in [(0, &empty[..], &b""[..]), (1, &first, &first), (2, &first, ROW), (1, END, b"")]
        {
            assert_eq!(join.message(stream, payload).unwrap(), sent);
        }
        assert_eq!(join.trailer(), END);
    }

    #[test]
    fn a_binary_stream_without_header_is_an_error() {
        for payload in [&b""[..], b"PGCOPY", ROW, &HEADER[..18], b"PGCOPY\n\xff\r\n\0\0\0\0\0\xff\xff\xff\xff"] {
            assert_eq!(Join::new(JoinFormat::Binary, 1).message(0, payload), Err(JoinError));
        }
    }
}
