//! A session's prepared statements and portals.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use shardmap::ShardId;

use super::gather::run::Gathering;
use super::kept::Kept;
use super::parameters::Parameters;
use super::plans::compiled::Compiled;
use super::write::rewritten::RowOrder;
use crate::catalog::Oid;
use crate::plan::{Argument, Arguments, Plan};
use crate::wire::frontend::{Bind, BoundValue};
use crate::wire::name::Name;

/// A prepared statement of the client's.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What it is.
    pub compiled: Arc<Compiled>,
    /// How it was made.
    pub origin: Origin,
    /// Parameter types as a server resolved them, once asked.
    pub resolved_types: Option<Arc<[Oid]>>,
    /// The columns that the client has been told it returns.
    pub described: Option<Arc<[u8]>>,
    /// When it was made, if it has a name.
    pub made: Option<std::time::SystemTime>,
    /// The text of SQL PREPARE.
    pub source: Option<Arc<[u8]>>,
}

/// How a prepared statement was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Parse, which no server has seen yet: the client is owed a ParseComplete.
    ParsePending,
    /// Parse, answered.
    Parse,
    /// SQL PREPARE.
    Sql,
}

/// What a name was before a Parse or Close.
#[derive(Debug)]
pub struct Renamed {
    /// The name.
    pub name: Name,
    /// The statement that it named, if any.
    pub before: Option<Prepared>,
}

impl Prepared {
    /// The one statement in it.
    pub fn plan(&self) -> Option<&Plan> {
        self.compiled.plan()
    }
}

/// A portal: a statement with its parameters bound.
#[derive(Debug)]
pub struct Portal {
    /// Where it is.
    pub place: Place,
    /// Its statement.
    pub compiled: Arc<Compiled>,
    /// The statement's name.
    pub statement: Name,
    /// Rows are, or may be, asked for in binary format.
    pub binary_rows: bool,
    /// On several shards: how many of them have given all their rows.
    pub reached: usize,
    /// Of a write or an EXPLAIN that was run with a row limit.
    pub kept: Option<Undelivered>,
    /// Of an EXPLAIN that several shards answer.
    pub explained: Option<Parameters>,
    /// How long the block's log was when it was bound: a savepoint that comes after it in the log leaves it alone. [`BOUND_IN_FAILED`] in
    /// a block that has failed.
    pub log_length: usize,
}

/// No savepoint comes after it: what ends the failure ends it.
pub const BOUND_IN_FAILED: usize = usize::MAX;

/// What is left of a write that was run with a row limit.
#[derive(Debug)]
pub struct Undelivered {
    /// Rows that the client has not got.
    pub rows: VecDeque<Box<[u8]>>,
    /// What these take.
    pub bytes: usize,
    /// The CommandComplete that ends them.
    pub end: bytes::BytesMut,
    /// It returned rows.
    pub returns: bool,
}

impl Undelivered {
    /// All rows are left.
    pub fn new(rows: VecDeque<Box<[u8]>>, end: bytes::BytesMut, returns: bool) -> Self {
        let bytes = rows.iter().map(|row| size_of::<Box<[u8]>>() + row.len()).sum();
        Undelivered { rows, bytes, end, returns }
    }

    /// The next row.
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        let row = self.rows.pop_front()?;
        self.bytes -= size_of::<Box<[u8]>>() + row.len();
        Some(row)
    }
}

/// Where a portal is.
#[derive(Clone, Debug)]
pub enum Place {
    /// On one server of this shard.
    One {
        /// The shard.
        shard: ShardId,
        /// On a replica's server.
        replica: bool,
    },
    /// On servers of these shards, asked in this order.
    Many {
        /// The shards.
        shards: Vec<ShardId>,
        /// Of an INSERT whose rows are parted between them: the shard of each row.
        order: Option<RowOrder>,
    },
    /// A write that the gateway runs step by step: on one server of this shard, which describes it and never executes it.
    Stepwise {
        /// The shard.
        shard: ShardId,
        /// On a replica's server.
        replica: bool,
        /// The body of its Bind.
        bind: Arc<[u8]>,
        /// Of its parameters: by now the statement's name may mean another.
        types: Arc<[Oid]>,
    },
    /// On servers of all shards, each doing the same write.
    Every {
        /// The shards.
        shards: Vec<ShardId>,
        /// Writers of reference tables take turns.
        takes_turn: bool,
    },
    /// To be read from shards and finished on a merge server.
    Gather(Arc<Gathering>),
    /// FETCH, MOVE or CLOSE of a cursor that a merge server has, with the formats of its columns.
    Fetch(Arc<[i16]>),
    /// The portal is a cursor that a merge server has.
    Cursor,
    /// In the gateway: transaction control, SET and the like.
    Local,
    /// Was in the gateway, and has been carried out.
    Done,
    /// Was there, and cannot be run any more.
    Ended {
        /// Where it can still be described, and is to be closed.
        was: Box<Place>,
        /// Why.
        by: Ending,
    },
}

/// What has ended a portal that is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its run failed, behind a savepoint to which the block has been rolled back.
    Failure,
    /// A rollback to a savepoint has taken the merge server that held its rest.
    Rollback,
    /// It has been carried out; what is left of its rows is kept.
    Run,
}

impl Place {
    /// Its only run is over.
    pub fn has_run(&self) -> bool {
        matches!(self, Place::Done | Place::Ended { by: Ending::Run, .. })
    }

    /// Where it was bound, whether or not it can still be run.
    pub fn as_bound(&self) -> &Place {
        match self {
            Place::Ended { was, .. } => was,
            place => place,
        }
    }
}

impl Portal {
    /// It cannot be run any more.
    pub fn end(&mut self, by: Ending) {
        if !matches!(self.place, Place::Ended { .. }) {
            let was = Box::new(std::mem::replace(&mut self.place, Place::Done));
            self.place = Place::Ended { was, by };
        }
    }
}

/// All portals and statements by name.
#[derive(Debug, Default)]
pub struct Names {
    /// Prepared statements; the empty name is the unnamed one.
    pub statements: Kept<Prepared>,
    /// The one that may still be [`Origin::ParsePending`]: there is no second one.
    pub pending: Option<Name>,
    /// Portals; the empty name is the unnamed one.
    pub portals: Kept<Portal>,
    /// SQL cursors: on which shard each is, and whether on its replica.
    pub cursors: HashMap<String, (ShardId, bool), foldhash::fast::RandomState>,
}

impl Names {
    /// DEALLOCATE ALL: the unnamed statement stays. *Source*: prepare.c, DropAllPreparedStatements, whose table does not have it.
    pub fn forget_named_statements(&mut self) {
        self.statements.retain(|name, _| name.is_empty());
    }
}

/// Parameters before which the message is simply read from its beginning, as most statements have no more.
const FEW_PARAMETERS: usize = 8;

/// Parameters of a Bind message, with what servers have said of their types.
#[derive(Clone, Debug)]
pub struct BoundArguments<'a> {
    bind: &'a Bind<'a>,
    resolved_types: Option<&'a [Oid]>,
    /// All parameters, once one behind the first few is asked for: looking for each from the beginning takes square time.
    read: OnceLock<Vec<BoundValue<'a>>>,
}

impl<'a> BoundArguments<'a> {
    /// Of this message; `resolved_types`: from ParameterDescription.
    pub fn new(bind: &'a Bind<'a>, resolved_types: Option<&'a [Oid]>) -> Self {
        BoundArguments { bind, resolved_types, read: OnceLock::new() }
    }
}

impl Arguments for BoundArguments<'_> {
    fn argument(&self, index: usize) -> Argument<'_> {
        let value = if index < FEW_PARAMETERS {
            self.bind.parameter(index)
        } else {
            self.read.get_or_init(|| self.bind.parameters().collect()).get(index).copied()
        };
        match value {
            None => Argument::Missing,
            Some(BoundValue::Null) => Argument::Null,
            Some(BoundValue::Text(text)) => Argument::Text(text),
            Some(BoundValue::Binary(bytes)) => Argument::Binary(bytes),
        }
    }

    fn resolved_type(&self, index: usize) -> Option<Oid> {
        self.resolved_types?.get(index).copied()
    }
}

/// No parameters at all.
#[derive(Clone, Copy, Debug)]
pub struct NoArguments;

impl Arguments for NoArguments {
    fn argument(&self, _: usize) -> Argument<'_> {
        Argument::Missing
    }

    fn resolved_type(&self, _: usize) -> Option<Oid> {
        None
    }
}

/// Constant arguments of SQL EXECUTE, as text.
#[derive(Clone, Copy, Debug)]
pub struct TextArguments<'a> {
    /// `None` is NULL; an expression, whose value only a server knows, is an error and counts as missing.
    pub values: &'a [Result<Option<String>, ()>],
    /// Declared in PREPARE.
    pub types: &'a [Oid],
}

impl Arguments for TextArguments<'_> {
    fn argument(&self, index: usize) -> Argument<'_> {
        match self.values.get(index) {
            Some(Ok(Some(text))) => Argument::Text(text.as_bytes()),
            Some(Ok(None)) => Argument::Null,
            Some(Err(())) | None => Argument::Missing,
        }
    }

    fn resolved_type(&self, index: usize) -> Option<Oid> {
        self.types.get(index).copied().filter(|oid| *oid != 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::session::parameters::Parameters;

    #[test]
    fn each_of_many_parameters_is_found_in_whatever_order_they_are_asked_for() {
        let text = |at: usize| (at % 7 != 3).then(|| at.to_string());
        let body = [b"p\0s\0".as_slice(), &Parameters::texts((0..40).map(text)).bind_rest(&[])].concat();
        let bind = Bind::read(&body).unwrap();
        let arguments = BoundArguments::new(&bind, None);
        for at in (0..40).rev().chain(0..40) {
            let read = match arguments.argument(at) {
                Argument::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
                Argument::Null => None,
                other => unreachable!("{other:?}"),
            };
            assert_eq!(read, text(at));
        }
        assert!(matches!(arguments.argument(40), Argument::Missing));
    }
}
