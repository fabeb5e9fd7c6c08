//! Protocol bytes <-> frames and messages. Pure: no I/O.
//!
//! Frames are cut by header alone ([`frame`]); only messages that must be understood are read, as views that borrow
//! the buffer ([`frontend`], [`fields`]); what the gateway says itself is written through pgwire's types ([`reply`]).
//! *Source* for all of it: manual of PostgreSQL 18, "Frontend/Backend Protocol", sections 54.2, 54.7 and 54.8.

pub mod frame;
pub mod embedded;
pub mod frontend;
pub mod volley;
pub mod fields;
pub mod row_description;
pub mod name;
pub mod reply;
pub mod copy;
pub mod startup;
mod startup_options;
