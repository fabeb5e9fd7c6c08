//! Buckets: the equal parts of the hash space that a map hands to shards, and ranges of them.

use std::fmt;

/// One of [`BUCKETS`] equal parts of the hash space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(pub u16);

/// Number of buckets.
pub const BUCKETS: u16 = 4096;

/// Buckets `first` to `last`, both included; never empty and never past the last bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketRange {
    first: u16,
    last: u16,
}

impl Bucket {
    /// The bucket of a 64-bit hash: its upper 12 bits.
    pub fn of_hash(hash: u64) -> Bucket {
        Bucket((hash >> 52) as u16)
    }
}

impl BucketRange {
    /// Buckets `first` to `last`, both included; `None` when that is empty or past the last bucket.
    pub fn new(first: Bucket, last: Bucket) -> Option<BucketRange> {
        (first <= last && last.0 < BUCKETS).then_some(BucketRange { first: first.0, last: last.0 })
    }

    /// The first bucket.
    pub fn first(self) -> Bucket {
        Bucket(self.first)
    }

    /// The last bucket, which is part of the range.
    pub fn last(self) -> Bucket {
        Bucket(self.last)
    }

    /// How many buckets, 1 to [`BUCKETS`].
    pub fn count(self) -> u16 {
        self.last - self.first + 1
    }

    /// Whether the bucket is one of the range.
    pub fn contains(self, bucket: Bucket) -> bool {
        self.first <= bucket.0 && bucket.0 <= self.last
    }

    /// The buckets, in order.
    pub fn buckets(self) -> impl Iterator<Item = Bucket> {
        (self.first..=self.last).map(Bucket)
    }
}

/// `7` or `0-1023`, as in the map file.
impl fmt::Display for BucketRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Joins buckets, given in rising order, into the fewest ranges.
pub(crate) fn ranges(buckets: impl Iterator<Item = Bucket>) -> Vec<BucketRange> {
    let mut ranges: Vec<BucketRange> = Vec::new();
    for Bucket(bucket) in buckets {
        match ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(bucket) => range.last = bucket,
            _ => ranges.push(BucketRange { first: bucket, last: bucket }),
        }
    }
    ranges
}
