//! The same statement on every shard (DDL, writes to reference tables): the client sees the leader's answer, or the first error.

use bytes::BytesMut;

use super::relay::{Frame, Handling, Joiner};
use crate::wire::reply::{self, Report};
use crate::wire::{fields, frame};

/// One statement for all servers of a link.
#[derive(Debug)]
pub struct Chorus {
    leader: usize,
    tag: Option<String>,
    /// Rows that the first shard to answer has changed.
    count: Option<u64>,
    error: Option<Vec<u8>>,
    /// The shards have not changed as many rows.
    drifted: bool,
}

impl Chorus {
    /// `leader` is an index into the link's servers.
    pub fn new(leader: usize) -> Self {
        Chorus { leader, tag: None, count: None, error: None, drifted: false }
    }

    /// The first error, as an ErrorResponse body.
    pub fn error(&self) -> Option<&[u8]> {
        self.error.as_deref()
    }

    /// Appends CommandComplete or the first error; whether it went well.
    pub fn finish(&self, out: &mut BytesMut) -> bool {
        match (&self.error, &self.tag) {
            (Some(body), _) => frame::write(out, b'E', |to| to.extend_from_slice(body)),
            (None, _) if self.drifted => drifted().write(out),
            (None, Some(tag)) => reply::complete(out, tag),
            (None, None) => {}
        }
        self.error.is_none() && !self.drifted
    }

    fn complete(&mut self, tag: &[u8]) {
        if let (_, Some(count)) = fields::tag_rows(tag) {
            self.drifted |= *self.count.get_or_insert(count) != count;
        }
    }
}

/// The shards have not changed as many rows of a reference table.
pub fn drifted() -> Report {
    Report::error("XX000", "the shards do not hold the same rows of a reference table")
        .with_detail("The statement changed another number of rows on one shard than on another.")
        .with_hint("Find the rows that differ on the shards, and repair them there.")
}

impl Joiner for Chorus {
    fn admits(&self, _: usize, _: Option<crate::pool::expect::Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        let leads = frame.server == self.leader && frame.verdict.joined;
        if frame.tag == b'C' && frame.verdict.joined {
            self.complete(fields::tag(frame.body));
        }
        match frame.tag {
            b'E' => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            b'C' if leads => self.tag = Some(String::from_utf8_lossy(fields::tag(frame.body)).into_owned()),
            b'T' | b'D' | b'N' | b'S' if leads && self.error.is_none() => return Handling::Forward,
            _ => {}
        }
        Handling::Drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::expect::{Step, Verdict};

    fn complete(chorus: &mut Chorus, server: usize, tag: &[u8]) {
        let verdict = Verdict { step: Some(Step::Query), forward: false, joined: true, ends: false };
        chorus.frame(Frame { server, tag: b'C', verdict, body: tag }, &mut BytesMut::new());
    }

    #[test]
    fn shards_that_change_different_numbers_of_rows_have_drifted() {
        let (mut same, mut other) = (Chorus::new(0), Chorus::new(0));
        for (server, tag) in [(0, b"UPDATE 2\0"), (1, b"UPDATE 2\0")] {
            complete(&mut same, server, tag);
        }
        for (server, tag) in [(0, b"UPDATE 2\0"), (1, b"UPDATE 1\0")] {
            complete(&mut other, server, tag);
        }
        assert!(same.finish(&mut BytesMut::new()));
        assert!(!other.finish(&mut BytesMut::new()));
    }
}
