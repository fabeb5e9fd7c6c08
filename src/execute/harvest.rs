//! Takes in the rows that several shards return for the gateway's own use.

use bytes::BytesMut;

use super::relay::{Frame, Handling, Joiner};
use crate::pool::expect::Step;
use crate::wire::fields::{tag, tag_rows};

/// Rows taken in.
#[derive(Debug, Default)]
pub struct Harvest {
    /// DataRow bodies.
    pub rows: Vec<Box<[u8]>>,
    /// The first error, as an ErrorResponse body.
    pub error: Option<Vec<u8>>,
    /// They would be more than may be held.
    pub overflow: bool,
    /// What the tags count.
    pub changed: u64,
    bytes: usize,
    bytes_max: usize,
    cancelled: bool,
}

impl Harvest {
    /// Holds `bytes_max` of rows at the most.
    pub fn new(bytes_max: usize) -> Harvest {
        Harvest { bytes_max, ..Harvest::default() }
    }
}

impl Joiner for Harvest {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        match frame.tag {
            // What a server says of being cancelled is not why.
            b'E' if !self.overflow => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            b'D' if self.error.is_none() => {
                self.bytes += frame.body.len();
                // A row that is too long to be held comes without its body.
                self.overflow |= frame.body.is_empty() || self.bytes > self.bytes_max;
                if !self.overflow {
                    self.rows.push(frame.body.into());
                }
            }
            b'C' => self.changed += tag_rows(tag(frame.body)).1.unwrap_or(0),
            b'N' if frame.verdict.joined => return Handling::Forward,
            _ => {}
        }
        Handling::Drop
    }

    fn cancels(&mut self) -> bool {
        (self.error.is_some() || self.overflow) && !std::mem::replace(&mut self.cancelled, true)
    }
}
