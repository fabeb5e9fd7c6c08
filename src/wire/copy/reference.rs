//! The slow, straightforward parser that the splitter is compared with: all data at hand, one byte after the other.
#![allow(clippy::unwrap_used)]

use super::line_end::LineEnd;
use super::{Format, SplitFault};

/// An owned [`Piece`](super::Piece).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    Header(Vec<u8>),
    Row(Vec<u8>, OwnedField, u64),
    End,
}

/// An owned [`Field`](super::Field).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnedField {
    Null,
    Value(Vec<u8>),
    Missing,
}

/// Everything up to the first error.
pub(super) fn split(format: &Format, key_field: usize, data: &[u8]) -> (Vec<Owned>, Option<(SplitFault, Option<u64>)>) {
    let mut pieces = Vec::new();
    let result = match format {
        Format::Binary => binary(data, key_field, &mut pieces),
        Format::Text { header, .. } | Format::Csv { header, .. } => {
            Reader { format, data, at: 0, line_end: None, line: 0 }.run(key_field, *header, &mut pieces)
        }
    };
    (pieces, result.err())
}

type Outcome<T> = Result<T, (SplitFault, Option<u64>)>;

struct Reader<'a> {
    format: &'a Format,
    data: &'a [u8],
    at: usize,
    line_end: Option<LineEnd>,
    line: u64,
}

enum Stop {
    LineEnd(usize),
    DataEnd,
    Marker,
}

impl Reader<'_> {
    fn run(mut self, key_field: usize, header: bool, pieces: &mut Vec<Owned>) -> Outcome<()> {
        let mut header_due = header;
        loop {
            self.line += 1;
            let start = self.at;
            let (content_end, stop) = self.read_line().map_err(|fault| (fault, Some(self.line)))?;
            let end_bytes = if let Stop::LineEnd(bytes) = stop { bytes } else { 0 };
            if content_end > start || end_bytes > 0 {
                let row = self.data[start..content_end + end_bytes].to_vec();
                if header_due {
                    pieces.push(Owned::Header(row));
                } else {
                    let key = field(self.format, &self.data[start..content_end], key_field);
                    pieces.push(Owned::Row(row, key, self.line));
                }
            }
            header_due = false;
            match stop {
                Stop::LineEnd(_) => {}
                Stop::DataEnd => return Ok(()),
                Stop::Marker => {
                    pieces.push(Owned::End);
                    return Ok(());
                }
            }
        }
    }

    fn byte(&self, at: usize) -> u8 {
        self.data.get(at).copied().unwrap_or(0)
    }

    /// Where the line's content ends and why; `at` moves behind the line.
    fn read_line(&mut self) -> Result<(usize, Stop), SplitFault> {
        let (csv, quote, escape) = match *self.format {
            Format::Csv { quote, escape, .. } => (true, quote, (escape != quote).then_some(escape)),
            _ => (false, 0, None),
        };
        let start = self.at;
        let (mut in_quote, mut after_escape) = (false, false);
        loop {
            if self.at >= self.data.len() {
                return Ok((self.data.len(), Stop::DataEnd));
            }
            let here = self.at;
            let c = self.data[here];
            self.at += 1;
            if csv {
                if in_quote && escape == Some(c) {
                    after_escape = !after_escape;
                }
                if c == quote && !after_escape {
                    in_quote = !in_quote;
                }
                if escape != Some(c) {
                    after_escape = false;
                }
                if in_quote && c == (if self.line_end == Some(LineEnd::Lf) { b'\n' } else { b'\r' }) {
                    self.line += 1;
                }
            }
            if c == b'\r' && !in_quote {
                return match self.line_end {
                    Some(LineEnd::Lf) => Err(SplitFault::CarriageReturn { csv }),
                    Some(LineEnd::Cr) => Ok((here, Stop::LineEnd(1))),
                    _ if self.byte(self.at) == b'\n' => {
                        self.at += 1;
                        self.line_end = Some(LineEnd::CrLf);
                        Ok((here, Stop::LineEnd(2)))
                    }
                    Some(LineEnd::CrLf) => Err(SplitFault::CarriageReturn { csv }),
                    None => {
                        self.line_end = Some(LineEnd::Cr);
                        Ok((here, Stop::LineEnd(1)))
                    }
                };
            }
            if c == b'\n' && !in_quote {
                if matches!(self.line_end, Some(LineEnd::Cr | LineEnd::CrLf)) {
                    return Err(SplitFault::Newline { csv });
                }
                self.line_end = Some(LineEnd::Lf);
                return Ok((here, Stop::LineEnd(1)));
            }
            if c == b'\\' && (!csv || here == start) {
                if self.at >= self.data.len() {
                    return Ok((self.data.len(), Stop::DataEnd));
                }
                if self.byte(self.at) == b'.' {
                    if self.marker(here, csv)? {
                        return Ok((here, Stop::Marker));
                    }
                } else if !csv {
                    self.at += 1;
                }
            }
        }
    }

    /// `\.` at `here`: whether it is the end marker.
    fn marker(&self, here: usize, csv: bool) -> Result<bool, SplitFault> {
        let corrupt = if csv { Ok(false) } else { Err(SplitFault::MarkerCorrupt) };
        let mut next = here + 2;
        if self.line_end == Some(LineEnd::CrLf) {
            match self.byte(next) {
                b'\n' if csv => return Ok(false),
                b'\n' => return Err(SplitFault::MarkerStyle),
                b'\r' => next += 1,
                _ => return corrupt,
            }
        }
        match (self.byte(next), self.line_end) {
            (b'\r', None | Some(LineEnd::Cr)) | (b'\n', None | Some(LineEnd::Lf | LineEnd::CrLf)) => Ok(true),
            (b'\r' | b'\n', _) => Err(SplitFault::MarkerStyle),
            _ => corrupt,
        }
    }
}

fn field(format: &Format, line: &[u8], index: usize) -> OwnedField {
    let fields = match format {
        Format::Text { delimiter, null, .. } => text_fields(line, *delimiter, null),
        Format::Csv { delimiter, quote, escape, null, force_not_null, force_null, .. } => {
            let mut fields = csv_fields(line, *delimiter, *quote, *escape, null);
            for field in &mut fields {
                match field {
                    OwnedField::Null if *force_not_null => *field = OwnedField::Value(null.clone()),
                    OwnedField::Value(value) if *force_null && value == null => *field = OwnedField::Null,
                    _ => {}
                }
            }
            fields
        }
        Format::Binary => unreachable!("binary data has no lines"),
    };
    fields.get(index).cloned().unwrap_or(OwnedField::Missing)
}

fn text_fields(line: &[u8], delimiter: u8, null: &[u8]) -> Vec<OwnedField> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let start = at;
        let mut value = Vec::new();
        let (end, delimited) = loop {
            let end = at;
            let Some(&c) = line.get(at) else { break (end, false) };
            at += 1;
            if c == delimiter {
                break (end, true);
            }
            if c != b'\\' {
                value.push(c);
                continue;
            }
            let Some(&c) = line.get(at) else { break (end, false) };
            at += 1;
            let mut number = |first: Option<u32>, radix: u32, more: usize| {
                let mut number = first;
                for _ in 0..more {
                    let Some(digit) = line.get(at).and_then(|&b| (b as char).to_digit(radix)) else { break };
                    number = Some(number.unwrap_or(0) * radix + digit);
                    at += 1;
                }
                number.map(|n| n as u8)
            };
            value.push(match c {
                b'0'..=b'7' => number(Some(u32::from(c - b'0')), 8, 2).unwrap(),
                b'x' => number(None, 16, 2).unwrap_or(b'x'),
                b'b' => 8,
                b'f' => 12,
                b'n' => 10,
                b'r' => 13,
                b't' => 9,
                b'v' => 11,
                c => c,
            });
        };
        fields.push(if line[start..end] == *null { OwnedField::Null } else { OwnedField::Value(value) });
        if !delimited {
            return fields;
        }
    }
}

/// The fields up to one whose quotes do not end.
fn csv_fields(line: &[u8], delimiter: u8, quote: u8, escape: u8, null: &[u8]) -> Vec<OwnedField> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let start = at;
        let mut value = Vec::new();
        let (mut in_quote, mut quoted) = (false, false);
        let (end, delimited) = loop {
            let Some(&c) = line.get(at) else {
                if in_quote {
                    return fields;
                }
                break (at, false);
            };
            at += 1;
            if !in_quote && c == delimiter {
                break (at - 1, true);
            }
            let next = line.get(at).copied();
            if in_quote && c == escape && next.is_some_and(|next| next == escape || next == quote) {
                value.extend(next);
                at += 1;
            } else if c == quote {
                in_quote = !in_quote;
                quoted = true;
            } else {
                value.push(c);
            }
        };
        fields.push(if !quoted && line[start..end] == *null { OwnedField::Null } else { OwnedField::Value(value) });
        if !delimited {
            return fields;
        }
    }
}

fn binary(data: &[u8], key_field: usize, pieces: &mut Vec<Owned>) -> Outcome<()> {
    let int32 = |at: usize| data.get(at..at + 4).map(|b| i32::from_be_bytes(b.try_into().unwrap()));
    if data.get(..11) != Some(b"PGCOPY\n\xff\r\n\0") {
        return Err((SplitFault::Signature, None));
    }
    let flags = int32(11).ok_or((SplitFault::MissingFlags, None))?;
    if flags & (1 << 16) != 0 {
        return Err((SplitFault::WithOids, None));
    }
    if flags >> 16 != 0 {
        return Err((SplitFault::CriticalFlags, None));
    }
    let extension = int32(15).filter(|&n| n >= 0).ok_or((SplitFault::MissingLength, None))? as usize;
    pieces.push(Owned::Header([&data[..15], &[0; 4]].concat()));
    if data.len() < 19 + extension {
        return Err((SplitFault::WrongLength, None));
    }
    let mut at = 19 + extension;
    for row in 1.. {
        let start = at;
        let Some(count) = data.get(at..at + 2).map(|b| i16::from_be_bytes([b[0], b[1]])) else { return Ok(()) };
        at += 2;
        if count == -1 {
            pieces.push(Owned::End);
            return if at == data.len() { Ok(()) } else { Err((SplitFault::AfterTrailer, Some(row))) };
        }
        if count < 0 {
            return Err((SplitFault::FieldCount { found: count, expected: 0 }, Some(row)));
        }
        let mut key = OwnedField::Missing;
        for field in 0..count as usize {
            let length = int32(at).ok_or((SplitFault::UnexpectedEnd, Some(row)))?;
            at += 4;
            let value = match length {
                -1 => OwnedField::Null,
                ..-1 => return Err((SplitFault::FieldSize, Some(row))),
                0.. => {
                    let value = data.get(at..at + length as usize);
                    at += length as usize;
                    OwnedField::Value(value.ok_or((SplitFault::UnexpectedEnd, Some(row)))?.to_vec())
                }
            };
            if field == key_field {
                key = value;
            }
        }
        pieces.push(Owned::Row(data[start..at].to_vec(), key, row));
    }
    Ok(())
}
