//! SCRAM with the keys instead of the password: taken from a client's proof, used towards servers that have the same verifier.
//!
//! Whoever has the verifier learns the ClientKey from a successful exchange; that is how a user whom the gateway knows only by his verifier can be
//! logged in to the shards. *Source*: RFC 5802, section 3; RFC 7677.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};

use crate::config::ServerSecret;

/// The keys that a client has shown. The messages are those of an exchange that has succeeded; `None` if they are not.
pub(super) fn shown(
    client_first: &[u8],
    server_first: &str,
    client_final: &[u8],
    stored_key: &[u8],
    server_key: &[u8],
) -> Option<ServerSecret> {
    let bare = std::str::from_utf8(client_first).ok()?.splitn(3, ',').nth(2)?;
    let (without_proof, proof) = std::str::from_utf8(client_final).ok()?.rsplit_once(",p=")?;
    let signature = sign(stored_key, &format!("{bare},{server_first},{without_proof}"));
    let client_key = xor(STANDARD.decode(proof).ok()?.try_into().ok()?, &signature);
    if digest::digest(&digest::SHA256, &client_key).as_ref() != stored_key {
        return None;
    }
    Some(ServerSecret::ScramKeys { client_key, server_key: server_key.try_into().ok()? })
}

fn sign(key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}

fn xor(mut one: [u8; 32], other: &[u8]) -> [u8; 32] {
    for (one, other) in one.iter_mut().zip(other) {
        *one ^= other;
    }
    one
}

/// The client's side of an exchange, in the shape of `postgres_protocol`'s `ScramSha256`.
pub(super) struct KeyProof {
    client_key: [u8; 32],
    server_key: [u8; 32],
    /// Base64 of the GS2 header and the channel's hash.
    binding: String,
    nonce: String,
    message: String,
    auth_message: String,
}

impl KeyProof {
    pub(super) fn new(
        client_key: &[u8; 32],
        server_key: &[u8; 32],
        gs2_header: &str,
        end_point: Option<&[u8]>,
    ) -> io::Result<Self> {
        let random = ring::rand::generate::<[u8; 18]>(&ring::rand::SystemRandom::new());
        let random = random.map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let nonce = STANDARD.encode(random.expose());
        let hash = if gs2_header.starts_with('p') { end_point.unwrap_or_default() } else { &[] };
        Ok(Self {
            client_key: *client_key,
            server_key: *server_key,
            binding: STANDARD.encode([gs2_header.as_bytes(), hash].concat()),
            message: format!("{gs2_header}n=,r={nonce}"),
            nonce,
            auth_message: String::new(),
        })
    }

    /// What is to be sent next.
    pub(super) fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// Takes the server's challenge. Its salt and iterations do not matter: they have gone into the keys.
    pub(super) fn update(&mut self, challenge: &[u8]) -> io::Result<()> {
        let challenge = std::str::from_utf8(challenge).map_err(io::Error::other)?;
        let nonce = challenge.split(',').next().and_then(|first| first.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len());
        let nonce = nonce.ok_or_else(|| io::Error::other("invalid SCRAM nonce"))?;
        let without_proof = format!("c={},r={nonce}", self.binding);
        self.auth_message = format!("n=,r={},{challenge},{without_proof}", self.nonce);
        let stored_key = digest::digest(&digest::SHA256, &self.client_key);
        let proof = xor(self.client_key, &sign(stored_key.as_ref(), &self.auth_message));
        self.message = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok(())
    }

    /// Checks that the server knows the verifier too.
    pub(super) fn finish(&mut self, server_proof: &[u8]) -> io::Result<()> {
        let signature = server_proof.strip_prefix(b"v=").and_then(|signature| STANDARD.decode(signature).ok());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.server_key);
        match signature.map(|signature| hmac::verify(&key, self.auth_message.as_bytes(), &signature)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(io::Error::other("invalid SCRAM server signature")),
        }
    }
}
