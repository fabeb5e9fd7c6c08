//! Key -> hash -> bucket -> shard: map versions, diffs and minimal rebalance plans.
//!
//! Pure: no I/O, no async, no clock.

/// A shard's place in the configuration's list, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// One of [`BUCKETS`] equal parts of the hash space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(pub u16);

/// Number of buckets.
pub const BUCKETS: u16 = 4096;

/// A key value in the form in which it is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Integers of any width.
    Integer(i64),
    /// text, varchar, and char without its padding.
    Text(Box<str>),
    /// uuid.
    Uuid([u8; 16]),
}

impl Key {
    /// The bucket the key falls into.
    pub fn bucket(&self) -> Bucket {
        let hash = match self {
            Key::Integer(value) => xxhash_rust::xxh64::xxh64(&value.to_le_bytes(), 0),
            Key::Text(text) => xxhash_rust::xxh64::xxh64(text.as_bytes(), 0),
            Key::Uuid(bytes) => xxhash_rust::xxh64::xxh64(bytes, 0),
        };
        Bucket((hash >> 52) as u16)
    }
}
