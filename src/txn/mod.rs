//! A client's transaction: what the gateway has to replay on a shard that enlists late, how it stands, and how several shards
//! commit it as one.
//!
//! Shards enlist lazily: BEGIN is answered by the gateway and travels with the first statement for a shard. At the end, a
//! transaction that wrote on several shards is prepared on all but one, the decision shard, whose own commit carries a row that
//! says so: [`protocol`]. Whoever finds a prepared transaction can therefore finish it: [`recovery`].

pub mod log;
pub mod state;
pub mod name;
pub mod install;
pub mod in_doubt;
pub mod commits;
pub mod resolve;
pub mod pause;
pub mod protocol;
pub mod recovery;
