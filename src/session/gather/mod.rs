//! Queries whose parts are read from shards and finished on a merge server (`plan/gather` says how).
//!
//! [`described`] has servers describe the plan's texts ([`formats`]: how rows travel); [`run`] enlists the shards, takes a merge server and goes through the steps: [`ship`] moves the
//! parts' rows there, in an order and reduced as [`reduce`] says, or [`inline`] carries them as parameters. [`ordered`] needs no merge server. The
//! others are ways to ask: [`portal`] and [`cursor`] (which keep a merge server), [`output`] (COPY TO), [`explain`].

pub mod described;
mod formats;
pub mod run;
pub mod ship;
pub mod reduce;
pub mod inline;
mod uncommitted;
pub mod ordered;
pub mod portal;
pub mod cursor;
mod cursor_extended;
pub mod output;
pub mod explain;
pub mod measure;
