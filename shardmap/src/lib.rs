//! Key -> hash -> bucket -> shard: map versions, diffs and minimal rebalance plans.
//!
//! Pure: no I/O, no async, no clock. The gateway routes by it and the operator's commands plan moves with it. A map is
//! never edited in place: every change makes version + 1.

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
