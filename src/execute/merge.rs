//! The last step of a query over several shards: the merge server's answer goes to the client, everyone else's is hidden.

use bytes::BytesMut;

use super::plain::Plain;
use super::relay::{Frame, Handling, Joiner};
use crate::pool::expect::Step;
use crate::wire::fields;
use crate::wire::frame;
use crate::wire::row_description::{self, Columns};

/// One run of a merge query.
#[derive(Debug)]
pub struct Merge {
    server: usize,
    /// What the client has been told, or shall be, of the columns.
    columns: Columns,
    /// It shall be told now.
    tells: bool,
    /// The merge server's columns are others.
    pub differs: bool,
    /// The first error, as an ErrorResponse body.
    pub error: Option<Vec<u8>>,
    /// CommandComplete's tag.
    pub tag: Option<Vec<u8>>,
    /// There may be more rows.
    pub suspended: bool,
    /// Rows of one text are kept here, as lines, not passed on.
    pub captured: Option<Vec<u8>>,
    cancelled: bool,
}

impl Merge {
    /// `server` is an index into the link's; `tells`: the client wants a RowDescription.
    pub fn new(server: usize, columns: Columns, tells: bool) -> Self {
        Merge {
            server,
            columns,
            tells,
            differs: false,
            error: None,
            tag: None,
            suspended: false,
            captured: None,
            cancelled: false,
        }
    }

    /// Nothing is right any more.
    pub fn failed(&self) -> bool {
        self.differs || self.error.is_some()
    }

    fn of_rows(&mut self, frame: &Frame<'_>, client: &mut BytesMut) -> Handling {
        if let (b'D', Some(captured)) = (frame.tag, &mut self.captured) {
            // One column: its count (2) and its length (4) come first.
            captured.extend_from_slice(frame.body.get(6..).unwrap_or_default());
            captured.push(b'\n');
            return Handling::Drop;
        }
        match frame.tag {
            b'D' | b'N' | b'H' | b'd' | b'c' => return Handling::Forward,
            b'C' => self.tag = Some(fields::tag(frame.body).to_vec()),
            b's' => self.suspended = true,
            b'T' | b'n' if !row_description::same_types(frame.body, self.columns.body()) => self.differs = true,
            b'T' if std::mem::take(&mut self.tells) => {
                frame::write(client, b'T', |to| to.extend_from_slice(self.columns.body()));
            }
            _ => {}
        }
        Handling::Drop
    }
}

impl Joiner for Merge {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        if frame.tag == b'E' {
            self.error.get_or_insert_with(|| frame.body.to_vec());
            return Handling::Drop;
        }
        if frame.server == self.server && frame.verdict.joined && !self.failed() {
            return self.of_rows(&frame, client);
        }
        Handling::Drop
    }

    fn stops_at_copy_in(&self) -> bool {
        false
    }

    fn cancels(&mut self) -> bool {
        self.failed() && !std::mem::replace(&mut self.cancelled, true)
    }
}

/// FETCH from a cursor on a merge server: its columns are those that the client was told of the query, in the cursor's formats.
#[derive(Debug)]
pub struct Fetched {
    /// All else.
    pub plain: Plain,
    /// The query's columns.
    pub columns: Columns,
}

impl Joiner for Fetched {
    fn admits(&self, server: usize, expected: Option<Step>) -> bool {
        self.plain.admits(server, expected)
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        if frame.tag == b'T' && frame.verdict.forward {
            let columns = self.columns.in_formats_of(frame.body);
            frame::write(client, b'T', |to| to.extend_from_slice(columns.body()));
            return Handling::Drop;
        }
        self.plain.frame(frame, client)
    }

    fn stops_at_copy_in(&self) -> bool {
        self.plain.stops_at_copy_in()
    }

    fn cancels(&mut self) -> bool {
        self.plain.cancels()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::expect::Verdict;

    fn frame(tag: u8, body: &[u8]) -> Frame<'_> {
        let verdict = Verdict { step: Some(Step::Execute), forward: false, joined: true, ends: false };
        Frame { server: 1, tag, verdict, body }
    }

    fn columns(kind: u8) -> Vec<u8> {
        [&b"\0\x01a\0\0\0\0\0\0\x01\0\0\0"[..], &[kind], &[0; 8]].concat()
    }

    #[test]
    fn rows_of_other_types_than_the_client_was_told_are_not_passed_on() {
        let mut merge = Merge::new(1, Columns::new(columns(23)), true);
        let mut out = BytesMut::new();
        assert_eq!(merge.frame(frame(b'T', &columns(20)), &mut out), Handling::Drop);
        assert_eq!(merge.frame(frame(b'D', b"row"), &mut out), Handling::Drop);
        assert!(merge.differs && out.is_empty() && merge.cancels());
    }

    #[test]
    fn the_client_is_told_the_columns_as_described() {
        let mut merge = Merge::new(1, Columns::new(columns(23)), true);
        let mut out = BytesMut::new();
        merge.frame(frame(b'T', &columns(23)), &mut out);
        assert_eq!(out[0], b'T');
        assert_eq!(merge.frame(frame(b'D', b"row"), &mut out), Handling::Forward);
    }
}
