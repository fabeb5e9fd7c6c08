//! A client's transaction as the gateway keeps it: what it has to replay on a shard that enlists late, and how it stands.
//!
//! Shards enlist lazily: BEGIN is answered by the gateway and travels with the first statement for a shard. Several shards
//! committing as one has its room here; until it is built, only one shard of a transaction may be written.

pub mod changed;
pub mod log;
pub mod state;
