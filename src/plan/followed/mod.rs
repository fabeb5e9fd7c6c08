//! Statements that call functions or procedures which read or write tables: their bodies are read, and what they do is planned with the
//! call's arguments in the places of the parameters. Where all of it belongs to one shard, that of the keys among the arguments, the
//! statement runs there as it is; else it is refused. Nothing is said of a body that cannot be read.

mod plpgsql_words;
mod plpgsql;
mod body;
mod call;
mod scope;
mod stand_in;
mod pinned;
mod follower;

pub use follower::{block, call, instead};

use super::Refusal;

fn refused(what: &str, why: &str) -> Refusal {
    let hint = match what {
        "DO" => "Send its statements themselves.",
        _ => {
            "All that it reads and writes must belong to one shard: let its statements compare or store the sharding key as one of the \
             call's arguments, which is a constant or a parameter; or send the statements themselves."
        }
    };
    Refusal::unsupported(format!("{what} is not supported here: {why}")).hint(hint)
}
