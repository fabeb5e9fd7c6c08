//! Statement + catalog -> [`Plan`]: one shard, scatter, everywhere, or a refusal with its reason. Pure: decides, never does.
//!
//! A plan is made once per statement text (see `session`'s cache) and is independent of the map and of parameter values;
//! [`Route::resolve`] turns it into shards at Bind.

use shardmap::{Key, ShardId};

use crate::catalog::{KeyType, Oid};

/// One statement of a script, planned.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Byte range of the statement in the script, without the semicolon.
    pub range: std::ops::Range<usize>,
    /// What is to be done.
    pub plan: Plan,
}

/// What is to be done with a statement. The statement's own text is what runs on the shards, unless said otherwise.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Nothing between two semicolons.
    Empty,
    /// SELECT, VALUES, TABLE, INSERT, UPDATE, DELETE, MERGE, EXPLAIN, SHOW, COPY TO: runs where the route says.
    Rows(Route),
    /// COPY FROM STDIN.
    CopyIn(CopyIn),
    /// DDL and maintenance: runs on every shard.
    Everywhere(Everywhere),
    /// BEGIN, COMMIT, SAVEPOINT ...
    Transaction(TransactionVerb),
    /// SET, RESET and constant `set_config`.
    Setting(SettingVerb),
    /// DISCARD ...
    Discard(DiscardVerb),
    /// PREPARE, EXECUTE, DEALLOCATE.
    Prepared(PreparedVerb),
    /// DECLARE, FETCH, MOVE, CLOSE.
    Cursor(CursorVerb),
    /// Names a relation that the catalog does not know: a server shall say so, or the catalog be read anew. Never run.
    Unresolved,
    /// Refused before anything ran.
    Refuse(Refusal),
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Provably read-only: replicas may serve it.
    Read,
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
}

/// On which shards a statement runs.
#[derive(Clone, Debug)]
pub enum Target {
    /// Touches no row that differs between shards: any shard, always the same one within a session.
    Any,
    /// The home shard.
    Home,
    /// Every sharded relation in it is pinned to keys: one shard if all keys live on one.
    Keyed(Keyed),
    /// The union of all shards' rows is the answer.
    Scatter,
    /// A write to reference tables whose every value is a constant or parameter: the same on every shard, all or nothing.
    Replicated,
}

/// A statement whose sharded relations are all pinned to keys.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// One per sharded relation instance.
    pub pins: Vec<Pin>,
    /// It also touches home tables, so that the one shard must be the home shard.
    pub touches_home: bool,
    /// What happens when the keys live on several shards.
    pub several: Several,
}

/// What happens when a keyed statement's keys live on several shards.
#[derive(Clone, Debug)]
pub enum Several {
    /// It distributes: the union of those shards' rows is the answer.
    Scatter,
    /// It does not.
    Refuse(Refusal),
}

/// The values that a sharded relation's key is proved to be one of.
#[derive(Clone, Debug)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullKey {
    /// A comparison: no row qualifies.
    Nothing,
    /// A row to be stored: refused (23502).
    Refused,
}

/// Where a key value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// A constant of the statement.
    Constant(Key),
    /// A constant NULL.
    Null,
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
    All,
    /// The type of this parameter must be asked of a server first (`ParameterDescription`), then resolve again.
    NeedsParameterTypes,
}

/// COPY FROM STDIN.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyIn {
    /// The table, for messages.
    pub relation: String,
    /// Which shards get which rows.
    pub target: CopyTarget,
    /// How rows and fields are delimited.
    pub format: CopyFormat,
}

/// Which shards get which rows of a COPY FROM.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyTarget {
    /// All rows to the home shard.
    Home,
    /// All rows to every shard.
    Reference,
    /// Each row to the shard of its key.
    Sharded {
        /// Position of the key among the fields of a row, from 0.
        field: usize,
        /// How the key is hashed.
        key_type: KeyType,
    },
}

pub use crate::wire::copy::Format as CopyFormat;

/// A statement for every shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Everywhere {
    /// `false` for those that cannot run in a transaction block (CREATE DATABASE, VACUUM, CREATE INDEX CONCURRENTLY ...).
    pub in_transaction: bool,
    /// It may change the catalog.
    pub changes_catalog: bool,
}

/// Transaction control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionVerb {
    /// BEGIN, START TRANSACTION; `read_only` when the statement says so.
    Begin {
        /// READ ONLY / READ WRITE, when said.
        read_only: Option<bool>,
    },
    /// COMMIT, END.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE SAVEPOINT.
    Release(String),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(String),
    /// SET TRANSACTION ..., SET CONSTRAINTS ...: replayed on each shard that enlists.
    Modes,
}

/// SET and RESET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingVerb {
    /// SET [SESSION | LOCAL] name TO ...; also TO DEFAULT, SET NAMES, SET TIME ZONE, SET ROLE, SET SESSION CHARACTERISTICS.
    Set {
        /// Lower case; `timezone`, `client_encoding`, `role`, ... The pseudo-name `session characteristics` stands for itself.
        name: String,
        /// SET LOCAL.
        local: bool,
        /// TO DEFAULT.
        to_default: bool,
        /// For `search_path`: the schemas as written, in order.
        search_path: Option<Vec<String>>,
    },
    /// RESET name.
    Reset {
        /// Lower case.
        name: String,
    },
    /// RESET ALL.
    ResetAll,
    /// `SELECT set_config('name', 'value', false)` alone in a SELECT list, all constants: returns a row.
    SetConfig {
        /// Lower case.
        name: String,
        /// As given.
        value: String,
        /// Third argument.
        local: bool,
    },
}

/// DISCARD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardVerb {
    /// DISCARD ALL.
    All,
    /// DISCARD PLANS, SEQUENCES, TEMP.
    Other,
}

/// SQL-level prepared statements.
#[derive(Clone, Debug)]
pub enum PreparedVerb {
    /// PREPARE name [(types)] AS statement.
    Prepare {
        /// Statement name.
        name: String,
        /// Declared types as OIDs where they are built-in, 0 elsewhere.
        types: Vec<Oid>,
        /// Byte range, in the script, of what follows AS.
        body: std::ops::Range<usize>,
        /// The body, planned.
        plan: Box<Plan>,
    },
    /// EXECUTE name [(arguments)].
    Execute {
        /// Statement name.
        name: String,
        /// Constant arguments as text; `Err` for an expression.
        arguments: Vec<Result<Option<String>, ()>>,
        /// Byte range, in the script, of the arguments with their parentheses; empty when there are none.
        tail: std::ops::Range<usize>,
    },
    /// DEALLOCATE name, or ALL when `None`.
    Deallocate(Option<String>),
}

/// Cursors.
#[derive(Clone, Debug)]
pub enum CursorVerb {
    /// DECLARE name CURSOR FOR query.
    Declare {
        /// Cursor name.
        name: String,
        /// Where the query runs.
        route: Route,
    },
    /// FETCH or MOVE.
    Fetch {
        /// Cursor name.
        name: String,
    },
    /// CLOSE name, or ALL when `None`.
    Close(Option<String>),
}

/// Why a statement is not run, and what would make it possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `0A000` unless another code says it better.
    pub sqlstate: &'static str,
    /// The reason, as an error message in PostgreSQL's style. Never a literal or key of the statement.
    pub reason: String,
    /// What to do instead.
    pub hint: Option<String>,
}
// STUB
pub struct Context<'a> { pub catalog: &'a crate::catalog::Catalog, pub search_path: &'a [String], pub declared_types: &'a [Oid], pub utf8: bool }
pub trait Placement {}
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct StubSyntax;
pub fn compile(text: &str, _: &Context<'_>) -> Result<Vec<Planned>, StubSyntax> {
  use pg_query::NodeEnum as N;
  let r = pg_query::parse(text, pg_query::ParserOptions::default()).map_err(|_| StubSyntax)?;
  let mut out=vec![];
  for s in &r.protobuf.stmts { let start=s.stmt_location as usize; let end = if s.stmt_len==0 { text.len() } else { start + s.stmt_len as usize };
   let any = |access| Plan::Rows(Route{access, target: Target::Any, output: Output::Rows});
   let plan = match s.stmt.as_ref().and_then(|n| n.node.as_ref()) { None=>Plan::Empty,
     Some(N::SelectStmt(_)) | Some(N::VariableShowStmt(_)) => any(Access::Read),
     Some(N::InsertStmt(_)|N::UpdateStmt(_)|N::DeleteStmt(_)) => any(Access::Write),
     Some(N::TransactionStmt(t)) => { let k=t.kind(); use pg_query::protobuf::TransactionStmtKind as K; Plan::Transaction(match k { K::TransStmtBegin|K::TransStmtStart=>TransactionVerb::Begin{read_only:None}, K::TransStmtCommit=>TransactionVerb::Commit{chain:t.chain}, K::TransStmtRollback=>TransactionVerb::Rollback{chain:t.chain}, K::TransStmtSavepoint=>TransactionVerb::Savepoint(t.savepoint_name.clone()), K::TransStmtRelease=>TransactionVerb::Release(t.savepoint_name.clone()), K::TransStmtRollbackTo=>TransactionVerb::RollbackTo(t.savepoint_name.clone()), _=>TransactionVerb::Modes}) }
     Some(N::VariableSetStmt(v)) => Plan::Setting(SettingVerb::Set{name:v.name.clone(), local:v.is_local, to_default:false, search_path:None}),
     Some(N::CopyStmt(c)) if c.is_from => Plan::CopyIn(CopyIn{relation:"x".into(), target:CopyTarget::Home, format:CopyFormat::Binary}),
     Some(N::CopyStmt(_)) => any(Access::Read),
     Some(N::DiscardStmt(_)) => Plan::Discard(DiscardVerb::All),
     Some(_) => Plan::Everywhere(Everywhere{in_transaction:true, changes_catalog:true}) };
   out.push(Planned{range:start..end, plan}); }
  Ok(out) }
impl Route { pub fn resolve(&self, _: &dyn Placement, h: ShardId, _: &dyn Arguments) -> Result<Destination, Refusal> { let _=h; Ok(Destination::Any) } }
impl Placement for shardmap::ShardMap {}
