//! COPY FROM STDIN: takes the client's data apart by key and gives each shard its rows, in CopyData frames of its own.

use bytes::BytesMut;
use shardmap::ShardMap;

use super::copy_key::{CopyEncoding, FieldFormat, KeyDecode, key_of};
use super::copy_lines::SentLines;
use super::link::Enlisted;
use super::relay::{Frame, Handling, Joiner};
use crate::catalog::KeyType;
use crate::plan::relative_time;
use crate::pool::expect::Step;
use crate::wire::copy::{FeedError, Field, Piece, Splitter};
use crate::wire::fields::{field, fields, tag, tag_rows};
use crate::wire::frame;
use crate::wire::reply::Report;

/// Where the rows of a COPY go.
#[derive(Debug)]
pub enum Router {
    /// All to every participant: one server, or all shards for a reference table.
    Same,
    /// Each to the shard of its key.
    ByKey {
        /// Finds rows and keys.
        splitter: Box<Splitter>,
        /// How keys are hashed.
        key_type: KeyType,
        /// How fields are written.
        format: FieldFormat,
        /// The map as it was when the COPY began.
        map: std::sync::Arc<ShardMap>,
    },
}

/// One COPY FROM STDIN.
#[derive(Debug)]
pub struct CopyIn {
    router: Router,
    watched: Vec<Splitter>,
    relation: String,
    lines: Vec<SentLines>,
    /// Where, in each server's outbound bytes, the length of the CopyData frame being written is.
    open_frames: Vec<Option<usize>>,
}

impl CopyIn {
    /// `servers`: how many take part; with a router by key, the one at index i is shard i's.
    pub fn new(router: Router, relation: String, servers: usize) -> Self {
        let lines = (0..servers).map(|_| SentLines::default()).collect();
        CopyIn { router, watched: Vec::new(), relation, lines, open_frames: vec![None; servers] }
    }

    /// Refuses rows in which a field that one of these finds would be read as the time of reading.
    pub fn watching(self, watched: Vec<Splitter>) -> Self {
        CopyIn { watched, ..self }
    }

    /// Takes note of CopyInResponse: format (1), count of columns (2), their formats.
    pub fn expect_columns(&mut self, response: &[u8]) {
        if let (Router::ByKey { splitter, .. }, Some(&[high, low])) = (&mut self.router, response.get(1..3)) {
            splitter.expect_columns(u16::from_be_bytes([high, low]));
        }
    }

    /// Passes on a piece of CopyData payload, cut anywhere.
    ///
    /// # Errors
    /// The data cannot be taken apart, or a row has a NULL key.
    pub fn feed(&mut self, chunk: &[u8], servers: &mut [Enlisted]) -> Result<(), Box<Report>> {
        let CopyIn { router, watched, relation, lines, open_frames } = self;
        let seen = watched.iter_mut().try_for_each(|splitter| splitter.feed(chunk, &mut steady));
        seen.map_err(|error| Box::new(report(error, relation)))?;
        let result = match router {
            Router::Same => {
                for (open, enlisted) in open_frames.iter_mut().zip(servers.iter_mut()) {
                    append(open, &mut enlisted.server.outbound, chunk);
                }
                Ok(())
            }
            Router::ByKey { splitter, key_type, format, map } => {
                let mut rows = Rows { key_type: *key_type, format: *format, map, lines, open_frames, servers };
                splitter.feed(chunk, &mut |piece| rows.place(piece))
            }
        };
        close_frames(&mut self.open_frames, servers);
        result.map_err(|error| Box::new(report(error, relation)))
    }

    /// The client has sent CopyDone: passes on what is left.
    ///
    /// # Errors
    /// As [`CopyIn::feed`].
    pub fn finish(&mut self, servers: &mut [Enlisted]) -> Result<(), Box<Report>> {
        let CopyIn { router, watched, relation, lines, open_frames } = self;
        let seen = watched.iter_mut().try_for_each(|splitter| splitter.finish(&mut steady));
        seen.map_err(|error| Box::new(report(error, relation)))?;
        let result = match router {
            Router::Same => Ok(()),
            Router::ByKey { splitter, key_type, format, map } => {
                let mut rows = Rows { key_type: *key_type, format: *format, map, lines, open_frames, servers };
                splitter.finish(&mut |piece| rows.place(piece))
            }
        };
        close_frames(&mut self.open_frames, servers);
        result.map_err(|error| Box::new(report(error, relation)))
    }

    /// An error of the gateway's own, with the line that would have come next.
    pub fn located(&self, mut report: Report) -> Report {
        let line = match &self.router {
            Router::Same => None,
            Router::ByKey { splitter, .. } => Some(splitter.lines_seen() + 1),
        };
        report.context = line.map(|line| format!("COPY {}, line {line}", self.relation));
        report
    }

    /// Of the shards' errors that to which one Postgres would have come first, which is that of the earliest line, as the client is to see it.
    /// `ended`: what shards were told that had no error until then; their saying it is none.
    pub fn first_error(&self, errors: &[(usize, Vec<u8>)], ended: &str) -> Option<Vec<u8>> {
        let says_so = |body: &[u8]| {
            field(body, b'C') == Some(b"57014")
                && field(body, b'M').is_some_and(|text| text.ends_with(ended.as_bytes()))
        };
        let own = errors.iter().filter(|(_, body)| !says_so(body)).map(|(server, body)| self.translate(*server, body));
        own.min_by_key(|body| line_of(body).unwrap_or(u64::MAX))
    }

    /// A shard's error with its line numbers made the client's.
    pub fn translate(&self, server: usize, body: &[u8]) -> Vec<u8> {
        if matches!(self.router, Router::Same) {
            return body.to_vec();
        }
        let mut translated = Vec::with_capacity(body.len() + 8);
        for (code, value) in fields(body) {
            translated.push(code);
            match (code, self.lines.get(server), std::str::from_utf8(value)) {
                (b'W', Some(lines), Ok(context)) => translated.extend_from_slice(lines.translate(context).as_bytes()),
                _ => translated.extend_from_slice(value),
            }
            translated.push(0);
        }
        translated.push(0);
        translated
    }
}

/// A row that has no shard.
#[derive(Clone, Copy, Debug)]
enum Misplaced {
    /// Its key is NULL.
    Null { line: u64 },
    /// Its key is text in an encoding that is not converted.
    Unreadable { line: u64 },
    /// Each shard would read another moment from it.
    Moment { line: u64 },
}

/// Refuses a row whose field would be read as the time of reading.
fn steady(piece: Piece<'_>) -> Result<(), Misplaced> {
    match piece {
        Piece::Row { key: Field::Value(text), line, .. } if relative_time(&String::from_utf8_lossy(text)) => {
            Err(Misplaced::Moment { line })
        }
        Piece::Header(_) | Piece::Row { .. } | Piece::End => Ok(()),
    }
}

struct Rows<'a> {
    key_type: KeyType,
    format: FieldFormat,
    map: &'a ShardMap,
    lines: &'a mut [SentLines],
    open_frames: &'a mut [Option<usize>],
    servers: &'a mut [Enlisted],
}

impl Rows<'_> {
    fn place(&mut self, piece: Piece<'_>) -> Result<(), Misplaced> {
        match piece {
            Piece::Header(bytes) => {
                for at in 0..self.servers.len() {
                    append(&mut self.open_frames[at], &mut self.servers[at].server.outbound, bytes);
                    if self.format == FieldFormat::Text {
                        self.lines[at].push(1);
                    }
                }
            }
            Piece::Row { bytes, key, line } => {
                let at = match key_of(key, self.key_type, self.format, CopyEncoding::Utf8) {
                    KeyDecode::Key(key) => usize::from(self.map.shard_of_key(&key).0),
                    // Any shard refuses such a row, in PostgreSQL's words.
                    KeyDecode::Invalid => 0,
                    KeyDecode::Null => return Err(Misplaced::Null { line }),
                    KeyDecode::Unreadable => return Err(Misplaced::Unreadable { line }),
                };
                let at = at.min(self.servers.len().saturating_sub(1));
                append(&mut self.open_frames[at], &mut self.servers[at].server.outbound, bytes);
                self.lines[at].push(line);
            }
            Piece::End => {}
        }
        Ok(())
    }
}

fn append(open: &mut Option<usize>, out: &mut BytesMut, bytes: &[u8]) {
    if open.is_none() {
        out.extend_from_slice(b"d");
        *open = Some(out.len());
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(bytes);
}

fn close_frames(open_frames: &mut [Option<usize>], servers: &mut [Enlisted]) {
    for (open, enlisted) in open_frames.iter_mut().zip(servers) {
        let Some(at) = open.take() else { continue };
        let out = &mut enlisted.server.outbound;
        let length = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
        if let Some(field) = out.get_mut(at..at + 4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}

fn report(error: FeedError<Misplaced>, relation: &str) -> Report {
    match error {
        FeedError::Split(split) => {
            let mut report = Report::error(split.sqlstate(), split.to_string());
            report.hint = split.hint().map(Into::into);
            report.context = split.line.map(|line| format!("COPY {relation}, line {line}"));
            report
        }
        FeedError::Sink(misplaced) => {
            let key = |what| format!("{what} in the key column of relation \"{relation}\" has no shard");
            let (sqlstate, text, line) = match misplaced {
                Misplaced::Null { line } => ("23502", key("null value"), line),
                Misplaced::Unreadable { line } => ("0A000", key("value in another encoding than UTF8"), line),
                Misplaced::Moment { line } => {
                    let text = format!("a word for the current time in data for the reference table \"{relation}\"");
                    ("0A000", text, line)
                }
            };
            let mut report = Report::error(sqlstate, text);
            if let Misplaced::Moment { .. } = misplaced {
                report.hint = Some("Write the date or time itself: each shard would read its own.".to_owned());
            }
            report.context = Some(format!("COPY {relation}, line {line}"));
            report
        }
    }
}

/// The line of the data that an error is about.
fn line_of(body: &[u8]) -> Option<u64> {
    let context = std::str::from_utf8(field(body, b'W')?).ok()?;
    let (_, rest) = context.lines().rfind(|line| line.starts_with("COPY "))?.split_once(", line ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// What the shards answer to a COPY FROM.
#[derive(Debug)]
pub struct CopyAnswers {
    /// Which servers wait for data.
    waiting: Vec<bool>,
    /// CopyInResponse's body.
    pub response: Option<Vec<u8>>,
    /// Sum of the rows; for a reference table, those of one shard.
    pub rows: u64,
    sum: bool,
    /// Errors as they came, and whose they are.
    pub errors: Vec<(usize, Vec<u8>)>,
}

impl CopyAnswers {
    /// `sum`: the shards' counts are added up.
    pub fn new(servers: usize, sum: bool) -> Self {
        CopyAnswers { waiting: vec![false; servers], response: None, rows: 0, sum, errors: Vec::new() }
    }

    /// A shard has failed.
    pub fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Whether all get the same rows.
    pub fn replicates(&self) -> bool {
        !self.sum
    }

    /// Whether a server waits for data.
    pub fn waits(&self, server: usize) -> bool {
        self.waiting.get(server).copied().unwrap_or(false)
    }
}

impl Joiner for CopyAnswers {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        match frame.tag {
            b'C' | b'N' if !frame.verdict.joined => {}
            b'G' => {
                if let Some(waiting) = self.waiting.get_mut(frame.server) {
                    *waiting = true;
                }
                self.response.get_or_insert_with(|| frame.body.to_vec());
            }
            b'E' => {
                if let Some(waiting) = self.waiting.get_mut(frame.server) {
                    *waiting = false;
                }
                self.errors.push((frame.server, frame.body.to_vec()));
            }
            b'C' => {
                let rows = tag_rows(tag(frame.body)).1.unwrap_or(0);
                self.rows = if self.sum { self.rows + rows } else { rows };
            }
            b'N' if frame.server == 0 => return Handling::Forward,
            _ => {}
        }
        Handling::Drop
    }
}

/// Appends CopyFail.
pub fn copy_fail(out: &mut BytesMut, reason: &str) {
    frame::write(out, b'f', |body| {
        body.extend_from_slice(reason.as_bytes());
        body.extend_from_slice(b"\0");
    });
}
