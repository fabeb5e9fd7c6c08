//! What a server still owes in answer to the messages sent to it, in order, and which of it the client shall see.
//!
//! The queue is what lets the gateway slip messages of its own (settings, BEGIN, Parse) between the client's without the
//! client noticing, while answers are forwarded by their header alone. Pure; called for each frame by `execute::relay`.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use crate::wire::reply::Status;

/// Names a statement text (with declared types) in this process; the same text has the same id for all clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatementId(pub u64);

/// The types of a statement's parameters, known once a server has said what it infers.
pub type Inferred = Arc<OnceLock<Arc<[u32]>>>;

/// One message sent, by what ends its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Parse: ends with ParseComplete. The id is what the server will hold afterwards, if it is a named statement.
    Parse(Option<StatementId>),
    /// Bind: BindComplete.
    Bind,
    /// Close: CloseComplete.
    Close,
    /// Close of a statement that makes room for another.
    Evict(StatementId),
    /// Describe of a statement: ParameterDescription, then RowDescription or NoData.
    DescribeStatement,
    /// The same, for [`Inferred`].
    Infer(StatementId),
    /// Describe of a portal: RowDescription or NoData.
    DescribePortal,
    /// Execute: CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Parse, Bind and Execute of a block's BEGIN: CommandComplete. If it fails, the server is not used any more.
    Begin,
    /// Query: everything up to ReadyForQuery.
    Query,
    /// Sync: ReadyForQuery.
    Sync,
    /// Nothing was sent: the gateway answers itself, when what was sent before has been answered.
    Said,
    /// The same, of ParseComplete and CloseComplete of a statement: the client is told that a name has changed.
    SaidOfName,
}

/// Who gets the answer to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The client, as it comes.
    Client,
    /// Whoever joins the answers of several servers into one for the client.
    Joiner,
    /// The client, but only an error: the gateway sent it on the client's behalf.
    ClientIfError,
    /// The gateway alone.
    Gateway,
}

/// A step and who gets its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// See [`Step`].
    pub step: Step,
    /// See [`Audience`].
    pub audience: Audience,
}

impl Expect {
    /// Its answer tells the client that a statement's name has changed.
    fn is_of_name(self) -> bool {
        matches!((self.step, self.audience), (Step::Parse(_), Audience::Client) | (Step::SaidOfName, _))
    }
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The step it belongs to; `None` for what comes unasked between statements.
    pub step: Option<Step>,
    /// The client shall see it.
    pub forward: bool,
    /// It is part of an answer that is joined from several.
    pub joined: bool,
    /// It is the last frame of its step.
    pub ends: bool,
}

/// The server sent something that answers nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected message type 0x{tag:02x} from server")]
pub struct Unexpected {
    /// The frame's tag.
    pub tag: u8,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Expectations {
    pub(super) queue: VecDeque<Expect>,
    said: VecDeque<Cow<'static, [u8]>>,
    inferring: Vec<(StatementId, Inferred)>,
    /// Statements whose Parse was skipped because of an error before it: the server does not hold them.
    pub unparsed: Vec<StatementId>,
    /// Statements whose Close was skipped because of an error before it: the server still holds them.
    pub unevicted: Vec<StatementId>,
    /// A Parse of the unnamed statement failed or was skipped: the server holds none.
    pub unnamed_lost: bool,
    /// So many answers of which the client was to hear that a statement's name has changed will not come, because of an error.
    pub names_lost: usize,
    /// The first of them was the error's own: a Parse that failed, and was not skipped.
    pub parse_failed: bool,
    /// An error came in an extended-protocol step: the server skips messages until Sync.
    pub skipping: bool,
    /// Extended-protocol messages have been sent since the last ReadyForQuery: an implicit transaction may be open.
    pub unsynced: bool,
    /// A BEGIN is what was sent last: it is answered with what is sent behind it.
    pub lingers: bool,
    /// What the last ReadyForQuery said, or a BEGIN since.
    pub status: Status,
}

impl Expectations {
    /// Appends a step.
    pub fn push(&mut self, step: Step, audience: Audience) {
        self.unsynced |= !matches!(step, Step::Query | Step::Sync | Step::Said);
        self.lingers = step == Step::Begin;
        if step == Step::Sync || !self.skipping {
            self.queue.push_back(Expect { step, audience });
            return;
        }
        self.names_lost += usize::from(Expect { step, audience }.is_of_name());
        if let Step::Evict(statement) = step {
            self.unevicted.push(statement);
        } else if let Step::Parse(statement) = step {
            self.unparsed.extend(statement);
            self.unnamed_lost |= statement.is_none();
        }
    }

    /// Appends the steps of Bind, Describe if the portal is described, Execute and Sync, all the client's.
    pub fn push_volley(&mut self, describes: bool) {
        if self.skipping {
            return self.push(Step::Sync, Audience::Client);
        }
        self.unsynced = true;
        self.lingers = false;
        let step = |step| Expect { step, audience: Audience::Client };
        self.queue.push_back(step(Step::Bind));
        self.queue.extend(describes.then_some(step(Step::DescribePortal)));
        self.queue.extend([step(Step::Execute), step(Step::Sync)]);
    }

    /// Appends a Describe that tells the types of a statement's parameters.
    pub fn push_infer(&mut self, statement: StatementId, inferred: Inferred) {
        if !self.skipping {
            self.push(Step::Infer(statement), Audience::Gateway);
            self.inferring.push((statement, inferred));
        }
    }

    /// Takes note of a ParameterDescription's body.
    pub fn infer(&mut self, statement: StatementId, body: &[u8]) {
        if let Some(inferred) = self.take_inferring(statement) {
            let types = body.get(2..).unwrap_or_default().as_chunks::<4>().0;
            // Another server may have said it before.
            let _ = inferred.set(types.iter().map(|oid| u32::from_be_bytes(*oid)).collect());
        }
    }

    fn take_inferring(&mut self, statement: StatementId) -> Option<Inferred> {
        let at = self.inferring.iter().position(|(id, _)| *id == statement)?;
        Some(self.inferring.remove(at).1)
    }

    /// Queues an answer of the gateway's own behind what is owed.
    pub fn say(&mut self, frames: Cow<'static, [u8]>) {
        self.say_as(Step::Said, frames);
    }

    /// Queues one that tells that a statement's name has changed.
    pub fn say_of_name(&mut self, frames: Cow<'static, [u8]>) {
        self.say_as(Step::SaidOfName, frames);
    }

    fn say_as(&mut self, step: Step, frames: Cow<'static, [u8]>) {
        let expect = Expect { step, audience: Audience::Client };
        if self.skipping {
            self.names_lost += usize::from(expect.is_of_name());
        } else {
            self.queue.push_back(expect);
            self.said.push_back(frames);
        }
    }

    /// Answers of the gateway's own that wait.
    pub fn said_count(&self) -> usize {
        self.said.len()
    }

    /// It is the turn of an answer of the gateway's own.
    pub fn is_said(&self) -> bool {
        self.front().is_some_and(|expect| matches!(expect.step, Step::Said | Step::SaidOfName))
    }

    /// The gateway's own answer, when its turn has come.
    pub fn take_said(&mut self) -> Option<Cow<'static, [u8]>> {
        if !self.is_said() {
            return None;
        }
        self.queue.pop_front();
        self.said.pop_front()
    }

    /// Nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The client waits for an answer that is owed.
    pub fn owes_client(&self) -> bool {
        self.queue.iter().any(|expect| expect.audience == Audience::Client)
    }

    /// So many answers are owed of which the client is to hear that a statement's name has changed.
    pub fn names_owed(&self) -> usize {
        self.queue.iter().filter(|expect| expect.is_of_name()).count()
    }

    /// The step whose answer comes next.
    pub fn front(&self) -> Option<Expect> {
        self.queue.front().copied()
    }

    /// Drops what is owed, for instance because the connection is gone.
    pub fn clear(&mut self) {
        self.names_lost += self.names_owed();
        self.queue.clear();
        self.said.clear();
        self.inferring.clear();
    }

    /// Takes note of a frame; `status_byte` is the first byte of a ReadyForQuery's body.
    ///
    /// # Errors
    /// The frame cannot be part of what is owed: a server that lies must not be believed.
    pub fn frame(&mut self, tag: u8, status_byte: u8) -> Result<Verdict, Unexpected> {
        let Some(Expect { step, audience }) = self.front() else {
            // Source: manual, "Asynchronous Operations"; an ErrorResponse may also come as a last word before a close.
            return match tag {
                b'N' | b'S' | b'A' | b'E' => Ok(Verdict { step: None, forward: false, joined: false, ends: false }),
                _ => Err(Unexpected { tag }),
            };
        };
        let ends = match (tag, step) {
            (b'N' | b'S' | b'A', _) => false,
            (b'E', Step::Query | Step::Sync) => false,
            (b'E', _) => {
                self.fail();
                true
            }
            (b'Z', Step::Query | Step::Sync) => {
                self.status = Status::from_byte(status_byte).ok_or(Unexpected { tag })?;
                self.skipping = false;
                self.unsynced = false;
                true
            }
            (b'1', Step::Parse(_)) | (b'2', Step::Bind) | (b'3', Step::Close | Step::Evict(_)) => true,
            (b'1' | b'2', Step::Begin) => false,
            (b'C', Step::Begin) => {
                self.status = Status::Open;
                true
            }
            (b't', Step::DescribeStatement | Step::Infer(_)) => false,
            (b'T' | b'n', Step::DescribeStatement | Step::Infer(_) | Step::DescribePortal) => true,
            (b'C' | b'I' | b's', Step::Execute) => true,
            (b'D' | b'G' | b'H' | b'W' | b'd' | b'c', Step::Execute | Step::Query) => false,
            (b'T' | b'C' | b'I', Step::Query) => false,
            _ => return Err(Unexpected { tag }),
        };
        if ends && tag != b'E' {
            self.queue.pop_front();
        }
        let forward = match audience {
            Audience::Client => true,
            Audience::ClientIfError => tag == b'E',
            Audience::Joiner | Audience::Gateway => false,
        };
        Ok(Verdict { step: Some(step), forward, joined: audience == Audience::Joiner, ends })
    }

    /// An error in an extended-protocol step: the server answers nothing more until Sync.
    fn fail(&mut self) {
        self.skipping = true;
        self.parse_failed = self.queue.front().is_some_and(|expect| expect.is_of_name());
        while let Some(next) = self.front() {
            self.names_lost += usize::from(next.is_of_name());
            match next.step {
                Step::Sync | Step::Query => break,
                Step::Parse(Some(statement)) => self.unparsed.push(statement),
                Step::Said | Step::SaidOfName => {
                    self.said.pop_front();
                }
                Step::Evict(statement) => self.unevicted.push(statement),
                Step::Parse(None) => self.unnamed_lost = true,
                Step::Infer(statement) => drop(self.take_inferring(statement)),
                Step::Bind
                | Step::Close
                | Step::DescribeStatement
                | Step::DescribePortal
                | Step::Execute
                | Step::Begin => {}
            }
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn feed(expects: &mut Expectations, tags: &[u8]) -> Vec<bool> {
        tags.iter().map(|tag| expects.frame(*tag, b'I').unwrap().forward).collect()
    }

    #[test]
    fn a_slipped_in_parse_is_hidden_and_the_rest_is_forwarded() {
        let mut expects = Expectations::default();
        expects.push(Step::Parse(Some(StatementId(1))), Audience::Gateway);
        expects.push(Step::Bind, Audience::Client);
        expects.push(Step::Execute, Audience::Client);
        expects.push(Step::Sync, Audience::Client);
        assert_eq!(feed(&mut expects, b"12DDCZ"), [false, true, true, true, true, true]);
        assert!(expects.is_empty());
    }

    #[test]
    fn an_error_skips_to_sync_and_reports_statements_never_parsed() {
        let mut expects = Expectations::default();
        expects.push(Step::Bind, Audience::Client);
        expects.push(Step::Parse(Some(StatementId(7))), Audience::Gateway);
        expects.push(Step::Execute, Audience::Client);
        expects.push(Step::Sync, Audience::Client);
        assert_eq!(feed(&mut expects, b"EZ"), [true, true]);
        assert_eq!(expects.unparsed, [StatementId(7)]);
        assert!(expects.is_empty() && !expects.skipping);
    }

    #[test]
    fn an_error_takes_back_what_names_have_become_behind_it() {
        let mut expects = Expectations::default();
        expects.push(Step::Parse(Some(StatementId(1))), Audience::Client);
        expects.push(Step::Execute, Audience::Client);
        for audience in [Audience::Client, Audience::ClientIfError, Audience::Gateway] {
            expects.push(Step::Parse(None), audience);
        }
        expects.say_of_name(Cow::Borrowed(b"3"));
        expects.say(Cow::Borrowed(b"2"));
        feed(&mut expects, b"1E");
        expects.push(Step::Parse(Some(StatementId(2))), Audience::Client);
        expects.say_of_name(Cow::Borrowed(b"1"));
        assert_eq!((expects.names_lost, expects.parse_failed), (4, false));
        let mut expects = Expectations::default();
        expects.push(Step::Parse(None), Audience::Client);
        feed(&mut expects, b"E");
        assert_eq!((expects.names_lost, expects.parse_failed), (1, true));
    }

    #[test]
    fn names_that_are_owed_are_lost_with_the_connection() {
        let mut expects = Expectations::default();
        expects.push(Step::Parse(None), Audience::Client);
        expects.push(Step::Bind, Audience::Client);
        expects.say_of_name(Cow::Borrowed(b"3"));
        assert_eq!((expects.names_owed(), expects.names_lost), (2, 0));
        expects.clear();
        assert_eq!((expects.names_owed(), expects.names_lost), (0, 2));
    }

    #[test]
    fn after_an_error_without_sync_further_steps_are_not_expected() {
        let mut expects = Expectations::default();
        expects.push(Step::Bind, Audience::Client);
        feed(&mut expects, b"E");
        expects.push(Step::Execute, Audience::Client);
        assert!(expects.is_empty());
        expects.push(Step::Sync, Audience::Client);
        assert_eq!(feed(&mut expects, b"Z"), [true]);
    }

    #[test]
    fn the_gateways_own_answers_wait_their_turn() {
        let mut expects = Expectations::default();
        expects.push(Step::Bind, Audience::Client);
        expects.say(Cow::Borrowed(b"3"));
        assert_eq!(expects.take_said(), None);
        feed(&mut expects, b"2");
        assert_eq!(expects.take_said().as_deref(), Some(&b"3"[..]));
        assert!(expects.is_empty());
    }

    #[test]
    fn a_query_lasts_until_ready_whatever_comes() {
        let mut expects = Expectations::default();
        expects.push(Step::Query, Audience::Client);
        feed(&mut expects, b"TDDCNTCE");
        assert!(!expects.is_empty());
        feed(&mut expects, b"Z");
        assert!(expects.is_empty());
    }

    #[test]
    fn a_begin_is_answered_with_what_comes_behind_it() {
        let mut expects = Expectations::default();
        expects.push(Step::Begin, Audience::Gateway);
        assert!(expects.lingers);
        expects.push(Step::Query, Audience::Client);
        assert!(!expects.lingers);
        assert_eq!(feed(&mut expects, b"12C"), [false, false, false]);
        assert_eq!(expects.status, Status::Open);
        assert_eq!(feed(&mut expects, b"CZ"), [true, true]);
        assert!(expects.is_empty());
    }

    #[test]
    fn a_lying_server_is_found_out() {
        let mut expects = Expectations::default();
        expects.push(Step::Bind, Audience::Client);
        assert!(expects.frame(b'D', 0).is_err());
        assert!(Expectations::default().frame(b'Z', b'I').is_err());
    }

    #[test]
    fn a_deferred_failure_at_sync_still_ends_with_ready() {
        let mut expects = Expectations::default();
        expects.push(Step::Sync, Audience::Client);
        assert_eq!(feed(&mut expects, b"EZ"), [true, true]);
        assert!(expects.is_empty());
    }
}
