//! Keeps the rows of a write that is run with a row limit: it must have run on all shards before the client gets the first.
//! *Source*: pquery.c, PortalRun, PORTAL_ONE_RETURNING: PostgreSQL runs it to its end and keeps the rows.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::relay::{Frame, Handling, Joiner};
use crate::pool::expect::Step;

/// Rows kept for later.
#[derive(Debug)]
pub struct Hoard<J> {
    /// Joins the answers.
    pub inner: J,
    /// DataRow bodies.
    pub rows: VecDeque<Box<[u8]>>,
    /// They would be more than may be held.
    pub overflow: bool,
    bytes: usize,
    bytes_max: usize,
    cancelled: bool,
}

impl<J: Joiner> Hoard<J> {
    /// Keeps `bytes_max` of rows at the most.
    pub fn new(inner: J, bytes_max: usize) -> Hoard<J> {
        Hoard { inner, rows: VecDeque::new(), overflow: false, bytes: 0, bytes_max, cancelled: false }
    }
}

impl<J: Joiner> Joiner for Hoard<J> {
    fn admits(&self, server: usize, expected: Option<Step>) -> bool {
        self.inner.admits(server, expected)
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        let handling = self.inner.frame(frame, client);
        if frame.tag != b'D' || handling == Handling::Drop {
            return handling;
        }
        self.bytes += frame.body.len();
        // A row that is too long to be held comes without its body.
        self.overflow |= frame.body.is_empty() || self.bytes > self.bytes_max;
        if !self.overflow {
            self.rows.push_back(frame.body.into());
        }
        Handling::Drop
    }

    fn stops_at_copy_in(&self) -> bool {
        self.inner.stops_at_copy_in()
    }

    fn cancels(&mut self) -> bool {
        self.inner.cancels() || self.overflow && !std::mem::replace(&mut self.cancelled, true)
    }
}
