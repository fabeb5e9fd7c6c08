//! The map: which shard owns which buckets, under a version.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::bucket::{self, BUCKETS, Bucket, BucketRange};
use crate::key::Key;

/// A shard's place in the configuration's list, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// Counts the changes of a map; the first map is version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapVersion(pub u64);

/// A shard's name, as in the configuration and in the map file.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardName(Arc<str>);

/// Which shard owns which buckets. Every bucket has exactly one owner, and every owner is one of [`ShardMap::shards`].
#[derive(Clone, PartialEq, Eq)]
pub struct ShardMap {
    version: MapVersion,
    shards: Vec<ShardName>,
    owners: Box<[ShardId; BUCKETS as usize]>,
}

/// Why a list of shard names cannot have a map.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NamesError {
    /// There are none.
    #[error("there are no shards: a map needs at least one")]
    Empty,
    /// There are more than buckets.
    #[error("there are {0} shards, but only {BUCKETS} buckets to give to them")]
    TooMany(usize),
    /// A name appears twice.
    #[error("the shard name {0:?} appears twice: names are unique")]
    Duplicate(ShardName),
    /// A shard that owns buckets is not in the list.
    #[error("shard {0:?} owns buckets but is not in the list of shards: list it until it is drained")]
    OwnerMissing(ShardName),
}

/// Why a change of a map is not possible.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// No such shard.
    #[error("there is no shard number {} in a map of {shards} shards", .id.0)]
    UnknownShard {
        /// The number given.
        id: ShardId,
        /// How many shards there are.
        shards: usize,
    },
    /// Two of the given ranges share a bucket.
    #[error("bucket {} is given twice", .0.0)]
    GivenTwice(Bucket),
}

impl MapVersion {
    /// The version of the first map.
    pub const FIRST: MapVersion = MapVersion(1);

    /// The version that follows.
    pub(crate) fn next(self) -> MapVersion {
        MapVersion(self.0.saturating_add(1))
    }
}

impl fmt::Display for MapVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl ShardName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ShardName {
    fn from(name: &str) -> ShardName {
        ShardName(name.into())
    }
}

impl AsRef<str> for ShardName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Quoted, as a string is.
impl fmt::Debug for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ShardMap {
    /// The first map of a cluster: contiguous ranges, in the order of the names, whose sizes differ by one at the most.
    ///
    /// # Errors
    /// When the list of names is empty, longer than [`BUCKETS`], or names a shard twice.
    pub fn even<N: AsRef<str>>(names: &[N]) -> Result<ShardMap, NamesError> {
        let shards = checked_names(names)?;
        let count = shards.len();
        // Shard i owns the buckets b with floor(b * count / BUCKETS) = i.
        let owner = |bucket: usize| ShardId((bucket * count / usize::from(BUCKETS)) as u16);
        let owners = Box::new(std::array::from_fn(owner));
        Ok(ShardMap { version: MapVersion::FIRST, shards, owners })
    }

    /// A map from its parts, all of them checked by the caller.
    pub(crate) fn from_parts(
        version: MapVersion,
        shards: Vec<ShardName>,
        owners: Box<[ShardId; BUCKETS as usize]>,
    ) -> ShardMap {
        ShardMap { version, shards, owners }
    }

    /// How many changes led here, plus one.
    pub fn version(&self) -> MapVersion {
        self.version
    }

    /// The owner of a bucket: one array access. (Numbers from [`BUCKETS`] up are not buckets; they wrap around.)
    #[inline]
    pub fn shard_of(&self, bucket: Bucket) -> ShardId {
        self.owners[usize::from(bucket.0 % BUCKETS)]
    }

    /// The owner of a key.
    #[inline]
    pub fn shard_of_key(&self, key: &Key) -> ShardId {
        self.shard_of(key.bucket())
    }

    /// The shards' names; `ShardId(i)` is the i-th. Shards that own nothing are listed too.
    pub fn shards(&self) -> &[ShardName] {
        &self.shards
    }

    /// The name of a shard, `None` when the map has no such shard.
    pub fn name(&self, shard: ShardId) -> Option<&ShardName> {
        self.shards.get(usize::from(shard.0))
    }

    /// The shard of a name.
    pub fn shard(&self, name: &str) -> Option<ShardId> {
        self.ids().find(|id| self.name(*id).is_some_and(|known| known.as_str() == name))
    }

    /// All shards, in order.
    pub fn ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards.len() as u16).map(ShardId)
    }

    /// The buckets a shard owns, as the fewest ranges, in order.
    pub fn ranges_of(&self, shard: ShardId) -> Vec<BucketRange> {
        bucket::ranges(self.buckets_of(shard))
    }

    /// The buckets a shard owns, in order.
    pub fn buckets_of(&self, shard: ShardId) -> impl DoubleEndedIterator<Item = Bucket> {
        (0..BUCKETS).map(Bucket).filter(move |bucket| self.shard_of(*bucket) == shard)
    }

    /// How many buckets each shard owns, by `ShardId`.
    pub fn bucket_counts(&self) -> Vec<u16> {
        let mut counts = vec![0; self.shards.len()];
        for owner in self.owners.iter() {
            counts[usize::from(owner.0)] += 1;
        }
        counts
    }

    /// The same map for another list of shards: ownership goes by name, so it is still the same version.
    ///
    /// # Errors
    /// When the list of names is not one, or a shard that owns buckets is missing from it.
    pub fn with_shards<N: AsRef<str>>(&self, names: &[N]) -> Result<ShardMap, NamesError> {
        let shards = checked_names(names)?;
        let counts = self.bucket_counts();
        let mut place = Vec::with_capacity(self.shards.len());
        for (name, count) in self.shards.iter().zip(counts) {
            match shards.iter().position(|known| known == name) {
                Some(index) => place.push(ShardId(index as u16)),
                None if count == 0 => place.push(ShardId(0)),
                None => return Err(NamesError::OwnerMissing(name.clone())),
            }
        }
        let owners = Box::new(self.owners.map(|owner| place[usize::from(owner.0)]));
        Ok(ShardMap { version: self.version, shards, owners })
    }

    /// The next version, in which each of the ranges belongs to the shard beside it and all else is as it is here.
    ///
    /// # Errors
    /// When a shard does not exist or two ranges overlap.
    pub fn reassigned(&self, ranges: &[(BucketRange, ShardId)]) -> Result<ShardMap, ChangeError> {
        let mut next = self.clone();
        next.version = self.version.next();
        let mut given = HashSet::new();
        for (range, id) in ranges {
            if self.name(*id).is_none() {
                return Err(ChangeError::UnknownShard { id: *id, shards: self.shards.len() });
            }
            for bucket in range.buckets() {
                if !given.insert(bucket) {
                    return Err(ChangeError::GivenTwice(bucket));
                }
                next.owners[usize::from(bucket.0 % BUCKETS)] = *id;
            }
        }
        Ok(next)
    }
}

/// Version and ranges: 4,096 owners one by one help nobody.
impl fmt::Debug for ShardMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardMap v{}", self.version)?;
        let ranges = self.ids().map(|id| (self.name(id), self.ranges_of(id)));
        f.debug_map().entries(ranges).finish()
    }
}

/// A list of names that a map can have.
pub(crate) fn checked_names<N: AsRef<str>>(names: &[N]) -> Result<Vec<ShardName>, NamesError> {
    if names.is_empty() {
        return Err(NamesError::Empty);
    }
    if names.len() > usize::from(BUCKETS) {
        return Err(NamesError::TooMany(names.len()));
    }
    let mut seen = HashSet::new();
    let shards: Vec<ShardName> = names.iter().map(|name| ShardName::from(name.as_ref())).collect();
    match shards.iter().find(|name| !seen.insert((*name).clone())) {
        Some(name) => Err(NamesError::Duplicate(name.clone())),
        None => Ok(shards),
    }
}
