//! Connections that can be cut: a wire for each port, and whoever connects to its other end is passed on until somebody cuts it.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Wires to ports on 127.0.0.1. They end with it.
pub struct Wires {
    ports: Vec<u16>,
    cuts: Vec<Arc<Notify>>,
    _listening: JoinSet<()>,
}

impl Wires {
    /// To these ports.
    pub async fn to(targets: impl IntoIterator<Item = u16>) -> Wires {
        let mut wires = Wires { ports: Vec::new(), cuts: Vec::new(), _listening: JoinSet::new() };
        for target in targets {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let cut = Arc::<Notify>::default();
            wires.ports.push(listener.local_addr().unwrap().port());
            wires.cuts.push(cut.clone());
            wires._listening.spawn(async move {
                while let Ok((near, _)) = listener.accept().await {
                    tokio::spawn(pass(near, target, cut.clone()));
                }
            });
        }
        wires
    }

    /// Their near ends, in order.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Cuts all connections through one of them, whatever is on its way. New ones are passed on.
    pub fn cut(&self, at: usize) {
        self.cuts[at].notify_waiters();
    }
}

async fn pass(mut near: TcpStream, target: u16, cut: Arc<Notify>) {
    let cut = cut.notified();
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        () = cut => {}
    }
}
