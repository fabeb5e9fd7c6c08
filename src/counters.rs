//! What the gateway counts while it works: plain numbers, summed when somebody looks.
//!
//! [`Counters`] is shared and made with the gateway. A session counts into its own [`Tally`], which costs an addition and is
//! summed with the others' when somebody looks. Rare events go to the shared ones directly. Names and labels are given
//! in `admin::metrics`; the words are PgBouncer's (SHOW STATS).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a statement was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKind {
    /// On the shard of its key.
    OneShard,
    /// On any shard: it reads no table.
    AnyShard,
    /// On the home shard.
    Home,
    /// On several shards, the union of rows being the answer.
    Scatter,
    /// Parts of it on the shards, the rest on a merge server.
    Gather,
    /// On every shard: DDL, writes to reference tables.
    Everywhere,
    /// COPY FROM STDIN.
    CopyIn,
    /// Transaction control, SET, PREPARE and the like.
    Control,
}

impl QueryKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [QueryKind; 8] = [
        QueryKind::OneShard,
        QueryKind::AnyShard,
        QueryKind::Home,
        QueryKind::Scatter,
        QueryKind::Gather,
        QueryKind::Everywhere,
        QueryKind::CopyIn,
        QueryKind::Control,
    ];

    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            QueryKind::OneShard => "one_shard",
            QueryKind::AnyShard => "any_shard",
            QueryKind::Home => "home",
            QueryKind::Scatter => "scatter",
            QueryKind::Gather => "gather",
            QueryKind::Everywhere => "everywhere",
            QueryKind::CopyIn => "copy_in",
            QueryKind::Control => "control",
        }
    }
}

/// The first two characters of a SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SqlstateClass([u8; 2]);

/// Characters a SQLSTATE is made of. *Source*: PostgreSQL 15, `src/include/utils/elog.h`, `MAKE_SQLSTATE`.
const SQLSTATE_CHARS: usize = 36;

impl SqlstateClass {
    /// Of a SQLSTATE; whatever is none counts as `XX`, internal error.
    pub fn of(sqlstate: &[u8]) -> SqlstateClass {
        match sqlstate {
            [a, b, ..] if digit(*a).is_some() && digit(*b).is_some() => SqlstateClass([*a, *b]),
            _ => SqlstateClass(*b"XX"),
        }
    }

    /// As text: `08`.
    pub fn label(self) -> String {
        self.0.iter().map(|&byte| char::from(byte)).collect()
    }

    fn index(self) -> usize {
        let [a, b] = self.0.map(|byte| digit(byte).unwrap_or_default());
        a * SQLSTATE_CHARS + b
    }
}

fn digit(byte: u8) -> Option<usize> {
    match byte {
        b'0'..=b'9' => Some(usize::from(byte - b'0')),
        b'A'..=b'Z' => Some(usize::from(byte - b'A') + 10),
        _ => None,
    }
}

/// Counters of the whole process. Reading them one after the other gives no consistent cut, which nobody needs.
#[derive(Debug)]
pub struct Counters {
    sessions: Mutex<Sessions>,
    shipped_rows: AtomicU64,
    shipped_bytes: AtomicU64,
    logins: AtomicU64,
    panics: AtomicU64,
    errors: Box<[AtomicU64]>,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            sessions: Mutex::default(),
            shipped_rows: AtomicU64::default(),
            shipped_bytes: AtomicU64::default(),
            logins: AtomicU64::default(),
            panics: AtomicU64::default(),
            errors: (0..SQLSTATE_CHARS * SQLSTATE_CHARS).map(|_| AtomicU64::default()).collect(),
        }
    }
}

/// The sums at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Transactions that have ended, implicit ones included.
    pub transactions: u64,
    /// Statements by how they were run, in the order of [`QueryKind::ALL`].
    pub queries: [u64; QueryKind::ALL.len()],
    /// Bytes read from clients.
    pub received_bytes: u64,
    /// Bytes written to clients.
    pub sent_bytes: u64,
    /// Rows shipped from shards to merge servers.
    pub shipped_rows: u64,
    /// Their bytes.
    pub shipped_bytes: u64,
    /// Reads that shared a server with other clients'.
    pub multiplexed: u64,
    /// Times a client waited for a server.
    pub waits: u64,
    /// Microseconds clients waited for servers.
    pub wait_micros: u64,
    /// Microseconds spent in transactions.
    pub transaction_micros: u64,
    /// Clients that logged in.
    pub logins: u64,
    /// Sessions ended by a panic.
    pub panics: u64,
    /// Errors sent to clients, by class; classes without any left out.
    pub errors: Vec<(SqlstateClass, u64)>,
}

impl Counters {
    /// A client has logged in.
    pub fn login(&self) {
        add(&self.logins, 1);
    }

    /// A session has panicked.
    pub fn panic(&self) {
        add(&self.panics, 1);
    }

    /// An error is sent to a client, the gateway's own or a shard's.
    pub fn error(&self, class: SqlstateClass) {
        if let Some(counter) = self.errors.get(class.index()) {
            add(counter, 1);
        }
    }

    /// All sums.
    pub fn totals(&self) -> Totals {
        let classes = self.errors.iter().enumerate().map(|(index, counter)| (class_at(index), load(counter)));
        let mut totals = Totals {
            shipped_rows: load(&self.shipped_rows),
            shipped_bytes: load(&self.shipped_bytes),
            logins: load(&self.logins),
            panics: load(&self.panics),
            errors: classes.filter(|(_, count)| *count > 0).collect(),
            ..Totals::default()
        };
        let sessions = self.sessions();
        for cells in sessions.open.iter().flatten().map(|cells| &**cells).chain([&sessions.ended]) {
            cells.add_to(&mut totals);
        }
        totals
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn class_at(index: usize) -> SqlstateClass {
    let letter = |digit: usize| *b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".get(digit).unwrap_or(&b'X');
    SqlstateClass([letter(index / SQLSTATE_CHARS), letter(index % SQLSTATE_CHARS)])
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// What the sessions have counted.
#[derive(Debug, Default)]
struct Sessions {
    open: Vec<Option<Arc<Cells>>>,
    /// Places in `open` that are free.
    free: Vec<usize>,
    /// The sum of those that have ended.
    ended: Cells,
}

/// What one session has counted: written by it alone, so that no addition has to be one step for others.
#[derive(Debug, Default)]
struct Cells {
    transactions: AtomicU64,
    queries: [AtomicU64; QueryKind::ALL.len()],
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    multiplexed: AtomicU64,
    waits: AtomicU64,
    wait_micros: AtomicU64,
    transaction_micros: AtomicU64,
}

impl Cells {
    fn add_to(&self, totals: &mut Totals) {
        for (total, count) in totals.queries.iter_mut().zip(&self.queries) {
            *total += load(count);
        }
        totals.transactions += load(&self.transactions);
        totals.received_bytes += load(&self.received_bytes);
        totals.sent_bytes += load(&self.sent_bytes);
        totals.multiplexed += load(&self.multiplexed);
        totals.waits += load(&self.waits);
        totals.wait_micros += load(&self.wait_micros);
        totals.transaction_micros += load(&self.transaction_micros);
    }

    fn take_over(&self, other: &Cells) {
        for (sum, count) in self.queries.iter().zip(&other.queries) {
            note(sum, load(count));
        }
        note(&self.transactions, load(&other.transactions));
        note(&self.received_bytes, load(&other.received_bytes));
        note(&self.sent_bytes, load(&other.sent_bytes));
        note(&self.multiplexed, load(&other.multiplexed));
        note(&self.waits, load(&other.waits));
        note(&self.wait_micros, load(&other.wait_micros));
        note(&self.transaction_micros, load(&other.transaction_micros));
    }
}

/// Counts where nobody else does.
fn note(counter: &AtomicU64, count: u64) {
    counter.store(load(counter).wrapping_add(count), Ordering::Relaxed);
}

/// One session's counts.
#[derive(Debug)]
pub struct Tally {
    shared: Arc<Counters>,
    cells: Arc<Cells>,
    place: usize,
}

impl Tally {
    /// Counts into `shared`.
    pub fn new(shared: Arc<Counters>) -> Tally {
        let cells = Arc::<Cells>::default();
        let place = {
            let mut sessions = shared.sessions();
            let place = sessions.free.pop().unwrap_or(sessions.open.len());
            match sessions.open.get_mut(place) {
                Some(free) => *free = Some(cells.clone()),
                None => sessions.open.push(Some(cells.clone())),
            }
            place
        };
        Tally { shared, cells, place }
    }

    /// A statement is run.
    pub fn query(&mut self, kind: QueryKind) {
        note(&self.cells.queries[kind as usize], 1);
    }

    /// A transaction has ended after so long.
    pub fn transaction(&mut self, took: Duration) {
        note(&self.cells.transactions, 1);
        note(&self.cells.transaction_micros, micros(took));
    }

    /// A read has been answered on a server that it shared with other clients'.
    pub fn multiplexed(&mut self) {
        note(&self.cells.multiplexed, 1);
    }

    /// The client waited so long for a server.
    pub fn wait(&mut self, took: Duration) {
        note(&self.cells.waits, 1);
        note(&self.cells.wait_micros, micros(took));
    }

    /// Rows have been shipped from shards to a merge server.
    pub fn shipped(&self, rows: u64, bytes: u64) {
        add(&self.shared.shipped_rows, rows);
        add(&self.shared.shipped_bytes, bytes);
    }

    /// Bytes read from the client.
    pub fn received(&mut self, bytes: usize) {
        note(&self.cells.received_bytes, bytes as u64);
    }

    /// Bytes written to the client.
    pub fn sent(&mut self, bytes: usize) {
        note(&self.cells.sent_bytes, bytes as u64);
    }

    /// The shared counters, for what is rare.
    pub fn shared(&self) -> &Counters {
        &self.shared
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let mut sessions = self.shared.sessions();
        sessions.ended.take_over(&self.cells);
        if let Some(place) = sessions.open.get_mut(self.place) {
            *place = None;
        }
        sessions.free.push(self.place);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_counts_while_it_is_open_and_once_when_it_has_ended() {
        let shared = Arc::new(Counters::default());
        let mut tally = Tally::new(shared.clone());
        let mut other = Tally::new(shared.clone());
        tally.query(QueryKind::Scatter);
        tally.transaction(Duration::from_millis(2));
        other.wait(Duration::from_micros(7));
        tally.received(10);
        tally.multiplexed();
        drop(other);
        let mut other = Tally::new(shared.clone());
        other.sent(5);
        let open = shared.totals();
        drop(tally);
        drop(other);
        assert_eq!(shared.totals(), open);
        assert!(shared.sessions().open.iter().all(Option::is_none) && shared.sessions().open.len() == 2);
        let expected = Totals {
            transactions: 1,
            queries: [0, 0, 0, 1, 0, 0, 0, 0],
            received_bytes: 10,
            sent_bytes: 5,
            multiplexed: 1,
            waits: 1,
            wait_micros: 7,
            transaction_micros: 2000,
            ..Totals::default()
        };
        assert_eq!(shared.totals(), expected);
    }

    #[test]
    fn kinds_are_numbered_in_the_order_of_the_list() {
        assert!(QueryKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }

    #[test]
    fn errors_are_counted_by_class() {
        let counters = Counters::default();
        for sqlstate in ["0A000", "08006", "08001", "ZZ999", "", "é"] {
            counters.error(SqlstateClass::of(sqlstate.as_bytes()));
        }
        let errors: Vec<_> = counters.totals().errors.into_iter().map(|(class, n)| (class.label(), n)).collect();
        let expected = [("08", 2), ("0A", 1), ("XX", 2), ("ZZ", 1)];
        assert_eq!(errors, expected.map(|(class, n)| (class.to_owned(), n)));
    }
}
