//! Data-path servers: connections to one Postgres each, pooled per server address, user and database, lent to one client
//! for one transaction.
//!
//! `deadpool` keeps the queue and the counts; what is ours is the manager that connects ([`connect`]), the server with its
//! bookkeeping ([`server`], [`expect`], [`settings`], [`renumber`]), and the guard that never returns a server that is not clean ([`lend`]).

pub mod expect;
pub mod settings;
pub mod renumber;
pub mod server;
pub mod connect;
pub mod lend;
pub mod pools;
