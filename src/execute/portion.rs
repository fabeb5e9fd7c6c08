//! A part of a portal's rows on one of several shards.

use bytes::BytesMut;

use super::relay::{Frame, Handling, Joiner};
use crate::pool::expect::Step;

/// One Execute with a row limit on one server.
#[derive(Debug, Default)]
pub struct Portion {
    /// Rows the client has got.
    pub rows: u64,
    /// There may be more.
    pub suspended: bool,
    /// ErrorResponse's body.
    pub error: Option<Vec<u8>>,
}

impl Joiner for Portion {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        match frame.tag {
            b'D' => {
                self.rows += 1;
                return Handling::Forward;
            }
            b's' => self.suspended = true,
            b'E' => self.error = Some(frame.body.to_vec()),
            b'N' => return Handling::Forward,
            _ => {}
        }
        Handling::Drop
    }
}
