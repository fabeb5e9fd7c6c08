//! Takes in the rows that servers return for the gateway's own use.

use bytes::BytesMut;

use super::relay::{Frame, Handling, Joiner};
use crate::pool::expect::Step;
use crate::wire::fields::{tag, tag_rows};

/// DataRow bodies of one statement.
pub type Answer = Vec<Box<[u8]>>;

/// Rows taken in.
#[derive(Debug, Default)]
pub struct Harvest {
    /// By server: what each statement returned that has columns (or rows, where nobody asked for the columns), in their order.
    answers: Vec<Vec<Answer>>,
    /// The last of a server's answers is still under way.
    open: Vec<bool>,
    /// The first error, as an ErrorResponse body.
    pub error: Option<Vec<u8>>,
    /// They would be more than may be held.
    pub overflow: bool,
    /// By server: what the tags count.
    changed: Vec<u64>,
    bytes: usize,
    bytes_max: usize,
    cancelled: bool,
}

impl Harvest {
    /// Holds `bytes_max` of rows at the most.
    pub fn new(bytes_max: usize) -> Harvest {
        Harvest { bytes_max, ..Harvest::default() }
    }

    /// What a server's statements returned. Those that have neither columns nor rows are left out.
    pub fn answers(&self, server: usize) -> &[Answer] {
        self.answers.get(server).map_or(&[], Vec::as_slice)
    }

    /// All rows of a server.
    pub fn rows_of(&self, server: usize) -> impl Iterator<Item = &[u8]> {
        self.answers(server).iter().flatten().map(|row| &**row)
    }

    /// All rows, by server.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.answers.iter().flatten().flatten().map(|row| &**row)
    }

    /// What the tags count, by server.
    pub fn into_changed(self) -> Vec<u64> {
        self.changed
    }

    /// The answer that is under way on a server; a new one if there is none, or if it is time for one.
    fn answer(&mut self, server: usize, new: bool) -> Option<&mut Answer> {
        if self.answers.len() <= server {
            self.answers.resize_with(server + 1, Vec::new);
            self.open.resize(server + 1, false);
        }
        let answers = self.answers.get_mut(server)?;
        if !std::mem::replace(self.open.get_mut(server)?, true) || new {
            answers.push(Answer::new());
        }
        answers.last_mut()
    }
}

impl Joiner for Harvest {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        match frame.tag {
            // What a server says of being cancelled is not why.
            b'E' if !self.overflow => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            b'T' => {
                self.answer(frame.server, true);
            }
            b'D' if self.error.is_none() => {
                self.bytes = self.bytes.saturating_add(frame.body.len());
                // A row that is too long to be held comes without its body.
                self.overflow |= frame.body.is_empty() || self.bytes > self.bytes_max;
                if !self.overflow
                    && let Some(rows) = self.answer(frame.server, false)
                {
                    rows.push(frame.body.into());
                }
            }
            b'C' => {
                if self.changed.len() <= frame.server {
                    self.changed.resize(frame.server + 1, 0);
                }
                if let Some(changed) = self.changed.get_mut(frame.server) {
                    *changed += tag_rows(tag(frame.body)).1.unwrap_or(0);
                }
                if let Some(open) = self.open.get_mut(frame.server) {
                    *open = false;
                }
            }
            b'N' if frame.verdict.joined => return Handling::Forward,
            _ => {}
        }
        Handling::Drop
    }

    /// Questions of the gateway's own are no COPY, but one whose rows are on their way, or that had none, may not have been answered yet.
    fn stops_at_copy_in(&self) -> bool {
        false
    }

    fn cancels(&mut self) -> bool {
        (self.error.is_some() || self.overflow) && !std::mem::replace(&mut self.cancelled, true)
    }
}
