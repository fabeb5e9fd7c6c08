//! A statement with its names resolved: what `builder` makes of the syntax tree and `prove` reasons about. Holds only what
//! decides where rows come from; expressions are reduced to facts, sublinks and the remarks in [`Parts`].

use std::sync::Arc;

use super::key::Class;
use super::{KeySource, Refusal};
use crate::catalog::{KeyType, Oid, Relation};

/// A column of one relation instance, or an output column of one query. Only columns of hashable types are terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term(pub u32);

/// A relation instance or a query, as the owner of terms: what an outer join can turn into NULLs as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub u32);

/// What is known of a term.
#[derive(Clone, Copy, Debug)]
pub struct TermInfo {
    pub class: Class,
    pub type_oid: Oid,
    pub owner: Owner,
}

/// A relation instance.
#[derive(Debug)]
pub struct Leaf {
    pub owner: Owner,
    pub relation: Arc<Relation>,
    /// Of a sharded relation.
    pub key: Option<(Term, KeyType)>,
    /// It lives on the home shard.
    pub home: bool,
    /// Terms made so far, by column.
    pub terms: Vec<(usize, Term)>,
    /// Values of the key of rows to be stored (INSERT ... VALUES), which no fact can say.
    pub stored: Option<Vec<KeySource>>,
}

/// Index into the builder's leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafId(pub usize);

/// Something true of every row (or combination of rows) that matters.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Equal by the class's own equality. Strict: neither is NULL. Else both may be, as between a query's output column and
    /// the column it is taken from.
    Equal { left: Term, right: Term, strict: bool },
    /// Equal to one of these.
    OneOf { term: Term, sources: Vec<KeySource> },
}

/// Why something cannot be done on several shards at once.
#[derive(Clone, Debug)]
pub struct Reason {
    /// "an aggregate over several shards is not supported yet".
    pub text: String,
    /// Replaces the usual hint, which is to restrict the statement to one key.
    pub hint: Option<String>,
}

impl Reason {
    /// A reason with the usual hint.
    pub fn new(text: impl Into<String>) -> Reason {
        Reason { text: text.into(), hint: None }
    }
}

/// Why a statement is not planned further.
#[derive(Debug)]
pub enum Stop {
    /// Refused.
    Refuse(Refusal),
    /// It names a relation that does not exist: any server raises the error before anything is read.
    Fails,
}

impl std::convert::From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refuse(refusal)
    }
}

impl std::convert::From<crate::sql::walk::Unknown> for Stop {
    fn from(_: crate::sql::walk::Unknown) -> Stop {
        Stop::Refuse(Refusal::unsupported("this kind of expression is not supported yet"))
    }
}

/// What the expressions at one place of a query say and contain.
#[derive(Debug, Default)]
pub struct Parts {
    pub facts: Vec<Fact>,
    pub sublinks: Vec<Sublink>,
    /// An aggregate without OVER.
    pub aggregate: bool,
    /// PARTITION BY of each window function.
    pub windows: Vec<Vec<Option<Term>>>,
    /// Why two shards that hold the same rows may compute something different here.
    pub unsteady: Option<&'static str>,
    /// Why this must not be computed on several shards for the rows of each.
    pub local: Option<String>,
}

/// A query inside an expression.
#[derive(Debug)]
pub struct Sublink {
    pub query: Query,
    /// It is a condition that every row must meet (EXISTS, IN, = in the AND list of WHERE or ON): what holds for its rows holds.
    pub condition: bool,
}

/// A query with its output.
#[derive(Debug)]
pub struct Query {
    pub owner: Owner,
    pub body: Body,
    /// Output columns in order.
    pub columns: Vec<OutputColumn>,
    /// There are more output columns than listed, or their order is unknown.
    pub open: bool,
    /// Output column = the column it is taken from, or constant.
    pub links: Vec<Fact>,
    /// Restricting the output rows by their columns is the same as restricting the rows it is made of.
    pub pushable: bool,
    /// ORDER BY.
    pub order: bool,
    /// LIMIT, OFFSET, FETCH.
    pub limit: bool,
    /// The order of its rows, which is each shard's own, is part of a value: ARRAY(SELECT ...).
    pub shows_order: bool,
    /// FOR UPDATE and the like.
    pub locking: bool,
    /// In ORDER BY and LIMIT of set operations.
    pub extra: Parts,
}

/// An output column.
#[derive(Clone, Debug)]
pub struct OutputColumn {
    /// `None` when PostgreSQL makes one up.
    pub name: Option<String>,
    pub term: Option<Term>,
}

/// What a query consists of.
#[derive(Debug)]
pub enum Body {
    Select(Box<Level>),
    SetOperation(Box<SetOperation>),
    Values(Parts),
    /// WITH RECURSIVE.
    Recursive(Box<Query>),
}

/// UNION, INTERSECT, EXCEPT.
#[derive(Debug)]
pub struct SetOperation {
    pub kind: SetKind,
    pub all: bool,
    pub left: Query,
    pub right: Query,
    /// This query's output columns = the left's, = the right's.
    pub left_links: Vec<Fact>,
    pub right_links: Vec<Fact>,
    /// What is known of the output columns.
    pub exports: Vec<Fact>,
}

/// Which set operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetKind {
    Union,
    Intersect,
    Except,
}

/// FROM, WHERE and what is computed from it: one query level, also that of UPDATE and DELETE.
#[derive(Debug, Default)]
pub struct Level {
    pub from: Vec<From>,
    /// WHERE, select list, GROUP BY, HAVING, ORDER BY, LIMIT.
    pub parts: Parts,
    /// GROUP BY items; `None` when there is no GROUP BY.
    pub group: Option<Vec<Option<Term>>>,
    /// GROUPING SETS, ROLLUP, CUBE.
    pub grouping_sets: bool,
    pub having: bool,
    pub distinct: Distinct,
    /// Where each output column is taken from.
    pub sources: Vec<Option<Term>>,
    /// Of INSERT: why two shards may compute something different in ON CONFLICT or RETURNING.
    pub tail: Option<&'static str>,
}

/// DISTINCT.
#[derive(Debug, Default)]
pub enum Distinct {
    #[default]
    No,
    All,
    On(Vec<Option<Term>>),
}

impl Level {
    /// One row comes out however many go in.
    pub fn plain_aggregate(&self) -> bool {
        self.grouping_sets || (self.group.is_none() && (self.parts.aggregate || self.having))
    }
}

/// A FROM item.
#[derive(Debug)]
pub enum From {
    Leaf(LeafId),
    Query(Box<Query>),
    /// A function, or rows made elsewhere in the statement; with facts about the rows.
    Opaque(Parts),
    Inner(Box<Join>),
    Left(Box<Join>),
    Full(Box<Join>),
}

/// Two FROM items and their ON condition.
#[derive(Debug)]
pub struct Join {
    pub left: From,
    pub right: From,
    pub on: Parts,
}
