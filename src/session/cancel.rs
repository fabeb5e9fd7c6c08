//! Cancel keys: which client a CancelRequest means, and which servers work for it now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::Notify;

use crate::execute::stopped::{CANCEL_AGAIN, Stopped, Why};
use crate::execute::ticket::Ticket;
use crate::pool::server::CancelServer;

/// All clients that can be cancelled.
#[derive(Debug, Default)]
pub struct Cancels {
    clients: Mutex<HashMap<i32, Arc<CancelSlot>>>,
    last: AtomicI32,
}

/// One client's key and what works for it.
#[derive(Debug)]
pub struct CancelSlot {
    /// The client's "process id".
    pub process_id: i32,
    secret: Vec<u8>,
    work: Mutex<Work>,
    /// No request is under way any more.
    done: Notify,
    waiting: Notify,
    /// What the client waits for on servers that it shares with others.
    ticket: OnceLock<Weak<Ticket>>,
    /// See [`crate::execute::client::ClientIo::stopped`].
    pub stopped: Arc<Stopped>,
}

#[derive(Debug, Default)]
struct Work {
    servers: Vec<CancelServer>,
    /// Requests that are being passed on: servers are not given back meanwhile.
    under_way: usize,
    /// The statement of several steps that is under way.
    steps: Option<u64>,
    /// How many there have been.
    steps_begun: u64,
    /// One that is being stopped.
    stopping: Option<u64>,
}

/// A request that is being passed on.
struct UnderWay<'a>(&'a CancelSlot);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut work = self.0.work();
        work.under_way -= 1;
        if work.under_way == 0 {
            self.0.done.notify_waiters();
        }
    }
}

impl Cancels {
    /// Registers a client; `secret` is 4 bytes for protocol 3.0, up to 256 for 3.2.
    pub fn register(&self, secret: Vec<u8>) -> Arc<CancelSlot> {
        let mut clients = self.lock();
        loop {
            let process_id = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
            if process_id != 0 && !clients.contains_key(&process_id) {
                let slot = Arc::new(CancelSlot {
                    process_id,
                    secret,
                    work: Mutex::default(),
                    done: Notify::new(),
                    waiting: Notify::new(),
                    ticket: OnceLock::new(),
                    stopped: Arc::default(),
                });
                clients.insert(process_id, slot.clone());
                return slot;
            }
        }
    }

    /// Forgets a client.
    pub fn unregister(&self, process_id: i32) {
        self.lock().remove(&process_id);
    }

    /// Does what a CancelRequest asks; a wrong key does nothing, and takes as long.
    pub async fn cancel(&self, process_id: i32, secret: &[u8]) {
        let slot = self.lock().get(&process_id).cloned();
        let Some(slot) = slot.filter(|slot| same(&slot.secret, secret)) else { return };
        slot.pass_on(|_| true).await;
        let steps = slot.work().steps;
        if let Some(steps) = steps {
            tokio::spawn(async move {
                tokio::time::sleep(CANCEL_AGAIN).await;
                slot.stop_steps(steps, None).await;
            });
        }
    }

    /// The clients for whom several servers work, with those.
    pub fn with_several_servers(&self) -> Vec<(Arc<CancelSlot>, Vec<CancelServer>)> {
        let slots: Vec<Arc<CancelSlot>> = self.lock().values().cloned().collect();
        let with_servers = slots.into_iter().map(|slot| {
            let servers = slot.work().servers.clone();
            (slot, servers)
        });
        with_servers.filter(|(_, servers)| servers.len() > 1).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Arc<CancelSlot>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CancelSlot {
    /// The client's secret, for BackendKeyData.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// A server works for the client from now on.
    pub fn add(&self, server: CancelServer) {
        self.work().servers.push(server);
    }

    /// What the client will wait for on servers that it shares with others. To be told once.
    pub fn share(&self, ticket: &Arc<Ticket>) {
        let _ = self.ticket.set(Arc::downgrade(ticket));
    }

    /// One server does not work for the client any more; waits as [`CancelSlot::clear`] does.
    pub async fn remove(&self, server: &CancelServer) {
        let settled = {
            let mut work = self.work();
            work.servers.retain(|known| !known.is(server));
            work.under_way == 0
        };
        if !settled {
            Box::pin(self.settled()).await;
        }
    }

    /// No server works for the client any more; waits for requests under way, so that none hits the servers' next client.
    pub async fn clear(&self) {
        if !self.clear_now() {
            Box::pin(self.settled()).await;
        }
    }

    /// The same without waiting; whether no request is under way.
    pub fn clear_now(&self) -> bool {
        let mut work = self.work();
        work.servers.clear();
        self.stopped.clear();
        work.under_way == 0
    }

    /// Ends a wait of this client's on a server, as a deadlock, unless the client has gone on.
    pub async fn break_deadlock(&self, server: &CancelServer) {
        let _under_way = {
            let mut work = self.work();
            if !work.servers.iter().any(|known| known.is(server)) {
                return;
            }
            work.under_way += 1;
            self.stopped.note(Why::Deadlock);
            UnderWay(self)
        };
        server.cancel().await;
    }

    /// Cancels all servers, if `still` says so of the client's work; else `false`.
    async fn pass_on(&self, still: impl FnOnce(&Work) -> bool) -> bool {
        let (_under_way, servers) = {
            let mut work = self.work();
            if !still(&work) {
                return false;
            }
            work.under_way += 1;
            (UnderWay(self), work.servers.clone())
        };
        self.waiting.notify_waiters();
        if let Some(ticket) = self.ticket.get().and_then(Weak::upgrade) {
            ticket.cancel();
        }
        let mut requests = tokio::task::JoinSet::new();
        for server in servers {
            requests.spawn(async move { server.cancel().await });
        }
        while requests.join_next().await.is_some() {}
        true
    }

    /// A statement of several steps begins; its number.
    pub fn begin_steps(&self) -> u64 {
        let mut work = self.work();
        work.steps_begun += 1;
        work.steps = Some(work.steps_begun);
        work.steps_begun
    }

    /// It is over: nothing is cancelled on its behalf any more.
    pub fn end_steps(&self, steps: u64) {
        let mut work = self.work();
        if work.steps == Some(steps) {
            work.steps = None;
            self.stopped.clear();
        }
    }

    /// Cancels all servers again and again while this statement is under way.
    pub async fn stop_steps(&self, steps: u64, why: Option<Why>) {
        {
            let mut work = self.work();
            if work.steps != Some(steps) || work.stopping == Some(steps) {
                return;
            }
            work.stopping = Some(steps);
            why.into_iter().for_each(|why| self.stopped.note(why));
        }
        while self.pass_on(|work| work.steps == Some(steps)).await {
            tokio::time::sleep(CANCEL_AGAIN).await;
        }
    }

    /// Returns when no request is under way.
    pub async fn settled(&self) {
        loop {
            let mut done = std::pin::pin!(self.done.notified());
            done.as_mut().enable();
            if self.work().under_way == 0 {
                return;
            }
            done.await;
        }
    }

    fn work(&self) -> std::sync::MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the client asks for cancellation.
    pub async fn cancelled(&self) {
        self.waiting.notified().await;
    }
}

/// Compares without telling by time where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_must_agree_whole() {
        assert!(same(b"abcd", b"abcd"));
        assert!(!same(b"abcd", b"abce"));
        assert!(!same(b"abcd", b"abc"));
    }

    #[tokio::test]
    async fn a_cancel_reaches_a_client_that_waits_for_a_server() {
        let cancels = Arc::new(Cancels::default());
        let slot = cancels.register(b"1234".to_vec());
        let waits = slot.cancelled();
        tokio::pin!(waits);
        assert!(futures_util::poll!(&mut waits).is_pending());
        cancels.cancel(slot.process_id, b"9999").await;
        assert!(futures_util::poll!(&mut waits).is_pending());
        cancels.cancel(slot.process_id, b"1234").await;
        assert!(futures_util::poll!(&mut waits).is_ready());
    }

    #[tokio::test]
    async fn a_cancel_between_two_steps_is_repeated_until_the_statement_is_over() {
        let cancels = Cancels::default();
        let slot = cancels.register(b"1234".to_vec());
        let first = slot.begin_steps();
        cancels.cancel(slot.process_id, b"1234").await;
        for _ in 0..2 {
            slot.cancelled().await;
        }
        slot.end_steps(first);
        let second = slot.begin_steps();
        slot.stop_steps(first, Some(Why::Timeout)).await;
        assert_eq!(slot.stopped.message(), Stopped::default().message());
        slot.end_steps(first);
        assert_eq!(slot.work().steps, Some(second));
    }
}
