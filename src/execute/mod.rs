//! Runs plans: moves bytes between one client and the servers lent to it.
//!
//! One task owns a [`Link`], which is the client's socket and its servers. All waiting is in [`turn`](Link::turn), which
//! moves whatever can be moved in either direction, so that no full socket on one side blocks the other; all deciding is in
//! [`relay`] and its [`Joiner`](relay::Joiner)s, which are synchronous.

pub mod stopped;
pub mod client;
pub mod fault;
pub mod link;
pub mod ticket;
mod line;
pub mod multiplex;
mod renumber;
pub mod relay;
pub mod plain;
pub mod scatter;
pub mod interleave;
pub mod hoard;
pub mod harvest;
pub mod chorus;
pub mod replies;
pub mod explain;
pub mod portion;
pub mod ship;
mod spare;
pub mod merge;
pub mod sort_key;
pub mod ordered;
pub mod copy_in;
pub mod copy_lines;
pub mod copy_key;
pub mod put;
