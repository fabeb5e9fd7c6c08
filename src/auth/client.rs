//! Letting clients in: finds the user, chooses the method, runs it, and sends AuthenticationOk.
//!
//! Nothing tells a stranger which users exist: one who does not goes through the exchange that the others go through, gets the same salt at each
//! attempt, and fails in the same words. (As in PostgreSQL, a trusted network and `cert` are told apart: there is no exchange to go through.)

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::certificate::common_name;
use super::lookup::{Found, Lookup};
use super::password::Exchange;
use super::verifier::{ProcessSecret, Verifier};
use crate::config::{AuthMethod, Config, Network, Reads, Secret, ServerSecret, User};
use crate::wire::startup::{Fatal, put_message};

/// How a client is connected.
pub enum ClientChannel {
    /// Not encrypted.
    Plain,
    /// TLS.
    Tls(TlsFacts),
}

/// What TLS contributes to authentication.
pub struct TlsFacts {
    /// Knows the gateway's certificate, for channel binding.
    pub scram: ScramServerAuth,
    /// The client's certificate, already verified against the configured authorities.
    pub certificate: Option<CertificateDer<'static>>,
}

/// A client that wants in.
pub struct Login<'a> {
    /// As in the start-up packet.
    pub user: &'a str,
    /// As in the start-up packet.
    pub database: &'a str,
    /// Where it comes from.
    pub address: IpAddr,
    /// How.
    pub channel: &'a ClientChannel,
}

/// Why a client is not let in.
#[derive(Debug)]
pub enum Refused {
    /// It has hung up, or the connection broke. libpq does this when it is asked for a password it does not have.
    Gone,
    /// To be told to the client, then the connection is closed.
    Fatal(Fatal),
}

impl From<Fatal> for Refused {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

impl From<std::io::Error> for Refused {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

/// Who may come in, and how. Made anew when the configuration changes.
pub struct Authenticator {
    users: HashMap<String, Known>,
    trust: Vec<Network>,
    tls_required: bool,
    lookup: Option<Arc<dyn Lookup>>,
    secret: Arc<ProcessSecret>,
    /// The exchange that a user goes through who does not exist.
    mock_method: AuthMethod,
    pool_max: usize,
}

/// A user and what his proof is checked against.
#[derive(Clone)]
struct Known {
    user: Arc<User>,
    proof: Proof,
}

#[derive(Clone)]
enum Proof {
    Scram(Verifier),
    /// `md5` and 32 digits.
    Md5(String),
    Certificate,
    /// No password fits.
    None,
}

impl Authenticator {
    /// Costs about a millisecond for each user with a plain password, except those that `previous` knows with the same one.
    pub fn new(
        config: &Config,
        lookup: Option<Arc<dyn Lookup>>,
        secret: Arc<ProcessSecret>,
        previous: Option<&Self>,
    ) -> Self {
        let known = |user: &User| {
            let before = previous.and_then(|previous| previous.users.get(&user.name));
            let proof =
                match before.filter(|before| before.user.secret == user.secret && before.user.method == user.method) {
                    Some(before) => before.proof.clone(),
                    None => proof_of(user, &secret),
                };
            (user.name.clone(), Known { user: Arc::new(user.clone()), proof })
        };
        let users: HashMap<String, Known> = config.users.iter().map(known).collect();
        let only_md5 = !users.is_empty() && users.values().all(|known| known.user.method == AuthMethod::Md5);
        Self {
            users,
            trust: config.auth.trust.clone(),
            tls_required: config.gateway.tls.as_ref().is_some_and(|tls| tls.required),
            lookup,
            secret,
            mock_method: if only_md5 { AuthMethod::Md5 } else { AuthMethod::Scram },
            pool_max: config.pool.max,
        }
    }

    /// Lets a client in, up to and including AuthenticationOk. `buffer` is what has been read from `stream` and not been used.
    ///
    /// # Errors
    /// See [`Refused`]; the error has not been sent.
    ///
    /// # Cancel safety
    /// Not safe: the exchange is lost and the connection must be closed.
    pub async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        buffer: &mut BytesMut,
        login: &Login<'_>,
    ) -> Result<Arc<User>, Refused> {
        let encrypted = matches!(login.channel, ClientChannel::Tls(_));
        if self.tls_required && !encrypted {
            return Err(unencrypted(login).into());
        }
        let known = self.find(login.user).await?;
        let trusted = self.trust.iter().any(|network| network.contains(login.address));
        let (user, mut out) = match (known, trusted) {
            (Some(known), true) => (known.user, BytesMut::new()),
            (None, true) => {
                return Err(Fatal::new("28000", format!("role \"{}\" does not exist", login.user)).into());
            }
            (known, false) => {
                let mut exchange = Exchange { stream: &mut *stream, buffer, user: login.user };
                match known {
                    Some(known) => self.prove(&mut exchange, known, login).await?,
                    None => return Err(self.pretend(&mut exchange, login).await),
                }
            }
        };
        put_message(&mut out, b'R', |out| out.put_u32(0));
        stream.write_all(&out).await?;
        stream.flush().await?;
        Ok(user)
    }

    /// Runs the exchange of a user that exists; returns what is to be sent before AuthenticationOk.
    async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        exchange: &mut Exchange<'_, S>,
        known: Known,
        login: &Login<'_>,
    ) -> Result<(Arc<User>, BytesMut), Refused> {
        match known.proof {
            Proof::Certificate => {
                check_certificate(login)?;
                Ok((known.user, BytesMut::new()))
            }
            Proof::Md5(stored) => {
                exchange.md5(Some(&stored), &self.secret).await?;
                Ok((known.user, BytesMut::new()))
            }
            Proof::Scram(verifier) => {
                let (out, keys) = self.prove_scram(exchange, &verifier, login).await?;
                Ok((with_keys(known.user, keys), out))
            }
            Proof::None => Err(self.pretend(exchange, login).await),
        }
    }

    /// The exchange of a user that does not exist; it always ends in a refusal.
    async fn pretend<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        exchange: &mut Exchange<'_, S>,
        login: &Login<'_>,
    ) -> Refused {
        let pretended = match self.mock_method {
            AuthMethod::Md5 => exchange.md5(None, &self.secret).await,
            AuthMethod::Scram | AuthMethod::Cert => {
                let verifier = Verifier::mock(login.user, &self.secret);
                self.prove_scram(exchange, &verifier, login).await.map(|_| ())
            }
        };
        pretended.err().unwrap_or_else(|| exchange.wrong_password().into())
    }

    async fn prove_scram<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        exchange: &mut Exchange<'_, S>,
        verifier: &Verifier,
        login: &Login<'_>,
    ) -> Result<(BytesMut, Option<ServerSecret>), Refused> {
        match login.channel {
            ClientChannel::Tls(facts) => exchange.scram(&facts.scram, true, verifier).await,
            ClientChannel::Plain => exchange.scram(&ScramServerAuth::new(), false, verifier).await,
        }
    }

    async fn find(&self, name: &str) -> Result<Option<Known>, Refused> {
        if let Some(known) = self.users.get(name) {
            return Ok(Some(known.clone()));
        }
        let Some(lookup) = &self.lookup else { return Ok(None) };
        match lookup.look_up(name).await {
            Ok(found) => Ok(found.map(|found| self.found(name, found))),
            Err(error) => {
                tracing::warn!(user = name, %error, "the auth query failed");
                Err(Fatal::new("57P03", format!("user \"{name}\" cannot be looked up now")).into())
            }
        }
    }

    fn found(&self, name: &str, found: Found) -> Known {
        let md5 = found.verifier.as_ref().is_some_and(|verifier| verifier.starts_with("md5"));
        let user = User {
            name: name.to_owned(),
            method: if md5 { AuthMethod::Md5 } else { AuthMethod::Scram },
            server_password: found.verifier.clone().filter(|_| md5).map(ServerSecret::Md5),
            secret: found.verifier.map(Secret::Verifier),
            server_user: name.to_owned(),
            reads: Reads::default(),
            pool_max: self.pool_max,
        };
        let proof = proof_of(&user, &self.secret);
        Known { user: Arc::new(user), proof }
    }
}

/// A user of whom only a verifier is known logs in to the shards with the keys that he has shown, if he has the same name there.
fn with_keys(user: Arc<User>, keys: Option<ServerSecret>) -> Arc<User> {
    if user.server_password.is_some() || user.server_user != user.name || keys.is_none() {
        return user;
    }
    Arc::new(User { server_password: keys, ..User::clone(&user) })
}

fn proof_of(user: &User, secret: &ProcessSecret) -> Proof {
    let proof = match (user.method, &user.secret) {
        (AuthMethod::Cert, _) => Some(Proof::Certificate),
        (AuthMethod::Scram, Some(Secret::Plain(password))) => {
            Verifier::from_password(password, &user.name, secret).map(Proof::Scram)
        }
        (AuthMethod::Scram, Some(Secret::Verifier(text))) => Verifier::parse(text).map(Proof::Scram),
        (AuthMethod::Md5, Some(Secret::Plain(password))) => {
            Some(Proof::Md5(postgres_protocol::password::md5(password.as_bytes(), &user.name)))
        }
        (AuthMethod::Md5, Some(Secret::Verifier(text))) => Some(Proof::Md5(text.clone())),
        (AuthMethod::Scram | AuthMethod::Md5, None) => None,
    };
    proof.unwrap_or_else(|| {
        tracing::warn!(
            user = user.name,
            "this user has no password, or a verifier that cannot be read: he cannot log in"
        );
        Proof::None
    })
}

/// *Source*: `src/backend/libpq/auth.c`, `ClientAuthentication` and `CheckCertAuth`.
fn check_certificate(login: &Login<'_>) -> Result<(), Fatal> {
    let certificate = match login.channel {
        ClientChannel::Tls(facts) => facts.certificate.as_ref(),
        ClientChannel::Plain => return Err(unencrypted(login)),
    };
    let Some(certificate) = certificate else {
        return Err(Fatal::new("28000", "connection requires a valid client certificate"));
    };
    if common_name(certificate).as_deref() == Some(login.user) {
        Ok(())
    } else {
        Err(Fatal::new("28000", format!("certificate authentication failed for user \"{}\"", login.user)))
    }
}

/// PostgreSQL's `no pg_hba.conf entry for host ...`, with the file that there is.
fn unencrypted(login: &Login<'_>) -> Fatal {
    let Login { user, database, address, .. } = login;
    let message = format!(
        "no entry of the gateway's configuration for host \"{address}\", user \"{user}\", database \"{database}\", no encryption"
    );
    Fatal::new("28000", message).hint("Connect with TLS, such as sslmode=require.")
}
