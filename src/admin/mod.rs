//! For operators: the commands of the command line, metrics and health over HTTP.
//!
//! Stands above everything but the demo: it may look at all rooms, none looks at it.

pub mod observe;
pub mod metrics;
pub mod http;
pub mod serve;
mod report;
mod placement;
mod schema;
mod probe;
mod sequences;
mod constraints;
pub mod init;
mod commits;
pub mod check;
pub mod status;
pub mod explain;

pub use check::check;
pub use init::{InitError, init};
pub use report::{Finding, Report, Severity};
