//! From an accepted socket to a client that has proved who it is: TLS and GSSAPI requests, start-up packet, authentication.
//!
//! What comes after AuthenticationOk (ParameterStatus, BackendKeyData, ReadyForQuery) is the session's.
//! *Source*: PostgreSQL 18 manual, 54.2.1, 54.2.11 and 54.2.12; `src/backend/tcop/backend_startup.c`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::auth::{Authenticator, ClientChannel, Login, Lookup, ProcessSecret, Refused, TlsFacts};
use crate::config::{Config, User};
use crate::net::stream::tune;
use crate::net::tls::ALPN;
use crate::net::{ClientStream, ClientTls, TlsError};
use crate::wire::startup::{
    CancelKey, Fatal, FirstPacket, PROTOCOL_MINOR_MAX, Startup, StartupError, decode, encode_negotiate_protocol_version,
};

/// First byte of a TLS handshake; no start-up packet is long enough to begin so.
const TLS_HANDSHAKE: u8 = 0x16;

/// What clients meet at the door. One for the process; changes of the configuration go through [`Door::reload`].
pub struct Door {
    lookup: Option<Arc<dyn Lookup>>,
    secret: Arc<ProcessSecret>,
    /// Held only to copy or replace the `Arc`.
    parts: Mutex<Arc<Parts>>,
}

struct Parts {
    authenticator: Authenticator,
    tls: Option<ClientTls>,
    login_timeout: Duration,
}

/// Why the door cannot be opened with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no randomness.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Door {
    /// Reads the certificates and prepares the users: about a millisecond of CPU for each that has a plain password.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub fn new(config: &Config, lookup: Option<Arc<dyn Lookup>>) -> Result<Self, DoorError> {
        let secret = Arc::new(ProcessSecret::generate()?);
        let authenticator = Authenticator::new(config, lookup.clone(), Arc::clone(&secret), None);
        let parts = Parts::new(config, authenticator)?;
        Ok(Self { lookup, secret, parts: Mutex::new(Arc::new(parts)) })
    }

    /// Takes over users, networks, certificates and timeouts of a new configuration, for clients that come from now on.
    ///
    /// # Errors
    /// See [`TlsError`]; then nothing has changed.
    pub fn reload(&self, config: &Config) -> Result<(), TlsError> {
        let before = self.parts();
        let lookup = self.lookup.clone();
        let authenticator = Authenticator::new(config, lookup, Arc::clone(&self.secret), Some(&before.authenticator));
        let parts = Arc::new(Parts::new(config, authenticator)?);
        *self.parts.lock().unwrap_or_else(PoisonError::into_inner) = parts;
        Ok(())
    }

    fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Parts {
    fn new(config: &Config, authenticator: Authenticator) -> Result<Self, TlsError> {
        let tls = config.gateway.tls.as_ref().map(ClientTls::load).transpose()?;
        Ok(Self { authenticator, tls, login_timeout: config.limits.login_timeout })
    }
}

/// What became of a connection.
pub enum Accepted {
    /// It has got AuthenticationOk.
    Client(Box<Client>),
    /// It wants a query cancelled and gets no answer. The connection is to be closed when that is done, which is how the
    /// client can tell that a statement it sends now is not hit. *Source*: libpq, PQcancel, which waits for the end.
    Cancel(CancelKey, ClientStream),
    /// It was told why not, or has hung up, or took longer than the login timeout.
    Gone,
}

/// A client that has got AuthenticationOk and nothing else yet.
pub struct Client {
    /// The connection.
    pub stream: ClientStream,
    /// What has been read from it and not been used.
    pub read_ahead: BytesMut,
    /// Who it is.
    pub user: Arc<User>,
    /// As asked for; the user's name if it did not say.
    pub database: String,
    /// Settings of the start-up packet in the order in which they take effect, `application_name` and those of `options` included.
    pub settings: Vec<(String, String)>,
    /// Agreed minor version of protocol 3: 0 to 2.
    pub protocol_minor: u16,
    /// Its address.
    pub peer: SocketAddr,
}

/// Takes a client from its first byte to AuthenticationOk, within the login timeout.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn accept(tcp: TcpStream, peer: SocketAddr, door: &Door) -> Accepted {
    let parts = door.parts();
    let entering = async {
        match arrive(tcp, &parts).await {
            Arrival::Startup(visitor) => enter(visitor, peer, &parts).await,
            Arrival::Cancel(key, stream) => Accepted::Cancel(key, stream),
            Arrival::Gone => Accepted::Gone,
        }
    };
    // As PostgreSQL does, without a word. *Source*: `ProcessInterrupts` while `ClientAuthInProgress`.
    tokio::time::timeout(parts.login_timeout, entering).await.unwrap_or(Accepted::Gone)
}

/// A connection whose start-up packet has been read.
struct Visitor {
    stream: ClientStream,
    buffer: BytesMut,
    startup: Startup,
}

enum Arrival {
    Startup(Box<Visitor>),
    Cancel(CancelKey, ClientStream),
    Gone,
}

async fn arrive(tcp: TcpStream, parts: &Parts) -> Arrival {
    let Some(mut stream) = first_contact(tcp, parts).await else { return Arrival::Gone };
    let mut buffer = BytesMut::with_capacity(1024);
    let (mut ssl_asked, mut gss_asked) = (false, false);
    loop {
        let packet = match first_packet(&mut stream, &mut buffer).await {
            Some(Ok(packet)) => packet,
            Some(Err(fatal)) => return say(stream, &fatal).await,
            None => return Arrival::Gone,
        };
        let refusal = match packet {
            FirstPacket::Startup(startup) => return Arrival::Startup(Box::new(Visitor { stream, buffer, startup })),
            FirstPacket::Cancel(key) => return Arrival::Cancel(key, stream),
            FirstPacket::SslRequest if !ssl_asked => {
                ssl_asked = true;
                // Bytes that came before the handshake were not encrypted: someone in between may have put them there (CVE-2021-23222).
                let early = !std::mem::take(&mut buffer).is_empty();
                stream = match answer_ssl_request(stream, parts).await {
                    Some(answered) => answered,
                    None => return Arrival::Gone,
                };
                gss_asked |= stream.is_tls();
                early.then(|| early_data("received unencrypted data after SSL request"))
            }
            FirstPacket::GssEncRequest if !gss_asked => {
                gss_asked = true;
                let early = !std::mem::take(&mut buffer).is_empty();
                if send(&mut stream, b"N").await.is_err() {
                    return Arrival::Gone;
                }
                early.then(|| early_data("received unencrypted data after GSSAPI encryption request"))
            }
            FirstPacket::SslRequest => Some(asked_twice(5679)),
            FirstPacket::GssEncRequest => Some(asked_twice(5680)),
        };
        if let Some(fatal) = refusal {
            return say(stream, &fatal).await;
        }
    }
}

/// Shakes hands if the client begins with TLS. *Source*: manual, 54.2.11 "SSL Session Encryption", on direct connections.
async fn first_contact(tcp: TcpStream, parts: &Parts) -> Option<ClientStream> {
    tune(&tcp).ok()?;
    let mut first = [0];
    match tcp.peek(&mut first).await {
        Ok(1) if first == [TLS_HANDSHAKE] => {}
        Ok(1) => return Some(ClientStream::Tcp(tcp)),
        Ok(_) | Err(_) => return None,
    }
    let stream = parts.tls.as_ref()?.acceptor.accept(tcp).await.ok()?;
    // Without ALPN it could be a browser that was lured here (ALPACA attacks).
    (stream.get_ref().1.alpn_protocol() == Some(ALPN)).then(|| ClientStream::Tls(Box::new(stream)))
}

/// `None`: it has hung up, or sent what deserves no answer.
async fn first_packet(stream: &mut ClientStream, buffer: &mut BytesMut) -> Option<Result<FirstPacket, Fatal>> {
    loop {
        match decode(buffer) {
            Ok(Some(packet)) => return Some(Ok(packet)),
            Ok(None) => {}
            Err(StartupError::Fatal(fatal)) => return Some(Err(fatal)),
            Err(StartupError::Garbage(reason)) => {
                tracing::debug!(reason, "a connection was closed");
                return None;
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn answer_ssl_request(stream: ClientStream, parts: &Parts) -> Option<ClientStream> {
    match (stream, &parts.tls) {
        (ClientStream::Tcp(mut tcp), Some(tls)) => {
            tcp.write_all(b"S").await.ok()?;
            match tls.acceptor.accept(tcp).await {
                Ok(stream) => Some(ClientStream::Tls(Box::new(stream))),
                Err(error) => {
                    tracing::debug!(%error, "a TLS handshake failed");
                    None
                }
            }
        }
        (mut stream, _) => send(&mut stream, b"N").await.ok().map(|()| stream),
    }
}

fn early_data(message: &str) -> Fatal {
    Fatal::new("08P01", message)
        .detail("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.")
}

/// What PostgreSQL makes of a request that has been answered already: a protocol version.
fn asked_twice(minor: u16) -> Fatal {
    Fatal::new(
        "0A000",
        format!("unsupported frontend protocol 1234.{minor}: server supports 3.0 to 3.{PROTOCOL_MINOR_MAX}"),
    )
}

async fn enter(visitor: Box<Visitor>, peer: SocketAddr, parts: &Parts) -> Accepted {
    let Visitor { mut stream, mut buffer, startup } = *visitor;
    let user = match log_in(&mut stream, &mut buffer, &startup, peer, parts).await {
        Ok(user) => user,
        Err(Refused::Gone) => return Accepted::Gone,
        Err(Refused::Fatal(fatal)) => {
            tracing::info!(%peer, user = startup.user, sqlstate = fatal.sqlstate, "{}", fatal.message);
            say(stream, &fatal).await;
            return Accepted::Gone;
        }
    };
    Accepted::Client(Box::new(Client {
        stream,
        read_ahead: buffer,
        user,
        protocol_minor: startup.agreed_minor(),
        database: startup.database,
        settings: startup.settings,
        peer,
    }))
}

async fn log_in(
    stream: &mut ClientStream,
    buffer: &mut BytesMut,
    startup: &Startup,
    peer: SocketAddr,
    parts: &Parts,
) -> Result<Arc<User>, Refused> {
    if startup.needs_negotiation() {
        let mut out = BytesMut::new();
        encode_negotiate_protocol_version(startup, &mut out);
        send(stream, &out).await?;
    }
    if startup.replication {
        let refusal = Fatal::new("0A000", "replication connections are not supported by the gateway");
        return Err(refusal.hint("Connect to the server of the shard itself.").into());
    }
    let channel = match (&*stream, &parts.tls) {
        (ClientStream::Tls(tls), Some(ours)) => {
            let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
            ClientChannel::Tls(TlsFacts { scram: ours.scram.clone(), certificate })
        }
        (_, _) => ClientChannel::Plain,
    };
    let login = Login {
        user: &startup.user,
        database: &startup.database,
        address: peer.ip().to_canonical(),
        channel: &channel,
    };
    parts.authenticator.authenticate(stream, buffer, &login).await
}

/// Tells a client why not, and closes.
async fn say(mut stream: ClientStream, fatal: &Fatal) -> Arrival {
    let mut out = BytesMut::new();
    fatal.encode(&mut out);
    if send(&mut stream, &out).await.is_ok() {
        let _ = stream.shutdown().await;
    }
    Arrival::Gone
}

async fn send(stream: &mut ClientStream, out: &[u8]) -> std::io::Result<()> {
    stream.write_all(out).await?;
    stream.flush().await
}
