//! Why a client's servers have been cancelled, if not because the client asked: their errors are told as what they are.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::wire::fields::{field, fields};

/// How long after one cancel the next follows, while a server may not have been at work when the first one came.
pub const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// What has ended a statement from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Transactions wait for each other on several shards.
    Deadlock,
    /// `statement_timeout` of a statement of several steps is over.
    Timeout,
}

/// Whether something has.
#[derive(Debug, Default)]
pub struct Stopped(AtomicU8);

const NO: u8 = 0;
const DEADLOCK: u8 = 1;
const TIMEOUT: u8 = 2;

impl Stopped {
    /// Servers are about to be cancelled.
    pub fn note(&self, why: Why) {
        let why = match why {
            Why::Deadlock => DEADLOCK,
            Why::Timeout => TIMEOUT,
        };
        self.0.store(why, Ordering::Relaxed);
    }

    /// What is to come has another reason.
    pub fn clear(&self) {
        self.0.store(NO, Ordering::Relaxed);
    }

    /// The message of a statement that was cancelled, but for deadlocks. *Source*: postgres.c, ProcessInterrupts.
    pub fn message(&self) -> &'static str {
        match self.0.load(Ordering::Relaxed) {
            TIMEOUT => "canceling statement due to statement timeout",
            _ => "canceling statement due to user request",
        }
    }

    /// What an error becomes, as ErrorResponse's body, if this is why it has come. A deadlock ends one wait: the next error is another's.
    pub fn instead_of(&self, body: &[u8]) -> Option<Vec<u8>> {
        if field(body, b'C') != Some(b"57014") {
            return None;
        }
        if self.0.compare_exchange(DEADLOCK, NO, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // Source: deadlock.c, DeadLockReport.
            let detail = (b'D', &b"Transactions wait for each other on several shards."[..]);
            let severity = fields(body).filter(|(code, _)| matches!(code, b'S' | b'V'));
            return Some(of(severity.chain([(b'C', &b"40P01"[..]), (b'M', b"deadlock detected"), detail])));
        }
        let message = self.message().as_bytes();
        let told = |(code, value)| if code == b'M' { (code, message) } else { (code, value) };
        (self.0.load(Ordering::Relaxed) == TIMEOUT).then(|| of(fields(body).map(told)))
    }
}

/// An ErrorResponse's body.
fn of<'f>(fields: impl Iterator<Item = (u8, &'f [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    for (code, value) in fields {
        out.push(code);
        out.extend_from_slice(value);
        out.push(0);
    }
    out.push(0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANCELLED: &[u8] = b"SERROR\0VERROR\0C57014\0Mcanceling statement due to user request\0\0";

    #[test]
    fn a_deadlock_is_told_once() {
        let stopped = Stopped::default();
        stopped.note(Why::Deadlock);
        assert_eq!(stopped.instead_of(b"C23505\0\0"), None);
        let told = stopped.instead_of(CANCELLED).unwrap_or_default();
        assert_eq!(field(&told, b'C'), Some(&b"40P01"[..]));
        assert_eq!(stopped.instead_of(CANCELLED), None);
    }

    #[test]
    fn a_timeout_is_told_until_the_statement_is_over() {
        let stopped = Stopped::default();
        stopped.note(Why::Timeout);
        for _ in 0..2 {
            let told = stopped.instead_of(CANCELLED).unwrap_or_default();
            assert_eq!(field(&told, b'C'), Some(&b"57014"[..]));
            assert_eq!(field(&told, b'M'), Some(&b"canceling statement due to statement timeout"[..]));
        }
        stopped.clear();
        assert_eq!(stopped.instead_of(CANCELLED), None);
    }
}
