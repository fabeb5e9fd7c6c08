//! What the gateway knows of the database: relations, their columns and keys, functions and their volatility.
//!
//! The types here are plain data, so that planning is tested without a database. `load` reads them from a shard;
//! `oids` says which number a user's type has on which shard; `watch` keeps them fresh. Callers: `plan` (lookups), `session` (the current catalog), `admin` (comparison of shards).

mod rules;
mod bodies;
mod elsewhere;
mod made_of;
mod questions;
mod routines;
mod relations;
mod load;
mod oids;
pub mod sequences;
mod rows;
mod shards;
mod watch;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::wire::reply::ColumnName;

pub use load::{LoadError, block_questions, load, seen_in_block};
pub use made_of::MadeOf;
pub use oids::{NUMBERS, Numbering, Numbers, OidMap};
pub use routines::{Language, Parameter, Routine};
pub use rows::TextRow;
pub use rules::{Rules, key_type};
pub use sequences::OwnNumbers;
pub use shards::{OidMaps, numbers};
pub use watch::{CatalogHandle, Connect, ConnectFailure, Connecting, fingerprint};

/// A type's `pg_type.oid`.
pub type Oid = u32;

/// Counts the catalogs this process has read for one database; a plan made under another version is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct CatalogVersion(pub u64);

/// Everything planning may ask about one database.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// See [`CatalogVersion`].
    pub version: CatalogVersion,
    /// Relations by schema, then by name; system schemas included.
    pub schemas: HashMap<String, HashMap<String, Arc<Relation>>>,
    /// All functions by unqualified name; `pg_catalog` ones included.
    pub functions: HashMap<String, Vec<Function>>,
    /// Functions and procedures of users' by unqualified name.
    pub routines: HashMap<String, Vec<Routine>>,
    /// `search_path` as `SHOW` would print it for a fresh connection: per role where a role has its own setting, else under `""`.
    pub search_paths: BTreeMap<String, String>,
    /// Schemas that exist and hold no relation still count for search paths.
    pub empty_schemas: HashSet<String>,
    /// Schemas with operators that a bare name may mean instead of one of pg_catalog, over its types; whether there is an `=` of keys among
    /// them.
    pub operators: HashMap<String, bool>,
    /// Defaults of domains, by the domains' unqualified names.
    pub domain_defaults: HashMap<String, Vec<String>>,
    /// What users' types are made of.
    pub made_of: MadeOf,
    /// Unqualified names of collations in which different texts can be equal.
    pub nondeterministic: HashSet<String>,
    /// How the numbers of each shard's types translate; not read by [`load`].
    pub oids: OidMaps,
    /// Some relation has row security, so that roles matter.
    pub row_security: bool,
    /// Whose defaults each shard draws from a sequence for itself; not read by [`load`].
    pub own_numbers: Arc<OwnNumbers>,
}

impl Catalog {
    /// Some shard has other numbers for users' types or relations than the home shard.
    pub fn numbers_differ(&self) -> bool {
        self.oids.iter().flatten().any(|map| !map.is_same())
    }
}

/// A table, view, index-less relation or foreign table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `pg_namespace.nspname`.
    pub schema: String,
    /// `pg_class.relname`.
    pub name: String,
    /// Where its rows live.
    pub kind: RelationKind,
    /// Columns in attribute order, dropped ones left out.
    pub columns: Vec<Column>,
    /// Columns of the primary key in its order; none when there is no primary key.
    pub primary_key: Vec<String>,
    /// A foreign key of another table has an action (CASCADE, SET NULL, SET DEFAULT) when a row here is deleted or its key changed.
    pub cascades: bool,
    /// A trigger or a rule, its own or of a table that a foreign key's action reaches, may change the row or the statement after
    /// routing, or read or write rows elsewhere;
    /// or a constraint, default or index calls a function that may read tables.
    pub rewrites_rows: bool,
    /// Triggers that may change other columns of its rows than the key, or refuse them; they touch nothing else.
    pub stamps: Stamps,
    /// Other tables inherit from it, so that a write to it reaches rows of theirs; of a partitioned table all rows are its own.
    pub has_heirs: bool,
    /// It is a partition or child of another table, so that it is of that one's kind, whatever its own name says.
    pub is_child: bool,
    /// If it is a partition or child of another table or others are of it: the number of the family, whose tables may have rows in common.
    pub family: Option<Oid>,
    /// If it has row security: the roles to whom its policies do not apply.
    pub exempt: Option<Vec<String>>,
    /// Its policies of row security may read what is not on the shard.
    pub guarded: bool,
    /// Of a materialized view that was made through the gateway: its definition, every name schema-qualified.
    pub materialized: Option<String>,
}

impl Relation {
    /// Whether rows of one may be rows of the other: it is the same, or they are of one family of partitions or children.
    pub fn shares_rows(&self, other: &Relation) -> bool {
        let same = self.schema == other.schema && self.name == other.name;
        same || (self.family.is_some() && self.family == other.family)
    }

    /// One of its columns, for messages.
    pub fn column_name(&self, column: &str) -> ColumnName {
        ColumnName { schema: self.schema.clone(), table: self.name.clone(), column: column.to_owned() }
    }
}

/// What triggers that touch nothing but the row make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stamps {
    /// There are none.
    None,
    /// Functions built into PostgreSQL: what follows from the row, the same on every shard.
    Alike,
    /// What each shard would compute for itself, such as the time.
    Freely,
}

/// Where a relation's rows live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// Rows live on the shard of their key.
    Sharded {
        /// Index of the key in [`Relation::columns`].
        key: usize,
        /// How the key is hashed.
        key_type: KeyType,
    },
    /// Every row on every shard.
    Reference,
    /// Rows on the home shard only.
    Home,
    /// `pg_catalog`, `information_schema`: each shard answers for itself and all say the same.
    System,
    /// A view: planned as the query it stands for (`pg_get_viewdef` under an empty search path).
    View {
        /// The SELECT, with every name schema-qualified.
        definition: String,
        /// Whose rights and policies apply to what it reads; `None`: those of who asks.
        owner: Option<String>,
    },
    /// A sequence.
    Sequence,
    /// Named by the configuration or by its key column as sharded, but its key cannot be hashed; any use is refused with this reason.
    Unusable {
        /// A sentence for the user.
        reason: String,
    },
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// `pg_attribute.attname`.
    pub name: String,
    /// `pg_attribute.atttypid`.
    pub type_oid: Oid,
    /// `pg_attribute.atttypmod`; for `varchar(n)` and `char(n)` it is n + 4, -1 when there is no limit.
    pub typmod: i32,
    /// What an INSERT that leaves the column out stores.
    pub default: ColumnDefault,
    /// `pg_attribute.attgenerated <> ''`: never in a column list of COPY.
    pub generated: bool,
    /// The type's qualified name, quoted where needed, without its modifier; empty when it is not known.
    pub type_name: String,
    /// For a default that draws from a sequence, the expression that does; empty when it is not known.
    pub draws: String,
    /// GENERATED ALWAYS AS IDENTITY.
    pub always: bool,
    /// GENERATED ... AS IDENTITY, of either kind.
    pub identity: bool,
    /// `pg_attribute.attcollation`.
    pub collation: Oid,
    /// It is text, in a collation that compares bytes: "C", "POSIX", or the database's if that is one of them.
    pub bytewise: bool,
}

impl Column {
    /// A column of which no more is known.
    pub fn new(name: String, type_oid: Oid, typmod: i32) -> Column {
        Column {
            name,
            type_oid,
            typmod,
            default: ColumnDefault::None,
            generated: false,
            type_name: String::new(),
            draws: String::new(),
            always: false,
            identity: false,
            collation: 0,
            bytewise: false,
        }
    }
}

/// What an INSERT that leaves a column out stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnDefault {
    /// NULL.
    None,
    /// The next value of a sequence (`serial`, identity, `nextval(...)`).
    Sequence,
    /// An expression; the text is `pg_get_expr`'s.
    Expression(String),
}

/// The key types that can be hashed, by what their canonical bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `int2`, `int4`, `int8`: as i64.
    Integer,
    /// `text`, `varchar`: UTF-8 as stored. `max_chars` is n of `varchar(n)`.
    Text {
        /// Characters at the most, `None` for no limit.
        max_chars: Option<u32>,
    },
    /// `char(n)`: UTF-8 without the padding.
    PaddedText {
        /// Characters at the most.
        max_chars: u32,
    },
    /// `uuid`: 16 bytes.
    Uuid,
}

/// A function, procedure, aggregate or window function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `pg_namespace.nspname`.
    pub schema: String,
    /// `pg_proc.provolatile`.
    pub volatility: Volatility,
    /// `pg_proc.prokind`.
    pub kind: FunctionKind,
    /// `pg_language.lanname` is `internal` or `c`: its body is not SQL of the user's.
    pub native: bool,
    /// Its body, which is SQL of the user's, computes a value and touches nothing else.
    pub closed: bool,
    /// Returns a set.
    pub returns_set: bool,
}

/// `pg_proc.provolatile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volatility {
    /// Same arguments, same result, for ever; reads no table.
    Immutable,
    /// Same result within a statement; may read tables.
    Stable,
    /// May do anything.
    Volatile,
}

/// `pg_proc.prokind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// A normal function.
    Plain,
    /// An aggregate.
    Aggregate,
    /// A window function.
    Window,
    /// A procedure.
    Procedure,
}
