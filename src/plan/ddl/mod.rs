//! DDL: every shard has the same schema, so it runs on every shard ([`everywhere`]), unless it promises what several shards cannot keep
//! ([`table`], [`constraint`], [`alter`], [`fill`], [`frozen`]).

pub mod make;
pub mod materialize;
mod constraint;
mod earlier;
mod fill;
mod frozen;
mod alter;
mod table;
mod everywhere;

pub use earlier::Earlier;
pub use everywhere::{check_temporary, plan};
