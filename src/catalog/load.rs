//! Reads a [`Catalog`] from a shard: a few queries in one message, under one snapshot.
//!
//! Called by `watch`, and by a session whose block ran DDL, of which only its own servers know ([`block_questions`]). What decides where rows live is in `rules`; here is what only a database can tell: partitions
//! follow their root, keys of a nondeterministic collation cannot be hashed, triggers and rules may rewrite rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use thiserror::Error;
use tokio_postgres::Client;

use crate::catalog::elsewhere::Elsewhere;
use crate::catalog::questions::{
    BEGIN, FILE_SEARCH_PATH, FIRST_NORMAL_OID, QUESTIONS, ROLE_SETTINGS, SAVEPOINT, SETTINGS,
};
use crate::catalog::routines::routine;
use crate::catalog::rows::{TextRow, answers};
use crate::catalog::{
    Catalog, CatalogVersion, Column, ColumnDefault, Function, FunctionKind, MadeOf, Oid, Relation, RelationKind, Rules,
    Stamps, Volatility,
};

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
        relations.parents.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    for row in &cascades {
        relations.cascades.push((row.get(0)?, row.get(1)?));
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

/// Relations half read, by `pg_class.oid`.
#[derive(Default)]
struct Relations {
    relations: HashMap<Oid, Raw>,
    /// `pg_inherits`: partitions and legacy inheritance alike.
    parents: HashMap<Oid, Vec<Oid>>,
    /// Rows of `questions::CASCADES`.
    cascades: Vec<(Oid, Oid)>,
}

/// A relation as the catalogs have it.
struct Raw {
    schema: String,
    name: String,
    relkind: char,
    definition: Option<String>,
    /// Of a view with its owner's rights.
    owner: Option<String>,
    rewrites_rows: bool,
    /// Of its triggers that touch nothing but the row: their bodies; of those in C, how they are called; of those built in, nothing.
    stamps: Vec<String>,
    /// Not all of these are built into PostgreSQL.
    stamps_freely: bool,
    columns: Vec<Column>,
    primary_key: Vec<String>,
    /// Names of columns in whose collation different texts can be equal.
    nondeterministic: Vec<String>,
}

impl Raw {
    /// The definition of a materialized view that the gateway refreshes: it reads what that has gathered.
    fn materialized(&self) -> Option<&str> {
        self.definition.as_deref().filter(|text| self.relkind == 'm' && text.contains("pgbraid.refreshed()"))
    }

    /// What its own triggers make of it.
    fn stamps(&self) -> Stamps {
        match (self.stamps.is_empty(), self.stamps_freely) {
            (true, _) => Stamps::None,
            (false, false) => Stamps::Alike,
            (false, true) => Stamps::Freely,
        }
    }

    /// A trigger names the column that says where the row lives; it may change it.
    fn may_stamp_key(&self, kind: Option<&RelationKind>) -> bool {
        let Some(RelationKind::Sharded { key, .. }) = kind else { return false };
        let name = self.columns.get(*key).map(|column| column.name.to_lowercase()).unwrap_or_default();
        let plain = !name.is_empty() && name.chars().all(is_word);
        let names = |body: &String| body.split(|c| !is_word(c)).any(|word| word == name);
        self.stamps.iter().any(|body| !body.is_empty() && (!plain || names(body)))
    }
}

/// A character of an identifier without quotes. *Source*: manual of PostgreSQL 15, 4.1.1.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

impl Relations {
    /// A row of `questions::RELATIONS`.
    fn add(&mut self, row: &TextRow) -> Result<(), LoadError> {
        let raw = Raw {
            schema: row.get(1)?,
            name: row.get(2)?,
            relkind: row.get(3)?,
            definition: row.get(4)?,
            rewrites_rows: row.get(5)?,
            columns: Vec::new(),
            primary_key: row.get(6)?,
            stamps: row.get(7)?,
            owner: row.get(8)?,
            stamps_freely: row.get(9)?,
            nondeterministic: Vec::new(),
        };
        self.relations.insert(row.get(0)?, raw);
        Ok(())
    }

    /// A row of `questions::COLUMNS`.
    fn add_column(&mut self, row: &TextRow) -> Result<(), LoadError> {
        let Some(raw) = self.relations.get_mut(&row.get::<Oid>(0)?) else { return Ok(()) };
        let generated: bool = row.get(4)?;
        let from_sequence: bool = row.get(5)?;
        let expression: Option<String> = row.get(6)?;
        let default = match expression {
            _ if generated => ColumnDefault::None,
            _ if from_sequence => ColumnDefault::Sequence,
            Some(expression) => ColumnDefault::Expression(expression),
            None => ColumnDefault::None,
        };
        let name: String = row.get(1)?;
        if !row.get::<bool>(7)? {
            raw.nondeterministic.push(name.clone());
        }
        let (type_oid, typmod) = (row.get(2)?, row.get(3)?);
        let type_name: Option<String> = row.get(8)?;
        let (draws, always, collation, bytewise) = (row.get(9)?, row.get(10)?, row.get(11)?, row.get(12)?);
        let identity = row.get(13)?;
        let type_name = type_name.unwrap_or_default();
        raw.columns.push(Column {
            name,
            type_oid,
            typmod,
            default,
            generated,
            type_name,
            draws,
            always,
            identity,
            collation,
            bytewise,
        });
        Ok(())
    }

    /// By schema and name, each with its kind.
    fn finish(self, rules: &Rules, elsewhere: &Elsewhere) -> HashMap<String, HashMap<String, Arc<Relation>>> {
        let cascading = self.cascading();
        let kinds: HashMap<Oid, RelationKind> =
            self.relations.iter().map(|(oid, raw)| (*oid, self.kind(*oid, raw, rules))).collect();
        let rewriting = self.rewriting(elsewhere, &kinds);
        let stamping = self.stamping(&kinds);
        let heirs = self.heirs();
        let families = self.families();
        let mut schemas: HashMap<String, HashMap<String, Arc<Relation>>> = HashMap::new();
        for (oid, raw) in self.relations {
            let materialized = raw.materialized().map(str::to_owned);
            let Raw { schema, name, columns, primary_key, .. } = raw;
            let kind = kinds.get(&oid).cloned().unwrap_or(RelationKind::Home);
            let rewrites_rows = rewriting.contains(&oid);
            let guarded = elsewhere.guarded(oid, &kinds);
            let relation = Relation {
                schema: schema.clone(),
                name: name.clone(),
                kind,
                columns,
                primary_key,
                cascades: cascading.contains(&oid),
                rewrites_rows,
                stamps: stamping.get(&oid).copied().unwrap_or(Stamps::None),
                has_heirs: heirs.contains(&oid),
                is_child: self.parents.contains_key(&oid),
                family: families.get(&oid).copied(),
                exempt: elsewhere.exempt(oid),
                guarded,
                materialized,
            };
            schemas.entry(schema).or_default().insert(name, Arc::new(relation));
        }
        schemas
    }

    /// Relations whose rows, or those of their partitions and children, foreign keys with actions refer to.
    fn cascading(&self) -> HashSet<Oid> {
        let referenced = self.cascades.iter().map(|(referenced, _)| *referenced);
        referenced.flat_map(|oid| self.ancestors(oid).into_iter().chain([oid])).collect()
    }

    /// Relations a write to which may meet triggers or rules.
    fn rewriting(&self, elsewhere: &Elsewhere, kinds: &HashMap<Oid, RelationKind>) -> HashSet<Oid> {
        let mut rewriting = HashSet::new();
        let rewrites = |(oid, raw): &(&Oid, &Raw)| {
            raw.rewrites_rows || elsewhere.is_written(**oid) || raw.may_stamp_key(kinds.get(*oid))
        };
        let mut next: Vec<Oid> = self.relations.iter().filter(rewrites).map(|(oid, _)| *oid).collect();
        while let Some(oid) = next.pop() {
            if rewriting.insert(oid) {
                // A row inserted into the root meets the triggers of the partition it ends up in.
                next.extend(self.ancestors(oid));
                let cascading = self.cascades.iter().filter(|(_, referencing)| *referencing == oid);
                next.extend(cascading.map(|(referenced, _)| *referenced));
            }
        }
        rewriting
    }

    /// Relations a write to which may meet triggers that touch nothing but the row.
    fn stamping(&self, kinds: &HashMap<Oid, RelationKind>) -> HashMap<Oid, Stamps> {
        let mut stamping: HashMap<Oid, Stamps> = HashMap::new();
        let is_reference = |oid: &Oid| kinds.get(oid) == Some(&RelationKind::Reference);
        let mut next: Vec<(Oid, Stamps)> = self.relations.iter().map(|(oid, raw)| (*oid, raw.stamps())).collect();
        while let Some((oid, stamps)) = next.pop() {
            let known = stamping.entry(oid).or_insert(Stamps::None);
            if stamps > *known {
                *known = stamps;
                next.extend(self.ancestors(oid).into_iter().map(|ancestor| (ancestor, stamps)));
                // Rows of a reference table that an action changes are changed on every shard.
                let cascading =
                    self.cascades.iter().filter(|(_, referencing)| *referencing == oid && is_reference(&oid));
                next.extend(cascading.map(|(referenced, _)| (*referenced, stamps)));
            }
        }
        stamping
    }

    /// Relations from which others inherit; not the partitioned ones.
    fn heirs(&self) -> HashSet<Oid> {
        let partitioned = |oid: &Oid| self.relations.get(oid).is_some_and(|raw| raw.relkind == 'p');
        self.parents.values().flatten().filter(|oid| !partitioned(oid)).copied().collect()
    }

    /// Of relations that inherit from one another, partitions too: the least number among all to which this leads.
    fn families(&self) -> HashMap<Oid, Oid> {
        let mut near: HashMap<Oid, Vec<Oid>> = HashMap::new();
        for (child, parents) in &self.parents {
            for parent in parents {
                near.entry(*child).or_default().push(*parent);
                near.entry(*parent).or_default().push(*child);
            }
        }
        let mut families = HashMap::new();
        let mut firsts: Vec<Oid> = near.keys().copied().collect();
        firsts.sort_unstable();
        for first in firsts {
            let mut next = if families.contains_key(&first) { Vec::new() } else { vec![first] };
            while let Some(oid) = next.pop() {
                if families.insert(oid, first).is_none() {
                    next.extend(near.get(&oid).into_iter().flatten());
                }
            }
        }
        families
    }

    /// Where a relation's rows live.
    fn kind(&self, oid: Oid, raw: &Raw, rules: &Rules) -> RelationKind {
        if is_system(&raw.schema) {
            return RelationKind::System;
        }
        let ruled = rules.rule(&raw.schema, &raw.name).is_some();
        match raw.relkind {
            'v' => view(raw.definition.as_deref().unwrap_or_default(), raw.owner.clone()),
            'S' => RelationKind::Sequence,
            // The data of one foreign server, not of a shard: one shard's way to it suffices.
            'f' if !ruled && !self.parents.contains_key(&oid) => RelationKind::Home,
            'm' if raw.materialized().is_some() => RelationKind::Home,
            'm' if !ruled => RelationKind::Unusable {
                reason: format!(
                    "materialized view \"{}\" holds on each shard what that shard's own rows gave; if that is the home \
                     shard's rows only, say so in the configuration: [tables.{}] kind = \"home\"",
                    raw.name, raw.name
                ),
            },
            _ => self.table(oid, raw, rules),
        }
    }

    /// As [`Rules::kind`], but partitions and other children live where their root does.
    fn table(&self, oid: Oid, raw: &Raw, rules: &Rules) -> RelationKind {
        let ancestors = self.ancestors(oid);
        let roots = ancestors.iter().filter(|ancestor| !self.parents.contains_key(ancestor));
        let mut kinds: Vec<RelationKind> = roots
            .filter_map(|root| Some((*root, self.relations.get(root)?)))
            .map(|(oid, root)| match self.kind(oid, root, rules) {
                // By the same column, which may be another in number.
                RelationKind::Sharded { .. } | RelationKind::System => {
                    rules.kind(&root.schema, &root.name, &raw.columns)
                }
                kind => kind,
            })
            .collect();
        kinds.dedup();
        let kind = match kinds.as_slice() {
            [] => rules.kind(&raw.schema, &raw.name, &raw.columns),
            [kind] => kind.clone(),
            [..] => RelationKind::Unusable {
                reason: format!("table \"{}\" inherits from tables whose rows live in different places", raw.name),
            },
        };
        match &kind {
            RelationKind::Sharded { key, .. } => match raw.columns.get(*key) {
                Some(column) if raw.nondeterministic.contains(&column.name) => RelationKind::Unusable {
                    reason: format!(
                        "key column \"{}\" has a nondeterministic collation, in which texts of different hashes are equal",
                        column.name
                    ),
                },
                _ => kind,
            },
            _ => kind,
        }
    }

    /// All relations this one is a partition or child of, at any distance.
    fn ancestors(&self, oid: Oid) -> Vec<Oid> {
        let mut ancestors = Vec::new();
        let mut next = vec![oid];
        while let Some(oid) = next.pop() {
            for parent in self.parents.get(&oid).into_iter().flatten() {
                if !ancestors.contains(parent) {
                    ancestors.push(*parent);
                    next.push(*parent);
                }
            }
        }
        ancestors
    }
}

/// Schemas of what comes with PostgreSQL and has numbers under [`FIRST_NORMAL_OID`].
const BUILT_IN: [&str; 2] = ["pg_catalog", "information_schema"];

/// Schemas about which each shard answers for itself; `pgbraid` is the gateway's own.
fn is_system(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema" | "pgbraid")
}

/// A view, its definition without the semicolon that `pg_get_viewdef` ends it with.
fn view(definition: &str, owner: Option<String>) -> RelationKind {
    RelationKind::View { definition: definition.trim().trim_end_matches(';').to_owned(), owner }
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
