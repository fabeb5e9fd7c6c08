//! The extended protocol, a file for each message: Parse, Bind, Describe and Close, Execute (`every`: of what is the same on every shard;
//! `executed`: of SQL's EXECUTE), Sync. [`moments`] refuses values that Bind must not give to several shards. [`messages`] takes them as they come;
//! [`volley`] carries out at once what comes at once, [`long_bind`] what is too long to be held.

pub mod messages;
pub mod parsing;
pub mod binding;
mod moments;
pub mod describing;
pub mod executing;
mod every;
mod executed;
pub mod sync;
pub mod volley;
pub mod long_bind;
