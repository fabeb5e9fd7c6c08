//! Opening a connection to a server, up to its first ReadyForQuery; and asking a server to cancel.
//!
//! *Source*: PostgreSQL 18 manual, 54.2.1 "Start-up" and 54.2.8 "Canceling Requests in Progress".

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::auth::frame::{FrameError, read_frame};
use crate::auth::server::LOGIN_MESSAGE_BYTES_MAX;
use crate::auth::{Channel, LoginError, ServerLogin, log_in};
use crate::config::{ServerAddress, ServerSecret, SslMode};
use crate::net::stream::tune;
use crate::net::{ServerStream, server_end_point};

/// `CANCEL_REQUEST_CODE`, `src/include/libpq/pqcomm.h`.
const CANCEL_REQUEST_CODE: i32 = 1234 << 16 | 5678;

/// Where to connect and as whom.
#[derive(Clone)]
pub struct Target {
    /// Host, port and `sslmode`; its user, password and database are not used.
    pub address: ServerAddress,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
    /// `None`: the server must not ask for one.
    pub password: Option<ServerSecret>,
    /// From [`crate::net::client_config`]; not used for Unix sockets.
    pub tls: Option<Arc<ClientConfig>>,
    /// For all of it.
    pub timeout: Duration,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.address.host, self.address.port, self.database)
    }
}

/// A server that is ready for its first query.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub stream: ServerStream,
    /// Its ParameterStatus messages in order.
    pub parameters: Vec<(String, String)>,
    /// For cancel requests; 0 if the server sent none.
    pub process_id: i32,
    /// For cancel requests.
    pub secret: Bytes,
    /// What has been read after ReadyForQuery: nothing, from a PostgreSQL.
    pub read_ahead: BytesMut,
}

/// Why a server could not be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection, or it broke.
    #[error("could not connect: {0}")]
    Io(#[from] std::io::Error),
    /// It took longer than [`Target::timeout`].
    #[error("could not connect within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// TLS is demanded and the server has none.
    #[error("the server does not support TLS, but sslmode requires it")]
    TlsMissing,
    /// TLS failed; often the certificate.
    #[error("TLS failed: {0}")]
    Tls(std::io::Error),
    /// The server's ErrorResponse.
    #[error("{}", .0.message())]
    Server(ServerRefusal),
    /// The login failed on this side.
    #[error(transparent)]
    Login(LoginError),
    /// The server said something that has no place in a start-up.
    #[error("{0}")]
    Protocol(String),
}

impl ConnectError {
    /// The server's own code where it gave one, else one of class 08.
    pub fn sqlstate(&self) -> &str {
        match self {
            Self::Server(refusal) => refusal.sqlstate(),
            Self::Io(_) | Self::Timeout(_) => "08001",
            Self::TlsMissing | Self::Tls(_) | Self::Login(_) => "08004",
            Self::Protocol(_) => "08P01",
        }
    }
}

impl From<LoginError> for ConnectError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Server(body) => Self::Server(ServerRefusal { body }),
            LoginError::Io(error) => Self::Io(error),
            LoginError::Protocol(reason) => Self::Protocol(reason),
            LoginError::PasswordMissing
            | LoginError::PasswordUnknown(_)
            | LoginError::ClearText
            | LoginError::Impostor(_) => Self::Login(error),
        }
    }
}

impl From<FrameError> for ConnectError {
    fn from(error: FrameError) -> Self {
        LoginError::from(error).into()
    }
}

/// An ErrorResponse received while connecting, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRefusal {
    /// Without tag and length: fields, each a type byte and a string, then a zero.
    pub body: Bytes,
}

impl ServerRefusal {
    /// Five characters.
    pub fn sqlstate(&self) -> &str {
        let code = self.field(b'C').and_then(|code| std::str::from_utf8(code).ok());
        code.filter(|code| code.len() == 5).unwrap_or("08004")
    }

    /// The primary message.
    pub fn message(&self) -> String {
        String::from_utf8_lossy(self.field(b'M').unwrap_or(b"the server refused the connection")).into_owned()
    }

    /// The value of a field. *Source*: manual, 54.8 "Error and Notice Message Fields".
    pub fn field(&self, wanted: u8) -> Option<&[u8]> {
        let fields = self.body.split(|byte| *byte == 0);
        fields.filter_map(<[u8]>::split_first).find(|(field, _)| **field == wanted).map(|(_, value)| value)
    }
}

/// Connects and logs in with protocol 3.0.
///
/// # Errors
/// See [`ConnectError`].
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn connect(target: &Target) -> Result<Connected, ConnectError> {
    within(target.timeout, async {
        match start(target, target.tls.as_ref()).await {
            // libpq with sslmode=prefer: if TLS fails, once more without.
            Err(ConnectError::Tls(_)) if target.address.tls.mode == SslMode::Prefer => start(target, None).await,
            result => result,
        }
    })
    .await
}

/// Asks a server to cancel what the session with this key does, over TLS where the server uses it. Whether there was anything to cancel is not told.
///
/// # Errors
/// See [`ConnectError`].
pub async fn cancel(target: &Target, process_id: i32, secret: &[u8]) -> Result<(), ConnectError> {
    within(target.timeout, async {
        let mut stream = match open(&target.address, target.tls.as_ref()).await {
            Err(ConnectError::Tls(_)) if target.address.tls.mode == SslMode::Prefer => {
                open(&target.address, None).await?
            }
            result => result?,
        };
        let mut request = BytesMut::new();
        request.put_u32(u32::try_from(12 + secret.len()).unwrap_or(0));
        request.put_i32(CANCEL_REQUEST_CODE);
        request.put_i32(process_id);
        request.put_slice(secret);
        stream.write_all(&request).await?;
        stream.flush().await?;
        // The server closes once it has passed the request on; TLS may end without a farewell.
        let _ = stream.read(&mut [0]).await;
        Ok(())
    })
    .await
}

async fn within<T>(timeout: Duration, work: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(ConnectError::Timeout(timeout)))
}

/// What servers start with: settings of the gateway's own, which servers keep for their sessions as they keep all, and `jit`.
/// They are what SHOW tells and RESET goes back to.
///
/// A server that has compiled one query has LLVM loaded from then on, and every parallel worker it starts loads what its leader has
/// loaded (`RestoreLibraryState`, `src/backend/utils/fmgr/dfmgr.c`): 15 to 35 ms more for each parallel query, whose
/// ever it is, as long as the server is in the pool.
const OWN_SETTINGS: [(&str, &str); 3] =
    [("pgbraid.snapshot_reads", "off"), ("pgbraid.serializable", "refuse"), ("jit", "off")];

async fn start(target: &Target, tls: Option<&Arc<ClientConfig>>) -> Result<Connected, ConnectError> {
    let mut stream = open(&target.address, tls).await?;
    let mut out = BytesMut::new();
    let session = [("user", target.user.as_str()), ("database", target.database.as_str())];
    frontend::startup_message(session.into_iter().chain(OWN_SETTINGS), &mut out)?;
    stream.write_all(&out).await?;
    stream.flush().await?;

    let mut buffer = BytesMut::with_capacity(4096);
    let channel = channel(&stream)?;
    let login = ServerLogin { user: &target.user, password: target.password.as_ref(), channel: &channel };
    log_in(&mut stream, &mut buffer, &login).await?;

    let mut connected =
        Connected { stream, parameters: Vec::new(), process_id: 0, secret: Bytes::new(), read_ahead: BytesMut::new() };
    loop {
        let mut frame = read_frame(&mut connected.stream, &mut buffer, LOGIN_MESSAGE_BYTES_MAX).await?;
        match frame.tag {
            b'S' => connected.parameters.push(parameter(&frame.body)?),
            b'K' => {
                connected.process_id = frame.body.try_get_i32().map_err(|_| cut_short())?;
                connected.secret = frame.body;
            }
            b'Z' => {
                connected.read_ahead = buffer;
                return Ok(connected);
            }
            b'E' => return Err(ConnectError::Server(ServerRefusal { body: frame.body })),
            b'N' => {}
            tag => {
                return Err(ConnectError::Protocol(format!("message of type {} during start-up", tag.escape_ascii())));
            }
        }
    }
}

/// A stream on which a start-up or cancel packet may be sent.
async fn open(address: &ServerAddress, tls: Option<&Arc<ClientConfig>>) -> Result<ServerStream, ConnectError> {
    if address.is_unix_socket() {
        let path = format!("{}/.s.PGSQL.{}", address.host.trim_end_matches('/'), address.port);
        return Ok(ServerStream::Unix(UnixStream::connect(path).await?));
    }
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    tune(&stream)?;
    let Some(tls) = tls else {
        return match address.tls.mode {
            SslMode::Disable | SslMode::Prefer => Ok(ServerStream::Tcp(stream)),
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Err(ConnectError::TlsMissing),
        };
    };
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    // One byte, not more: what follows it belongs to TLS.
    match stream.read_u8().await? {
        b'S' => {}
        b'N' if address.tls.mode == SslMode::Prefer => return Ok(ServerStream::Tcp(stream)),
        b'N' => return Err(ConnectError::TlsMissing),
        // An ErrorResponse that nobody vouches for is not shown. *Source*: CVE-2024-10977.
        other => {
            return Err(ConnectError::Protocol(format!(
                "the server answered {} to a request for TLS",
                other.escape_ascii()
            )));
        }
    }
    let name =
        ServerName::try_from(address.host.clone()).map_err(|error| ConnectError::Tls(std::io::Error::other(error)))?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(ConnectError::Tls)?;
    Ok(ServerStream::Tls(Box::new(stream)))
}

fn channel(stream: &ServerStream) -> Result<Channel, ConnectError> {
    match stream {
        ServerStream::Unix(_) => Ok(Channel::Local),
        ServerStream::Tcp(stream) if stream.peer_addr()?.ip().to_canonical().is_loopback() => Ok(Channel::Local),
        ServerStream::Tcp(_) => Ok(Channel::Open),
        ServerStream::Tls(stream) => {
            let certificates = stream.get_ref().1.peer_certificates();
            Ok(Channel::Tls(certificates.and_then(<[_]>::first).and_then(server_end_point)))
        }
    }
}

fn parameter(body: &[u8]) -> Result<(String, String), ConnectError> {
    let mut strings = body.split(|byte| *byte == 0);
    match (strings.next(), strings.next(), strings.next()) {
        (Some(name), Some(value), Some(_)) => {
            Ok((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
        }
        _ => Err(cut_short()),
    }
}

fn cut_short() -> ConnectError {
    ConnectError::Protocol("a message during start-up is cut short".to_owned())
}
