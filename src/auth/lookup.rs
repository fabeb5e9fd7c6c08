//! Finding users that the configuration does not list. The auth query itself is run by a higher module, through this trait.

use std::future::Future;
use std::pin::Pin;

/// What the auth query says of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// `pg_authid.rolpassword`; `None` when NULL: no password will do.
    pub verifier: Option<String>,
}

/// The auth query could not be run. The text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(pub String);

/// `Ok(None)`: there is no such user.
pub type LookupFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Found>, LookupError>> + Send + 'a>>;

/// Looks users up.
pub trait Lookup: Send + Sync {
    /// Asks for one user.
    fn look_up<'a>(&'a self, user: &'a str) -> LookupFuture<'a>;
}
