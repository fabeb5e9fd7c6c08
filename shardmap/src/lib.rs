//! Key -> hash -> bucket -> shard: map versions, diffs and minimal rebalance plans.
//!
//! Pure: no I/O, no async, no clock. The gateway routes by it and the operator's commands plan moves with it.
//! [`BUCKET_SQL`] is the same function for the shards. A map is never edited in place: every change makes version + 1.

mod bucket;
mod key;
mod map;
mod text;
mod diff;
mod rebalance;

pub use bucket::{BUCKETS, Bucket, BucketRange};
pub use diff::{MapDiff, MovedRange, diff};
pub use key::Key;
pub use map::{ChangeError, MapVersion, NamesError, ShardId, ShardMap, ShardName};
pub use rebalance::{Plan, PlanError, add_shards, drain_shards, rebalance};
pub use text::{MapMistake, MapTextError};

/// Installs `pgbraid.bucket(bigint)`, `(text)` and `(uuid)` on a shard: the same function as [`Key::bucket`]. A script in a
/// transaction of its own, safe to repeat; needs PostgreSQL 14 and CREATE on the database.
pub const BUCKET_SQL: &str = include_str!("../sql/bucket.sql");
