//! Reads a [`Catalog`] from a shard: a few queries in one message, under one snapshot.
//!
//! Called by `watch`, and by a session whose block ran DDL, of which only its own servers know ([`block_questions`]). What the rows say of
//! relations `relations` puts together.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use thiserror::Error;
use tokio_postgres::Client;

use crate::catalog::elsewhere::Elsewhere;
use crate::catalog::questions::{
    BEGIN, FILE_SEARCH_PATH, FIRST_NORMAL_OID, QUESTIONS, ROLE_SETTINGS, SAVEPOINT, SETTINGS,
};
use crate::catalog::relations::Relations;
use crate::catalog::routines::routine;
use crate::catalog::rows::{TextRow, answers};
use crate::catalog::{Catalog, CatalogVersion, Function, FunctionKind, MadeOf, Rules, Volatility};

/// Why a catalog could not be read.
#[derive(Clone, Debug, Error)]
pub enum LoadError {
    /// No connection.
    #[error("cannot connect to read the catalog: {0}")]
    Connect(Arc<dyn std::error::Error + Send + Sync>),
    /// A query failed.
    #[error("cannot read the catalog: {}", describe(.0))]
    Query(Arc<tokio_postgres::Error>),
    /// Reading took too long.
    #[error("reading the catalog took longer than {} seconds", .0.as_secs())]
    Timeout(std::time::Duration),
    /// Keys are hashed as UTF-8.
    #[error(
        "the database's encoding is {0}, and keys are hashed as UTF-8: create it again with ENCODING 'UTF8' and carry the data over"
    )]
    Encoding(String),
    /// An answer that is not one to the gateway's question.
    #[error(
        "the shard's catalog has {value:?} in column {column} of an answer: report it with the version of PostgreSQL"
    )]
    Value {
        /// Counted from 0.
        column: usize,
        /// As the shard sent it.
        value: String,
    },
    /// Some questions were not answered.
    #[error(
        "the shard answered {got} of {asked} questions about its catalog: report it with the version of PostgreSQL"
    )]
    Answers {
        /// Questions.
        asked: usize,
        /// Answers.
        got: usize,
    },
    /// A value the catalog of a known PostgreSQL version does not have.
    #[error("{catalog} has the value {value:?} in a row, which this version of pgbraid does not know: upgrade pgbraid")]
    Unknown {
        /// Catalog and column.
        catalog: &'static str,
        /// The value.
        value: char,
    },
}

impl LoadError {
    /// The SQLSTATE that a client gets who cannot be served because of it.
    pub fn sqlstate(&self) -> &str {
        let of = |error: &tokio_postgres::Error| error.code().map(|code| code.code().to_owned());
        match self {
            LoadError::Connect(error) => {
                let database_missing = error.to_string().contains("does not exist");
                if database_missing { "3D000" } else { "08001" }
            }
            LoadError::Query(error) if of(error).is_some() => "XX000",
            LoadError::Query(_) | LoadError::Timeout(_) => "08006",
            LoadError::Encoding(_)
            | LoadError::Unknown { .. }
            | LoadError::Value { .. }
            | LoadError::Answers { .. } => "0A000",
        }
    }
}

impl From<tokio_postgres::Error> for LoadError {
    fn from(error: tokio_postgres::Error) -> LoadError {
        LoadError::Query(Arc::new(error))
    }
}

/// The server's message where there is one: `Display` of the error says "db error" only.
fn describe(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |db| format!("{} ({})", db.message(), db.code().code()))
}

/// Schemas of what comes with PostgreSQL and has numbers under [`FIRST_NORMAL_OID`].
const BUILT_IN: [&str; 2] = ["pg_catalog", "information_schema"];

/// Reads all of a database's catalog under one snapshot.
///
/// # Errors
/// When a query fails or the database's encoding is not UTF-8.
///
/// # Cancel safety
/// Not cancel safe: a future dropped half-way leaves the connection in a transaction; drop the client too.
pub async fn load(client: &Client, rules: &Rules, version: CatalogVersion) -> Result<Catalog, LoadError> {
    let default_search_path = default_search_path(client).await?;
    client.batch_execute(BEGIN).await?;
    let asked = ask(client).await;
    let end = client.batch_execute("ROLLBACK").await;
    let (roles, answers) = asked?;
    end?;
    let mut search_paths = BTreeMap::from([(String::new(), default_search_path)]);
    for row in roles {
        search_paths.insert(row.get(0)?, row.get(1)?);
    }
    let nothing = Catalog { version, search_paths, ..Catalog::default() };
    complete(nothing, answers, rules)
}

/// The queries, inside the transaction: settings of roles, and all others.
async fn ask(client: &Client) -> Result<(Vec<TextRow>, Vec<Vec<TextRow>>), LoadError> {
    let text = questions("0");
    let mut answers = answers(client.simple_query(&format!("{ROLE_SETTINGS}; {text}")).await?);
    let rest = answers.split_off(answers.len().min(1));
    Ok((answers.pop().unwrap_or_default(), rest))
}

fn questions(first: &str) -> String {
    QUESTIONS.join("; ").replace("$first", first)
}

/// A text that asks a block's own server for what the block sees: everything that users have made. It leaves no trace in the
/// block; if it fails, the block has failed.
pub fn block_questions() -> String {
    format!(
        "SAVEPOINT {SAVEPOINT}; SET LOCAL search_path = ''; {}; ROLLBACK TO SAVEPOINT {SAVEPOINT}; RELEASE SAVEPOINT {SAVEPOINT}",
        questions(FIRST_NORMAL_OID)
    )
}

/// The catalog as a block sees it, from the answers to [`block_questions`]; what PostgreSQL itself has is taken from `base`.
///
/// # Errors
/// When the answers are not what was asked for.
pub fn seen_in_block(
    base: &Catalog,
    version: CatalogVersion,
    answers: Vec<Vec<TextRow>>,
    rules: &Rules,
) -> Result<Catalog, LoadError> {
    let systems = |(name, relations): (&String, &HashMap<_, _>)| {
        BUILT_IN.contains(&name.as_str()).then(|| (name.clone(), relations.clone()))
    };
    let built_in = |functions: &Vec<Function>| -> Vec<Function> {
        functions.iter().filter(|function| BUILT_IN.contains(&function.schema.as_str())).cloned().collect()
    };
    let functions = base.functions.iter().map(|(name, functions)| (name.clone(), built_in(functions)));
    let built_in = Catalog {
        version,
        schemas: base.schemas.iter().filter_map(systems).collect(),
        functions: functions.filter(|(_, functions)| !functions.is_empty()).collect(),
        search_paths: base.search_paths.clone(),
        routines: HashMap::new(),
        empty_schemas: HashSet::new(),
        operators: HashMap::new(),
        domain_defaults: HashMap::new(),
        made_of: MadeOf::default(),
        nondeterministic: HashSet::new(),
        row_security: false,
        oids: base.oids.clone(),
        own_numbers: Arc::new(base.own_numbers.in_block()),
    };
    complete(built_in, answers, rules)
}

/// Adds the answers to [`QUESTIONS`] to a catalog.
fn complete(mut catalog: Catalog, answers: Vec<Vec<TextRow>>, rules: &Rules) -> Result<Catalog, LoadError> {
    let asked = QUESTIONS.len();
    let [
        relation_rows,
        columns,
        inheritance,
        cascades,
        functions,
        schemas,
        evaluated,
        exempt,
        routines,
        operators,
        types,
        made_of,
    ]: [Vec<TextRow>; 12] =
        answers.try_into().map_err(|answers: Vec<_>| LoadError::Answers { asked, got: answers.len() })?;
    let mut relations = Relations::default();
    for row in &relation_rows {
        relations.add(row)?;
    }
    for row in &columns {
        relations.add_column(row)?;
    }
    for row in &inheritance {
        relations.add_parent(row)?;
    }
    for row in &cascades {
        relations.add_cascade(row)?;
    }
    for row in &functions {
        catalog.functions.entry(row.get(0)?).or_default().push(function(row)?);
    }
    for row in &routines {
        let routine = routine(row)?;
        catalog.routines.entry(routine.name.clone()).or_default().push(routine);
    }
    for row in &types {
        match row.get::<Option<String>>(1)? {
            Some(default) => catalog.domain_defaults.entry(row.get(0)?).or_default().push(default),
            None => {
                catalog.nondeterministic.insert(row.get(0)?);
            }
        }
    }
    for row in &made_of {
        catalog.made_of.add(row)?;
    }
    for row in &schemas {
        catalog.empty_schemas.insert(row.get(0)?);
    }
    for row in &operators {
        catalog.operators.insert(row.get(0)?, row.get(1)?);
    }
    let elsewhere = Elsewhere::read(&evaluated, &exempt)?;
    for (schema, relations) in relations.finish(rules, &elsewhere) {
        catalog.schemas.entry(schema).or_default().extend(relations);
    }
    let Catalog { schemas, empty_schemas, row_security, .. } = &mut catalog;
    *row_security = schemas.values().flat_map(HashMap::values).any(|relation| relation.exempt.is_some());
    empty_schemas.retain(|schema| !schemas.contains_key(schema));
    Ok(catalog)
}

/// The search path of a role for which neither it nor the database has a setting of its own.
async fn default_search_path(client: &Client) -> Result<String, LoadError> {
    let rows = client.query_typed(SETTINGS, &[]).await?;
    let Some(row) = rows.first() else { return Ok(String::new()) };
    let encoding: String = row.try_get(0)?;
    if encoding != "UTF8" {
        return Err(LoadError::Encoding(encoding));
    }
    let (reset, boot): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    match row.try_get(3)? {
        // Nothing of this connection's own: what any other role gets too.
        "default" | "configuration file" | "command line" | "environment variable" => Ok(reset),
        _ if row.try_get(4)? => {
            let rows = client.query_typed(FILE_SEARCH_PATH, &[]).await?;
            Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(boot))
        }
        _ => Ok(boot),
    }
}

/// A row of `questions::FUNCTIONS`.
fn function(row: &TextRow) -> Result<Function, LoadError> {
    let volatility = match row.get(2)? {
        'i' => Volatility::Immutable,
        's' => Volatility::Stable,
        'v' => Volatility::Volatile,
        value => return Err(LoadError::Unknown { catalog: "pg_proc.provolatile", value }),
    };
    let kind = match row.get(3)? {
        'f' => FunctionKind::Plain,
        'a' => FunctionKind::Aggregate,
        'w' => FunctionKind::Window,
        'p' => FunctionKind::Procedure,
        value => return Err(LoadError::Unknown { catalog: "pg_proc.prokind", value }),
    };
    Ok(Function {
        schema: row.get(1)?,
        volatility,
        kind,
        native: row.get(4)?,
        returns_set: row.get(5)?,
        closed: row.get(6)?,
    })
}
