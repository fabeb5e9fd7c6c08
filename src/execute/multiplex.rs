//! Multiplexing: reads of one row by its key, of several clients, on one server at a time.
//!
//! Most of what such a read costs is the kernel's, here and on the shard: a message each way, each of which wakes a process that had gone to
//! sleep. A server that finds the next read in its socket when it has answered one does not sleep, and a message carries what several
//! clients sent, or are sent. So while other clients use servers of the pool, such a read is not given a server of its own but a place in
//! a **line**: a server to which reads are sent one behind the other, each with its own Sync, so that each is a transaction of its own and
//! the error of one is not another's.
//!
//! A client sees nothing of it:
//! - Only reads are sent that may be run a second time: they change nothing, and their clients have got nothing of their answers before
//!   these are whole. Whatever else comes than success, or an error of the moment (a timeout), the read is run again on a server of its client's own,
//!   as if it had never been in a line ([`Outcome::Again`](super::ticket::Outcome::Again)).
//! - A line is no longer than what its server answers within [`WAIT`](super::line::WAIT), by what it has taken for the last ones, or [`EXHAUSTED`](super::line::EXHAUSTED) times that where all servers
//!   are in use. Those behind one that takes longer than [`PATIENCE`](super::line::PATIENCE) leave the line.
//! - A line lets no more reads in when it has had its server for [`LOAN`](super::line::LOAN), so that who waits for a server of the pool gets it.
//!
//! The lines of a pool belong to one thread, like the clients whose reads they carry: see `session::threads`.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use super::line::{Line, Room};
use super::ticket::Ticket;
use crate::pool::lend::ServerPool;
use crate::pool::server::Server;

/// A pool has so many lines on a thread, and no more than half as many as servers.
const LINES_MAX: usize = 4;

thread_local! {
    /// Those of this thread.
    static MULTIPLEXERS: RefCell<Vec<Weak<Multiplexer>>> = const { RefCell::new(Vec::new()) };
}

/// The lines of a pool on one thread.
#[derive(Debug)]
pub struct Multiplexer {
    pool: ServerPool,
    lines: Vec<Arc<Line>>,
}

impl Multiplexer {
    /// The lines of a pool on this thread.
    pub fn of(pool: &ServerPool) -> Arc<Multiplexer> {
        MULTIPLEXERS.with_borrow_mut(|known| {
            known.retain(|known| known.strong_count() > 0);
            let found = known.iter().filter_map(Weak::upgrade).find(|known| known.pool.is(pool));
            found.unwrap_or_else(|| {
                let lines = LINES_MAX.min(pool.status().max_size / 2).max(1);
                let lines = (0..lines).map(|_| Arc::default()).collect();
                let made = Arc::new(Multiplexer { pool: pool.clone(), lines });
                known.push(Arc::downgrade(&made));
                made
            })
        })
    }

    /// Sends a read in a line: `send` appends it to what is to be sent to a server, with its Sync, and what is owed for it; `false` if that is
    /// not the server for it, and then nothing was appended. Whether it was sent; if not, it is to get a server of its own.
    pub fn send(&self, ticket: &Arc<Ticket>, mut send: impl FnMut(&mut Server) -> bool) -> bool {
        // Who is alone has nothing of a line.
        if !self.pool.has_lent() {
            return false;
        }
        for room in [Room::Usual, Room::Quick, Room::Any] {
            // Who would wait for a server waits in a line as well.
            if room == Room::Any && !self.pool.is_exhausted() {
                return false;
            }
            for line in &self.lines {
                if let Some(sent) = line.send(&self.pool, ticket, room, &mut send) {
                    return sent;
                }
            }
        }
        false
    }
}

impl Drop for Multiplexer {
    fn drop(&mut self) {
        self.lines.iter().for_each(|line| line.end());
    }
}
