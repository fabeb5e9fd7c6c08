//! What changes between two maps: the ranges that go from one shard to another.

use std::collections::BTreeMap;
use std::fmt;

use crate::bucket::{BUCKETS, Bucket, BucketRange};
use crate::map::{ShardMap, ShardName};

/// The ranges that have another owner in the new map, in bucket order, neighbours with the same pair of owners joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapDiff {
    /// The ranges.
    pub moved: Vec<MovedRange>,
}

/// A range that goes from one shard to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedRange {
    /// Which buckets.
    pub range: BucketRange,
    /// The old owner.
    pub from: ShardName,
    /// The new owner.
    pub to: ShardName,
}

/// Compares by name: the maps may list their shards differently.
pub fn diff(old: &ShardMap, new: &ShardMap) -> MapDiff {
    let mut moved: Vec<MovedRange> = Vec::new();
    for bucket in (0..BUCKETS).map(Bucket) {
        let (Some(from), Some(to)) = (old.name(old.shard_of(bucket)), new.name(new.shard_of(bucket))) else { continue };
        if from == to {
            continue;
        }
        match moved.last_mut() {
            Some(last) if last.range.last().0 + 1 == bucket.0 && last.from == *from && last.to == *to => {
                last.range = BucketRange::new(last.range.first(), bucket).unwrap_or(last.range);
            }
            _ => moved.extend(BucketRange::new(bucket, bucket).map(|range| MovedRange {
                range,
                from: from.clone(),
                to: to.clone(),
            })),
        }
    }
    MapDiff { moved }
}

impl MapDiff {
    /// Whether no bucket moves.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty()
    }

    /// How many buckets move.
    pub fn bucket_count(&self) -> u16 {
        self.moved.iter().map(|moved| moved.range.count()).sum()
    }

    /// How many buckets move from a shard to another, by (from, to).
    pub fn counts(&self) -> BTreeMap<(&ShardName, &ShardName), u16> {
        let mut counts = BTreeMap::new();
        for MovedRange { range, from, to } in &self.moved {
            *counts.entry((from, to)).or_default() += range.count();
        }
        counts
    }
}

/// One line per pair of shards, with the share of all rows that its buckets hold if keys are spread evenly.
impl fmt::Display for MapDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((from, to), count) in self.counts() {
            let percent = f64::from(count) * 100.0 / f64::from(BUCKETS);
            write!(f, "{from} -> {to}: {count} buckets ({percent:.1} %):")?;
            for moved in self.moved.iter().filter(|moved| moved.from == *from && moved.to == *to) {
                write!(f, " {}", moved.range)?;
            }
            writeln!(f)?;
        }
        write!(f, "{} of {BUCKETS} buckets move", self.bucket_count())
    }
}
