//! The proof: which keys each relation instance is restricted to, and whether a query distributes (the answer over all rows is
//! the union of the answers over each shard's rows).
//!
//! An *environment* is a list of facts that hold for every combination of rows that can matter. Going down a statement, each
//! part sees the facts of its surroundings, never its own consequences brought back through a LIMIT, a window or an outer join.
//!
//! A sharded instance is *anchored* to a set of terms if its key is proved equal to one of them: for each row with those terms,
//! the instance's rows that matter lie on that row's shard. Sets are kept in `groups`; bit i of a verdict's `anchored` says that
//! every sharded instance below is anchored to set i.

pub mod solver;
pub mod hold;
mod verdict;
mod query;
mod from;

pub use query::Prover;
pub use verdict::{Shape, Verdict, unsteady};
