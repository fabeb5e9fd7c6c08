//! The rounds of a commit over several shards, on the servers of a client's link.
//!
//! Who wrote is known from what their statements said, or asked, not guessed. All who wrote but one are prepared, while that one, the decision shard, writes a row into
//! its own transaction that says committed; its COMMIT is the decision; then the others are told. One that has become READ ONLY since it
//! wrote cannot write that row: it is prepared too, and the row gets a transaction of its own on the same shard. What is left when anybody
//! dies in between is found and finished by [`super::recovery`]. The session calls this and knows what to tell the client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmap::ShardId;

use super::commits::Active;
use super::pause::{Point, pause};
use crate::execute::fault::ServerFault;
use crate::execute::link::{Enlisted, Link};
use crate::execute::plain::Plain;
use crate::execute::replies::Replies;
use crate::pool::expect::Audience;
use crate::pool::settings::Settings;
use crate::wire::reply::{Report, Status};

/// A transaction that has written, or locked rows, has an id. *Source*: manual of PostgreSQL 15, table 9.82.
const ASK: &[u8] = b"SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL";

/// Takes the lock, shared, that whoever takes a snapshot of all shards takes for himself. See `schema.sql`.
pub const HOLD_OFF: &[u8] = b"SELECT pg_catalog.pg_advisory_lock_shared(31638869915036005)";

/// Gives it back.
pub const HOLD_ON: &[u8] = b"SELECT pg_catalog.pg_advisory_unlock_shared(31638869915036005)";

/// Whatever the client's transactions begin as.
const BEGIN_DECISION: &[u8] = b"BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE";

/// A transaction that takes longer to be prepared is rolled back: rows of the decision table that say aborted must outlive it,
/// see `recovery::ABORT_KEPT`.
const PREPARE_MAX: Duration = Duration::from_secs(300);

/// So often COMMIT PREPARED is said before it is left to recovery, and [`HOLD_ON`] before the server is closed.
const FINISH_ATTEMPTS_MAX: usize = 3;

/// Why a transaction was rolled back.
#[derive(Debug)]
pub enum Failed {
    /// A server's error, as an ErrorResponse body.
    Error(Vec<u8>),
    /// A server was lost.
    Lost(ShardId, ServerFault),
    /// The gateway's own reason.
    Own(Box<Report>),
}

/// What became of the decision.
#[derive(Debug)]
pub enum Verdict {
    /// Committed.
    Committed,
    /// Not committed, and the decision shard's transaction is gone.
    Aborted(Failed),
    /// The decision shard was lost on the way.
    Unknown(ServerFault),
}

/// Who does what in a commit, by places in the link.
#[derive(Debug)]
pub struct Roles {
    /// Its commit is the decision.
    pub decision: usize,
    /// They are prepared: the other writers, and the decision shard if its transaction has become READ ONLY.
    pub prepare: Vec<usize>,
    /// They did not write: a plain COMMIT.
    pub rest: Vec<usize>,
}

/// Finds out who wrote: of those who may have, the places in the link; the others have committed then.
///
/// # Errors
/// Somebody failed: nothing has been committed but what only read.
pub async fn ask(link: &mut Link, may_have: impl Fn(&Enlisted) -> bool) -> (Plain, Result<Vec<usize>, Failed>) {
    let mut asked = Vec::new();
    let mut expected: Vec<(usize, &[u8])> = Vec::new();
    for (at, enlisted) in link.servers.iter_mut().enumerate() {
        if may_have(enlisted) {
            enlisted.server.send_query(ASK, Audience::Gateway);
            asked.push(at);
            expected.push((at, b"SELECT 1"));
        } else {
            enlisted.server.send_query(b"COMMIT", Audience::Gateway);
            expected.push((at, b"COMMIT"));
        }
    }
    let mut replies = Replies::new(link.servers.len(), true);
    link.collect(&mut replies).await;
    let result = check(link, &mut replies, &expected).map(|()| {
        asked.retain(|at| replies.value(*at) == Some("t"));
        asked
    });
    (replies.plain, result)
}

/// Prepares all that are to be, commits those that only read, and has the decision shard write its row, at the same time.
/// After an error everything is rolled back.
///
/// # Errors
/// The first failure.
pub async fn prepare(
    link: &mut Link,
    active: &Active,
    roles: &mut Roles,
    settings: &Arc<Settings>,
) -> (Plain, Result<(), Failed>) {
    pause(Point::Preparing).await;
    let begun = Instant::now();
    let prepare = format!("PREPARE TRANSACTION {}", active.name().literal());
    let mut expected: Vec<(usize, &[u8])> = vec![(roles.decision, b"SELECT 1")];
    send(link, &[roles.decision], active.decide().as_bytes());
    send(link, &roles.prepare, prepare.as_bytes());
    send(link, &roles.rest, b"COMMIT");
    send(link, gate(&roles.prepare), HOLD_OFF);
    expected.extend(roles.prepare.iter().map(|at| (*at, &b"PREPARE TRANSACTION"[..])));
    expected.extend(gate(&roles.prepare).iter().map(|at| (*at, &b"SELECT 1"[..])));
    expected.extend(roles.rest.iter().map(|at| (*at, &b"COMMIT"[..])));
    let mut replies = Replies::new(link.servers.len(), true);
    link.collect(&mut replies).await;
    let mut result = check(link, &mut replies, &expected);
    let mut prepared: Vec<usize> =
        roles.prepare.iter().copied().filter(|at| replies.has_done(*at, b"PREPARE TRANSACTION")).collect();
    let is_decided = replies.value(roles.decision).is_some();
    let mut plain = replies.plain;
    if result.is_ok() && !is_decided {
        roles.prepare.push(roles.decision);
        let mut replies = Replies::new(link.servers.len(), true);
        replies.plain = plain;
        result = prepare_decision(link, active, roles.decision, &mut replies).await;
        prepared.extend(replies.has_done(roles.decision, b"PREPARE TRANSACTION").then_some(roles.decision));
        plain = replies.plain;
    }
    if result.is_ok() && begun.elapsed() > PREPARE_MAX {
        let text = format!("the transaction could not be prepared within {} s", PREPARE_MAX.as_secs());
        result = Err(Failed::Own(Box::new(Report::error("57014", text))));
    }
    // To the session of a server, PREPARE is the end of its transaction: what was SET in it stays.
    for at in &prepared {
        link.servers[*at].server.settings = settings.clone();
    }
    if result.is_err() {
        abort(link, active, roles, &prepared).await;
    } else {
        pause(Point::Prepared).await;
    }
    (plain, result)
}

/// Prepares the decision shard's transaction, which is READ ONLY by now, and begins another one there that has its row.
async fn prepare_decision(link: &mut Link, active: &Active, at: usize, replies: &mut Replies) -> Result<(), Failed> {
    let prepare = format!("PREPARE TRANSACTION {}", active.name().literal());
    for text in [prepare.as_bytes(), BEGIN_DECISION, active.decide().as_bytes()] {
        send(link, &[at], text);
    }
    link.collect(replies).await;
    check(link, replies, &[(at, b"PREPARE TRANSACTION"), (at, b"BEGIN"), (at, b"SELECT 1")])
}

/// Commits on the decision shard. Unless the outcome is known to be a commit, or is not known, everything is rolled back.
pub async fn decide(link: &mut Link, active: &Active, roles: &Roles) -> (Plain, Verdict) {
    send(link, &[roles.decision], b"COMMIT");
    let mut replies = Replies::new(link.servers.len(), true);
    link.collect(&mut replies).await;
    if let Some(cause) = replies.of(roles.decision).and_then(|reply| reply.lost.take()) {
        return (replies.plain, Verdict::Unknown(cause));
    }
    let verdict = match check(link, &mut replies, &[(roles.decision, b"COMMIT")]) {
        Ok(()) => {
            pause(Point::Decided).await;
            Verdict::Committed
        }
        Err(failed) => {
            abort(link, active, roles, &roles.prepare).await;
            Verdict::Aborted(failed)
        }
    };
    (replies.plain, verdict)
}

/// Commits what is prepared; whether all of it is. What a server refuses, because a time-out of the client's hit it, is said again.
pub async fn finish(link: &mut Link, active: &Active, roles: &Roles) -> bool {
    let commit = format!("COMMIT PREPARED {}", active.name().literal());
    send(link, &roles.prepare, commit.as_bytes());
    let gate = gate(&roles.prepare);
    // Of two, the other may let snapshots be taken as soon as it has committed itself.
    let alone = roles.prepare.len() == 1;
    if alone {
        send(link, gate, HOLD_ON);
    }
    let mut replies = Replies::new(link.servers.len(), false);
    link.collect(&mut replies).await;
    let given_back = alone && gives_back(&replies, gate);
    give_back(link, gate, given_back).await;
    let mut left = roles.prepare.clone();
    left.retain(|at| !replies.has_done(*at, b"COMMIT PREPARED"));
    for _ in 1..FINISH_ATTEMPTS_MAX {
        if left.iter().all(|at| link.servers[*at].server.is_broken()) {
            break;
        }
        send(link, &left, commit.as_bytes());
        let mut replies = Replies::new(link.servers.len(), false);
        link.collect(&mut replies).await;
        left.retain(|at| !replies.has_done(*at, b"COMMIT PREPARED"));
    }
    pause(Point::Finished).await;
    left.is_empty()
}

/// Rolls everything back, prepared or not; whether all that was prepared is rolled back.
pub async fn abort(link: &mut Link, active: &Active, roles: &Roles, prepared: &[usize]) -> bool {
    pause(Point::Aborting).await;
    for enlisted in &mut link.servers {
        if !enlisted.server.is_broken() && enlisted.server.expects.status != Status::Idle {
            enlisted.server.send_query(b"ROLLBACK", Audience::Gateway);
        }
    }
    send(link, prepared, format!("ROLLBACK PREPARED {}", active.name().literal()).as_bytes());
    let gate = gate(&roles.prepare);
    send(link, gate, HOLD_ON);
    let mut replies = Replies::new(link.servers.len(), false);
    link.collect(&mut replies).await;
    let given_back = gives_back(&replies, gate);
    give_back(link, gate, given_back).await;
    prepared.iter().all(|at| replies.has_done(*at, b"ROLLBACK PREPARED"))
}

/// Leaves what is prepared to recovery: snapshots may be taken, and tell by what is prepared that it is not finished.
pub async fn leave(link: &mut Link, roles: &Roles) {
    give_back(link, gate(&roles.prepare), false).await;
}

/// Has the gate give its lock back, unless it has (`given_back`). A time-out or a cancel request of the client's may hit that too: then it is
/// said again, and a server that still has not done it is closed, as no client would ever make it let go.
async fn give_back(link: &mut Link, gate: &[usize], mut given_back: bool) {
    for _ in 0..FINISH_ATTEMPTS_MAX {
        if given_back {
            return;
        }
        send(link, gate, HOLD_ON);
        let mut replies = Replies::new(link.servers.len(), false);
        link.collect(&mut replies).await;
        given_back = gives_back(&replies, gate);
    }
    if !given_back {
        gate.iter().for_each(|at| link.servers[*at].server.mark_broken());
    }
}

/// Whether the gate has answered to [`HOLD_ON`]: if it had not got the lock, it says so, and that is all.
fn gives_back(replies: &Replies, gate: &[usize]) -> bool {
    gate.iter().all(|at| replies.has_done(*at, b"SELECT 1"))
}

/// The one of the prepared that keeps snapshots of all shards from being taken meanwhile.
fn gate(prepare: &[usize]) -> &[usize] {
    prepare.get(..1).unwrap_or_default()
}

/// Sends a text to those that are not lost.
fn send(link: &mut Link, to: &[usize], text: &[u8]) {
    for at in to {
        let server = &mut link.servers[*at].server;
        if !server.is_broken() {
            server.send_query(text, Audience::Gateway);
        }
    }
}

/// The first server, in the order of the link, that did not answer with its tag.
fn check(link: &Link, replies: &mut Replies, expected: &[(usize, &[u8])]) -> Result<(), Failed> {
    let mut expected = expected.to_vec();
    expected.sort_unstable_by_key(|(at, _)| *at);
    // What a server says for itself comes before what became of its connection.
    for (at, _) in &expected {
        if let Some(body) = replies.of(*at).and_then(|reply| reply.error.take()) {
            return Err(Failed::Error(body));
        }
    }
    for (at, tag) in &expected {
        let Some(reply) = replies.of(*at) else { continue };
        if let Some(cause) = reply.lost.take() {
            return Err(Failed::Lost(link.servers[*at].shard, cause));
        }
        if !reply.tags.iter().any(|done| done == tag) {
            // The server's transaction had failed without the gateway's knowing.
            let text = "the transaction was rolled back by a shard";
            return Err(Failed::Own(Box::new(Report::error("40000", text))));
        }
    }
    Ok(())
}
