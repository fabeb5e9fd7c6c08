//! What can be wrong with COPY data before any shard has seen it, in PostgreSQL's words.

use thiserror::Error;

/// COPY data that cannot be split.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{fault}")]
pub struct SplitError {
    /// What is wrong.
    pub fault: SplitFault,
    /// The line (text, CSV) or row (binary) it was found in, from 1; `None` in the binary header.
    pub line: Option<u64>,
}

/// What is wrong with COPY data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SplitFault {
    /// Lines do not end in a carriage return, and here is one.
    #[error("{} carriage return found in data", if *.csv { "unquoted" } else { "literal" })]
    CarriageReturn {
        /// CSV, else text.
        csv: bool,
    },
    /// Lines do not end in a mere newline, and here is one.
    #[error("{} newline found in data", if *.csv { "unquoted" } else { "literal" })]
    Newline {
        /// CSV, else text.
        csv: bool,
    },
    /// `\.` ends otherwise than the lines before it.
    #[error("end-of-copy marker does not match previous newline style")]
    MarkerStyle,
    /// `\.` is followed by data.
    #[error("end-of-copy marker corrupt")]
    MarkerCorrupt,
    /// Binary data does not begin with its eleven bytes.
    #[error("COPY file signature not recognized")]
    Signature,
    /// Binary data ends before its flags.
    #[error("invalid COPY file header (missing flags)")]
    MissingFlags,
    /// A file of PostgreSQL 11 or older with OIDs.
    #[error("invalid COPY file header (WITH OIDS)")]
    WithOids,
    /// Flags that a reader must understand.
    #[error("unrecognized critical flags in COPY file header")]
    CriticalFlags,
    /// The length of the header's extension is missing or negative.
    #[error("invalid COPY file header (missing length)")]
    MissingLength,
    /// The header's extension is shorter than it says.
    #[error("invalid COPY file header (wrong length)")]
    WrongLength,
    /// A binary row has another number of fields than there are columns.
    #[error("row field count is {found}, expected {expected}")]
    FieldCount {
        /// As sent.
        found: i16,
        /// Columns of the COPY.
        expected: u16,
    },
    /// A binary field is of negative length.
    #[error("invalid field size")]
    FieldSize,
    /// Binary data ends within a row.
    #[error("unexpected EOF in COPY data")]
    UnexpectedEnd,
    /// Something follows the binary trailer.
    #[error("received copy data after EOF marker")]
    AfterTrailer,
    /// The row's end is not in sight.
    #[error("COPY row is longer than the limit held_bytes_max ({held_bytes_max} bytes)")]
    RowTooLong {
        /// The limit.
        held_bytes_max: usize,
    },
}

impl SplitError {
    /// `bad_copy_file_format`, or `program_limit_exceeded` for the gateway's own limit.
    pub fn sqlstate(&self) -> &'static str {
        match self.fault {
            SplitFault::RowTooLong { .. } => "54000",
            SplitFault::CarriageReturn { .. }
            | SplitFault::Newline { .. }
            | SplitFault::MarkerStyle
            | SplitFault::MarkerCorrupt
            | SplitFault::Signature
            | SplitFault::MissingFlags
            | SplitFault::WithOids
            | SplitFault::CriticalFlags
            | SplitFault::MissingLength
            | SplitFault::WrongLength
            | SplitFault::FieldCount { .. }
            | SplitFault::FieldSize
            | SplitFault::UnexpectedEnd
            | SplitFault::AfterTrailer => "22P04",
        }
    }

    /// PostgreSQL's hint, where it has one.
    pub fn hint(&self) -> Option<&'static str> {
        match self.fault {
            SplitFault::CarriageReturn { csv: false } => Some("Use \"\\r\" to represent carriage return."),
            SplitFault::CarriageReturn { csv: true } => Some("Use quoted CSV field to represent carriage return."),
            SplitFault::Newline { csv: false } => Some("Use \"\\n\" to represent newline."),
            SplitFault::Newline { csv: true } => Some("Use quoted CSV field to represent newline."),
            SplitFault::RowTooLong { .. } => Some("Raise held_bytes_max in [limits] of the gateway's configuration."),
            _ => None,
        }
    }

    /// The CONTEXT field: `COPY orders, line 7`.
    pub fn context(&self, relation: &str) -> Option<String> {
        self.line.map(|line| format!("COPY {relation}, line {line}"))
    }
}

/// Why [`Splitter::feed`](super::Splitter::feed) stopped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FeedError<E> {
    /// The data.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The sink.
    #[error("{0}")]
    Sink(E),
}
