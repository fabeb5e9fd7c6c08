//! What can go wrong between a client and its servers, and what the client is told.

use std::io;

use shardmap::ShardId;

use crate::wire::fields::field;
use crate::wire::reply::Report;

/// Something that ends a statement, or the session.
#[derive(Debug, thiserror::Error)]
pub enum LinkFault {
    /// The client is gone or its socket fails: the session ends.
    #[error("client: {0}")]
    Client(#[from] io::Error),
    /// A server is gone: the statement ends, the session does not.
    #[error("shard {}: {cause}", .shard.0)]
    Server {
        /// Which one.
        shard: ShardId,
        /// How.
        cause: ServerFault,
    },
    /// A server is gone in the middle of a frame of which the client has had a part: the session ends.
    #[error("shard {} was lost in the middle of a row", .0.0)]
    Torn(ShardId),
}

/// How a server was lost.
#[derive(Debug, thiserror::Error)]
pub enum ServerFault {
    /// It closed the connection without a word.
    #[error("server closed the connection unexpectedly")]
    Closed,
    /// It closed the connection with a FATAL error.
    #[error("{message} ({sqlstate})")]
    Fatal {
        /// SQLSTATE of its last word.
        sqlstate: String,
        /// Its last word.
        message: String,
    },
    /// It did not begin the transaction, and is given up before it could run a statement outside of it.
    #[error("it did not begin the transaction: {message} ({sqlstate})")]
    NotBegun {
        /// Of the error.
        sqlstate: String,
        /// Its text.
        message: String,
    },
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It said something that is not the protocol.
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// It spoke of a type whose number on the home shard is not known.
    #[error("a type of its is not known on the home shard")]
    UnknownType,
}

impl ServerFault {
    /// From the body of a FATAL ErrorResponse.
    pub fn fatal(body: &[u8]) -> Self {
        let (sqlstate, message) = sqlstate_and_message(body);
        ServerFault::Fatal { sqlstate, message }
    }

    /// From the body of the ErrorResponse that answers BEGIN.
    pub fn not_begun(body: &[u8]) -> Self {
        let (sqlstate, message) = sqlstate_and_message(body);
        ServerFault::NotBegun { sqlstate, message }
    }

    /// What the client is told; `shard` is the shard's name. 08006 is connection_failure, 08P01 protocol_violation.
    pub fn report(&self, shard: &str) -> Report {
        let sqlstate = match self {
            ServerFault::UnknownType => return unknown_type(shard),
            // Nothing ran: the client's statement has failed as its BEGIN would have.
            ServerFault::NotBegun { sqlstate, message } => return Report::error(sqlstate, message.as_str()),
            ServerFault::Protocol(_) => "08P01",
            ServerFault::Closed | ServerFault::Fatal { .. } | ServerFault::Io(_) => "08006",
        };
        Report::error(sqlstate, format!("connection to shard \"{shard}\" was lost: {self}")).with_hint(
            "Whether what was sent last took effect, a COMMIT included, is not known; what was not committed is not kept.",
        )
    }
}

fn sqlstate_and_message(body: &[u8]) -> (String, String) {
    let text = |code| String::from_utf8_lossy(field(body, code).unwrap_or_default()).into_owned();
    (text(b'C'), text(b'M'))
}

/// A client would take the shard's number for that of another type.
fn unknown_type(shard: &str) -> Report {
    let text =
        format!("shard \"{shard}\" has a type that the home shard does not have, or that could not be read there");
    Report::error("0A000", text)
        .with_detail("Types have numbers of their own on each shard, and clients know those of the home shard.")
        .with_hint("Run \"pgbraid check\" to find where the schemas differ. A write may have taken effect.")
}
