//! Statement + catalog -> [`Plan`]: one shard, scatter, everywhere, or a refusal with its reason. Pure: decides, never does.
//!
//! A plan is made once per statement text (see `session`'s cache) and is independent of the map and of parameter values;
//! [`Route::resolve`] turns it into shards at Bind. A statement's way: [`compile`] -> `statement` picks the planner for its kind;
//! queries and DML go `builder` (`select`, `from`, `write`: names -> terms and facts, `ir`) -> `prove` (facts -> pins, and whether the query distributes) ->
//! `finish` (the route or the refusal).

use std::ops::Range;

use crate::catalog::{Catalog, Oid, Rules};
use crate::sql;

mod refusal;
mod route;
mod gather;
mod verb;
mod built_in;
mod key;
mod literal;
mod resolve;

mod function;
mod ir;
mod scope;
mod value;
mod builder;
mod predicate;
mod with;
mod select;
mod returns;
mod from;
mod rewrite;
mod write;

mod prove;
mod finish;

mod copy;
mod block;
mod followed;
mod ddl;
mod sequence;
mod session;
mod statement;
mod shared;
mod one_row;
pub mod unreadable;

pub use crate::wire::copy::Format as CopyFormat;
pub use builder::STACK_BYTES_MAX;
pub use built_in::oid;
pub use copy::{CopyIn, CopyTarget};
pub use ddl::make::Make;
pub use ddl::materialize::{DEFINITION, Materialize};
pub use gather::{
    Amount, Chunk, FETCHED_ALIAS, Fetched, Gather, NOW_SETTING, Ordered, Part, Reducer, Sink, SortKey, Source, Value,
    rows_text,
};
pub use literal::{LiteralKey, Literals};
pub use refusal::Refusal;
pub use rewrite::{Computed, Split, Values, When, literal, quoted};
pub use route::{
    Access, Argument, Arguments, Destination, KeySource, Keyed, NullKey, Output, Pin, Placement, Route, Several, Target,
};
pub use session::setting::{boolean as setting_boolean, check_value as check_setting};
pub use session::shown::shown;
pub use session::utility::NO_PREPARED_TRANSACTIONS;
pub use shared::{Shared, Sharing, compile_shared};
pub use verb::{CursorVerb, DiscardVerb, Everywhere, PreparedVerb, SettingName, SettingVerb, TransactionVerb, Vacated};
pub use write::insert::relative_time;
pub use write::moving::Move;
pub use write::put::{Put, Store};
pub use write::steady::is_steady;

/// What a statement means depends on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Relations and functions.
    pub catalog: &'a Catalog,
    /// What tables that do not exist yet will be.
    pub rules: &'a Rules,
    /// Schemas as resolved (`"$user"` replaced), in order; `pg_catalog` only where it was written.
    pub search_path: &'a [String],
    /// The role in force: `SET ROLE`'s, or the one that logs in to the shards.
    pub role: &'a str,
    /// Parameter types of Parse; may be fewer than the parameters, 0 for those left open.
    pub declared_types: &'a [Oid],
    /// `client_encoding` is UTF8 or SQL_ASCII. If not, a literal or name with other than ASCII characters is never used as a key.
    pub utf8: bool,
}

/// One statement of a script, planned.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Byte range of the statement in the script, without the semicolon.
    pub range: Range<usize>,
    /// What is to be done.
    pub plan: Plan,
    /// An earlier statement of the script may have changed the catalog or the context that it was planned against: when its
    /// turn comes, plan its own text again.
    pub replan: bool,
    /// It finds one row by its primary key, which parameters give, and changes nothing.
    pub finds_one_row: bool,
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
    /// A SELECT without FROM that calls `set_config` with computed values: any shard runs it, and is asked for what it made of
    /// the settings named.
    SettingQuery(Vec<SettingName>),
    /// DISCARD ...
    Discard(DiscardVerb),
    /// PREPARE, EXECUTE, DEALLOCATE.
    Prepared(PreparedVerb),
    /// DECLARE, FETCH, MOVE, CLOSE.
    Cursor(CursorVerb),
    /// Refused before anything ran.
    Refuse(Refusal),
}

/// Plans every statement of a script. A script without a statement is one [`Plan::Empty`].
///
/// # Errors
/// When the text is not SQL; the words are to be had from a server.
pub fn compile(text: &str, context: &Context<'_>) -> Result<Vec<Planned>, sql::SyntaxError> {
    Ok(plan_script(text, &sql::parse(text)?, context))
}

fn plan_script(text: &str, script: &sql::Script, context: &Context<'_>) -> Vec<Planned> {
    if script.statements.is_empty() {
        return vec![Planned { range: 0..text.len(), plan: Plan::Empty, replan: false, finds_one_row: false }];
    }
    let mut replan = false;
    let mut planned = Vec::with_capacity(script.statements.len());
    for parsed in &script.statements {
        let plan = statement::plan(text, parsed, context);
        let changes = statement::changes_context(&plan);
        let finds_one_row = matches!(&plan, Plan::Rows(route) if route.access == Access::Read)
            && parsed.node().is_some_and(|node| {
                one_row::finds_one_row(node, one_row::Given::Parameters(context.declared_types), context)
            });
        planned.push(Planned { range: parsed.range.clone(), plan, replan, finds_one_row });
        replan |= changes;
    }
    planned
}
