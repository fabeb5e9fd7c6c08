//! SCRAM verifiers: parsed, made from passwords, or made up for users that do not exist.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramSecret, gen_salted_password};
use ring::hmac;
use ring::rand::SystemRandom;

use super::scram_keys;
use crate::config::ServerSecret;

/// SHA-256's output.
const KEY_BYTES: usize = 32;

/// *Source*: `src/include/common/scram-common.h`, `SCRAM_DEFAULT_SALT_LEN`.
const SALT_BYTES: usize = 16;

/// What only this process knows. Salts are derived from it, so that a user gets the same one at each attempt whether he exists or not.
///
/// *Source*: `src/backend/libpq/auth-scram.c`, `scram_mock_salt`, for which PostgreSQL keeps a nonce in `pg_control`.
pub struct ProcessSecret {
    key: hmac::Key,
}

impl ProcessSecret {
    /// A new one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> std::io::Result<Self> {
        match hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()) {
            Ok(key) => Ok(Self { key }),
            Err(_) => Err(std::io::Error::other("the system gives no random numbers")),
        }
    }

    fn derive(&self, purpose: &str, user: &str) -> Vec<u8> {
        hmac::sign(&self.key, format!("{purpose}\0{user}").as_bytes()).as_ref().to_vec()
    }

    /// Whether two texts are equal, in a time that does not depend on where they differ.
    pub(super) fn equal(&self, one: &[u8], other: &[u8]) -> bool {
        let tag = hmac::sign(&self.key, one);
        hmac::verify(&self.key, other, tag.as_ref()).is_ok()
    }
}

/// What a client's SCRAM proof is checked against.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Verifier {
    iterations: usize,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Verifier {
    /// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`. *Source*: manual, 53.8 "pg_authid".
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let verifier = Self {
            iterations: iterations.parse().ok().filter(|iterations| *iterations > 0)?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored_key).ok()?,
            server_key: STANDARD.decode(server_key).ok()?,
        };
        let sizes = (verifier.stored_key.len(), verifier.server_key.len());
        (sizes == (KEY_BYTES, KEY_BYTES)).then_some(verifier)
    }

    /// Costs about a millisecond of CPU (PBKDF2).
    pub(super) fn from_password(password: &str, user: &str, secret: &ProcessSecret) -> Option<Self> {
        let salt = salt(user, secret);
        let salted = gen_salted_password(password, &salt, SCRAM_ITERATIONS);
        match ScramSecret::verifier_from_salted_password(salt, salted, SCRAM_ITERATIONS) {
            ScramSecret::Verifier { salt, iterations, stored_key, server_key } => {
                Some(Self { iterations, salt, stored_key, server_key })
            }
            ScramSecret::SaltedPassword { .. } => None,
        }
    }

    /// A verifier that no password fits, which looks like one made by [`Verifier::from_password`].
    pub(super) fn mock(user: &str, secret: &ProcessSecret) -> Self {
        Self {
            iterations: SCRAM_ITERATIONS,
            salt: salt(user, secret),
            stored_key: secret.derive("stored key", user),
            server_key: secret.derive("server key", user),
        }
    }

    /// What the client has shown in an exchange that has succeeded.
    pub(super) fn keys_shown(
        &self,
        client_first: &[u8],
        server_first: &str,
        client_final: &[u8],
    ) -> Option<ServerSecret> {
        scram_keys::shown(client_first, server_first, client_final, &self.stored_key, &self.server_key)
    }

    pub(super) fn secret(&self) -> ScramSecret {
        ScramSecret::Verifier {
            salt: self.salt.clone(),
            iterations: self.iterations,
            stored_key: self.stored_key.clone(),
            server_key: self.server_key.clone(),
        }
    }
}

fn salt(user: &str, secret: &ProcessSecret) -> Vec<u8> {
    let mut salt = secret.derive("salt", user);
    salt.truncate(SALT_BYTES);
    salt
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_verifier_of_postgresql_is_understood() {
        let text = String::from_utf8(postgres_protocol::password::scram_sha_256(b"secret").into_bytes()).unwrap();
        let verifier = Verifier::parse(&text).unwrap();
        assert_eq!((verifier.iterations, verifier.salt.len()), (4096, 16));
        let salted = gen_salted_password("secret", &verifier.salt, 4096);
        let ScramSecret::Verifier { stored_key, .. } =
            ScramSecret::verifier_from_salted_password(verifier.salt.clone(), salted, 4096)
        else {
            panic!()
        };
        assert_eq!(stored_key, verifier.stored_key);
    }

    #[test]
    fn what_is_no_verifier_is_refused() {
        let good = postgres_protocol::password::scram_sha_256(b"secret");
        let half = good.split_at(good.len() / 2).0;
        for text in [
            "",
            "md5abc",
            half,
            "SCRAM-SHA-256$0:AAAA$AAAA:AAAA",
            "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
            "SCRAM-SHA-256$x:!$!:!",
        ] {
            assert!(Verifier::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn salts_are_the_same_at_each_attempt_and_differ_between_users_and_processes() {
        let (one, other) = (ProcessSecret::generate().unwrap(), ProcessSecret::generate().unwrap());
        let salt = |user: &str, secret: &ProcessSecret| Verifier::mock(user, secret).salt;
        assert_eq!(salt("ghost", &one), salt("ghost", &one));
        assert_ne!(salt("ghost", &one), salt("ghost2", &one));
        assert_ne!(salt("ghost", &one), salt("ghost", &other));
        assert_eq!(salt("app", &one), Verifier::from_password("secret", "app", &one).unwrap().salt);
    }

    #[test]
    fn equality_is_of_all_bytes() {
        let secret = ProcessSecret::generate().unwrap();
        assert!(secret.equal(b"md5abc", b"md5abc"));
        assert!(!secret.equal(b"md5abc", b"md5abd") && !secret.equal(b"md5abc", b"md5ab"));
    }
}
