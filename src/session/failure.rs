//! Why a statement or a session ended early.

use crate::execute::fault::LinkFault;
use crate::plan::Refusal;
use crate::wire::reply::Report;

/// What ended it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The statement failed; the client is told and goes on.
    #[error("{}", .0.message)]
    Statement(Box<Report>),
    /// An error has been sent to the client already; the statement is over.
    #[error("the statement failed on a shard")]
    Told,
    /// A socket failed.
    #[error(transparent)]
    Link(#[from] LinkFault),
    /// The client broke the protocol: it is told and the session ends.
    #[error("{}", .0.message)]
    Fatal(Box<Report>),
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Failure::Statement(Box::new(report))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        metrics::counter!("pgbraid_refusals_total").increment(1);
        Report { hint: refusal.hint, column: refusal.column, ..Report::error(refusal.sqlstate, refusal.reason) }.into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Link(LinkFault::Client(error))
    }
}

/// A protocol violation by the client. *Source*: postgres.c and pqcomm.c, ERRCODE_PROTOCOL_VIOLATION.
pub fn protocol_violation(message: impl Into<String>) -> Failure {
    Failure::Fatal(Box::new(Report::fatal("08P01", message)))
}
