//! Real Postgres servers for the demo, the tests and the benchmarks: found, initialised, started, and stopped for good.
//!
//! Not for production servers: they give up durability for speed (`server::SETTINGS`). Callers: `demo`, and the
//! tests' harness for its plain Postgres.

mod account;
mod binaries;
mod directory;
mod launch;
mod server;
mod template;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use account::Account;
pub use binaries::Binaries;
pub use directory::Directory;
pub use launch::Launcher;
pub use server::Server;
pub use template::{APP, DATABASE, SUPERUSER, Template};

/// What every server of one demo has in common.
#[derive(Debug)]
pub struct Host {
    /// PostgreSQL's programs.
    pub binaries: Binaries,
    /// Who runs them; `None` is whoever runs us.
    pub account: Option<Account>,
    /// Starts servers so that they do not outlive us.
    pub launcher: Launcher,
}

impl Host {
    /// Finds PostgreSQL and an account to run it.
    ///
    /// # Errors
    /// [`PostgresError::NotFound`], [`PostgresError::NoAccount`].
    pub fn find() -> Result<Host, PostgresError> {
        Ok(Host { binaries: Binaries::find()?, account: Account::for_servers()?, launcher: Launcher::start()? })
    }
}

/// Why a demo's Postgres server could not be had.
#[derive(Debug, Error)]
pub enum PostgresError {
    /// No PostgreSQL on this machine.
    #[error(
        "no PostgreSQL server programs found (looked at PG_CONFIG, PATH and /usr/lib/postgresql/*/bin); \
         on Debian: apt-get install postgresql"
    )]
    NotFound,
    /// PostgreSQL refuses to run as root and there is nobody else.
    #[error(
        "PostgreSQL does not run as root, and there is no user \"postgres\" or \"nobody\" to run it; start this as another user"
    )]
    NoAccount,
    /// `--dir` points at somebody's files.
    #[error("{} is not empty; give --dir a new or an empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// The account that runs the servers cannot get at their files.
    #[error("the user {account:?}, who runs the servers, may not enter {}; give --dir a directory open to it", directory.display())]
    NoEntry {
        /// Who.
        account: String,
        /// Where.
        directory: PathBuf,
    },
    /// One of PostgreSQL's programs failed.
    #[error("{program} failed ({status}):\n{output}")]
    Program {
        /// Its name.
        program: String,
        /// How it ended.
        status: String,
        /// The last lines it wrote.
        output: String,
    },
    /// A server did not come up.
    #[error("the server in {} did not start: {reason}; the last lines of its log:\n{log}", directory.display())]
    NotStarted {
        /// Its data directory.
        directory: PathBuf,
        /// What was seen.
        reason: String,
        /// The last lines of its log.
        log: String,
    },
    /// A file or a process that could not be made.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl PostgresError {
    /// Says what was tried when an operation of the system failed.
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> PostgresError {
        let what = what.into();
        move |source| PostgresError::Io { what, source }
    }
}
