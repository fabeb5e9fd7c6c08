//! Accepts clients and runs their sessions until the gateway is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::accept::{Accepted, Client, Door, accept};
use super::failure::Failure;
use super::gateway::Gateway;
use super::life::Session;
use super::threads::Lanes;
use super::transaction::deadlock::Detector;
use crate::counters::SqlstateClass;
use crate::net::Listener;
use crate::txn::recovery::Recovery;
use crate::wire::reply::Report;

/// Pools are looked through this often for servers that are idle or alive for too long.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(5);

/// A gateway that serves.
pub struct Running {
    /// Where it listens, with the ports the system has chosen.
    pub addresses: Vec<SocketAddr>,
    /// What its clients share.
    pub gateway: Arc<Gateway>,
    /// Lets clients in; replaced parts of it take effect for the next client.
    pub door: Arc<Door>,
    tasks: JoinSet<()>,
    /// Sessions end with them.
    _lanes: Arc<Lanes>,
}

/// Listens and serves.
///
/// # Errors
/// An address cannot be bound.
pub async fn start(gateway: Arc<Gateway>, door: Arc<Door>) -> std::io::Result<Running> {
    let listener = Listener::bind(&gateway.config.load().gateway.listen).await?;
    let addresses = listener.addresses()?;
    let lanes = Arc::new(Lanes::start(gateway.config.load().gateway.threads)?);
    let mut tasks = JoinSet::new();
    {
        let (gateway, door, lanes) = (gateway.clone(), door.clone(), lanes.clone());
        tasks.spawn(async move {
            let mut draining = gateway.draining.subscribe();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = draining.wait_for(|draining| *draining) => return,
                };
                let (tcp, peer) = accepted;
                let (gateway, door) = (gateway.clone(), door.clone());
                if let Err(error) = lanes.serve(tcp, move |tcp| client(tcp, peer, gateway, door)) {
                    tracing::debug!(%error, "a client was gone before it was served");
                }
            }
        });
    }
    let maintained = gateway.clone();
    let maintain = async move {
        loop {
            tokio::time::sleep(MAINTENANCE_INTERVAL).await;
            let pools = maintained.pools.load_full();
            tokio::join!(pools.maintain(), maintained.probe_down());
        }
    };
    match lanes.any() {
        Some(lane) => tasks.spawn_on(maintain, lane),
        None => tasks.spawn(maintain),
    };
    tasks.spawn(Detector::new(gateway.clone()).run());
    let (recovered, seeing) = (gateway.clone(), gateway.clone());
    let recovery = Recovery::new(gateway.commits.clone());
    tasks.spawn(recovery.run(move || recovered.config.load_full(), move |server, up| seeing.note_server(server, up)));
    Ok(Running { addresses, gateway, door, tasks, _lanes: lanes })
}

impl Running {
    /// Lets no client in any more, waits for open transactions up to `[gateway] drain_timeout`, and closes the pools.
    pub async fn stop(mut self) {
        self.gateway.drain();
        let deadline = tokio::time::Instant::now() + self.gateway.config.load().gateway.drain_timeout;
        while self.gateway.clients.load(Ordering::Relaxed) > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.tasks.shutdown().await;
        self.gateway.pools.load().close();
    }
}

/// Counts a client for as long as it is there.
struct Counted(Arc<Gateway>);

impl Counted {
    fn new(gateway: Arc<Gateway>) -> (Self, usize) {
        let before = gateway.clients.fetch_add(1, Ordering::Relaxed);
        (Counted(gateway), before + 1)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            self.0.counters.panic();
        }
    }
}

/// One connection, from its first byte to its last. A panic in it ends it alone.
async fn client(tcp: TcpStream, peer: SocketAddr, gateway: Arc<Gateway>, door: Arc<Door>) {
    let (_counted, count) = Counted::new(gateway.clone());
    // What letting a client in takes is given back before its session begins.
    match Box::pin(accept(tcp, peer, &door)).await {
        Accepted::Client(client) => {
            let full = count > gateway.config.load().limits.clients_max;
            session(client, gateway, full).await;
        }
        Accepted::Cancel(key, _open_until_done) => {
            Box::pin(gateway.cancels.cancel(key.process_id, &key.secret)).await;
        }
        Accepted::Gone => {}
    }
}

async fn session(mut client: Box<Client>, gateway: Arc<Gateway>, full: bool) {
    if full {
        // Source: postmaster.c, canAcceptConnections.
        let report = Report::fatal("53300", "sorry, too many clients already");
        return Box::pin(turn_away(&mut client, &gateway, report)).await;
    }
    let catalog = match Box::pin(gateway.catalog(&client.database)).await {
        Ok(catalog) => catalog,
        Err(error) => {
            let report = match error.sqlstate() {
                // Source: postinit.c, InitPostgres.
                code @ "3D000" => Report::fatal(code, format!("database \"{}\" does not exist", client.database)),
                code => Report::fatal(code, error.to_string()),
            };
            return Box::pin(turn_away(&mut client, &gateway, report)).await;
        }
    };
    let (secret, is_random) = secret(client.protocol_minor);
    let slot = gateway.cancels.register(secret);
    if !is_random {
        // A secret that anybody can guess is none: no request finds this client.
        gateway.cancels.unregister(slot.process_id);
    }
    gateway.counters.login();
    let peer = client.peer;
    let mut session = Box::new(Session::new(*client, gateway, catalog, slot));
    let result = session.run().await;
    Box::pin(session.end()).await;
    drop(session);
    match result {
        Ok(()) => {}
        Err(Failure::Fatal(report)) => {
            tracing::debug!(%peer, sqlstate = report.sqlstate, "session ended: {}", report.message)
        }
        Err(failure) => tracing::debug!(%peer, "session ended: {failure}"),
    }
}

async fn turn_away(client: &mut Client, gateway: &Gateway, report: Report) {
    gateway.counters.error(SqlstateClass::of(report.sqlstate.as_bytes()));
    let mut out = bytes::BytesMut::new();
    report.write(&mut out);
    // The client may have gone; then there is nobody to tell.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &out).await;
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await;
}

/// A cancel secret: four bytes for protocol 3.0, 32 from 3.2 on, as PostgreSQL 18 sends. *Source*: manual, BackendKeyData.
///
/// Without randomness it is zero, and false says so.
fn secret(protocol_minor: u16) -> (Vec<u8>, bool) {
    let random = ring::rand::generate::<[u8; 32]>(&ring::rand::SystemRandom::new());
    let is_random = random.is_ok();
    let random = random.map_or([0; 32], ring::rand::Random::expose);
    (if protocol_minor >= 2 { random.to_vec() } else { random[..4].to_vec() }, is_random)
}
