//! Text and CSV: cuts a stream into lines; only a line that crosses chunks is copied.

use super::csv::{CsvFields, CsvLines};
use super::line_end::Scan;
use super::text::{TextFields, TextLines};
use super::{FeedError, Field, Format, Piece, SplitError, SplitFault};

/// What is kept of the buffer of a held row, so that one long row does not cost its memory for the rest of the COPY.
const HELD_CAPACITY_BYTES: usize = 64 * 1024;

/// How lines and fields are read.
#[derive(Debug)]
enum Rules {
    Text(TextLines, TextFields),
    Csv(CsvLines, CsvFields),
}

/// Splits text or CSV.
#[derive(Debug)]
pub(super) struct LineSplitter {
    rules: Rules,
    key_field: Option<usize>,
    held_bytes_max: usize,
    /// The beginning of the current line, from earlier chunks.
    held: Vec<u8>,
    /// A key that had to be unescaped.
    scratch: Vec<u8>,
    header_due: bool,
    ended: bool,
    /// Lines of all rows that have ended.
    lines: u64,
}

impl LineSplitter {
    /// `None` for the binary format.
    pub(super) fn new(format: &Format, key_field: Option<usize>, held_bytes_max: usize) -> Option<LineSplitter> {
        let (rules, header_due) = match format.clone() {
            Format::Text { delimiter, null, header } => {
                (Rules::Text(TextLines::new(), TextFields { delimiter, null }), header)
            }
            Format::Csv { delimiter, quote, escape, null, force_not_null, force_null, header } => {
                let fields = CsvFields { delimiter, quote, escape, null, force_not_null, force_null };
                (Rules::Csv(CsvLines::new(quote, escape), fields), header)
            }
            Format::Binary => return None,
        };
        let (held, scratch) = (Vec::new(), Vec::new());
        Some(LineSplitter { rules, key_field, held_bytes_max, held, scratch, header_due, ended: false, lines: 0 })
    }

    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn feed<E>(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), FeedError<E>> {
        match &mut self.rules {
            Rules::Text(lines, _) => lines.begin_chunk(),
            Rules::Csv(lines, _) => lines.begin_chunk(),
        }
        let mut at = 0;
        while !self.ended {
            let scan = match &mut self.rules {
                Rules::Text(lines, _) => lines.scan(chunk, at),
                Rules::Csv(lines, _) => lines.scan(chunk, at),
            };
            match scan.map_err(|fault| self.error(fault))? {
                Scan::More => {
                    self.hold(&chunk[at..])?;
                    return Ok(());
                }
                Scan::Row { end, end_bytes } => {
                    self.row(&chunk[at..end], end_bytes, sink)?;
                    at = end;
                }
                Scan::Marker { end, marker_bytes } => {
                    self.marker(&chunk[at..end], marker_bytes, sink)?;
                }
            }
        }
        Ok(())
    }

    /// The data ends, perhaps within a line.
    pub(super) fn finish<E>(&mut self, sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), FeedError<E>> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let end = match &mut self.rules {
            Rules::Text(lines, _) => lines.finish(),
            Rules::Csv(lines, _) => lines.finish(),
        };
        let end_bytes = end.map_err(|fault| self.error(fault))?;
        if self.held.is_empty() { Ok(()) } else { self.row(&[], end_bytes, sink) }
    }

    /// The end marker, of which `last` are the bytes of this chunk with what stands before it in the line.
    fn marker<E>(
        &mut self,
        last: &[u8],
        marker_bytes: usize,
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), FeedError<E>> {
        self.ended = true;
        let row_bytes = (self.held.len() + last.len()).saturating_sub(marker_bytes);
        if row_bytes > 0 {
            // The marker may have begun in what is held.
            self.held.truncate(row_bytes);
            let more = row_bytes - self.held.len();
            self.row(&last[..more], 0, sink)?;
        }
        self.held = Vec::new();
        sink(Piece::End).map_err(FeedError::Sink)
    }

    /// The current line ends with `last`, of which `end_bytes` (perhaps more than `last` has) are the line end.
    fn row<E>(
        &mut self,
        last: &[u8],
        end_bytes: usize,
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), FeedError<E>> {
        if self.held.is_empty() {
            return self.emit(last, end_bytes, sink);
        }
        let mut row = std::mem::take(&mut self.held);
        row.extend_from_slice(last);
        self.emit(&row, end_bytes, sink)?;
        row.clear();
        row.shrink_to(HELD_CAPACITY_BYTES);
        self.held = row;
        Ok(())
    }

    fn emit<E>(
        &mut self,
        row: &[u8],
        end_bytes: usize,
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), FeedError<E>> {
        self.lines = self.line();
        if let Rules::Csv(lines, _) = &mut self.rules {
            lines.begin_line();
        }
        if std::mem::replace(&mut self.header_due, false) {
            return sink(Piece::Header(row)).map_err(FeedError::Sink);
        }
        let line = &row[..row.len().saturating_sub(end_bytes)];
        let key = match (self.key_field, &self.rules) {
            (None, _) => Field::Missing,
            (Some(index), Rules::Text(_, fields)) => fields.field(line, index, &mut self.scratch),
            (Some(index), Rules::Csv(_, fields)) => fields.field(line, index, &mut self.scratch),
        };
        sink(Piece::Row { bytes: row, key, line: self.lines }).map_err(FeedError::Sink)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), SplitError> {
        if self.held.len() + bytes.len() > self.held_bytes_max {
            return Err(self.error(SplitFault::RowTooLong { held_bytes_max: self.held_bytes_max }));
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// The number of the line being read.
    fn line(&self) -> u64 {
        let inner = match &self.rules {
            Rules::Text(..) => 0,
            Rules::Csv(lines, _) => lines.inner_lines(),
        };
        self.lines + 1 + inner
    }

    fn error(&self, fault: SplitFault) -> SplitError {
        SplitError { fault, line: Some(self.line()) }
    }
}
