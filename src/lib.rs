//! pgbraid makes N PostgreSQL shards look like one PostgreSQL.
//!
//! The binary (`main.rs`) is a thin shell around this library so that tests and benchmarks can use its parts.
//! Modules are declared bottom up: each imports only what stands above it in this list. `ARCHITECTURE.md` is the tour.

pub mod wire;
pub mod counters;

pub mod config;
pub mod sql;
pub mod net;
pub mod auth;

pub mod catalog;
pub mod plan;
pub mod pool;
pub mod topology;

pub mod execute;
pub mod txn;

pub mod session;
pub mod admin;

pub mod demo;
