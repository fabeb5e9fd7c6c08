//! What operators do: install, check, look inside.

mod report;
mod placement;
mod schema;
mod probe;
pub mod init;
pub mod check;

pub use check::check;
pub use init::{InitError, init};
pub use report::{Finding, Report, Severity};
