//! Listening on several addresses. Running out of file descriptors pauses accepting; it never ends it.

use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// How long accepting rests when the process or the system is out of descriptors or memory: other sessions have to end first.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Lets the process have as many descriptors as the system allows it: each client is one. Shells give 1,024 of them, for the
/// sake of programs that use select(2).
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of file descriptors stays as it is");
    }
}

/// Sockets that accept clients.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
}

impl Listener {
    /// Binds all addresses, or none.
    ///
    /// # Errors
    /// With the address that cannot be bound in its text.
    pub async fn bind(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(addresses.len());
        for address in addresses {
            let socket = TcpListener::bind(address).await;
            sockets.push(
                socket.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?,
            );
        }
        Ok(Self { sockets })
    }

    /// The addresses, with the ports that the system chose for port 0.
    ///
    /// # Errors
    /// The system's.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(TcpListener::local_addr).collect()
    }

    /// The next client, from any of the addresses.
    ///
    /// # Cancel safety
    /// Safe: no client is lost.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.accept_one().await {
                Ok(client) => return client,
                // The client was gone before it was accepted. *Source*: accept(2).
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept clients for now");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }

    async fn accept_one(&self) -> io::Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|cx| {
            for socket in &self.sockets {
                if let Poll::Ready(result) = socket.poll_accept(cx) {
                    return Poll::Ready(result);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn clients_of_every_address_are_accepted() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&[any, any]).await.unwrap();
        for address in listener.addresses().unwrap() {
            let client = TcpStream::connect(address).await.unwrap();
            let (server, peer) = listener.accept().await;
            assert_eq!((server.local_addr().unwrap(), peer), (address, client.local_addr().unwrap()));
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = Listener::bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let taken = first.addresses().unwrap()[0];
        let error = Listener::bind(&[taken]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&taken.to_string()));
    }
}
