//! One client's life, from its first byte to its last.
//!
//! [`accept`] makes a client of a socket; [`life`] reads its messages and calls [`simple`] or [`extended`], which find a plan
//! ([`plans`]), enlist the shards it names ([`enlist`]) and relay. What is shared between clients is [`gateway::Gateway`].

pub mod accept;
pub mod databases;
pub mod gateway;
pub mod cancel;
pub mod parameters;
pub mod plans;
pub mod statement;
pub mod kept;
pub mod failure;
pub mod life;
mod next_message;
mod fast_path;
pub mod reported;
pub mod enlist;
pub mod letting_go;
mod ask;
mod steps;
pub mod simple;
mod one_row;
mod multiplexed;
mod probe;
mod sparing;
mod script;
pub mod scatter;
pub mod type_numbers;
mod drawn;
mod in_doubt;
mod own_statements;
pub mod extended;
mod execute_sql;
pub mod gather;
pub mod write;
pub mod transaction;
pub mod setting;
pub mod copy;
pub mod sequences;
pub mod everywhere;
pub mod prepared;
pub mod cursor;
pub mod threads;
pub mod serve;
pub mod tally;
