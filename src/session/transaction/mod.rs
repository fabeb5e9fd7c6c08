//! A client's transaction: how it begins and ends ([`verbs`], [`commit`]), which shards it may have written ([`writers`]), what it sees of the shards
//! ([`snapshot`], [`snapshot_reads`]) and of its own DDL ([`block_catalog`]), what it has locked ([`locked`]), and what becomes of two that wait for each other ([`deadlock`]).

pub mod writers;
pub mod snapshot;
pub mod snapshot_reads;
pub mod block_catalog;
pub mod locked;
pub mod verbs;
pub mod commit;
pub mod deadlock;
