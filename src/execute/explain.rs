//! EXPLAIN of a statement that several shards answer: one plan that says so, with each shard's own under it.

use bytes::BytesMut;

use super::relay::{Frame, Handling, Joiner};
use crate::pool::expect::Step;
use crate::wire::{frame, reply};

/// One EXPLAIN on several shards, in text format.
#[derive(Debug)]
pub struct ExplainMany {
    /// Indexes into the link's servers, and the shards' names.
    servers: Vec<usize>,
    names: Vec<String>,
    /// Which of them is speaking.
    turn: usize,
    error: Option<Vec<u8>>,
}

impl ExplainMany {
    /// For these servers, whose shards have these names.
    pub fn new(servers: Vec<usize>, names: Vec<String>) -> Self {
        ExplainMany { servers, names, turn: 0, error: None }
    }

    /// Appends CommandComplete or the error; whether it went well.
    pub fn finish(&self, out: &mut BytesMut) -> bool {
        match &self.error {
            Some(body) => frame::write(out, b'E', |to| to.extend_from_slice(body)),
            None => reply::complete(out, "EXPLAIN"),
        }
        self.error.is_none()
    }

    fn head(&self) -> String {
        format!("  ->  Shard {}", self.names.get(self.turn).map_or("", String::as_str))
    }
}

impl Joiner for ExplainMany {
    fn admits(&self, server: usize, _: Option<Step>) -> bool {
        self.servers.get(self.turn).is_none_or(|turn| *turn == server) || self.error.is_some()
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        match frame.tag {
            b'E' => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            _ if !frame.verdict.joined => {}
            b'Z' => self.turn += 1,
            _ if self.error.is_some() => {}
            b'T' => {
                if self.turn == 0 {
                    reply::text_columns(client, &["QUERY PLAN"]);
                    let title = format!("Scatter  (shards: {})", self.names.join(", "));
                    reply::text_row(client, &[title.as_bytes()]);
                }
                reply::text_row(client, &[self.head().as_bytes()]);
            }
            b'D' => {
                // One text column: its count (2) and its length (4) come first.
                let line = [&b"        "[..], frame.body.get(6..).unwrap_or_default()].concat();
                reply::text_row(client, &[&line]);
            }
            _ => {}
        }
        Handling::Drop
    }
}
