//! `currval` and `lastval` in a transaction. Servers are lent for a transaction, and remember what they have drawn for others before. So
//! once a client of this gateway has asked for a number, servers forget what they have drawn when they enlist in a block; what one
//! remembers later was drawn for its session, in this transaction. If one does and no other, it is asked.
//!
//! Numbers of earlier transactions are refused, as is the first question that a gateway gets: nothing was forgotten before it.

use std::sync::atomic::Ordering;

use super::failure::Failure;
use super::gateway::Gateway;
use super::life::Session;
use crate::execute::relay::{Frame, Handling, Joiner};
use crate::plan::Computed;
use crate::pool::expect::{Audience, Step};
use crate::pool::server::Server;
use crate::wire::fields::{field, text_row};
use crate::wire::reply::Report;

/// No number has been drawn in this session. *Source*: sequence.c, currval_oid, lastval: object_not_in_prerequisite_state.
const NOTHING_DRAWN: &[u8] = b"55000";

impl Gateway {
    /// Has a server that is not in a transaction forget what it has drawn, if anybody ever asks; whether it does.
    pub(super) fn forget_numbers(&self, server: &mut Server) -> bool {
        let asked = self.numbers_asked.load(Ordering::Relaxed);
        if asked {
            server.send_query(b"DISCARD SEQUENCES", Audience::Gateway);
        }
        asked
    }
}

impl Session {
    /// Notes that the block's servers do not know all that was drawn in it.
    pub(super) fn note_drawn_elsewhere(&mut self) {
        if let Some(block) = self.transaction.block_mut() {
            block.drawn_elsewhere = true;
        }
    }

    /// The place of the server that has drawn the numbers which a statement asks for.
    ///
    /// # Errors
    /// It is not known which one that is.
    pub(super) async fn drew(&mut self, computed: &Computed) -> Result<usize, Failure> {
        self.gateway.numbers_asked.store(true, Ordering::Relaxed);
        let Some(block) = self.transaction.block() else {
            return Err(unknown("servers are lent for a transaction, and this one has drawn no number"));
        };
        if block.drawn_elsewhere {
            return Err(unknown("this transaction has drawn numbers on a server that it no longer has"));
        }
        self.drain().await?;
        let primaries: Vec<usize> = self.places_of_primaries().collect();
        if primaries.is_empty() {
            return Err(unknown("servers are lent for a transaction, and this one has drawn no number"));
        }
        if primaries.iter().any(|at| !self.link.servers[*at].own_numbers) {
            let why = "nobody had asked for a number when this transaction began, so that its servers may remember those of others";
            return Err(Report::error("0A000", format!("currval and lastval are not supported here: {why}"))
                .with_hint("Repeat the transaction: from now on servers forget what others have drawn.")
                .into());
        }
        let mut place = None;
        for expression in &computed.expressions {
            let drew = self.who_remembers(expression, &primaries).await?;
            if *place.get_or_insert(drew) != drew {
                return Err(unknown("the numbers were drawn on several shards"));
            }
        }
        Ok(place.unwrap_or(0))
    }

    fn places_of_primaries(&self) -> impl Iterator<Item = usize> {
        let servers = self.link.servers.iter().enumerate();
        servers.filter(|(_, enlisted)| enlisted.begun && !enlisted.replica).map(|(at, _)| at)
    }

    async fn who_remembers(&mut self, expression: &str, places: &[usize]) -> Result<usize, Failure> {
        let question = format!("SAVEPOINT pgbraid_number; SELECT {expression}");
        for at in places {
            let enlisted = &mut self.link.servers[*at];
            if std::mem::take(&mut enlisted.needs_sync) {
                enlisted.server.send_sync(Audience::Gateway);
            }
            enlisted.server.send_query(question.as_bytes(), Audience::Gateway);
            let undo = b"ROLLBACK TO SAVEPOINT pgbraid_number; RELEASE SAVEPOINT pgbraid_number";
            enlisted.server.send_query(undo, Audience::Gateway);
        }
        let mut answers = Answers { of: vec![Answer::default(); self.link.servers.len()] };
        self.link.relay(&mut answers).await?;
        let answers: Vec<(usize, &Answer)> = places.iter().filter_map(|at| Some((*at, answers.of.get(*at)?))).collect();
        let mut remember = answers.iter().filter(|(_, answer)| answer.has_value);
        match (remember.next(), remember.next()) {
            (Some((at, _)), None) => Ok(*at),
            (Some(_), Some(_)) => Err(unknown("several shards have drawn in this transaction")),
            // No such sequence, no right to it: PostgreSQL says so again.
            (None, _) => match answers.iter().find(|(_, answer)| answer.fails) {
                Some((at, _)) => Ok(*at),
                None => Err(unknown("servers are lent for a transaction, and this one has drawn no number")),
            },
        }
    }
}

fn unknown(why: &str) -> Failure {
    Report::error("0A000", format!("currval and lastval are not supported here: {why}"))
        .with_hint("Ask in the transaction that has drawn; or use INSERT ... RETURNING, or what nextval returned.")
        .into()
}

/// What a server says to a question.
#[derive(Clone, Debug, Default)]
struct Answer {
    has_value: bool,
    /// With another error than that nothing was drawn.
    fails: bool,
}

struct Answers {
    of: Vec<Answer>,
}

impl Joiner for Answers {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut bytes::BytesMut) -> Handling {
        let Some(answer) = self.of.get_mut(frame.server) else { return Handling::Drop };
        match frame.tag {
            b'D' => answer.has_value |= text_row(frame.body).first().is_some_and(Option::is_some),
            b'E' => answer.fails |= field(frame.body, b'C').is_some_and(|code| code != NOTHING_DRAWN),
            _ => {}
        }
        Handling::Drop
    }
}
