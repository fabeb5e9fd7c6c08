//! Statements that servers are sent on behalf of a client which speaks the extended protocol, in a block: the client's unnamed portal,
//! which may still have rows, would end with a Query message.

use super::life::Session;
use super::statement::Place;
use crate::pool::expect::Audience;

/// No formats, no parameters, no result formats.
const NOTHING_BOUND: &[u8] = &[0; 6];

impl Session {
    /// Sends one statement, whose answer ends with ReadyForQuery and does not tell of columns.
    pub(super) fn send_sparing(&mut self, at: usize, text: &[u8], audience: Audience) {
        let spares = self.transaction.block().is_some() && self.servers_have_unnamed_portal();
        let server = &mut self.link.servers[at].server;
        if spares {
            server.send_bound(text, &[], NOTHING_BOUND, audience);
            server.send_sync(Audience::Gateway);
        } else {
            server.send_query(text, audience);
        }
    }

    fn servers_have_unnamed_portal(&self) -> bool {
        self.names.portals.get(&b""[..]).is_some_and(|portal| match portal.place.as_bound() {
            Place::One { .. } | Place::Many { .. } | Place::Stepwise { .. } | Place::Every { .. } => true,
            Place::Gather(_) | Place::Fetch(_) | Place::Cursor | Place::Local | Place::Done | Place::Ended { .. } => {
                false
            }
        })
    }
}
