//! COPY data: a stream of bytes -> whole rows, each with the raw field that holds its key; and back, several streams -> one.
//!
//! [`Splitter`] takes CopyData payloads cut anywhere and calls a sink with slices that are ready to be forwarded. It finds
//! rows exactly as PostgreSQL 15 does, so that rows sent apart are the rows PostgreSQL would have read together; what is
//! wrong inside a row is left for the shard that gets it. What a key's bytes mean is decided above, in `execute`.
//! Called by `execute`. *Source* throughout: `src/backend/commands/copyfromparse.c` of PostgreSQL 15.

mod error;
mod line_end;
mod marks;
mod text;
mod csv;
mod lines;
mod binary;
mod splitter;
mod join;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use error::{FeedError, SplitError, SplitFault};
pub use join::{Join, JoinError, JoinFormat};
pub use splitter::Splitter;

/// How rows and fields of COPY data are delimited. *Source*: manual of PostgreSQL 15, COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text format.
    Text {
        /// One byte, default tab.
        delimiter: u8,
        /// Default `\N`.
        null: Vec<u8>,
        /// The first line is a header.
        header: bool,
    },
    /// CSV format.
    Csv {
        /// One byte, default comma.
        delimiter: u8,
        /// Default `"`.
        quote: u8,
        /// Default: same as quote.
        escape: u8,
        /// Default: empty, unquoted.
        null: Vec<u8>,
        /// The key column is in FORCE_NOT_NULL (an unquoted null string is the string itself).
        force_not_null: bool,
        /// The key column is in FORCE_NULL (a quoted null string is NULL).
        force_null: bool,
        /// The first line is a header.
        header: bool,
    },
    /// Binary format.
    Binary,
}

impl Format {
    /// Whether rows mean to a shard, which takes the first one it gets for the first line, what they mean in the whole data.
    ///
    /// Not so if a line may begin with a quoted `\.` or line end that is not one only because of the lines before it: CSV
    /// whose quote is a backslash, a dot or a line end. Such a COPY must be refused where it would be split.
    pub fn is_splittable(&self) -> bool {
        match self {
            Format::Csv { quote, .. } => !matches!(quote, b'\\' | b'.' | b'\n' | b'\r'),
            Format::Text { .. } | Format::Binary => true,
        }
    }
}

/// What the splitter found; the slices live until the sink returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The header line with its line end, or the binary header: for every shard.
    Header(&'a [u8]),
    /// One row: for the shard of its key.
    Row {
        /// The whole row, with its line end if it had one.
        bytes: &'a [u8],
        /// The field in the key's place.
        key: Field<'a>,
        /// The line PostgreSQL would name in an error about this row: counted from 1, the header included; the last one of
        /// a row with quoted line ends. For binary data, the number of the row.
        line: u64,
    },
    /// The `\.` line or the binary trailer. Need not be forwarded: CopyDone says the same.
    End,
}

/// A field as the key's decoder needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// NULL.
    Null,
    /// Text and CSV: without quotes and escapes, in the client's encoding. Binary: as sent.
    Value(&'a [u8]),
    /// The row has fewer fields, or its quotes do not end: the server refuses such a row, so any shard may get it.
    Missing,
}
