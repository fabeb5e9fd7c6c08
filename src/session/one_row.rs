//! Queries of the simple protocol that find one row by its primary key: servers prepare them, with parameters in their literals'
//! places, so that parsing and planning, more than a third of what such a query costs PostgreSQL, is not done each time.
//!
//! The client sees what it would see of its own text: where PostgreSQL says something of the text when parameters are bound, it gets the
//! text itself, and says it of that.

use std::sync::Arc;

use shardmap::ShardId;

use super::failure::Failure;
use super::life::{Ended, Session};
use super::plans::bound::Bound;
use super::plans::shapes::Placed;
use crate::execute::plain::Plain;
use crate::plan::Access;
use crate::pool::expect::{Audience, Step};
use crate::pool::server::{Server, statement_name};
use crate::sql::lift::Lifted;
use crate::wire::fields::is_of_moment;
use crate::wire::frame;
use crate::wire::reply;

/// The unnamed portal, which a Query takes as well.
const PORTAL: &[u8] = b"";

impl Session {
    /// Runs a text whose literals have just been lifted.
    ///
    /// # Cancel safety
    /// Cancel safe as far as any statement is: the link's servers are closed when it is dropped.
    pub(super) async fn one_row(
        &mut self,
        text: &[u8],
        shard: ShardId,
        placed: &Arc<Placed>,
    ) -> Result<Ended, Failure> {
        let at = self.enlist_for(shard, Access::Read).await?;
        // Settings that the client is to be told go before its ReadyForQuery, which is the server's here.
        let sent = !self.reported.has_news() && self.send_one_row(at, text, placed);
        self.shrink_lifted();
        if !sent {
            return self.forward_query(at, text, true).await;
        }
        self.hear_one_row(at, text, placed).await
    }

    /// Relays the answer to a prepared text.
    pub(super) async fn hear_one_row(&mut self, at: usize, text: &[u8], placed: &Placed) -> Result<Ended, Failure> {
        let mut plain = Plain { skip_described: true, ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        if !matches!(plain.hidden_step, Some(Step::Parse(_) | Step::Bind)) {
            return self.answered(at, &plain, true).await;
        }
        // Nothing has run, and the client has heard nothing yet. The error is counted when it does.
        let of_text = plain.error.take().is_some_and(|code| !is_of_moment(code));
        self.note(&plain);
        if !of_text {
            return self.pass_on_hidden_error(&plain).map(|()| Ended::NotReady);
        }
        if let Some(bound) = &placed.bound {
            self.link.servers[at].server.forget_beside(bound.id);
        }
        self.forward_query(at, text, true).await
    }

    /// Whether the server has been sent the prepared text.
    pub(super) fn send_one_row(&mut self, at: usize, text: &[u8], placed: &Placed) -> bool {
        let (Some(bound), Ok(text)) = (&placed.bound, std::str::from_utf8(text)) else { return false };
        let server: &mut Server = &mut self.link.servers[at].server;
        if !server.prepare_beside(bound.id, &bound.text, &bound.types) {
            return false;
        }
        send_bound(server, bound, text, &self.lifted);
        true
    }
}

/// Sends a Bind of a prepared text with the literals as its parameters, and what follows it.
pub(super) fn send_bound(server: &mut Server, bound: &Bound, text: &str, lifted: &Lifted) {
    let out = &mut server.outbound;
    frame::write(out, b'B', |out| {
        for name in [PORTAL, &statement_name(bound.id)] {
            out.extend_from_slice(name);
            out.extend_from_slice(&[0]);
        }
        bound.write_values(out, text, lifted);
    });
    reply::named(out, b'D', b'P', PORTAL);
    reply::execute(out, PORTAL, 0);
    server.expects.push(Step::Bind, Audience::Gateway);
    server.expects.push(Step::DescribePortal, Audience::Client);
    server.expects.push(Step::Execute, Audience::Client);
    server.send_sync(Audience::Client);
}
