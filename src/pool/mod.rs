//! Data-path servers: connections to one Postgres each, pooled per server address, user and database, lent to one client
//! for one transaction.
//!
//! [`queue`] knows who has a place and who waits for one, [`connect`] fills places, [`server`] is what is in them, with its
//! bookkeeping ([`expect`] and [`ordinary`], [`held`], [`settings`], [`renumber`]), and [`lend`] has the guard that never returns a server that is not clean.

pub mod expect;
pub mod ordinary;
pub mod settings;
pub mod renumber;
mod held;
pub mod server;
pub mod connect;
pub mod queue;
pub mod lend;
pub mod pools;
