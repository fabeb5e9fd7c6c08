//! A client's place among those whose reads share a server: what is to become of its read, and who is to be woken then.
//!
//! Two sides hold it: the session, which waits, and the line in which its read is (`execute::multiplex`). A read is known by its number,
//! so that what comes of one that its client has given up never answers another.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use super::spare;

/// See the file's description.
#[derive(Debug, Default)]
pub struct Ticket {
    state: Mutex<State>,
}

/// Names a read of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadNumber(u64);

#[derive(Debug, Default)]
struct State {
    /// Of the last read.
    number: ReadNumber,
    stage: Stage,
    answer: BytesMut,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    Waits,
    Came(Outcome),
}

/// What has become of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its answer is there.
    Answered,
    /// Its answer is there, and is an error with this SQLSTATE.
    Failed([u8; 5]),
    /// It is to be run on a server of the client's own. `alone`: it was not fit for a line, and the next ones may not be, either.
    Again {
        /// See above.
        alone: bool,
    },
    /// The client has asked for its end.
    Cancelled,
}

impl Ticket {
    /// A read begins.
    pub fn begin(&self) -> ReadNumber {
        let mut state = self.state();
        state.number = ReadNumber(state.number.0.wrapping_add(1));
        state.stage = Stage::Waits;
        state.answer.clear();
        state.number
    }

    /// Its answer has come.
    pub fn answer(&self, number: ReadNumber, frames: &[u8]) {
        self.settle(number, Outcome::Answered, frames);
    }

    /// Its answer has come, and is an error with this SQLSTATE.
    pub fn fail(&self, number: ReadNumber, sqlstate: [u8; 5], frames: &[u8]) {
        self.settle(number, Outcome::Failed(sqlstate), frames);
    }

    /// It will not be answered.
    pub fn again(&self, number: ReadNumber, alone: bool) {
        self.settle(number, Outcome::Again { alone }, &[]);
    }

    /// The client asks for the end of what it waits for.
    pub fn cancel(&self) {
        let number = {
            let mut state = self.state();
            // Nor is it to be run again.
            if let Stage::Came(Outcome::Again { .. }) = state.stage {
                state.stage = Stage::Came(Outcome::Cancelled);
            }
            state.number
        };
        self.settle(number, Outcome::Cancelled, &[]);
    }

    /// Nobody waits for it any more.
    pub fn is_over(&self, number: ReadNumber) -> bool {
        let state = self.state();
        state.number != number || state.stage != Stage::Waits
    }

    fn settle(&self, number: ReadNumber, outcome: Outcome, frames: &[u8]) {
        let waker = {
            let mut state = self.state();
            if state.number != number || state.stage != Stage::Waits {
                return;
            }
            if !frames.is_empty() {
                if state.answer.capacity() == 0 {
                    state.answer = spare::take();
                }
                state.answer.extend_from_slice(frames);
            }
            state.stage = Stage::Came(outcome);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What has become of the read that has begun last; once. What answers it is in `answer` then.
    pub fn poll(&self, cx: &mut Context<'_>, answer: &mut BytesMut) -> Poll<Option<Outcome>> {
        let mut state = self.state();
        match state.stage {
            Stage::Nothing => Poll::Ready(None),
            Stage::Waits => {
                if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                    state.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Stage::Came(outcome) => {
                state.stage = Stage::Nothing;
                *answer = std::mem::take(&mut state.answer);
                Poll::Ready(Some(outcome))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(ticket: &Ticket) -> (Poll<Option<Outcome>>, BytesMut) {
        let mut answer = BytesMut::new();
        let polled = ticket.poll(&mut Context::from_waker(Waker::noop()), &mut answer);
        (polled, answer)
    }

    #[test]
    fn a_read_is_answered_once() {
        let ticket = Ticket::default();
        assert_eq!(poll(&ticket).0, Poll::Ready(None));
        let read = ticket.begin();
        assert_eq!(poll(&ticket).0, Poll::Pending);
        ticket.answer(read, b"one");
        ticket.again(read, true);
        ticket.answer(read, b"two");
        assert!(ticket.is_over(read));
        assert_eq!(poll(&ticket), (Poll::Ready(Some(Outcome::Answered)), b"one"[..].into()));
        assert_eq!(poll(&ticket).0, Poll::Ready(None));
    }

    #[test]
    fn what_comes_of_a_read_that_was_given_up_answers_no_other() {
        let ticket = Ticket::default();
        let given_up = ticket.begin();
        ticket.cancel();
        assert_eq!(poll(&ticket).0, Poll::Ready(Some(Outcome::Cancelled)));
        let next = ticket.begin();
        assert!(ticket.is_over(given_up) && !ticket.is_over(next));
        ticket.answer(given_up, b"another's row");
        assert_eq!(poll(&ticket).0, Poll::Pending);
        ticket.answer(next, b"its own");
        assert_eq!(poll(&ticket), (Poll::Ready(Some(Outcome::Answered)), b"its own"[..].into()));
    }

    #[test]
    fn nothing_is_cancelled_when_nothing_is_waited_for() {
        let ticket = Ticket::default();
        ticket.cancel();
        let read = ticket.begin();
        assert!(!ticket.is_over(read));
        ticket.again(read, false);
        assert_eq!(poll(&ticket).0, Poll::Ready(Some(Outcome::Again { alone: false })));
        ticket.cancel();
        assert_eq!(poll(&ticket).0, Poll::Ready(None));
        ticket.again(ticket.begin(), true);
        ticket.cancel();
        assert_eq!(poll(&ticket).0, Poll::Ready(Some(Outcome::Cancelled)), "it is not to be run again");
    }
}
