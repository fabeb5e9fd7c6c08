//! The rows that several shards return for an INSERT ... VALUES whose rows were parted between them, in the order of the
//! statement.

use bytes::BytesMut;

use super::relay::{Frame, Handling, Joiner};
use super::scatter::Scatter;
use crate::pool::expect::Step;
use crate::wire::copy::JoinFormat;

/// One INSERT on several shards.
#[derive(Debug)]
pub struct Interleave {
    /// Joins all but the order of the rows.
    scatter: Scatter,
    /// By row of the statement, the server that stores it.
    order: Vec<usize>,
    /// The row whose turn it is.
    turn: usize,
    /// By server: rows it may still return.
    left: Vec<usize>,
    /// By server: it has described its columns.
    described: Vec<bool>,
}

impl Interleave {
    /// `order` gives for each row an index into the link's servers, of which there are `servers`; the first row's describes the
    /// columns. A server may return fewer rows, as ON CONFLICT DO NOTHING does: then those of others move up.
    pub fn new(order: Vec<usize>, servers: usize) -> Interleave {
        let leader = order.first().copied().unwrap_or(0);
        let mut left = vec![0; servers];
        for server in &order {
            if let Some(left) = left.get_mut(*server) {
                *left += 1;
            }
        }
        let scatter = Scatter::new(leader, servers, JoinFormat::Rows);
        Interleave { scatter, order, turn: 0, left, described: vec![false; servers] }
    }

    /// See [`Scatter::failed`].
    pub fn failed(&self) -> bool {
        self.scatter.failed()
    }

    /// See [`Scatter::finish`].
    pub fn finish(&self, out: &mut BytesMut) {
        self.scatter.finish(out);
    }

    fn has_left(&self, server: usize) -> bool {
        self.left.get(server).is_some_and(|left| *left > 0)
    }

    /// The next row is that of a server which has more.
    fn advance(&mut self) {
        while self.order.get(self.turn).is_some_and(|server| !self.has_left(*server)) {
            self.turn += 1;
        }
    }
}

impl Joiner for Interleave {
    fn admits(&self, server: usize, expected: Option<Step>) -> bool {
        if !self.scatter.admits(server, expected) {
            return false;
        }
        let describes = expected == Some(Step::Query) && self.described.get(server) == Some(&false);
        let of_rows = matches!(expected, Some(Step::Query | Step::Execute));
        let turn = self.order.get(self.turn) == Some(&server);
        !of_rows || describes || turn || self.scatter.failed() || !self.has_left(server)
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        let of_rows = matches!(frame.verdict.step, Some(Step::Query | Step::Execute)) && frame.verdict.joined;
        if of_rows {
            if matches!(frame.tag, b'T' | b'C')
                && let Some(described) = self.described.get_mut(frame.server)
            {
                *described = true;
            }
            match (frame.tag, self.left.get_mut(frame.server)) {
                (b'D', Some(left)) => {
                    *left = left.saturating_sub(1);
                    // Its next row is a later one of the statement.
                    self.turn += 1;
                    self.advance();
                }
                (b'C', Some(left)) => {
                    *left = 0;
                    self.advance();
                }
                _ => {}
            }
        }
        self.scatter.frame(frame, client)
    }

    fn cancels(&mut self) -> bool {
        self.scatter.cancels()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::expect::Verdict;

    fn frame(server: usize, tag: u8) -> Frame<'static> {
        let verdict = Verdict { step: Some(Step::Execute), forward: false, joined: true, ends: false };
        Frame { server, tag, verdict, body: if tag == b'C' { b"INSERT 0 1\0" } else { b"\0\0" } }
    }

    #[test]
    fn rows_come_in_the_order_of_the_statement() {
        let mut joiner = Interleave::new(vec![1, 0, 0, 1], 2);
        let mut given = Vec::new();
        while given.len() < 4 {
            let server = (0..2).find(|server| joiner.has_left(*server) && joiner.admits(*server, Some(Step::Execute)));
            let Some(server) = server else { break };
            joiner.frame(frame(server, b'D'), &mut BytesMut::new());
            given.push(server);
        }
        assert_eq!(given, [1, 0, 0, 1]);
    }

    #[test]
    fn a_shard_that_returns_fewer_rows_does_not_hold_up_the_others() {
        let mut joiner = Interleave::new(vec![0, 1, 0, 1], 2);
        joiner.frame(frame(0, b'C'), &mut BytesMut::new());
        for _ in 0..2 {
            assert!(joiner.admits(1, Some(Step::Execute)));
            joiner.frame(frame(1, b'D'), &mut BytesMut::new());
        }
        assert!(joiner.admits(1, Some(Step::Execute)));
    }
}
