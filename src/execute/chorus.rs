//! The same statement on every shard (DDL, writes to reference tables): the client sees the leader's answer, or the first error.

use bytes::BytesMut;

use super::relay::{Frame, Handling, Joiner};
use crate::wire::{fields, frame, reply};

/// One statement for all servers of a link.
#[derive(Debug)]
pub struct Chorus {
    leader: usize,
    tag: Option<String>,
    error: Option<Vec<u8>>,
}

impl Chorus {
    /// `leader` is an index into the link's servers.
    pub fn new(leader: usize) -> Self {
        Chorus { leader, tag: None, error: None }
    }

    /// The first error, as an ErrorResponse body.
    pub fn error(&self) -> Option<&[u8]> {
        self.error.as_deref()
    }

    /// Appends CommandComplete or the first error; whether it went well.
    pub fn finish(&self, out: &mut BytesMut) -> bool {
        match (&self.error, &self.tag) {
            (Some(body), _) => frame::write(out, b'E', |to| to.extend_from_slice(body)),
            (None, Some(tag)) => reply::complete(out, tag),
            (None, None) => {}
        }
        self.error.is_none()
    }
}

impl Joiner for Chorus {
    fn admits(&self, _: usize, _: Option<crate::pool::expect::Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        let leads = frame.server == self.leader && frame.verdict.joined;
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
