//! The threads that serve clients.
//!
//! Each has a runtime of its own, and a client stays on the thread it was given to. What wakes its task comes from its own socket or
//! from its server's, which is on the same thread (`pool::lend` sees to that), so that no thread has to wake another:
//! that costs the kernel more than all the gateway does for a short statement. Everything else (watching, HTTP) runs on the
//! runtime that the process was started with.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::plan::STACK_BYTES_MAX;

/// Stack of a thread that serves clients, whatever RUST_MIN_STACK says: the planner stops at half of it.
const STACK_BYTES: usize = 2 * STACK_BYTES_MAX;

/// Threads that serve clients. When they are dropped, so are their clients.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    clients: Arc<AtomicUsize>,
    /// Its end ends the thread.
    _running: oneshot::Sender<()>,
}

/// A client is on a lane for as long as it is there.
struct OnLane(Arc<AtomicUsize>);

impl Drop for OnLane {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many there are if the configuration does not say: one for two cores. A thread that has little to do is woken for each message,
/// which costs the kernel more than to find several; and the network's own work needs cores too. Measured with two cores, two
/// shards and pgbench on them, 32 clients: one thread makes as many transactions a second as two, for 3 to 15 % less CPU.
fn usual_count() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

impl Lanes {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives none.
    pub fn start(count: Option<usize>) -> io::Result<Self> {
        let count = count.unwrap_or_else(usual_count).max(1);
        Ok(Lanes { lanes: (0..count).map(Lane::start).collect::<io::Result<_>>()? })
    }

    /// Gives a client to the thread that has the fewest.
    ///
    /// # Errors
    /// The socket cannot be given away: the client is gone.
    pub fn serve<F>(&self, tcp: TcpStream, client: impl FnOnce(TcpStream) -> F + Send + 'static) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(lane) = self.lanes.iter().min_by_key(|lane| lane.clients.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let tcp = tcp.into_std()?;
        lane.clients.fetch_add(1, Ordering::Relaxed);
        let on_lane = OnLane(lane.clients.clone());
        lane.runtime.spawn(async move {
            let _on_lane = on_lane;
            match TcpStream::from_std(tcp) {
                Ok(tcp) => client(tcp).await,
                Err(error) => tracing::warn!(%error, "a client cannot be served"),
            }
        });
        Ok(())
    }

    /// The runtime of one of them, for work on servers that are to be lent to clients.
    pub fn any(&self) -> Option<&Handle> {
        self.lanes.first().map(|lane| &lane.runtime)
    }
}

impl Lane {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(format!("clients-{number}")).stack_size(STACK_BYTES);
        thread.spawn(move || {
            let _ = runtime.block_on(ended);
        })?;
        Ok(Lane { runtime: handle, clients: Arc::default(), _running: running })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread::ThreadId;

    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn clients_are_spread_and_stay_on_their_thread() {
        let lanes = Lanes::start(Some(2)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (told, mut seen) = mpsc::unbounded_channel::<ThreadId>();
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (tcp, _) = listener.accept().await.unwrap();
            let told = told.clone();
            let serve = move |tcp: TcpStream| async move {
                told.send(std::thread::current().id()).unwrap();
                // Until the client closes its end.
                tcp.readable().await.unwrap();
                told.send(std::thread::current().id()).unwrap();
            };
            lanes.serve(tcp, serve).unwrap();
        }
        let mut counts = std::collections::HashMap::new();
        for _ in 0..4 {
            *counts.entry(seen.recv().await.unwrap()).or_insert(0) += 1;
        }
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [2, 2]);
        drop(clients);
        for _ in 0..4 {
            *counts.entry(seen.recv().await.unwrap()).or_insert(0) -= 1;
        }
        assert!(counts.values().all(|count| *count == 0));
    }
}
