//! A query that does not distribute: parts of it run on the shards, their rows become temporary tables on a merge server, and
//! what remains of the query runs there, as PostgreSQL runs it.
//!
//! A statement's way: `plan` (checks, the order of the steps) -> `view` (views that do not distribute become sub-selects) -> `clock` (one `now()` for all) -> `qualify` (a
//! name of its own for everything) -> `engine`, which walks over the levels: `peel` (ORDER BY, LIMIT, DISTINCT over what distributes), `piece` (joins and
//! filters), `aggregate` and `combine` (partial aggregates). Where names are not certain: `whole`, which ships each table as far as the
//! statement names its columns. Every part reads rows that are a statement of their own, whose route the prover has decided.

use super::Target;
use super::ddl::make::Make;
use super::write::put::Put;
use crate::catalog::Oid;

pub mod node;
mod label;
mod clock;
mod part;
mod view;
pub mod survey;
mod row;
mod group;
mod whole;
pub mod condition;
mod types;
mod qualify;
mod reference;
mod engine;
mod combine;
mod aggregate;
mod collation;
mod peel;
mod ordered;
mod level;
mod piece;
mod lookup;
mod reduce;
mod once;
mod value;
mod default;
mod draw;
mod plan;
mod site;
mod columns;
mod unmatched;
mod fetch;

pub use default::{Defaults, NOW_SETTING};
pub use draw::{Drawn, drawn};
pub use fetch::{
    Chunk, Fetched, ROWS_ALIAS as FETCHED_ALIAS, Source, instead as fetch_instead, rows_text, writes_in_with,
};
pub use ordered::{Amount, Ordered, SortKey};
pub use plan::{instead, where_refused, wherever, wherever_drawn};
pub use reference::Content;
pub use value::Value;

/// How a query is answered by way of a merge server.
///
/// Parameters keep their numbers in every text: a text need not use all of them, and the client's Bind is valid for each. Above them
/// comes one of the gateway's own, see [`Gather::now_parameter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// What is read from the shards; independent of each other.
    pub parts: Vec<Part>,
    /// The rest of the query, over temporary tables that are named as the parts. One SELECT with the columns of the client's statement.
    pub merge: String,
    /// `Some(n)`: texts use `$n` (1-based, one above the client's parameters) of type `timestamptz` where the statement says `now()` or the like;
    /// its value is the transaction's start, the same for all.
    pub now_parameter: Option<usize>,
    /// What is computed before other parts are read. Their parameters are the last.
    pub values: Vec<Value>,
    /// How the gateway answers it without a merge server, where types and formats allow.
    pub ordered: Option<Ordered>,
    /// Parameters of the client's.
    pub parameters: usize,
    /// Where its rows go.
    pub sink: Sink,
    /// Why it is needed, for EXPLAIN: "an aggregate over several shards".
    pub reason: String,
}

/// Where the rows of a [`Gather`] go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// To the client, or to the gateway itself.
    Asker,
    /// Into a table.
    Put(Box<Put>),
    /// Into a table that is made for them.
    Make(Box<Make>),
}

/// Rows that are read from shards and shipped to the merge server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of the temporary table; a plain lower-case identifier, the same for the same statement, used in [`Gather::merge`] as `pg_temp.name`.
    pub name: String,
    /// A SELECT; its output columns have distinct names. `CREATE TEMPORARY TABLE name AS (text) WITH NO DATA` makes the table.
    pub text: String,
    /// Where it runs; never [`Target::Gather`], and a `Keyed` target's `several` is `Scatter`.
    pub target: Target,
    /// Columns by which the merge query finds rows of it one by one, for each row of something else: an index on them pays if there
    /// are many rows.
    pub lookups: Vec<Vec<String>>,
    /// Other parts that say which of its rows are of use; of the same wave or an earlier one.
    pub reducers: Vec<Reducer>,
    /// Its text may use the values of earlier waves.
    pub wave: usize,
}

/// Rows whose value another part does not have are of no use to the merge query: a semi-join. It need not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reducer {
    /// Of the part.
    pub column: String,
    /// Position of the other part.
    pub source: usize,
    /// Of the other part.
    pub source_column: String,
    /// Of `column`; that of `source_column` is the same, or an integer's of fewer bytes.
    pub type_oid: Oid,
}

impl Gather {
    /// The table that its rows are stored in.
    pub fn put(&self) -> Option<&Put> {
        match &self.sink {
            Sink::Put(put) => Some(put),
            Sink::Asker | Sink::Make(_) => None,
        }
    }

    /// The table that is made for its rows.
    pub fn make(&self) -> Option<&Make> {
        match &self.sink {
            Sink::Make(make) => Some(make),
            Sink::Asker | Sink::Put(_) => None,
        }
    }

    /// How many waves there are.
    pub fn waves(&self) -> usize {
        self.parts
            .iter()
            .map(|part| part.wave + 1)
            .chain(self.values.iter().map(|value| value.wave + 1))
            .max()
            .unwrap_or(1)
    }

    /// A part's text to be explained: it stands by itself.
    pub fn explained(&self, part: &Part) -> String {
        value::explained(&part.text, &self.values)
    }

    /// What may be done about a part's rows, for people.
    pub fn notes(&self, part: &Part) -> Vec<String> {
        let reducer = |reducer: &Reducer| {
            let source = self.parts.get(reducer.source).map_or("", |source| source.name.as_str());
            format!("reduced by: {} in {source}.{}", reducer.column, reducer.source_column)
        };
        let index = |columns: &Vec<String>| format!("index: ({})", columns.join(", "));
        let value = |value: &Value| format!("${}: ({})", value.parameter, value.original);
        let used =
            self.values.iter().filter(|value| value.wave < part.wave && value::uses(&part.text, value.parameter));
        used.map(value).chain(part.reducers.iter().map(reducer)).chain(part.lookups.iter().map(index)).collect()
    }
}
