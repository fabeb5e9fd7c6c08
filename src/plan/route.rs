//! Where a statement runs: the part of a plan that waits for parameter values and the map. `resolve` turns it into shards.

use std::sync::Arc;

use shardmap::{Bucket, Key, ShardId};

use super::rewrite::{Computed, Split};
use super::write::moving::Move;
use super::{Fetched, Gather, LiteralKey, Refusal};
use crate::catalog::{KeyType, Oid, Relation, RelationKind};
use crate::sql::lift::LiteralKind;
use crate::wire::reply::ColumnName;

/// Where a row-returning or row-changing statement runs.
#[derive(Clone, Debug)]
pub struct Route {
    /// Whether it is provably read-only.
    pub access: Access,
    /// On which shards.
    pub target: Target,
    /// What its rows travel as.
    pub output: Output,
}

/// Whether a statement may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Provably read-only: replicas may serve it.
    Read,
    /// Provably read-only, but a replica would say something else of itself: SHOW, `pg_is_in_recovery()`, system catalogs.
    ReadPrimary,
    /// Writes, locks, or cannot be proved not to.
    Write,
}

/// What a statement's answer travels as; decides how several shards' answers are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// RowDescription, DataRow, CommandComplete (or only the last).
    Rows,
    /// CopyOutResponse and CopyData, text format without header, or CSV without header.
    CopyText,
    /// As `CopyText`, and the first line of each shard's stream is a header.
    CopyTextWithHeader,
    /// Binary COPY: each shard's stream has a header and a trailer.
    CopyBinary,
    /// EXPLAIN of a statement.
    Explain,
    /// EXPLAIN (FORMAT JSON): one document.
    ExplainJson,
    /// EXPLAIN (FORMAT YAML): one document.
    ExplainYaml,
    /// The same in XML.
    ExplainXml,
}

impl Output {
    /// Rows of COPY.
    pub fn is_copy(self) -> bool {
        match self {
            Output::CopyText | Output::CopyTextWithHeader | Output::CopyBinary => true,
            Output::Rows | Output::Explain | Output::ExplainJson | Output::ExplainYaml | Output::ExplainXml => false,
        }
    }

    /// What is shown is a plan.
    pub fn is_explain(self) -> bool {
        match self {
            Output::Explain | Output::ExplainJson | Output::ExplainYaml | Output::ExplainXml => true,
            Output::Rows | Output::CopyText | Output::CopyTextWithHeader | Output::CopyBinary => false,
        }
    }
}

/// On which shards a statement runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Touches no row that differs between shards: any shard, always the same one within a session.
    Any,
    /// The home shard.
    Home,
    /// Every sharded relation in it is pinned to keys: one shard if all keys live on one.
    Keyed(Keyed),
    /// The union of all shards' rows is the answer.
    Scatter,
    /// It names a relation, column or option that is not known. Read the catalog again and plan again; if it is still unknown,
    /// any server raises the error before it reads anything.
    Unknown,
    /// Values must be computed before it can run.
    Computed(Box<Computed>),
    /// An UPDATE of the key: rows may move to other shards.
    Moved(Box<Move>),
    /// Rows of other shards are fetched before it can run.
    Fetched(Box<Fetched>),
    /// A write to reference tables whose every value is a constant or parameter, or another statement that is the same on every shard:
    /// all or nothing.
    Replicated {
        /// It concerns rows of reference tables, whose writers take turns.
        takes_turn: bool,
    },
    /// A query that does not distribute.
    Gather(Arc<Gather>),
}

/// A statement whose sharded relations are all pinned to keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// One per sharded relation instance.
    pub pins: Vec<Pin>,
    /// It also touches home tables, so that the one shard must be the home shard.
    pub touches_home: bool,
    /// What happens when the keys live on several shards.
    pub several: Several,
    /// Parameters arrive in UTF-8 (or SQL_ASCII). If not, a text key with other than ASCII bytes is refused: its bytes are not those stored.
    pub utf8: bool,
}

/// What happens when a keyed statement's keys live on several shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Several {
    /// It distributes: the union of those shards' rows is the answer.
    Scatter,
    /// Each of those shards gets its own rows of INSERT ... VALUES; the one pin has a source for each row.
    Split(Split),
    /// It does not.
    Refuse(Refusal),
    /// It does not, and is answered by way of a merge server.
    Gather(Arc<Gather>),
}

/// The values that a sharded relation's key is proved to be one of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The relation, for messages.
    pub relation: String,
    /// The key's type.
    pub key_type: KeyType,
    /// Where the values come from. Empty: the key is proved equal to NULL, so no row qualifies.
    pub sources: Vec<KeySource>,
    /// What a NULL value means.
    pub null: NullKey,
}

/// What a NULL key value means for a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NullKey {
    /// A comparison: no row qualifies.
    Nothing,
    /// A row to be stored: refused (23502), with the key's name.
    Refused(Arc<ColumnName>),
}

impl NullKey {
    /// For a row to be stored in a sharded table.
    pub fn refused(relation: &Relation) -> NullKey {
        let key = match relation.kind {
            RelationKind::Sharded { key, .. } => relation.columns.get(key),
            _ => None,
        };
        NullKey::Refused(Arc::new(relation.column_name(key.map_or("", |column| &column.name))))
    }
}

/// Where a key value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A constant of the statement.
    Constant(Key),
    /// A constant NULL.
    Null,
    /// A literal of the text, in a plan that is shared by all texts which differ in their literals only.
    Literal(LiteralKey),
    /// `$n`, n counted from 0.
    Parameter {
        /// 0-based.
        index: usize,
        /// The type in which the value arrives, when it is certain without asking a server: declared in Parse, cast in the
        /// text, or inferred from uses that are all with the key's own type. `None`: ask a server (ParameterDescription).
        type_oid: Option<Oid>,
    },
    /// Every element of the array `$n`.
    ParameterArray {
        /// 0-based.
        index: usize,
        /// As in `Parameter`: the array type.
        type_oid: Option<Oid>,
    },
}

/// Parameter values at Bind (or of SQL EXECUTE).
pub trait Arguments: Sync {
    /// The value of parameter `index`, counted from 0.
    fn argument(&self, index: usize) -> Argument<'_>;
    /// The type the server has resolved for parameter `index`, where it has been asked; 0 or `None` when not.
    fn resolved_type(&self, index: usize) -> Option<Oid>;
    /// Literal `slot` of the text, for a plan that is shared: its kind and token.
    fn literal(&self, _slot: usize) -> Option<(LiteralKind, &str)> {
        None
    }
}

/// One parameter value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument<'a> {
    /// Not supplied.
    Missing,
    /// NULL.
    Null,
    /// Text format.
    Text(&'a [u8]),
    /// Binary format.
    Binary(&'a [u8]),
}

/// Where a statement runs, given its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Any shard.
    Any,
    /// This shard.
    One(ShardId),
    /// The union of these shards' answers, in this order; never empty, never one.
    Many(Vec<ShardId>),
    /// All shards, each doing the same write.
    All {
        /// See [`Target::Replicated`].
        takes_turn: bool,
    },
    /// Several shards, each with its own rows of INSERT ... VALUES: the shard of each row, in order.
    Split(Vec<ShardId>),
    /// Values of the statement must be computed first; then it is planned anew.
    Compute,
    /// Step by step, by way of the gateway. Which steps, the target says: rows are taken from their shards and put on others
    /// ([`Target::Moved`]), or fetched for the text ([`Target::Fetched`]), or values are computed for it ([`Target::Computed`],
    /// [`When::Anew`](super::When::Anew)).
    Stepwise,
    /// Parts of it on the shards, the rest on a merge server.
    Gather(Arc<Gather>),
    /// The type of this parameter must be asked of a server first (`ParameterDescription`), then resolve again.
    NeedsParameterTypes,
}

impl Destination {
    /// The shards that run the statement as it is, and whose answers together are its own; `any` where any will do. `None` where
    /// there is more to do than that.
    pub fn shards(&self, any: ShardId) -> Option<Vec<ShardId>> {
        match self {
            Destination::Any => Some(vec![any]),
            Destination::One(shard) => Some(vec![*shard]),
            Destination::Many(shards) => Some(shards.clone()),
            Destination::All { .. }
            | Destination::Split(_)
            | Destination::Compute
            | Destination::Stepwise
            | Destination::Gather(_)
            | Destination::NeedsParameterTypes => None,
        }
    }
}

impl Placement for shardmap::ShardMap {
    fn shard_of(&self, bucket: Bucket) -> ShardId {
        shardmap::ShardMap::shard_of(self, bucket)
    }

    fn shard_ids(&self) -> Vec<ShardId> {
        self.ids().collect()
    }
}

/// Which shard owns which bucket.
pub trait Placement {
    /// The shard that owns `bucket`.
    fn shard_of(&self, bucket: Bucket) -> ShardId;
    /// All shards, in order; never empty.
    fn shard_ids(&self) -> Vec<ShardId>;
}
