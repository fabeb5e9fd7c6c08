//! One client's life, from its first byte to its last.
//!
//! [`accept`] makes a client of a socket; [`life`] reads its messages and calls [`simple`] or [`extended`], which find a plan
//! ([`plans`]), enlist the shards it names ([`enlist`]) and relay. What is shared between clients is [`gateway::Gateway`].

pub mod accept;
pub mod databases;
pub mod gateway;
pub mod cancel;
pub mod parameters;
pub mod scope;
pub mod shapes;
pub mod plans;
pub mod recent;
pub mod statement;
pub mod kept;
pub mod failure;
pub mod life;
pub mod written;
pub mod snapshot;
pub mod enlist;
pub mod lookup;
pub mod seen;
pub mod simple;
pub mod numbers;
pub mod extended;
pub mod parsing;
pub mod describing;
pub mod sync;
pub mod binding;
pub mod volley;
pub mod rewritten;
pub mod moving;
pub mod long_bind;
pub mod portal;
pub mod described;
pub mod gather;
pub mod gather_portal;
pub mod gather_cursor;
pub mod gather_output;
pub mod gather_explain;
pub mod put;
pub mod make;
pub mod transaction;
pub mod commit;
pub mod moment;
pub mod setting;
pub mod copy;
pub mod sequences;
pub mod everywhere;
pub mod prepared;
pub mod cursor;
pub mod deadlock;
pub mod serve;
pub mod tally;
