//! The places of a write where rows of other shards may be meant: sub-selects, tables and queries it is joined with, WITH queries.

mod clause;
mod walk;
mod with;
mod setval;

pub use clause::{has_erased, source_of};
pub use setval::sets;
pub use walk::{Found, Sites, rows};
