//! The splitter of any format.

use super::binary::BinarySplitter;
use super::lines::LineSplitter;
use super::{FeedError, Format, Piece};

/// Cuts COPY data into rows. One splitter serves one COPY; after an error it is of no more use.
///
/// Rows that are whole within a chunk are passed on as slices of it; memory is bounded by `held_bytes_max` and the chunk.
#[derive(Debug)]
pub struct Splitter(Kind);

#[derive(Debug)]
enum Kind {
    Lines(LineSplitter),
    Binary(BinarySplitter),
}

impl Splitter {
    /// `key_field` is the key's place among the fields of a row, from 0. A row that is not whole within one chunk is held,
    /// up to `held_bytes_max` bytes.
    pub fn new(format: &Format, key_field: usize, held_bytes_max: usize) -> Splitter {
        Splitter::with_key(format, Some(key_field), held_bytes_max)
    }

    /// Finds rows only; every key is [`Field::Missing`](super::Field::Missing).
    pub fn without_key(format: &Format, held_bytes_max: usize) -> Splitter {
        Splitter::with_key(format, None, held_bytes_max)
    }

    fn with_key(format: &Format, key_field: Option<usize>, held_bytes_max: usize) -> Splitter {
        Splitter(match LineSplitter::new(format, key_field, held_bytes_max) {
            Some(lines) => Kind::Lines(lines),
            None => Kind::Binary(BinarySplitter::new(key_field, held_bytes_max)),
        })
    }

    /// Says how many fields a binary row must have (CopyInResponse tells), so that another count is an error at its row.
    /// Without effect on text and CSV, whose rows the shards count themselves.
    pub fn expect_columns(&mut self, columns: u16) {
        match &mut self.0 {
            Kind::Lines(_) => {}
            Kind::Binary(binary) => binary.expect_columns(columns),
        }
    }

    /// Reads the payload of a CopyData message, cut anywhere.
    ///
    /// # Errors
    ///
    /// [`FeedError::Split`] for data that PostgreSQL would refuse before reading fields, and for a row that is too long to
    /// hold; rows before it have been passed on. [`FeedError::Sink`] is the sink's own.
    pub fn feed<E>(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), FeedError<E>> {
        match &mut self.0 {
            Kind::Lines(lines) => lines.feed(chunk, sink),
            Kind::Binary(binary) => binary.feed(chunk, sink),
        }
    }

    /// CopyDone: passes on a last line that has no line end.
    ///
    /// # Errors
    ///
    /// As [`Splitter::feed`].
    pub fn finish<E>(&mut self, sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), FeedError<E>> {
        match &mut self.0 {
            Kind::Lines(lines) => lines.finish(sink),
            Kind::Binary(binary) => Ok(binary.finish()?),
        }
    }

    /// Lines of the rows passed on so far, header and quoted line ends included; binary rows.
    pub fn lines_seen(&self) -> u64 {
        match &self.0 {
            Kind::Lines(lines) => lines.lines(),
            Kind::Binary(binary) => binary.rows(),
        }
    }
}
