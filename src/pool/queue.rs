//! Who has one of a bounded number of places: those that are idle with something in them, those not taken yet, and who waits for
//! one, first come, first served, or nearly so: see [`NEAR`].
//!
//! A locked synchronous core; nothing but [`Queue::take`] waits. It knows nothing of servers, whose pools are made of it in
//! `lend`: a loan costs one lock to take and one to give back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Among so many who wait the longest, one on the thread on which a place is given back goes first: a server that another thread is to
/// use must be watched by that one, and it be woken, which is dearer than a short statement.
const NEAR: usize = 8;

/// The one who waits the longest is overtaken so many times, and no more.
const OVERTAKEN_MAX: usize = 8;

/// The queue is closed: nothing is lent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// Places, and who waits for them.
#[derive(Debug)]
pub struct Queue<T> {
    max: usize,
    /// An idle one of which this is true is lent before others.
    suits: fn(&T) -> bool,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    /// The last one given back is lent first, so that those not needed stay idle.
    idle: Vec<Idle<T>>,
    /// Places taken, idle ones included.
    taken: usize,
    /// In the order in which they came. Some may have gone.
    waiting: VecDeque<Waiting<T>>,
    /// How often the first of them has been overtaken.
    overtaken: usize,
    closed: bool,
}

#[derive(Debug)]
struct Waiting<T> {
    turn: oneshot::Sender<Place<T>>,
    thread: ThreadId,
}

impl<T> State<T> {
    /// Whose turn it is. `near`: rather one on this thread.
    fn next(&mut self, near: bool) -> Option<Waiting<T>> {
        let here = || {
            let here = std::thread::current().id();
            self.waiting.iter().take(NEAR).position(|waiting| waiting.thread == here)
        };
        let may = near && self.waiting.len() > 1 && self.overtaken < OVERTAKEN_MAX;
        let at = if may { here().unwrap_or(0) } else { 0 };
        self.overtaken = if at == 0 { 0 } else { self.overtaken + 1 };
        self.waiting.remove(at)
    }
}

#[derive(Debug)]
struct Idle<T> {
    item: T,
    /// Since when it is known to be idle: set by [`Queue::retain`], so that a loan does not cost a look at the clock.
    since: Option<Instant>,
}

/// How a queue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Places.
    pub max_size: usize,
    /// Places taken.
    pub size: usize,
    /// Idle ones among them.
    pub available: usize,
    /// Who waits for one.
    pub waiting: usize,
}

/// A place, with or without something in it. When it is dropped, the next in the queue gets it; if nobody waits, what is in it is
/// idle, and an empty one is free.
#[derive(Debug)]
pub struct Place<T> {
    item: Option<T>,
    /// `None`: it has been passed on.
    queue: Option<Arc<Queue<T>>>,
}

impl<T> Place<T> {
    /// What is in it.
    pub fn item(&self) -> Option<&T> {
        self.item.as_ref()
    }

    /// What is in it.
    pub fn item_mut(&mut self) -> Option<&mut T> {
        self.item.as_mut()
    }

    /// Takes out what is in it.
    pub fn empty(&mut self) -> Option<T> {
        self.item.take()
    }

    /// Puts this in it.
    pub fn fill(&mut self, item: T) {
        self.item = Some(item);
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.pass_on(self.item.take());
        }
    }
}

impl<T> Queue<T> {
    /// With so many places. An idle one that `suits` whoever asks is lent before others.
    pub fn new(max: usize, suits: fn(&T) -> bool) -> Arc<Self> {
        let state = State { idle: Vec::new(), taken: 0, waiting: VecDeque::new(), overtaken: 0, closed: false };
        Arc::new(Queue { max, suits, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place with something in it, if one is idle.
    pub fn take_idle(self: &Arc<Self>) -> Option<Place<T>> {
        self.pop_idle(&mut self.state())
    }

    fn pop_idle(self: &Arc<Self>, state: &mut State<T>) -> Option<Place<T>> {
        let last = state.idle.len().checked_sub(1)?;
        let at = state.idle.iter().rposition(|idle| (self.suits)(&idle.item)).unwrap_or(last);
        Some(Place { item: Some(state.idle.remove(at).item), queue: Some(self.clone()) })
    }

    /// Whether somebody has a place, and others may get one.
    pub fn has_lent(&self) -> bool {
        let state = self.state();
        !state.closed && state.taken > state.idle.len()
    }

    /// Whether all places are taken, and nothing idle is in one.
    pub fn is_exhausted(&self) -> bool {
        let state = self.state();
        state.taken >= self.max && state.idle.is_empty()
    }

    /// An empty place, if one is free, whether others are idle or not.
    pub fn take_free(self: &Arc<Self>) -> Option<Place<T>> {
        let mut state = self.state();
        if state.closed || state.taken >= self.max {
            return None;
        }
        state.taken += 1;
        Some(Place { item: None, queue: Some(self.clone()) })
    }

    /// A place: an idle one, else a free one, else the next one that somebody gives back. It is given to the thread that asks.
    ///
    /// # Errors
    /// The queue is closed.
    ///
    /// # Cancel safety
    /// Cancel safe: a place that has been passed on to one who has gone goes to the next. Who comes again is the last.
    pub async fn take(self: &Arc<Self>) -> Result<Place<T>, Closed> {
        if let Some(place) = self.take_idle() {
            return Ok(place);
        }
        let turn = {
            let mut state = self.state();
            if state.closed {
                return Err(Closed);
            }
            // Somebody may have given it back meanwhile.
            if let Some(place) = self.pop_idle(&mut state) {
                return Ok(place);
            }
            if state.taken < self.max {
                state.taken += 1;
                return Ok(Place { item: None, queue: Some(self.clone()) });
            }
            if state.waiting.len() == state.waiting.capacity() {
                // Before it grows: those who have gone leave it.
                state.waiting.retain(|waiting| !waiting.turn.is_closed());
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push_back(Waiting { turn: sender, thread: std::thread::current().id() });
            turn
        };
        turn.await.map_err(|_| Closed)
    }

    /// A place has been given back. Nothing is sent or dropped under the lock: that may give back another one.
    fn pass_on(self: Arc<Self>, mut item: Option<T>) {
        loop {
            let mut state = self.state();
            let Some(next) = state.next(item.as_ref().is_some_and(self.suits)) else {
                let closed = state.closed;
                match item.take_if(|_| !closed) {
                    Some(item) => state.idle.push(Idle { item, since: None }),
                    None => state.taken -= 1,
                }
                drop(state);
                drop(item);
                return;
            };
            drop(state);
            match next.turn.send(Place { item, queue: Some(self.clone()) }) {
                Ok(()) => return,
                // That one has gone.
                Err(mut back) => {
                    back.queue = None;
                    item = back.item.take();
                }
            }
        }
    }

    /// Takes out the idle ones that are not to be kept, the longest idle first. `keep` is told for how long one has been idle, as
    /// seen from call to call.
    pub fn retain(&self, mut keep: impl FnMut(&T, Duration) -> bool) -> Vec<T> {
        let now = Instant::now();
        let mut state = self.state();
        let gone: Vec<T> = state
            .idle
            .extract_if(.., |idle| {
                let since = *idle.since.get_or_insert(now);
                !keep(&idle.item, now.saturating_duration_since(since))
            })
            .map(|idle| idle.item)
            .collect();
        state.taken -= gone.len();
        gone
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let state = self.state();
        let waiting = state.waiting.iter().filter(|waiting| !waiting.turn.is_closed()).count();
        Status { max_size: self.max, size: state.taken, available: state.idle.len(), waiting }
    }

    /// Closes it: what is idle is dropped now, what is lent when it is given back; who waits gets an error.
    pub fn close(&self) {
        let (idle, waiting) = {
            let mut state = self.state();
            state.closed = true;
            state.taken -= state.idle.len();
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.waiting))
        };
        drop((idle, waiting));
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
