//! Logging in to a server, up to AuthenticationOk.
//!
//! *Source*: PostgreSQL 18 manual, 54.2.1 "Start-up".

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::{FrameError, read_frame};
use super::scram_keys::KeyProof;
use crate::config::ServerSecret;

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
    pub password: Option<&'a ServerSecret>,
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
    /// The server asks for a proof that cannot be made without the password, of which only a verifier is known.
    #[error("the server asks for {0} authentication, which needs the password and not only a verifier of it")]
    PasswordUnknown(&'static str),
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
        match secret(login)? {
            ServerSecret::Password(password) => frontend::password_message(password.as_bytes(), &mut out)?,
            ServerSecret::Md5(_) | ServerSecret::ScramKeys { .. } => {
                return Err(LoginError::PasswordUnknown("password"));
            }
        }
        self.send(&out).await
    }

    async fn md5(&mut self, login: &ServerLogin<'_>, salt: &[u8]) -> Result<(), LoginError> {
        let salt =
            salt.try_into().map_err(|_| LoginError::Protocol("the md5 salt does not have 4 bytes".to_owned()))?;
        let answer = match secret(login)? {
            ServerSecret::Password(password) => md5_hash(login.user.as_bytes(), password.as_bytes(), salt),
            ServerSecret::Md5(stored) => md5_answer(stored, salt),
            ServerSecret::ScramKeys { .. } => return Err(LoginError::PasswordUnknown("md5")),
        };
        let mut out = BytesMut::new();
        frontend::password_message(answer.as_bytes(), &mut out)?;
        self.send(&out).await
    }

    async fn scram(&mut self, login: &ServerLogin<'_>, mechanisms: &[u8]) -> Result<(), LoginError> {
        let offers = |name: &str| mechanisms.split(|byte| *byte == 0).any(|offered| offered == name.as_bytes());
        let end_point = match login.channel {
            Channel::Tls(hash) => hash.as_deref(),
            Channel::Open | Channel::Local => None,
        };
        let (mechanism, binding) = match end_point {
            Some(hash) if offers(SCRAM_SHA_256_PLUS) => (SCRAM_SHA_256_PLUS, Binding::EndPoint(hash)),
            Some(_) => (SCRAM_SHA_256, Binding::NotOffered),
            None => (SCRAM_SHA_256, Binding::Impossible),
        };
        if !offers(mechanism) {
            return Err(LoginError::Protocol("the server offers no SASL mechanism that is supported".to_owned()));
        }
        let mut proof = match secret(login)? {
            ServerSecret::Password(password) => Proof::Password(ScramSha256::new(password.as_bytes(), binding.into())),
            ServerSecret::ScramKeys { client_key, server_key } => {
                Proof::Keys(KeyProof::new(client_key, server_key, binding.gs2_header(), end_point)?)
            }
            ServerSecret::Md5(_) => return Err(LoginError::PasswordUnknown("SCRAM")),
        };
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(mechanism, proof.message(), &mut out)?;
        self.send(&out).await?;

        let challenge = self.sasl(11).await?;
        proof.update(&challenge).map_err(|error| LoginError::Protocol(error.to_string()))?;
        out.clear();
        frontend::sasl_response(proof.message(), &mut out)?;
        self.send(&out).await?;

        let server_proof = self.sasl(12).await?;
        proof.finish(&server_proof).map_err(LoginError::Impostor)
    }

    async fn sasl(&mut self, expected: i32) -> Result<Bytes, LoginError> {
        match self.authentication().await? {
            (code, body) if code == expected => Ok(body),
            (code, _) => Err(LoginError::Protocol(format!("authentication request {code} in the middle of SCRAM"))),
        }
    }
}

fn secret<'a>(login: &ServerLogin<'a>) -> Result<&'a ServerSecret, LoginError> {
    login.password.ok_or(LoginError::PasswordMissing)
}

/// `md5` + md5(stored digits + salt).
pub(super) fn md5_answer(stored: &str, salt: [u8; 4]) -> String {
    let digits = stored.strip_prefix("md5").unwrap_or(stored).to_ascii_lowercase();
    postgres_protocol::password::md5(&[digits.as_bytes(), &salt].concat(), "")
}

/// What is said about channel binding. *Source*: RFC 5802, section 6.
#[derive(Clone, Copy)]
enum Binding<'a> {
    /// The hash of the server's certificate.
    EndPoint(&'a [u8]),
    /// Possible here, but not offered by the server.
    NotOffered,
    /// Not possible here.
    Impossible,
}

impl Binding<'_> {
    fn gs2_header(self) -> &'static str {
        match self {
            Self::EndPoint(_) => "p=tls-server-end-point,,",
            Self::NotOffered => "y,,",
            Self::Impossible => "n,,",
        }
    }
}

impl From<Binding<'_>> for ChannelBinding {
    fn from(binding: Binding<'_>) -> Self {
        match binding {
            Binding::EndPoint(hash) => Self::tls_server_end_point(hash.to_vec()),
            Binding::NotOffered => Self::unrequested(),
            Binding::Impossible => Self::unsupported(),
        }
    }
}

/// A SCRAM exchange made from the password or from its keys.
enum Proof {
    Password(ScramSha256),
    Keys(KeyProof),
}

impl Proof {
    fn message(&self) -> &[u8] {
        match self {
            Self::Password(scram) => scram.message(),
            Self::Keys(keys) => keys.message(),
        }
    }

    fn update(&mut self, challenge: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Password(scram) => scram.update(challenge),
            Self::Keys(keys) => keys.update(challenge),
        }
    }

    fn finish(&mut self, server_proof: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Password(scram) => scram.finish(server_proof),
            Self::Keys(keys) => keys.finish(server_proof),
        }
    }
}

fn unexpected(tag: u8) -> LoginError {
    LoginError::Protocol(format!("message of type {} before the login was complete", tag.escape_ascii()))
}
