//! Text format: where a line ends, where a field ends, what its escapes mean.

use super::line_end::{
    AfterDot, LineEnd, Pending, Scan, after_carriage_return, after_dot, after_dot_cr, carriage_return, newline,
};
use super::marks::{Marks, find_near};
use super::{Field, SplitFault};

/// Finds line ends; remembers what it has read of the current line. *Source*: `CopyReadLineText`.
#[derive(Debug)]
pub(super) struct TextLines {
    marks: Marks,
    line_end: Option<LineEnd>,
    pending: Pending,
}

impl TextLines {
    pub(super) fn new() -> TextLines {
        TextLines { marks: Marks::new([b'\n', b'\r', b'\\', b'\\']), line_end: None, pending: Pending::Nothing }
    }

    /// The calls of `scan` from now on are about another chunk.
    pub(super) fn begin_chunk(&mut self) {
        self.marks.begin_chunk();
    }

    /// Scans `bytes`, a whole chunk, from `at`, where the last call ended, up to the end of the line.
    pub(super) fn scan(&mut self, bytes: &[u8], at: usize) -> Result<Scan, SplitFault> {
        let mut at = at;
        loop {
            if self.pending == Pending::Nothing {
                let Some(found) = self.marks.next(bytes, at) else { return Ok(Scan::More) };
                at = found + 1;
                match bytes[found] {
                    b'\n' => {
                        newline(&mut self.line_end, false)?;
                        return Ok(Scan::Row { end: at, end_bytes: 1 });
                    }
                    b'\r' if carriage_return(self.line_end, false)? => {
                        return Ok(Scan::Row { end: at, end_bytes: 1 });
                    }
                    b'\r' => self.pending = Pending::Cr,
                    _ => self.pending = Pending::Backslash,
                }
            }
            let Some(&byte) = bytes.get(at) else { return Ok(Scan::More) };
            if let Some(scan) = self.resume(byte, &mut at)? {
                return Ok(scan);
            }
        }
    }

    /// Reads the byte at `at`, which says what is pending.
    fn resume(&mut self, byte: u8, at: &mut usize) -> Result<Option<Scan>, SplitFault> {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        let after = match pending {
            Pending::Nothing => return Ok(None),
            Pending::Cr => {
                let two = after_carriage_return(&mut self.line_end, Some(byte), false)?;
                let extra = usize::from(two);
                return Ok(Some(Scan::Row { end: *at + extra, end_bytes: 1 + extra }));
            }
            Pending::Backslash => {
                // Whatever follows a backslash is data, line ends too, except the dot.
                *at += 1;
                if byte == b'.' {
                    self.pending = Pending::Dot;
                }
                return Ok(None);
            }
            Pending::Dot => after_dot(self.line_end, byte, false),
            Pending::DotCr => after_dot_cr(byte),
        };
        *at += 1;
        match after {
            AfterDot::Marker => {
                let marker_bytes = if pending == Pending::DotCr { 4 } else { 3 };
                Ok(Some(Scan::Marker { end: *at, marker_bytes }))
            }
            AfterDot::NeedsNewline => {
                self.pending = Pending::DotCr;
                Ok(None)
            }
            AfterDot::WrongStyle => Err(SplitFault::MarkerStyle),
            AfterDot::NoMarker => Err(SplitFault::MarkerCorrupt),
        }
    }

    /// The data ends: how many of the last bytes are a line end.
    pub(super) fn finish(&mut self) -> Result<usize, SplitFault> {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing | Pending::Backslash => Ok(0),
            Pending::Cr => after_carriage_return(&mut self.line_end, None, false).map(|_| 1),
            Pending::Dot | Pending::DotCr => Err(SplitFault::MarkerCorrupt),
        }
    }
}

/// Finds one field of a line. *Source*: `CopyReadAttributesText`.
#[derive(Debug)]
pub(super) struct TextFields {
    pub(super) delimiter: u8,
    pub(super) null: Vec<u8>,
}

/// Where a field ends.
struct FieldEnd {
    /// Its length in the line.
    length: usize,
    /// A delimiter follows, so the line has one more field.
    delimited: bool,
    /// It contains a backslash.
    escaped: bool,
}

impl TextFields {
    /// Field `index`, from 0, of a line without its end. `scratch` holds the value if it had escapes.
    pub(super) fn field<'a>(&self, line: &'a [u8], index: usize, scratch: &'a mut Vec<u8>) -> Field<'a> {
        let mut rest = line;
        for _ in 0..index {
            let end = self.field_end(rest);
            if !end.delimited {
                return Field::Missing;
            }
            rest = &rest[end.length + 1..];
        }
        let end = self.field_end(rest);
        let raw = &rest[..end.length];
        if raw == self.null {
            return Field::Null;
        }
        if !end.escaped {
            return Field::Value(raw);
        }
        unescape(raw, scratch);
        Field::Value(scratch)
    }

    fn field_end(&self, bytes: &[u8]) -> FieldEnd {
        let mut at = 0;
        let mut escaped = false;
        while let Some(found) = find_near(self.delimiter, b'\\', &bytes[at..]) {
            let here = at + found;
            if bytes[here] == self.delimiter {
                return FieldEnd { length: here, delimited: true, escaped };
            }
            if here + 1 == bytes.len() {
                // PostgreSQL drops a backslash at the end of the line, and compares with the null string without it.
                return FieldEnd { length: here, delimited: false, escaped };
            }
            escaped = true;
            at = here + escape(&bytes[here..]).1;
        }
        FieldEnd { length: bytes.len(), delimited: false, escaped }
    }
}

/// What an escape stands for and how many bytes it is long; `bytes` begins with its backslash and has one byte more.
fn escape(bytes: &[u8]) -> (u8, usize) {
    let digits = |from: usize, most: usize, radix: u32| {
        let mut value = 0u32;
        let mut count = 0;
        while let Some(digit) = bytes.get(from + count).and_then(|&b| char::from(b).to_digit(radix)) {
            if count == most {
                break;
            }
            value = value * radix + digit;
            count += 1;
        }
        (value as u8, count)
    };
    match bytes[1] {
        b'0'..=b'7' => {
            let (value, count) = digits(1, 3, 8);
            (value, 1 + count)
        }
        b'x' => match digits(2, 2, 16) {
            (_, 0) => (b'x', 2),
            (value, count) => (value, 2 + count),
        },
        b'b' => (0x08, 2),
        b'f' => (0x0c, 2),
        b'n' => (b'\n', 2),
        b'r' => (b'\r', 2),
        b't' => (b'\t', 2),
        b'v' => (0x0b, 2),
        other => (other, 2),
    }
}

/// Puts what `raw` stands for into `out`. A backslash never ends `raw`.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]) {
        let here = at + found;
        out.extend_from_slice(&raw[at..here]);
        if here + 1 == raw.len() {
            return;
        }
        let (value, length) = escape(&raw[here..]);
        out.push(value);
        at = here + length;
    }
    out.extend_from_slice(&raw[at..]);
}
