//! What a session counts for the metrics.

use std::time::Instant;

use super::failure::Failure;
use super::life::Session;
use crate::counters::{QueryKind, SqlstateClass};
use crate::plan::{Destination, Plan, PreparedVerb, Route, Target};
use crate::wire::fields::field;
use crate::wire::frame;

impl Session {
    /// A message has come: the first one that runs something starts a transaction, unless one is open.
    pub(super) fn note_message(&mut self, tag: u8) {
        if self.busy_since.is_none() && matches!(tag, b'Q' | b'B' | b'E') {
            self.busy_since = Some(Instant::now());
        }
    }

    /// What has been read from and written to the client.
    pub(super) fn note_bytes(&mut self) {
        let client = &mut self.link.client;
        self.tally.received(std::mem::take(&mut client.received_bytes));
        self.tally.sent(std::mem::take(&mut client.sent_bytes));
    }

    /// A message has been handled: outside a block, Query and Sync end the transaction.
    pub(super) fn note_handled(&mut self, tag: u8) {
        if matches!(tag, b'Q' | b'S')
            && self.transaction.block().is_none()
            && let Some(since) = self.busy_since.take()
        {
            self.tally.transaction(since.elapsed());
        }
    }

    /// A statement runs where its route leads.
    pub(super) fn count_rows(&mut self, route: &Route, destination: &Destination) {
        self.tally.query(kind_of(route, destination));
    }

    /// Statements of one script run on the shard that is the place of them all.
    pub(super) fn count_script(&mut self, statements: usize) {
        (0..statements).for_each(|_| self.tally.query(QueryKind::OneShard));
    }

    /// A statement runs that has no route; those that have one are counted when it is known.
    pub(super) fn count_plan(&mut self, plan: &Plan) {
        let kind = match plan {
            Plan::CopyIn(_) => QueryKind::CopyIn,
            Plan::Everywhere(_) => QueryKind::Everywhere,
            Plan::Transaction(_)
            | Plan::Setting(_)
            | Plan::SettingQuery(_)
            | Plan::Discard(_)
            | Plan::Cursor(_)
            | Plan::Prepared(PreparedVerb::Prepare { .. } | PreparedVerb::Deallocate(_)) => QueryKind::Control,
            Plan::Rows(_)
            | Plan::Prepared(PreparedVerb::Execute { .. } | PreparedVerb::Within { .. })
            | Plan::Empty
            | Plan::Refuse(_) => return,
        };
        self.tally.query(kind);
    }

    /// Sends the client an ErrorResponse of this body.
    pub(super) fn tell_error(&mut self, body: &[u8]) -> Failure {
        let instead = self.link.client.stopped.instead_of(body);
        let body = instead.as_deref().unwrap_or(body);
        self.count_error(field(body, b'C').unwrap_or_default());
        frame::write(&mut self.link.client.outbound, b'E', |out| out.extend_from_slice(body));
        Failure::Told
    }

    /// An error is sent to the client.
    pub(super) fn count_error(&self, sqlstate: &[u8]) {
        self.tally.shared().error(SqlstateClass::of(sqlstate));
    }
}

/// How a statement is run whose route leads here.
pub(super) fn kind_of(route: &Route, destination: &Destination) -> QueryKind {
    match (destination, &route.target) {
        (Destination::Any, _) => QueryKind::AnyShard,
        (Destination::One(_), Target::Home) => QueryKind::Home,
        (Destination::One(_) | Destination::NeedsParameterTypes, _) => QueryKind::OneShard,
        (Destination::Many(_) | Destination::Split(_) | Destination::Compute | Destination::Stepwise, _) => {
            QueryKind::Scatter
        }
        (Destination::All { .. }, _) => QueryKind::Everywhere,
        (Destination::Gather(_), _) => QueryKind::Gather,
    }
}
