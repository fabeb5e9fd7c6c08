//! An answer that is there as a whole and tells of nothing out of the ordinary: most are so, and their frames need not be looked at one by
//! one.

use std::ops::Range;

use super::expect::{Audience, Expect, Expectations, Step};
use crate::wire::fields::{field, tells_of_rows_written};
use crate::wire::frame::{HEADER_BYTES, Header, whole_frames};
use crate::wire::reply::Status;

/// The answer to all that is owed, nothing about which is out of the ordinary. See [`Expectations::ordinary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordinary {
    /// Its length.
    pub bytes: usize,
    /// So many at its start are not the client's.
    pub hidden_bytes: usize,
    /// Where the body of its RowDescription is.
    pub columns: Option<Range<usize>>,
    /// Its tags tell of rows written in the transaction that is open behind it.
    pub wrote: bool,
    /// The last ReadyForQuery's.
    pub status: Status,
}

/// What has come of the answer to what was sent first. See [`Expectations::first`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// All of it, and nothing about it is out of the ordinary.
    Whole(Ordinary),
    /// Not all of it.
    Part,
    /// All of it: an error, or something else out of the ordinary.
    Other {
        /// Its length.
        bytes: usize,
        /// So many at its start are not the client's.
        hidden_bytes: usize,
        /// The error's SQLSTATE.
        error: Option<[u8; 5]>,
    },
    /// Something that does not belong to it.
    Strange,
}

impl Expectations {
    /// The whole answer to all that is owed, if it is at the start of `bytes`, the client gets all of it (but for that to the gateway's own
    /// BEGIN and Bind before everything else), it tells of nothing but success, and of one statement's columns at the most: most answers are so,
    /// and their frames need not be looked at one by one. To be followed by [`Expectations::take`].
    pub fn ordinary(&self, bytes: &[u8]) -> Option<Ordinary> {
        ordinary(self.queue.iter(), bytes)
    }

    /// What there is of the answer to the first so many steps, the last of which is a Sync, in a transaction of their own.
    pub fn first(&self, steps: usize, bytes: &[u8]) -> First {
        if let Some(answer) = ordinary(self.queue.iter().take(steps), bytes) {
            return if answer.status == Status::Idle { First::Whole(answer) } else { First::Strange };
        }
        let hides = self.queue.front().is_some_and(|expect| expect.audience == Audience::Gateway);
        let (mut rest, mut ended, mut hidden_bytes, mut error) = (bytes, false, 0, None);
        let mut behind_notice = false;
        loop {
            let header = match Header::read(rest) {
                Ok(Some(header)) => header,
                Ok(None) => return First::Part,
                Err(_) => return First::Strange,
            };
            let ends = match header.tag {
                b'2' | b'n' | b'T' | b'D' | b'N' if !ended => false,
                b'C' | b's' | b'E' if !ended => true,
                b'Z' if ended => true,
                _ => return First::Strange,
            };
            let Some((frame, after)) = rest.split_at_checked(header.frame_bytes) else { return First::Part };
            if header.tag == b'2' && hides && rest.len() == bytes.len() {
                hidden_bytes = frame.len();
            }
            rest = after;
            let body = frame.get(HEADER_BYTES..).unwrap_or_default();
            match header.tag {
                b'Z' if body == b"I" => return First::Other { bytes: bytes.len() - rest.len(), hidden_bytes, error },
                b'Z' => return First::Strange,
                // What is hidden could not be told from the rest behind a notice.
                b'N' if hides => behind_notice = true,
                b'E' if !behind_notice => error = field(body, b'C').and_then(|code| code.try_into().ok()),
                _ => {}
            }
            ended |= ends;
        }
    }

    /// So many steps at the front have been answered; see [`Expectations::first`].
    pub fn take_first(&mut self, steps: usize) {
        self.queue.drain(..steps.min(self.queue.len()));
        (self.status, self.unsynced) = (Status::Idle, !self.queue.is_empty());
    }

    /// So many answers are owed.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Takes note of an answer that [`Expectations::ordinary`] has found.
    pub fn take(&mut self, answer: &Ordinary) {
        (self.status, self.skipping, self.unsynced) = (answer.status, false, false);
        self.queue.clear();
    }
}

/// See [`Expectations::ordinary`].
fn ordinary<'a>(owed: impl Iterator<Item = &'a Expect>, bytes: &[u8]) -> Option<Ordinary> {
    let (mut rest, mut hidden_bytes, mut columns, mut wrote, mut status) = (bytes, 0, None, false, None);
    for expect in owed {
        match (expect.audience, expect.step) {
            (Audience::Client, _) => {}
            (Audience::Gateway, Step::Bind | Step::Begin) if rest.len() + hidden_bytes == bytes.len() => {}
            _ => return None,
        }
        loop {
            let Header { tag, frame_bytes } = Header::read(rest).ok()??;
            let (frame, after) = rest.split_at_checked(frame_bytes)?;
            let body = frame.get(HEADER_BYTES..)?;
            rest = after;
            let ends = match (tag, expect.step) {
                (b'D', Step::Execute | Step::Query) => {
                    rest = rest.get(whole_frames(rest, b'D')..)?;
                    false
                }
                (b'C', Step::Execute | Step::Query) => {
                    wrote |= tells_of_rows_written(body);
                    expect.step == Step::Execute
                }
                (b'T', Step::Query | Step::DescribePortal) if columns.is_none() => {
                    let at = bytes.len() - rest.len();
                    columns = Some(at - body.len()..at);
                    expect.step == Step::DescribePortal
                }
                (b'1', Step::Parse(_)) | (b'2', Step::Bind) | (b'n', Step::DescribePortal) => true,
                (b'1' | b'2', Step::Begin) => false,
                (b'C', Step::Begin) => true,
                (b'Z', Step::Query | Step::Sync) => {
                    let said = Status::from_byte(*body.first()?)?;
                    wrote &= said != Status::Idle;
                    status = Some(said);
                    true
                }
                _ => return None,
            };
            if ends {
                break;
            }
        }
        if expect.audience == Audience::Gateway {
            hidden_bytes = bytes.len() - rest.len();
        }
    }
    Some(Ordinary { bytes: bytes.len() - rest.len(), hidden_bytes, columns, wrote, status: status? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ANSWER: &[u8] = b"2\0\0\0\x04T\0\0\0\x06\0\0D\0\0\0\x06\0\0D\0\0\0\x06\0\0C\0\0\0\x0dUPDATE 2\0Z\0\0\0\x05T";

    fn portal(audience: Audience) -> Expectations {
        let mut expects = Expectations::default();
        for step in [Step::Bind, Step::DescribePortal, Step::Execute, Step::Sync] {
            expects.push(step, audience);
        }
        expects
    }

    #[test]
    fn an_ordinary_answer_is_taken_whole_and_what_follows_it_is_left() {
        let mut expects = portal(Audience::Client);
        let found = expects.ordinary(&[ANSWER, b"N\0"].concat()).unwrap();
        let columns = Some(10..12);
        assert_eq!(
            found,
            Ordinary { bytes: ANSWER.len(), hidden_bytes: 0, columns, wrote: true, status: Status::Open }
        );
        expects.take(&found);
        assert!(expects.is_empty() && !expects.unsynced && expects.status == Status::Open);
        expects.push(Step::Query, Audience::Client);
        let answer = [&ANSWER[5..ANSWER.len() - 6], b"Z\0\0\0\x05I"].concat();
        let found = expects.ordinary(&answer).unwrap();
        assert_eq!(
            found,
            Ordinary { bytes: answer.len(), hidden_bytes: 0, columns: Some(5..7), wrote: false, status: Status::Idle }
        );
        assert_eq!(expects.ordinary(&[&answer[..7], &answer[..]].concat()), None, "two statements' columns");
    }

    #[test]
    fn the_answer_to_a_bind_of_the_gateways_own_is_not_the_clients() {
        let mut expects = Expectations::default();
        expects.push(Step::Bind, Audience::Gateway);
        for step in [Step::DescribePortal, Step::Execute, Step::Sync] {
            expects.push(step, Audience::Client);
        }
        let found = expects.ordinary(ANSWER).unwrap();
        assert_eq!((found.bytes, found.hidden_bytes, found.columns.clone()), (ANSWER.len(), 5, Some(10..12)));
        expects.push(Step::Bind, Audience::Gateway);
        assert_eq!(expects.ordinary(&[ANSWER, ANSWER].concat()), None, "only the first can be hidden");
    }

    #[test]
    fn an_answer_that_is_not_ordinary_is_not_taken_whole() {
        let half = &ANSWER[..ANSWER.len() - 1];
        let error = [&ANSWER[..5], b"E\0\0\0\x05\0", &ANSWER[5..]].concat();
        let notice = [b"N\0\0\0\x05\0", ANSWER].concat();
        let lies = [ANSWER[..ANSWER.len() - 1].to_vec(), ANSWER[5..].to_vec(), vec![b'2', 0, 0, 0, 3]];
        for answer in [half.to_vec(), error, notice, Vec::new()].into_iter().chain(lies) {
            assert_eq!(portal(Audience::Client).ordinary(&answer), None, "{answer:?}");
        }
        assert_eq!(portal(Audience::ClientIfError).ordinary(ANSWER), None);
        assert_eq!(portal(Audience::Gateway).ordinary(ANSWER), None);
        let mut said = portal(Audience::Client);
        said.say(b"3".into());
        assert_eq!(said.ordinary(ANSWER), None);
    }

    #[test]
    fn of_several_reads_the_first_ones_answer_is_looked_at() {
        let row = b"2\0\0\0\x04T\0\0\0\x06\0\0D\0\0\0\x06\0\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
        let error = b"2\0\0\0\x04T\0\0\0\x06\0\0E\0\0\0\x0cC57014\0\0Z\0\0\0\x05I";
        let mut expects = Expectations::default();
        expects.push_volley(true);
        expects.push_volley(true);
        assert_eq!(expects.len(), 8);
        let both = [&row[..], error].concat();
        let found =
            Ordinary { bytes: row.len(), hidden_bytes: 0, columns: Some(10..12), wrote: false, status: Status::Idle };
        assert_eq!(expects.first(4, &both), First::Whole(found.clone()));
        expects.take_first(4);
        assert!(expects.len() == 4 && expects.unsynced);
        assert_eq!(
            expects.first(4, &both[found.bytes..]),
            First::Other { bytes: error.len(), hidden_bytes: 0, error: Some(*b"57014") }
        );
        for shorter in 0..error.len() {
            assert_eq!(expects.first(4, &error[..shorter]), First::Part, "{shorter}");
        }
        // A transaction that is open; an answer too many; what comes unasked; what is no message.
        let open = [&row[..row.len() - 1], b"T"].concat();
        let again = [b"Z\0\0\0\x05I", &row[..]].concat();
        let twice = [&error[..error.len() - 6], &row[..]].concat();
        let told = [b"S\0\0\0\x08a\0b\0", &row[..]].concat();
        for strange in [&open[..], &again, &twice, &told, b"HTTP/1.1"] {
            assert_eq!(expects.first(4, strange), First::Strange, "{strange:?}");
        }
        expects.take_first(4);
        assert!(expects.is_empty() && !expects.unsynced);
        expects.push(Step::Bind, Audience::Gateway);
        for step in [Step::DescribePortal, Step::Execute, Step::Sync] {
            expects.push(step, Audience::Client);
        }
        let hidden = |bytes, hidden_bytes| First::Other { bytes, hidden_bytes, error: Some(*b"57014") };
        assert_eq!(expects.first(4, error), hidden(error.len(), 5));
        assert_eq!(expects.first(4, &error[12..]), hidden(error.len() - 12, 0));
    }

    #[test]
    fn the_answer_to_a_begin_of_the_gateways_own_is_not_the_clients() {
        let begun = [b"1\0\0\0\x042\0\0\0\x04C\0\0\0\x0aBEGIN\0", ANSWER].concat();
        let behind_begin = || {
            let mut expects = Expectations::default();
            expects.push(Step::Begin, Audience::Gateway);
            expects.push_volley(true);
            expects
        };
        let mut expects = behind_begin();
        let found = expects.ordinary(&begun).unwrap();
        assert_eq!((found.bytes, found.hidden_bytes), (begun.len(), begun.len() - ANSWER.len()));
        expects.take(&found);
        assert!(expects.is_empty() && expects.status == Status::Open);
        assert_eq!(behind_begin().ordinary(&[b"E\0\0\0\x05\0", &begun[..]].concat()), None, "it failed");
        let mut behind = portal(Audience::Client);
        behind.push(Step::Begin, Audience::Gateway);
        assert_eq!(behind.ordinary(&[ANSWER, &begun[..]].concat()), None, "it is not the first");
    }
}
