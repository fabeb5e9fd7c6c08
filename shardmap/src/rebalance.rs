//! Plans: the next version of a map after adding shards, draining shards, or weighting them, moving as little as can be.
//!
//! All plans are deterministic: the same map and the same wish give the same next map, whoever computes it. A shard gives
//! its highest buckets and receivers are served in the order of the configuration, so that few new ranges come into being.

use thiserror::Error;

use crate::bucket::{BUCKETS, Bucket};
use crate::diff::{MapDiff, diff};
use crate::map::{ChangeError, ShardId, ShardMap};

/// A next map and what leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The next version.
    pub next: ShardMap,
    /// What moves. Empty when the map is already as wished.
    pub moves: MapDiff,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// No such shard.
    #[error("there is no shard number {} in a map of {shards} shards", .id.0)]
    UnknownShard {
        /// The number given.
        id: ShardId,
        /// How many shards there are.
        shards: usize,
    },
    /// A shard to be added owns buckets.
    #[error("shard {0} already owns buckets: use a rebalance by weights to give it more")]
    NotNew(String),
    /// Every shard that owns buckets is to be drained.
    #[error("no shard would be left to own the buckets: add another first")]
    NobodyLeft,
    /// As many weights as shards are needed.
    #[error("{given} weights for {shards} shards: give one for each")]
    WeightCount {
        /// Weights given.
        given: usize,
        /// How many shards there are.
        shards: usize,
    },
    /// The plan's own ranges do not fit the map.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// Gives newcomers, which own nothing yet, their equal share; nothing moves between the others.
///
/// With N equal owners and k newcomers that share is floor([`BUCKETS`] / (N + k)) each, the least a map balanced within
/// one bucket allows. Adding nobody moves nothing.
///
/// # Errors
/// When a newcomer is not in the map or owns buckets.
pub fn add_shards(map: &ShardMap, newcomers: &[ShardId]) -> Result<Plan, PlanError> {
    let mut counts = wide_counts(map);
    let mut added = known(map, newcomers)?;
    added.sort();
    added.dedup();
    for id in &added {
        if counts[place(*id)] > 0 {
            return Err(PlanError::NotNew(map.name(*id).map(ToString::to_string).unwrap_or_default()));
        }
    }
    let owners = counts.iter().filter(|count| **count > 0).count();
    let share = u32::from(BUCKETS) / (owners + added.len()) as u32;
    for _ in 0..share * added.len() as u32 {
        if let Some(largest) = (0..counts.len()).max_by_key(|shard| counts[*shard]) {
            counts[largest] -= 1;
        }
    }
    for id in added {
        counts[place(id)] = share;
    }
    move_to(map, &counts)
}

/// Takes all buckets from shards and gives them to the other owners, the smallest first; nothing else moves.
///
/// Shards that own nothing get nothing: they may be drained ones that are about to leave.
///
/// # Errors
/// When a shard is not in the map or no owner would be left.
pub fn drain_shards(map: &ShardMap, leaving: &[ShardId]) -> Result<Plan, PlanError> {
    let mut counts = wide_counts(map);
    let mut homeless = 0;
    let leaving = known(map, leaving)?;
    for id in &leaving {
        homeless += std::mem::take(&mut counts[place(*id)]);
    }
    let staying: Vec<usize> = (0..counts.len()).filter(|shard| counts[*shard] > 0).collect();
    for _ in 0..homeless {
        let smallest = staying.iter().min_by_key(|shard| counts[**shard]).ok_or(PlanError::NobodyLeft)?;
        counts[*smallest] += 1;
    }
    move_to(map, &counts)
}

/// Gives each shard its part of the buckets by weight, within one bucket, moving the fewest; weight 0 drains.
///
/// # Errors
/// When the weights are not one for each shard, or all are 0.
pub fn rebalance(map: &ShardMap, weights: &[u32]) -> Result<Plan, PlanError> {
    let shards = map.shards().len();
    if weights.len() != shards {
        return Err(PlanError::WeightCount { given: weights.len(), shards });
    }
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    if total == 0 {
        return Err(PlanError::NobodyLeft);
    }
    let quota = |weight: &u32| u64::from(*weight) * u64::from(BUCKETS);
    let mut targets: Vec<u32> = weights.iter().map(|weight| (quota(weight) / total) as u32).collect();
    let left = u32::from(BUCKETS) - targets.iter().sum::<u32>();
    // Who has a fraction coming may get the bucket that rounding left over: first who need not give one away then.
    let counts = wide_counts(map);
    let mut entitled: Vec<usize> = (0..shards).filter(|shard| quota(&weights[*shard]) % total > 0).collect();
    entitled.sort_by_key(|shard| {
        (counts[*shard] <= targets[*shard], std::cmp::Reverse(quota(&weights[*shard]) % total), *shard)
    });
    for shard in entitled.into_iter().take(left as usize) {
        targets[shard] += 1;
    }
    move_to(map, &targets)
}

/// The next map, in which each shard owns as many buckets as `targets` says: who has too many gives the highest ones.
fn move_to(map: &ShardMap, targets: &[u32]) -> Result<Plan, PlanError> {
    let counts = wide_counts(map);
    let mut given: Vec<Bucket> = Vec::new();
    for id in map.ids() {
        let surplus = counts[place(id)].saturating_sub(targets[place(id)]);
        given.extend(map.buckets_of(id).rev().take(surplus as usize));
    }
    given.sort();
    let mut given = given.into_iter();
    let mut changes = Vec::new();
    for id in map.ids() {
        let wanted = targets[place(id)].saturating_sub(counts[place(id)]);
        let received = given.by_ref().take(wanted as usize);
        changes.extend(crate::bucket::ranges(received).into_iter().map(|range| (range, id)));
    }
    let next = map.reassigned(&changes)?;
    let moves = diff(map, &next);
    Ok(Plan { next, moves })
}

fn wide_counts(map: &ShardMap) -> Vec<u32> {
    map.bucket_counts().into_iter().map(u32::from).collect()
}

fn place(id: ShardId) -> usize {
    usize::from(id.0)
}

/// The given shards, when all of them are in the map.
fn known(map: &ShardMap, ids: &[ShardId]) -> Result<Vec<ShardId>, PlanError> {
    match ids.iter().find(|id| map.name(**id).is_none()) {
        Some(id) => Err(PlanError::UnknownShard { id: *id, shards: map.shards().len() }),
        None => Ok(ids.to_vec()),
    }
}
