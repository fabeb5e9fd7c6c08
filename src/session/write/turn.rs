//! Writers of reference tables take turns. A statement sees on each shard what was committed there when it began there: two that run at the
//! same time could each come first on one shard, and the shards would hold other rows for good.

use std::ops::Range;

use crate::pool::expect::{Audience, Step};
use crate::session::life::Session;
use crate::session::parameters::Parameters;
use crate::wire::reply;

/// Kept until the transaction ends on this shard. One for all reference tables: a write may read the others. A lock on the table itself
/// would ask for rights that a role may not have (lockcmds.c, LockTableAclCheck).
pub(in crate::session) const TURN: &[u8] = b"SELECT pg_catalog.pg_advisory_xact_lock(31638869915036006)";

/// Of the statement and the portal.
const NAME: &[u8] = b"pgbraid_turn";

/// So many servers in two parts: the first has its locks before another is asked, so that two such statements wait for each other there and
/// nowhere else.
pub(in crate::session) fn first_then_others(count: usize) -> [Range<usize>; 2] {
    let first = count.min(1);
    [0..first, first..count]
}

impl Session {
    /// Sends to one server what runs before such a write on each shard, on the first one first; a statement of its own, so that the write sees
    /// what those before it have committed. Where a snapshot decides what is seen, the others wait all the same.
    pub(in crate::session) fn send_turn(&mut self, at: usize) {
        self.link.servers[at].server.send_query(TURN, Audience::Gateway);
    }

    /// The same in front of an Execute, where a Query message would end the portal.
    pub(in crate::session) fn send_turn_in_pipeline(&mut self, at: usize) {
        let rest = Parameters::default().bind_rest(&[]);
        let enlisted = &mut self.link.servers[at];
        enlisted.needs_sync = true;
        let out = &mut enlisted.server.outbound;
        // One whose turn did not come has left its own: what is behind an error is skipped. To close what is not there is no error.
        reply::named(out, b'C', b'S', NAME);
        reply::parse(out, NAME, TURN, &[]);
        reply::bind(out, NAME, NAME, &rest, 0);
        reply::execute(out, NAME, 0);
        reply::named(out, b'C', b'P', NAME);
        reply::named(out, b'C', b'S', NAME);
        for step in [Step::Close, Step::Parse(None), Step::Bind, Step::Execute, Step::Close, Step::Close] {
            enlisted.server.expects.push(step, Audience::Gateway);
        }
    }
}
