//! Logging in to a server, up to AuthenticationOk.
//!
//! *Source*: PostgreSQL 18 manual, 54.2.1 "Start-up".

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::{FrameError, read_frame};

/// More than any message before ReadyForQuery; what is longer does not come from PostgreSQL.
pub const LOGIN_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// How the gateway is connected to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Over a network, not encrypted.
    Open,
    /// Over a Unix socket or the loopback interface, not encrypted.
    Local,
    /// TLS; with the `tls-server-end-point` hash of the server's certificate if it has one.
    Tls(Option<Vec<u8>>),
}

/// Who logs in.
pub struct ServerLogin<'a> {
    /// Role.
    pub user: &'a str,
    /// `None`: the server must not ask.
    pub password: Option<&'a str>,
    /// How.
    pub channel: &'a Channel,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The server's ErrorResponse, without tag and length.
    #[error("the server refused the login")]
    Server(Bytes),
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The server said something that has no place here.
    #[error("{0}")]
    Protocol(String),
    /// The server asks for a password and there is none.
    #[error("the server asks for a password and none is configured")]
    PasswordMissing,
    /// The server asks for the password itself over an open network.
    #[error("the server asks for the password in clear text over a connection that is not encrypted")]
    ClearText,
    /// The server does not know the password either: it is not the server it claims to be.
    #[error("the server failed to prove itself: {0}")]
    Impostor(std::io::Error),
}

impl From<FrameError> for LoginError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Closed => Self::Io(std::io::ErrorKind::UnexpectedEof.into()),
            FrameError::Io(error) => Self::Io(error),
            FrameError::Length { .. } => Self::Protocol(error.to_string()),
        }
    }
}

/// Answers the server's demands after the start-up message until AuthenticationOk.
///
/// # Errors
/// See [`LoginError`].
///
/// # Cancel safety
/// Not safe: the connection must be closed.
pub async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    login: &ServerLogin<'_>,
) -> Result<(), LoginError> {
    let mut server = Server { stream, buffer };
    loop {
        let (code, body) = server.authentication().await?;
        match code {
            0 => return Ok(()),
            3 => server.clear_text(login).await?,
            5 => server.md5(login, &body).await?,
            10 => server.scram(login, &body).await?,
            other => {
                return Err(LoginError::Protocol(format!(
                    "the server asks for authentication method {other}, which is not supported"
                )));
            }
        }
    }
}

struct Server<'a, S> {
    stream: &'a mut S,
    buffer: &'a mut BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<'_, S> {
    /// The next authentication request: its code and what follows.
    async fn authentication(&mut self) -> Result<(i32, Bytes), LoginError> {
        loop {
            let mut frame = read_frame(self.stream, self.buffer, LOGIN_MESSAGE_BYTES_MAX).await?;
            match frame.tag {
                b'R' => {
                    let code = frame.body.try_get_i32();
                    let code =
                        code.map_err(|_| LoginError::Protocol("an authentication request is cut short".to_owned()))?;
                    return Ok((code, frame.body));
                }
                b'E' => return Err(LoginError::Server(frame.body)),
                // A notice; or an old server's word about protocol versions, and 3.0 is what was asked for.
                b'N' | b'v' => {}
                tag => return Err(unexpected(tag)),
            }
        }
    }

    async fn send(&mut self, out: &[u8]) -> Result<(), LoginError> {
        self.stream.write_all(out).await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn clear_text(&mut self, login: &ServerLogin<'_>) -> Result<(), LoginError> {
        if *login.channel == Channel::Open {
            return Err(LoginError::ClearText);
        }
        let mut out = BytesMut::new();
        frontend::password_message(password(login)?.as_bytes(), &mut out)?;
        self.send(&out).await
    }

    async fn md5(&mut self, login: &ServerLogin<'_>, salt: &[u8]) -> Result<(), LoginError> {
        let salt =
            salt.try_into().map_err(|_| LoginError::Protocol("the md5 salt does not have 4 bytes".to_owned()))?;
        let answer = md5_hash(login.user.as_bytes(), password(login)?.as_bytes(), salt);
        let mut out = BytesMut::new();
        frontend::password_message(answer.as_bytes(), &mut out)?;
        self.send(&out).await
    }

    async fn scram(&mut self, login: &ServerLogin<'_>, mechanisms: &[u8]) -> Result<(), LoginError> {
        let password = password(login)?;
        let offers = |name: &str| mechanisms.split(|byte| *byte == 0).any(|offered| offered == name.as_bytes());
        let (mechanism, binding) = match login.channel {
            Channel::Tls(Some(hash)) if offers(SCRAM_SHA_256_PLUS) => {
                (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash.clone()))
            }
            Channel::Tls(Some(_)) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            Channel::Tls(None) | Channel::Open | Channel::Local => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        };
        if !offers(mechanism) {
            return Err(LoginError::Protocol("the server offers no SASL mechanism that is supported".to_owned()));
        }
        let mut scram = ScramSha256::new(password.as_bytes(), binding);
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(mechanism, scram.message(), &mut out)?;
        self.send(&out).await?;

        let challenge = self.sasl(11).await?;
        scram.update(&challenge).map_err(|error| LoginError::Protocol(error.to_string()))?;
        out.clear();
        frontend::sasl_response(scram.message(), &mut out)?;
        self.send(&out).await?;

        let proof = self.sasl(12).await?;
        scram.finish(&proof).map_err(LoginError::Impostor)
    }

    async fn sasl(&mut self, expected: i32) -> Result<Bytes, LoginError> {
        match self.authentication().await? {
            (code, body) if code == expected => Ok(body),
            (code, _) => Err(LoginError::Protocol(format!("authentication request {code} in the middle of SCRAM"))),
        }
    }
}

fn password<'a>(login: &ServerLogin<'a>) -> Result<&'a str, LoginError> {
    login.password.ok_or(LoginError::PasswordMissing)
}

fn unexpected(tag: u8) -> LoginError {
    LoginError::Protocol(format!("message of type {} before the login was complete", tag.escape_ascii()))
}
