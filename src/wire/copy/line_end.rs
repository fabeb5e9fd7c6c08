//! How lines end: the first line decides, every other must do the same.

use super::SplitFault;

/// The line end of a COPY stream, once its first line has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    Lf,
    Cr,
    CrLf,
}

/// What scanning a chunk came to. `end` is a position in the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// The row goes on.
    More,
    /// The row ends before `end`; its last `end_bytes` bytes are the line end.
    Row { end: usize, end_bytes: usize },
    /// The end marker ends before `end`, `marker_bytes` long; what stands before it is a row unless empty.
    Marker { end: usize, marker_bytes: usize },
}

/// What was read last, when the next byte says what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    Nothing,
    /// `\r` that may be followed by `\n`.
    Cr,
    /// `\`.
    Backslash,
    /// `\.`
    Dot,
    /// `\.` and `\r`, where lines end in `\r\n`.
    DotCr,
}

/// What the byte after `\.` makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterDot {
    /// The end marker is complete.
    Marker,
    /// `\r` of `\r\n`: look at one more.
    NeedsNewline,
    /// It ends in another way than the lines before it.
    WrongStyle,
    /// No end marker: data in CSV, an error in text.
    NoMarker,
}

/// Judges the byte after `\.`. In CSV, a bare newline where lines end in `\r\n` is data; in text it is the wrong style.
pub(super) fn after_dot(line_end: Option<LineEnd>, byte: u8, csv: bool) -> AfterDot {
    match (line_end, byte) {
        (Some(LineEnd::CrLf), b'\r') => AfterDot::NeedsNewline,
        (Some(LineEnd::CrLf), b'\n') if csv => AfterDot::NoMarker,
        (Some(LineEnd::CrLf), b'\n') => AfterDot::WrongStyle,
        (None, b'\r' | b'\n') | (Some(LineEnd::Lf), b'\n') | (Some(LineEnd::Cr), b'\r') => AfterDot::Marker,
        (Some(LineEnd::Lf), b'\r') | (Some(LineEnd::Cr), b'\n') => AfterDot::WrongStyle,
        _ => AfterDot::NoMarker,
    }
}

/// Judges the byte after `\.` and `\r`, where lines end in `\r\n`.
pub(super) fn after_dot_cr(byte: u8) -> AfterDot {
    match byte {
        b'\n' => AfterDot::Marker,
        b'\r' => AfterDot::WrongStyle,
        _ => AfterDot::NoMarker,
    }
}

/// A `\n` that is not data: the length of the line end, or that it may not stand here.
pub(super) fn newline(line_end: &mut Option<LineEnd>, csv: bool) -> Result<(), SplitFault> {
    match line_end {
        None | Some(LineEnd::Lf) => {
            *line_end = Some(LineEnd::Lf);
            Ok(())
        }
        Some(LineEnd::Cr | LineEnd::CrLf) => Err(SplitFault::Newline { csv }),
    }
}

/// A `\r` that is not data: `true` if it ends the line, `false` if the next byte must be seen first.
pub(super) fn carriage_return(line_end: Option<LineEnd>, csv: bool) -> Result<bool, SplitFault> {
    match line_end {
        None | Some(LineEnd::CrLf) => Ok(false),
        Some(LineEnd::Cr) => Ok(true),
        Some(LineEnd::Lf) => Err(SplitFault::CarriageReturn { csv }),
    }
}

/// The byte after an undecided `\r` (`None`: the data ends): whether it belongs to the line end.
pub(super) fn after_carriage_return(
    line_end: &mut Option<LineEnd>,
    byte: Option<u8>,
    csv: bool,
) -> Result<bool, SplitFault> {
    if byte == Some(b'\n') {
        *line_end = Some(LineEnd::CrLf);
        return Ok(true);
    }
    if *line_end == Some(LineEnd::CrLf) {
        return Err(SplitFault::CarriageReturn { csv });
    }
    *line_end = Some(LineEnd::Cr);
    Ok(false)
}
