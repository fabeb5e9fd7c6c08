//! Writes that are more than their own text sent to the shards: rows parted and values computed first ([`rewritten`]), rows that change their
//! shard ([`update_key`]), rows of a query over several shards ([`insert_select`], [`create_as`]), writes that need rows of other shards ([`fetched`],
//! [`planned_anew`]); the latter and those that change their shard run step by step ([`stepwise`]). What they return with a row limit is kept by [`returned`]; EXPLAIN of them is [`explain`].
//! Before a write to a reference table comes its [`turn`].

pub mod rewritten;
mod returned;
mod explain;
mod stepwise;
pub(super) mod turn;
mod update_key;
pub mod insert_select;
pub mod create_as;
mod materialize;
mod fetched;
mod planned_anew;
