//! Joins the answers of several shards to one statement into one answer: the union of their rows, one RowDescription, one
//! CommandComplete with the sum, and, when any of them fails, one error and nothing after it.

use bytes::BytesMut;

use super::plain::{moved_back, renamed};
use super::relay::{Frame, Handling, Joiner};
use crate::pool::expect::{StatementId, Step};
use crate::wire::copy::{Join, JoinFormat};
use crate::wire::fields::{tag, tag_rows};
use crate::wire::frame;
use crate::wire::name::Name;
use crate::wire::reply::{self, Report};
use crate::wire::row_description::without_table_oids;

/// One statement on several shards.
#[derive(Debug)]
pub struct Scatter {
    /// The server whose RowDescription the client gets.
    leader: usize,
    join: Join,
    /// The leader has begun to answer: the others' rows may follow.
    opened: bool,
    description: Vec<u8>,
    copying: bool,
    words: Vec<u8>,
    count: Option<u64>,
    error: Option<Failure>,
    cancelled: bool,
    /// See [`aliases`](super::plain::Plain::aliases).
    aliases: Vec<(StatementId, Name)>,
    /// See [`longer_by`](super::plain::Plain::longer_by).
    longer_by: usize,
}

/// Why a scatter failed.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// A shard's ErrorResponse, body as it came.
    Shard(Vec<u8>),
    /// The shards do not agree on the columns.
    Columns,
    /// A COPY stream that is none, or whose first row is too long to be held.
    Copy,
}

impl Scatter {
    /// `leader` is an index into the link's servers, of which there are `servers`.
    pub fn new(leader: usize, servers: usize, format: JoinFormat) -> Self {
        Scatter {
            leader,
            join: Join::new(format, servers),
            opened: false,
            description: Vec::new(),
            copying: false,
            words: Vec::new(),
            count: None,
            error: None,
            cancelled: false,
            aliases: Vec::new(),
            longer_by: 0,
        }
    }

    /// Errors name statements as the client does, and count characters in its text. *See* [`aliases`](super::plain::Plain::aliases), [`longer_by`](super::plain::Plain::longer_by).
    pub fn with_names(self, aliases: Vec<(StatementId, Name)>, longer_by: usize) -> Self {
        Scatter { aliases, longer_by, ..self }
    }

    /// A shard failed, or the shards disagree.
    pub fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// Appends what ends the answer: CommandComplete with the sum, or the first error.
    pub fn finish(&self, out: &mut BytesMut) {
        match &self.error {
            Some(Failure::Shard(body)) => {
                let body = moved_back(&renamed(body, &self.aliases), self.longer_by);
                frame::write(out, b'E', |to| to.extend_from_slice(&body));
            }
            Some(Failure::Columns) => Report::error("XX000", "the shards do not agree on the columns of the result")
                .with_hint("Run \"pgbraid check\" to find where the schemas differ.")
                .write(out),
            Some(Failure::Copy) => {
                Report::error("54000", "a row is too long to be copied in binary from several shards")
                    .with_hint("Use COPY in text format.")
                    .write(out);
            }
            None => {
                if self.copying {
                    let trailer = self.join.trailer();
                    if !trailer.is_empty() {
                        frame::write(out, b'd', |to| to.extend_from_slice(trailer));
                    }
                    reply::bare(out, b'c');
                }
                let words = String::from_utf8_lossy(&self.words);
                match self.count {
                    Some(count) => reply::complete(out, &format!("{words} {count}")),
                    None => reply::complete(out, &words),
                }
            }
        }
    }

    /// Words of the tag, in place of the servers'.
    pub fn call_it(&mut self, words: &str) {
        self.words = words.as_bytes().to_vec();
    }

    fn fail(&mut self, failure: Failure) -> Handling {
        self.error.get_or_insert(failure);
        Handling::Drop
    }

    fn describe(&mut self, frame: &Frame<'_>) -> Handling {
        self.copying |= frame.tag == b'H';
        if frame.server == self.leader {
            self.description = comparable(frame.tag, frame.body);
            return Handling::Forward;
        }
        if comparable(frame.tag, frame.body) != self.description {
            return self.fail(Failure::Columns);
        }
        Handling::Drop
    }

    fn complete(&mut self, body: &[u8]) -> Handling {
        let (words, count) = tag_rows(tag(body));
        self.words = words.to_vec();
        self.count = count.map(|count| count + self.count.unwrap_or(0));
        Handling::Drop
    }

    fn copy_data(&mut self, frame: &Frame<'_>, client: &mut BytesMut) -> Handling {
        match self.join.message(frame.server, frame.body) {
            Ok(payload) if payload.len() == frame.body.len() => Handling::Forward,
            Ok([]) => Handling::Drop,
            Ok(payload) => {
                frame::write(client, b'd', |to| to.extend_from_slice(payload));
                Handling::Drop
            }
            Err(_) => self.fail(Failure::Copy),
        }
    }
}

impl Joiner for Scatter {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn passes_rows(&self) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        if frame.tag == b'E' {
            return self.fail(Failure::Shard(frame.body.to_vec()));
        }
        let of_rows = matches!(frame.verdict.step, Some(Step::Query | Step::Execute));
        if !of_rows || !frame.verdict.joined {
            return if frame.verdict.forward { Handling::Forward } else { Handling::Drop };
        }
        if self.error.is_some() {
            return Handling::Drop;
        }
        // A server says nothing before its buffer is full or all is done: none is waited for.
        if !self.opened && !matches!(frame.tag, b'N' | b'S' | b'A') {
            (self.opened, self.leader) = (true, frame.server);
        }
        match frame.tag {
            b'T' | b'H' => self.describe(&frame),
            b'D' | b'N' => Handling::Forward,
            b'd' => self.copy_data(&frame, client),
            b'C' => self.complete(frame.body),
            _ => Handling::Drop,
        }
    }

    fn cancels(&mut self) -> bool {
        self.error.is_some() && !std::mem::replace(&mut self.cancelled, true)
    }
}

/// What must agree between shards.
fn comparable(tag: u8, body: &[u8]) -> Vec<u8> {
    if tag == b'T' { without_table_oids(body) } else { body.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::expect::Verdict;

    fn frame(server: usize, tag: u8, body: &[u8]) -> Frame<'_> {
        let verdict = Verdict { step: Some(Step::Query), forward: false, joined: true, ends: false };
        Frame { server, tag, verdict, body }
    }

    #[test]
    fn counts_are_added_up() {
        let mut scatter = Scatter::new(0, 2, JoinFormat::Rows);
        let mut out = BytesMut::new();
        scatter.frame(frame(0, b'C', b"SELECT 2\0"), &mut out);
        scatter.frame(frame(1, b'C', b"SELECT 40\0"), &mut out);
        scatter.finish(&mut out);
        assert_eq!(&out[5..], b"SELECT 42\0");
    }

    #[test]
    fn nothing_is_forwarded_after_an_error_and_the_first_error_wins() {
        let mut scatter = Scatter::new(0, 2, JoinFormat::Rows);
        let mut out = BytesMut::new();
        assert_eq!(scatter.frame(frame(1, b'E', b"C22012\0\0"), &mut out), Handling::Drop);
        assert!(scatter.cancels() && !scatter.cancels());
        assert_eq!(scatter.frame(frame(0, b'D', b"row"), &mut out), Handling::Drop);
        scatter.frame(frame(0, b'E', b"C57014\0\0"), &mut out);
        scatter.finish(&mut out);
        assert_eq!(&out[5..], b"C22012\0\0");
    }

    #[test]
    fn the_columns_are_told_once_by_the_first_server_that_speaks() {
        let mut scatter = Scatter::new(0, 2, JoinFormat::Rows);
        let mut out = BytesMut::new();
        assert_eq!(scatter.frame(frame(1, b'T', b"\0\0"), &mut out), Handling::Forward);
        assert_eq!(scatter.frame(frame(1, b'D', b"row"), &mut out), Handling::Forward);
        assert_eq!(scatter.frame(frame(0, b'T', b"\0\0"), &mut out), Handling::Drop);
        assert!(!scatter.failed());
    }

    #[test]
    fn columns_must_agree_but_table_oids_need_not() {
        let column =
            |oid: u8, kind: u8| [b"\0\x01a\0\0\0\0".as_slice(), &[oid], b"\0\x01\0\0\0", &[kind], &[0; 8]].concat();
        let mut scatter = Scatter::new(0, 3, JoinFormat::Rows);
        let mut out = BytesMut::new();
        scatter.frame(frame(0, b'T', &column(1, 23)), &mut out);
        scatter.frame(frame(1, b'T', &column(2, 23)), &mut out);
        assert!(!scatter.failed());
        scatter.frame(frame(2, b'T', &column(2, 25)), &mut out);
        assert!(scatter.failed());
    }

    #[test]
    fn binary_copies_are_joined_under_one_header_and_trailer() {
        let mut scatter = Scatter::new(0, 2, JoinFormat::Binary);
        let mut out = BytesMut::new();
        scatter.frame(frame(0, b'H', b"\x01\0\0"), &mut out);
        let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        let first = |rows: &[u8]| [&header[..], rows].concat();
        assert_eq!(scatter.frame(frame(0, b'd', &first(b"r1")), &mut out), Handling::Forward);
        assert_eq!(scatter.frame(frame(1, b'd', &first(b"\xff\xff")), &mut out), Handling::Drop);
        assert_eq!(scatter.frame(frame(0, b'd', b"\xff\xff"), &mut out), Handling::Drop);
        scatter.frame(frame(0, b'C', b"COPY 1\0"), &mut out);
        scatter.finish(&mut out);
        assert_eq!(&out[..], b"d\0\0\0\x06\xff\xffc\0\0\0\x04C\0\0\0\x0bCOPY 1\0");
    }
}
