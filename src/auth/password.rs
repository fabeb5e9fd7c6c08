//! The exchanges that prove a client's password: SCRAM-SHA-256, SCRAM-SHA-256-PLUS and md5.
//!
//! *Source*: PostgreSQL 18 manual, 54.3 "SASL Authentication"; `src/backend/libpq/auth-sasl.c`, `auth-scram.c` and `auth.c` for the errors.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use pgwire::error::PgWireError;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::client::Refused;
use super::frame::{Frame, FrameError, read_frame};
use super::server::md5_answer;
use super::verifier::{ProcessSecret, Verifier};
use crate::config::ServerSecret;
use crate::wire::startup::{Fatal, put_message};

/// *Source*: `src/backend/libpq/auth-sasl.c`, `PG_MAX_SASL_MESSAGE_LENGTH`.
const SASL_MESSAGE_BYTES_MAX: usize = 1024;

/// *Source*: `src/backend/libpq/auth.c`, `PG_MAX_AUTH_TOKEN_LENGTH`.
const PASSWORD_MESSAGE_BYTES_MAX: usize = 65_535;

const SCRAM: &str = "SCRAM-SHA-256";
const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// A client in the middle of proving itself.
pub(super) struct Exchange<'a, S> {
    pub stream: &'a mut S,
    /// Read from the stream and not yet used.
    pub buffer: &'a mut BytesMut,
    pub user: &'a str,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<'_, S> {
    /// Returns what is to be sent before AuthenticationOk, and the keys that the client has shown. `tls`: the channel is encrypted.
    pub(super) async fn scram(
        &mut self,
        scram: &ScramServerAuth,
        tls: bool,
        verifier: &Verifier,
    ) -> Result<(BytesMut, Option<ServerSecret>), Refused> {
        let binding = tls && scram.supports_channel_binding();
        let mut out = BytesMut::new();
        put_message(&mut out, b'R', |out| {
            out.put_u32(10);
            for mechanism in binding.then_some(SCRAM_PLUS).into_iter().chain([SCRAM]) {
                out.put_slice(mechanism.as_bytes());
                out.put_u8(0);
            }
            out.put_u8(0);
        });
        self.send(&out).await?;

        let initial = self.response("SASL response", SASL_MESSAGE_BYTES_MAX).await?;
        let client_first = initial_response(initial, binding)?;
        let (server_first, waiting) = scram
            .on_client_first_message_with_secret(&client_first, verifier.secret())
            .map_err(|error| self.scram_refusal(&error))?;
        out.clear();
        put_message(&mut out, b'R', |out| {
            out.put_u32(11);
            out.put_slice(server_first.as_bytes());
        });
        self.send(&out).await?;

        let client_final = self.response("SASL response", SASL_MESSAGE_BYTES_MAX).await?;
        let server_final =
            waiting.on_client_final_message(&client_final).map_err(|error| self.scram_refusal(&error))?;
        out.clear();
        put_message(&mut out, b'R', |out| {
            out.put_u32(12);
            out.put_slice(server_final.as_bytes());
        });
        let keys = verifier.keys_shown(&client_first, &server_first, &client_final);
        Ok((out, keys))
    }

    /// `stored`: `md5` and 32 hexadecimal digits, as in `pg_authid.rolpassword`; `None` for a user that does not exist.
    pub(super) async fn md5(&mut self, stored: Option<&str>, secret: &ProcessSecret) -> Result<(), Refused> {
        let salt: [u8; 4] = random_salt()?;
        let mut out = BytesMut::new();
        put_message(&mut out, b'R', |out| {
            out.put_u32(5);
            out.put_slice(&salt);
        });
        self.send(&out).await?;

        let response = self.response("password response", PASSWORD_MESSAGE_BYTES_MAX).await?;
        let Some((0, answer)) = response.split_last() else {
            return Err(Fatal::new("08P01", "invalid password packet size").into());
        };
        if answer.contains(&0) {
            return Err(Fatal::new("08P01", "invalid password packet size").into());
        }
        if answer.is_empty() {
            return Err(Fatal::new("28P01", "empty password returned by client").into());
        }
        // As much work, and as much to compare, for a user that does not exist.
        let expected = md5_answer(stored.unwrap_or("md500000000000000000000000000000000"), salt);
        let equal = secret.equal(expected.as_bytes(), answer);
        if equal && stored.is_some() { Ok(()) } else { Err(self.wrong_password().into()) }
    }

    pub(super) fn wrong_password(&self) -> Fatal {
        Fatal::new("28P01", format!("password authentication failed for user \"{}\"", self.user))
    }

    async fn send(&mut self, out: &[u8]) -> Result<(), Refused> {
        self.stream.write_all(out).await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn response(&mut self, expected: &str, bytes_max: usize) -> Result<Bytes, Refused> {
        match read_frame(self.stream, self.buffer, bytes_max).await {
            Ok(Frame { tag: b'p', body }) => Ok(body),
            Ok(Frame { tag, .. }) | Err(FrameError::Length { tag, .. }) if tag != b'p' => {
                Err(Fatal::new("08P01", format!("expected {expected}, got message type {tag}")).into())
            }
            Ok(Frame { .. }) | Err(FrameError::Length { .. }) => {
                Err(Fatal::new("08P01", "invalid message length").into())
            }
            Err(FrameError::Closed) => Err(Refused::Gone),
            Err(FrameError::Io(error)) => Err(error.into()),
        }
    }

    fn scram_refusal(&self, error: &PgWireError) -> Refused {
        let fatal = match error {
            PgWireError::InvalidPassword(_) => self.wrong_password(),
            PgWireError::InvalidScramMessage(reason) if reason == "Channel binding mismatch" => {
                Fatal::new("28000", "SCRAM channel binding check failed")
            }
            PgWireError::InvalidScramMessage(reason) if reason == "Nonce mismatch" => {
                Fatal::new("08P01", "invalid SCRAM response").detail("Nonce does not match.")
            }
            _ => malformed(),
        };
        fatal.into()
    }
}

/// Takes the SCRAM message out of a SASLInitialResponse and checks that it fits the mechanism and what was offered.
fn initial_response(mut body: Bytes, binding: bool) -> Result<Bytes, Fatal> {
    let Some(end) = memchr::memchr(0, &body) else { return Err(malformed()) };
    let mechanism = body.split_to(end);
    body.advance(1);
    let plus = match mechanism.as_ref() {
        b"SCRAM-SHA-256" => false,
        b"SCRAM-SHA-256-PLUS" if binding => true,
        _ => return Err(Fatal::new("08P01", "client selected an invalid SASL authentication mechanism")),
    };
    let length = body.try_get_i32().map_err(|_| malformed())?;
    // -1: no initial response. PostgreSQL then sends an empty challenge; no client of SCRAM does this.
    if usize::try_from(length) != Ok(body.len()) || body.is_empty() {
        return Err(malformed());
    }
    match (body.first(), plus) {
        (Some(b'p'), false) => Err(malformed().detail(
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
        )),
        (Some(b'n' | b'y'), true) => Err(malformed().detail(
            "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
        )),
        (Some(b'y'), false) if binding => Err(Fatal::new("28000", "SCRAM channel binding negotiation error").detail(
            "The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.",
        )),
        _ => Ok(body),
    }
}

fn malformed() -> Fatal {
    Fatal::new("08P01", "malformed SCRAM message")
}

fn random_salt() -> std::io::Result<[u8; 4]> {
    let random = ring::rand::generate::<[u8; 4]>(&ring::rand::SystemRandom::new());
    random.map(ring::rand::Random::expose).map_err(|_| std::io::Error::other("the system gives no random numbers"))
}
