//! Proving who one is: clients to the gateway (`client`), the gateway to servers (`server`).
//!
//! Works on any byte stream, so that it is tested without sockets; TLS is only known by its facts ([`Channel`], [`ClientChannel`]). The words and
//! SQLSTATEs of refusals are PostgreSQL's. Callers: `session::accept` and `pool::connect`.

pub mod frame;
pub mod lookup;
pub mod verifier;
mod scram_keys;
pub mod server;
mod password;
mod certificate;
pub mod client;

pub use client::{Authenticator, ClientChannel, Login, Refused, TlsFacts};
pub use lookup::{Found, Lookup, LookupError, LookupFuture};
pub use server::{Channel, LoginError, ServerLogin, log_in};
pub use verifier::ProcessSecret;

#[cfg(test)]
mod tests;
