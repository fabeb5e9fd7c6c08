//! Plans of statements that are no queries: everywhere, transactions, settings, SQL-level prepared statements, cursors.

use super::{Plan, Route};
use crate::catalog::Oid;

/// A statement for every shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Everywhere {
    /// `false` for those that cannot run in a transaction block (CREATE DATABASE, VACUUM, CREATE INDEX CONCURRENTLY ...).
    pub in_transaction: bool,
    /// It may change the catalog.
    pub changes_catalog: bool,
    /// It may change what servers set when they log in (ALTER ROLE, ALTER DATABASE ... SET).
    pub changes_logins: bool,
    /// The database that nobody may be connected to when it runs.
    pub vacates: Option<Vacated>,
    /// Databases whose names are another's afterwards, or nobody's: those that are made, dropped and renamed.
    pub renews: Vec<String>,
}

/// A database that nobody may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vacated {
    /// It is dropped.
    Dropped(String),
    /// It is copied (the template of CREATE DATABASE) or renamed.
    Left(String),
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
    /// SET TRANSACTION ...: replayed on each shard that enlists.
    Modes {
        /// READ ONLY / READ WRITE, when said.
        read_only: Option<bool>,
    },
    /// PREPARE TRANSACTION: refused, and the block ends.
    Prepare,
    /// SET CONSTRAINTS ...: replayed likewise.
    Constraints {
        /// ALL, not by names.
        all: bool,
    },
}

/// A setting that a query sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingName {
    /// Lower case.
    pub name: String,
    /// If it is a constant, which the server takes as it is.
    pub value: Option<String>,
    /// For the transaction only.
    pub local: bool,
}

/// SET and RESET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingVerb {
    /// SET [SESSION | LOCAL] name TO ...; also TO DEFAULT, SET NAMES, SET TIME ZONE, SET ROLE.
    Set {
        /// Lower case; `timezone`, `client_encoding`, `role`, ...
        name: String,
        /// SET LOCAL.
        local: bool,
        /// TO DEFAULT.
        to_default: bool,
        /// For `search_path`: the schemas as written, in order.
        search_path: Option<Vec<String>>,
    },
    /// SET SESSION CHARACTERISTICS: settings and their values.
    Characteristics(Vec<(String, String)>),
    /// RESET name.
    Reset {
        /// Lower case.
        name: String,
    },
    /// RESET ALL.
    ResetAll,
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
        /// Declared types: by number, or as written where only a server knows it.
        types: Vec<Result<Oid, String>>,
        /// Byte range, in the script, of the whole statement.
        whole: std::ops::Range<usize>,
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
    /// EXPLAIN EXECUTE and CREATE TABLE AS EXECUTE: the statement stands in another one.
    Within {
        /// Statement name.
        name: String,
        /// As those of EXECUTE.
        arguments: Vec<Result<Option<String>, ()>>,
        /// Byte range, in the script, of the arguments with their parentheses; empty when there are none.
        tail: std::ops::Range<usize>,
        /// What stands before EXECUTE.
        head: std::ops::Range<usize>,
        /// What stands behind it.
        rest: std::ops::Range<usize>,
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
        /// WITH HOLD.
        hold: bool,
    },
    /// FETCH or MOVE.
    Fetch {
        /// Cursor name.
        name: String,
    },
    /// CLOSE name, or ALL when `None`.
    Close(Option<String>),
}
