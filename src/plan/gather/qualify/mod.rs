//! Gives every FROM item of a statement a name of its own and writes every column as `item.column`, so that what follows need not
//! know of scopes: `*` is written out, USING becomes ON, output columns get their names.
//!
//! Certain or not at all: where a name might mean something else, the whole statement is left to `whole`.

mod item;
mod query;
mod from;
mod expression;

pub use query::{Known, Unsure, qualify};
