//! Binary: cuts a stream into tuples by their field counts and lengths; only a tuple that crosses chunks is copied.

use super::{FeedError, Field, Piece, SplitError, SplitFault};

/// *Source*: manual of PostgreSQL 15, COPY, "Binary Format".
pub(super) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags and the length of the header's extension.
pub(super) const HEADER_BYTES: usize = 19;
/// The field count that ends the data.
pub(super) const TRAILER: i16 = -1;
/// The length of a NULL.
const NULL_LENGTH: i32 = -1;
const HELD_CAPACITY_BYTES: usize = 64 * 1024;

/// What the next bytes are.
#[derive(Debug)]
enum Phase {
    /// The fixed part of the header.
    Header,
    /// The header's extension, of which so many bytes are to come. Nobody knows any, so it is not forwarded.
    Extension(usize),
    /// A tuple.
    Rows,
    /// Nothing may follow the trailer.
    Ended,
}

/// Splits binary data.
#[derive(Debug)]
pub(super) struct BinarySplitter {
    phase: Phase,
    key_field: Option<usize>,
    columns: Option<u16>,
    held_bytes_max: usize,
    /// The beginning of the current tuple (or header), from earlier chunks.
    held: Vec<u8>,
    walk: Walk,
    rows: u64,
}

/// How far a tuple has been read, in bytes from its start.
#[derive(Debug, Default)]
struct Walk {
    at: usize,
    /// Fields not read yet; `None` before the count.
    fields_left: Option<usize>,
    fields_read: usize,
    key: KeyPlace,
}

/// Where a tuple's key is.
#[derive(Clone, Copy, Debug, Default)]
enum KeyPlace {
    #[default]
    Missing,
    Null,
    At {
        start: usize,
        bytes: usize,
    },
}

/// What walking over the bytes at hand came to.
enum Walked {
    /// A tuple of so many bytes.
    Row(usize),
    /// The trailer.
    Trailer,
    /// It takes so many bytes from the tuple's start to go on.
    Needs(usize),
}

impl BinarySplitter {
    pub(super) fn new(key_field: Option<usize>, held_bytes_max: usize) -> BinarySplitter {
        BinarySplitter {
            phase: Phase::Header,
            key_field,
            columns: None,
            held_bytes_max,
            held: Vec::new(),
            walk: Walk::default(),
            rows: 0,
        }
    }

    pub(super) fn expect_columns(&mut self, columns: u16) {
        self.columns = Some(columns);
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn feed<E>(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), FeedError<E>> {
        let mut rest = chunk;
        while !rest.is_empty() {
            match self.phase {
                Phase::Header => {
                    let (now, after) = rest.split_at(rest.len().min(HEADER_BYTES - self.held.len()));
                    self.held.extend_from_slice(now);
                    rest = after;
                    self.header(sink)?;
                }
                Phase::Extension(bytes) => {
                    let skipped = bytes.min(rest.len());
                    rest = &rest[skipped..];
                    self.phase = if bytes == skipped { Phase::Rows } else { Phase::Extension(bytes - skipped) };
                }
                Phase::Rows if self.held.is_empty() => rest = self.row_in_chunk(rest, sink)?,
                Phase::Rows => rest = self.held_row(rest, sink)?,
                Phase::Ended => return Err(self.error(SplitFault::AfterTrailer).into()),
            }
        }
        Ok(())
    }

    /// The data ends.
    pub(super) fn finish(&mut self) -> Result<(), SplitError> {
        match self.phase {
            Phase::Header => {
                self.check_header()?;
                Err(header_error(match self.held.len() {
                    0..11 => SplitFault::Signature,
                    11..15 => SplitFault::MissingFlags,
                    _ => SplitFault::MissingLength,
                }))
            }
            Phase::Extension(_) => Err(header_error(SplitFault::WrongLength)),
            // A trailer is not demanded, and PostgreSQL takes one odd byte in the place of a count for the end.
            Phase::Rows if self.walk.fields_left.is_none() => Ok(()),
            Phase::Rows => Err(self.error(SplitFault::UnexpectedEnd)),
            Phase::Ended => Ok(()),
        }
    }

    /// Checks what has come of the header, as soon as PostgreSQL would.
    fn check_header(&self) -> Result<(), SplitError> {
        let (signature, numbers) = self.held.split_at(self.held.len().min(SIGNATURE.len()));
        if signature.len() == SIGNATURE.len() && signature != SIGNATURE {
            return Err(header_error(SplitFault::Signature));
        }
        let Some(flags) = numbers.first_chunk().map(|&bytes| u32::from_be_bytes(bytes)) else { return Ok(()) };
        if flags & (1 << 16) != 0 {
            return Err(header_error(SplitFault::WithOids));
        }
        if flags >> 16 != 0 {
            return Err(header_error(SplitFault::CriticalFlags));
        }
        Ok(())
    }

    /// Forwards the header once it is whole, without its extension.
    fn header<E>(&mut self, sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), FeedError<E>> {
        self.check_header()?;
        let Some(&length) = self.held.get(15..).and_then(|bytes| bytes.first_chunk()) else { return Ok(()) };
        let extension = usize::try_from(i32::from_be_bytes(length));
        let extension = extension.map_err(|_| header_error(SplitFault::MissingLength))?;
        self.phase = if extension == 0 { Phase::Rows } else { Phase::Extension(extension) };
        self.held.truncate(15);
        self.held.extend_from_slice(&[0; 4]);
        let result = sink(Piece::Header(&self.held)).map_err(FeedError::Sink);
        self.held.clear();
        result
    }

    /// Reads tuples that begin in `rest`; what is left of it.
    fn row_in_chunk<'c, E>(
        &mut self,
        rest: &'c [u8],
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<&'c [u8], FeedError<E>> {
        match self.walk(rest)? {
            Walked::Row(bytes) => {
                let (row, after) = rest.split_at(bytes);
                self.emit(row, sink)?;
                Ok(after)
            }
            Walked::Trailer => self.trailer(rest, 2, sink),
            Walked::Needs(bytes) => {
                self.check_length(bytes)?;
                self.held.extend_from_slice(rest);
                Ok(&[])
            }
        }
    }

    /// Goes on with the tuple that is held; what is left of `rest`.
    fn held_row<'c, E>(
        &mut self,
        rest: &'c [u8],
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<&'c [u8], FeedError<E>> {
        let mut held = std::mem::take(&mut self.held);
        let mut rest = rest;
        loop {
            match self.walk(&held)? {
                Walked::Row(_) => {
                    self.emit(&held, sink)?;
                    held.clear();
                    held.shrink_to(HELD_CAPACITY_BYTES);
                    break;
                }
                Walked::Trailer => {
                    held.clear();
                    rest = self.trailer(rest, 0, sink)?;
                    break;
                }
                Walked::Needs(bytes) => {
                    self.check_length(bytes)?;
                    let (now, after) = rest.split_at(rest.len().min(bytes - held.len()));
                    held.extend_from_slice(now);
                    rest = after;
                    if held.len() < bytes {
                        break;
                    }
                }
            }
        }
        self.held = held;
        Ok(rest)
    }

    fn trailer<'c, E>(
        &mut self,
        rest: &'c [u8],
        bytes: usize,
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<&'c [u8], FeedError<E>> {
        self.phase = Phase::Ended;
        sink(Piece::End).map_err(FeedError::Sink)?;
        Ok(&rest[bytes..])
    }

    /// Reads on in `row`, which begins with the current tuple's first byte.
    fn walk(&mut self, row: &[u8]) -> Result<Walked, SplitError> {
        let mut left = match self.walk.fields_left {
            Some(left) => left,
            None => {
                let Some(&count) = row.first_chunk() else { return Ok(Walked::Needs(2)) };
                let count = i16::from_be_bytes(count);
                if count == TRAILER {
                    return Ok(Walked::Trailer);
                }
                self.walk.at = 2;
                self.count(count)?
            }
        };
        while left > 0 {
            self.walk.fields_left = Some(left);
            let start = self.walk.at + 4;
            let Some(length) = row.get(self.walk.at..).and_then(|bytes| bytes.first_chunk()) else {
                return Ok(Walked::Needs(start));
            };
            let length = i32::from_be_bytes(*length);
            let (bytes, place) = match usize::try_from(length) {
                Ok(bytes) => (bytes, KeyPlace::At { start, bytes }),
                Err(_) if length == NULL_LENGTH => (0, KeyPlace::Null),
                Err(_) => return Err(self.error(SplitFault::FieldSize)),
            };
            if row.len() - start < bytes {
                return Ok(Walked::Needs(start + bytes));
            }
            if self.key_field == Some(self.walk.fields_read) {
                self.walk.key = place;
            }
            self.walk.at = start + bytes;
            self.walk.fields_read += 1;
            left -= 1;
        }
        self.walk.fields_left = Some(0);
        Ok(Walked::Row(self.walk.at))
    }

    /// How many fields a tuple has.
    fn count(&self, count: i16) -> Result<usize, SplitError> {
        match (usize::try_from(count), self.columns) {
            (Ok(fields), None) => Ok(fields),
            (Ok(fields), Some(columns)) if fields == usize::from(columns) => Ok(fields),
            (_, columns) => {
                Err(self.error(SplitFault::FieldCount { found: count, expected: columns.unwrap_or_default() }))
            }
        }
    }

    fn emit<E>(&mut self, row: &[u8], sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), FeedError<E>> {
        self.rows += 1;
        let walk = std::mem::take(&mut self.walk);
        let key = match walk.key {
            KeyPlace::Missing => Field::Missing,
            KeyPlace::Null => Field::Null,
            KeyPlace::At { start, bytes } => Field::Value(&row[start..start + bytes]),
        };
        sink(Piece::Row { bytes: row, key, line: self.rows }).map_err(FeedError::Sink)
    }

    fn check_length(&self, bytes: usize) -> Result<(), SplitError> {
        if bytes <= self.held_bytes_max {
            return Ok(());
        }
        Err(self.error(SplitFault::RowTooLong { held_bytes_max: self.held_bytes_max }))
    }

    fn error(&self, fault: SplitFault) -> SplitError {
        SplitError { fault, line: Some(self.rows + 1) }
    }
}

fn header_error(fault: SplitFault) -> SplitError {
    SplitError { fault, line: None }
}
