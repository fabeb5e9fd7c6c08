//! The joiner of one server's answer, or of several that follow each other: the client gets what it asked for, the rest is hidden, and
//! what the session must know of it is noted.

use bytes::BytesMut;
use memchr::memmem;

use super::relay::{Frame, Handling, Joiner};
use crate::pool::expect::{StatementId, Step};
use crate::pool::server::{STATEMENT_PREFIX, statement_name};
use crate::wire::fields;
use crate::wire::name::Name;
use crate::wire::row_description::without_table_oids;

/// A parameter that a server reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// In the server's spelling.
    pub value: String,
    /// The client has got the message.
    pub told: bool,
}

/// Forwards what the client asked for, and notes what the session must know.
#[derive(Debug, Default)]
pub struct Plain {
    /// SQLSTATE of the last error.
    pub error: Option<[u8; 5]>,
    /// The client has got an error.
    pub told_error: bool,
    /// The first error whose answer was hidden, as an ErrorResponse body: something of the gateway's own failed.
    pub hidden_error: Option<Vec<u8>>,
    /// The step that it was the answer to.
    pub hidden_step: Option<Step>,
    /// Tag of the last CommandComplete.
    pub tag: Vec<u8>,
    /// Keep the tags (costs a copy each).
    pub keep_tags: bool,
    /// Hide ReadyForQuery: the session sends its own when all is done.
    pub hide_ready: bool,
    /// Show notices also of hidden steps: the client asked for what caused them.
    pub show_side_effects: bool,
    /// Show rows also of hidden steps.
    pub show_rows: bool,
    /// Keep the last row that was hidden.
    pub keep_row: bool,
    /// That row, of text values.
    pub row: Vec<Option<String>>,
    /// From the last ParameterDescription that was hidden.
    pub parameter_types: Vec<u32>,
    /// What the client calls the statements it used, for errors that name them as servers do.
    pub aliases: Vec<(StatementId, Name)>,
    /// By how many characters the text that was sent is longer, before the place of an error, than the client's.
    pub longer_by: usize,
    /// Parameters that have changed.
    pub parameters: Vec<Parameter>,
    /// Do not note `described` (which costs copies).
    pub skip_described: bool,
    /// RowDescription (or none) of each Describe that the client has got an answer to, in order.
    pub described: Vec<Option<Vec<u8>>>,
    /// From the last RowDescription that was hidden.
    pub row_description: Option<Vec<u8>>,
}

impl Joiner for Plain {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn passes_rows(&self) -> bool {
        true
    }

    fn passes_answers(&self) -> bool {
        // Behind an error of the gateway's own, the client is to hear of that first.
        !self.keep_tags && !self.hide_ready && self.skip_described && self.hidden_error.is_none()
    }

    fn holds_rows(&self) -> bool {
        self.keep_row
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        if frame.tag == b'E' {
            let code = fields::field(frame.body, b'C').and_then(|code| code.try_into().ok());
            self.error = Some(code.unwrap_or(*b"XX000"));
            self.told_error |= frame.verdict.forward;
            if !frame.verdict.forward && self.hidden_error.is_none() {
                self.hidden_error = Some(frame.body.to_vec());
                self.hidden_step = frame.verdict.step;
            }
        } else if frame.tag == b'C' && self.keep_tags {
            self.tag = fields::tag(frame.body).to_vec();
        } else if frame.tag == b'S'
            && let Some((name, value)) = fields::parameter(frame.body)
        {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            // In the middle of a script the client is told at its end. Source: postgres.c, ReportChangedGUCOptions.
            let told = frame.verdict.forward && !self.hide_ready;
            self.parameters.push(Parameter { name: text(name), value: text(value), told });
        }
        match frame.tag {
            b'D' if self.keep_row && !frame.verdict.forward => self.row = fields::text_row(frame.body),
            b't' if !frame.verdict.forward => {
                let types = frame.body.get(2..).unwrap_or_default().as_chunks::<4>().0;
                self.parameter_types = types.iter().map(|oid| u32::from_be_bytes(*oid)).collect();
            }
            b'Z' | b'S' if self.hide_ready => return Handling::Drop,
            // The client is to be told of the error first.
            b'Z' if self.hidden_error.is_some() => return Handling::Drop,
            b'N' if self.show_side_effects => return Handling::Forward,
            b'T' | b'n'
                if !(self.skip_described && frame.verdict.forward)
                    && matches!(frame.verdict.step, Some(Step::DescribeStatement | Step::DescribePortal)) =>
            {
                let columns = (frame.tag == b'T').then(|| without_table_oids(frame.body));
                if frame.verdict.forward {
                    self.described.push(columns);
                } else {
                    self.row_description = columns;
                }
            }
            b'T' | b'D' if self.show_rows => return Handling::Forward,
            _ => {}
        }
        let ours = frame.tag == b'E' && (self.longer_by > 0 || memmem::find(frame.body, STATEMENT_PREFIX).is_some());
        if frame.verdict.forward && ours {
            let body = moved_back(&renamed(frame.body, &self.aliases), self.longer_by);
            crate::wire::frame::write(client, b'E', |out| out.extend_from_slice(&body));
            return Handling::Drop;
        }
        if frame.verdict.forward { Handling::Forward } else { Handling::Drop }
    }
}

/// An ErrorResponse's body with the client's names of statements in place of the servers'.
pub fn renamed(body: &[u8], aliases: &[(StatementId, Name)]) -> Vec<u8> {
    let mut body = body.to_vec();
    for (id, name) in aliases {
        let theirs = format!("\"{}\"", statement_name(*id));
        if let Some(at) = memmem::find(&body, theirs.as_bytes()) {
            body.splice(at + 1..at + theirs.len() - 1, name.iter().copied());
        }
    }
    body
}

/// An ErrorResponse's body with its position (field `P`) moved back.
pub fn moved_back(body: &[u8], by: usize) -> Vec<u8> {
    let mut moved = Vec::with_capacity(body.len());
    for (code, value) in fields::fields(body) {
        moved.push(code);
        match std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok()) {
            Some(position) if code == b'P' => {
                moved.extend_from_slice(position.saturating_sub(by).to_string().as_bytes())
            }
            _ => moved.extend_from_slice(value),
        }
        moved.push(0);
    }
    moved.push(0);
    moved
}
