//! Reads a [`Catalog`] from a shard: a few queries in one message, under one snapshot.
//!
//! Called by `watch`, and by a session whose block ran DDL, of which only its own servers know ([`block_questions`]). What decides where rows live is in `rules`; here is what only a database can tell: partitions
//! follow their root, keys of a nondeterministic collation cannot be hashed, triggers and rules may rewrite rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use thiserror::Error;
use tokio_postgres::Client;

use crate::catalog::bodies::closed;
use crate::catalog::elsewhere::{EVALUATED, EXEMPT, Elsewhere, reads_tables};
use crate::catalog::rows::{TextRow, answers};
use crate::catalog::{
    Catalog, CatalogVersion, Column, ColumnDefault, Function, FunctionKind, Oid, Relation, RelationKind, Rules,
    Volatility,
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

/// Before the transaction changes it: the default search path, and where it comes from.
const SETTINGS: &str = "
    SELECT pg_catalog.current_setting('server_encoding'), s.reset_val, s.boot_val, s.source,
        pg_catalog.has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')
        AND pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE')
    FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'";

/// The configuration files' search path, needed where the control user's own hides it.
const FILE_SEARCH_PATH: &str = "
    SELECT f.setting FROM pg_catalog.pg_file_settings f
    WHERE f.name = 'search_path' AND f.error IS NULL ORDER BY f.seqno DESC LIMIT 1";

/// An empty search path makes `pg_get_viewdef` and `pg_get_expr` qualify every name. `pg_get_viewdef` locks the tables of a
/// view, so that another's unfinished ALTER TABLE would hold it up for ever. *Source*: PostgreSQL 15, `ruleutils.c`,
/// `get_query_def`.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL lock_timeout = '2s'";

/// Settings of roles and of the database, the weakest first. *Source*: manual of PostgreSQL 15, ALTER ROLE, "Notes".
const ROLE_SETTINGS: &str = "
    SELECT coalesce(r.rolname, '')::text, pg_catalog.substr(c.setting, pg_catalog.length('search_path=') + 1)
    FROM pg_catalog.pg_db_role_setting s
    CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) c(setting)
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
    WHERE c.setting LIKE 'search\\_path=%' AND (s.setrole = 0 OR r.oid IS NOT NULL)
        AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
    ORDER BY s.setrole <> 0, s.setdatabase <> 0";

const SCHEMAS: &str = "
    SELECT n.nspname::text FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast|temp_|toast_temp_)'";

/// A trigger may do anything on the shard where it runs, unless its function is known to touch nothing but the row: those built in
/// (`tsvector_update_trigger`, `suppress_redundant_updates_trigger`), and of contrib's `spi` those that stamp a column. The others
/// there draw numbers (`autoinc`) or read tables (`refint`). One in PL/pgSQL is known by its words (see `bodies`), if it changes columns
/// of NEW one by one and returns NEW, OLD, or NULL where that does not suppress the row. *Source*: manual of PostgreSQL 15, 9.28, 43.10
/// and F.39; `pg_trigger.h`, `TRIGGER_TYPE_BEFORE`.
const RELATIONS: &str = concat!(
    "WITH ",
    closed!(),
    ", stamping(trigger, relation, body) AS (
        SELECT t.oid, t.tgrelid, f.body FROM pg_catalog.pg_trigger t JOIN closed f ON f.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype & 2 = 0 OR f.body !~ 'return\\s+null')
        AND f.body !~ '\\mnew\\s*:?=|\\minto\\s+(strict\\s+)?new\\M|\\mreturn\\M(?!\\s+(new|old|null)\\s*;)'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.objid = t.oid AND d.refobjid >= 16384
            AND d.refobjid <> t.tgfoid
            AND d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass))
    )
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind,
        CASE WHEN c.relkind = 'v' AND c.oid >= 16384 THEN pg_catalog.pg_get_viewdef(c.oid) END,
        EXISTS (SELECT FROM pg_catalog.pg_rewrite w
            WHERE w.ev_class = c.oid AND w.ev_type <> '1' AND w.ev_enabled <> 'D')
        OR EXISTS (SELECT FROM pg_catalog.pg_trigger t
            WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
            AND t.oid NOT IN (SELECT s.trigger FROM stamping s)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
                WHERE p.oid = t.tgfoid
                AND (l.lanname = 'internal' OR l.lanname = 'c' AND p.prosrc IN ('moddatetime', 'insert_username')))),
        pg_catalog.array_to_json(ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index i
            CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY k(attnum, position)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE i.indrelid = c.oid AND i.indisprimary AND k.position <= i.indnkeyatts ORDER BY k.position)),
        coalesce((SELECT pg_catalog.json_agg(s.body) FROM stamping s WHERE s.relation = c.oid), '[]')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)' AND c.oid >= $first"
);

/// A column's own default goes before its domain's; a default that uses a sequence depends on it, or names it at run time.
const COLUMNS: &str = "
    SELECT a.attrelid, a.attname::text, a.atttypid, a.atttypmod, a.attgenerated <> '',
        a.attidentity <> '' OR coalesce(pg_catalog.strpos(d.expression, 'nextval(') > 0, false)
            OR EXISTS (SELECT FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_class s ON s.oid = p.refobjid
                WHERE p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND p.objid = d.oid
                AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.relkind = 'S'),
        coalesce(d.expression, CASE WHEN t.typtype = 'd' THEN t.typdefault END),
        coalesce(l.collisdeterministic, true),
        pg_catalog.quote_ident(tn.nspname) || '.' || pg_catalog.quote_ident(t.typname),
        CASE WHEN a.attidentity <> '' AND pg_catalog.has_schema_privilege(cn.oid, 'USAGE')
            THEN pg_catalog.format('pg_catalog.nextval(%L)', pg_catalog.pg_get_serial_sequence(
            pg_catalog.format('%I.%I', cn.nspname, c.relname), a.attname)) ELSE coalesce(d.expression, '') END,
        a.attidentity = 'a', a.attcollation
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    LEFT JOIN LATERAL (SELECT ad.oid, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid) AS expression
        FROM pg_catalog.pg_attrdef ad WHERE ad.adrelid = a.attrelid AND ad.adnum = a.attnum AND a.atthasdef) d ON true
    JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND c.oid >= $first
    ORDER BY a.attrelid, a.attnum";

const INHERITANCE: &str = "SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i";

/// Foreign keys that change the referencing rows, whose triggers fire then: the referenced table, the referencing one.
const CASCADES: &str = "
    SELECT r.confrelid, r.conrelid FROM pg_catalog.pg_constraint r
    WHERE r.contype = 'f' AND (r.confdeltype IN ('c', 'n', 'd') OR r.confupdtype IN ('c', 'n', 'd'))";

/// Overloads that differ in nothing the gateway asks about are one.
/// A function whose body has a word that statements about tables have is not believed when it says that it is immutable.
const FUNCTIONS: &str = concat!(
    "WITH ",
    closed!(),
    " SELECT DISTINCT p.proname::text, n.nspname::text,
        CASE WHEN l.lanname NOT IN ('internal', 'c') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND ",
    reads_tables!(),
    " THEN 'v'::\"char\" ELSE p.provolatile END,
        p.prokind,
        l.lanname IN ('internal', 'c'), p.proretset, p.oid IN (SELECT f.oid FROM closed f)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE n.nspname !~ '^pg_(toast|temp_|toast_temp_)' AND p.oid >= $first"
);

/// What is asked, in this order. `$first` stands for the least number of relations and functions to be told of.
const QUESTIONS: [&str; 8] = [RELATIONS, COLUMNS, INHERITANCE, CASCADES, FUNCTIONS, SCHEMAS, EVALUATED, EXEMPT];

/// Numbers from here up are users' objects. *Source*: PostgreSQL 15, `access/transam.h`, `FirstNormalObjectId`.
const FIRST_NORMAL_OID: &str = "16384";

/// The name of the savepoint under which a block's server is asked.
const SAVEPOINT: &str = "pgbraid_catalog";

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
        empty_schemas: HashSet::new(),
        oids: base.oids.clone(),
        own_numbers: Arc::new(base.own_numbers.in_block()),
    };
    complete(built_in, answers, rules)
}

/// Adds the answers to [`QUESTIONS`] to a catalog.
fn complete(mut catalog: Catalog, answers: Vec<Vec<TextRow>>, rules: &Rules) -> Result<Catalog, LoadError> {
    let asked = QUESTIONS.len();
    let [relation_rows, columns, inheritance, cascades, functions, schemas, evaluated, exempt]: [Vec<TextRow>; 8] =
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
    for row in &schemas {
        catalog.empty_schemas.insert(row.get(0)?);
    }
    let elsewhere = Elsewhere::read(&evaluated, &exempt)?;
    for (schema, relations) in relations.finish(rules, &elsewhere) {
        catalog.schemas.entry(schema).or_default().extend(relations);
    }
    let Catalog { schemas, empty_schemas, .. } = &mut catalog;
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
    /// Rows of [`CASCADES`].
    cascades: Vec<(Oid, Oid)>,
}

/// A relation as the catalogs have it.
struct Raw {
    schema: String,
    name: String,
    relkind: char,
    definition: Option<String>,
    rewrites_rows: bool,
    /// Bodies of its triggers that touch nothing but the row.
    stamps: Vec<String>,
    columns: Vec<Column>,
    primary_key: Vec<String>,
    /// Names of columns in whose collation different texts can be equal.
    nondeterministic: Vec<String>,
}

impl Raw {
    /// A trigger names the column that says where the row lives; it may change it.
    fn may_stamp_key(&self, kind: Option<&RelationKind>) -> bool {
        let Some(RelationKind::Sharded { key, .. }) = kind else { return false };
        let name = self.columns.get(*key).map(|column| column.name.to_lowercase()).unwrap_or_default();
        let plain = !name.is_empty() && name.chars().all(is_word);
        let names = |body: &String| body.split(|c| !is_word(c)).any(|word| word == name);
        self.stamps.iter().any(|body| !plain || names(body))
    }
}

/// A character of an identifier without quotes. *Source*: manual of PostgreSQL 15, 4.1.1.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

impl Relations {
    /// A row of [`RELATIONS`].
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
            nondeterministic: Vec::new(),
        };
        self.relations.insert(row.get(0)?, raw);
        Ok(())
    }

    /// A row of [`COLUMNS`].
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
        let (draws, always, collation) = (row.get(9)?, row.get(10)?, row.get(11)?);
        let type_name = type_name.unwrap_or_default();
        raw.columns.push(Column { name, type_oid, typmod, default, generated, type_name, draws, always, collation });
        Ok(())
    }

    /// By schema and name, each with its kind.
    fn finish(self, rules: &Rules, elsewhere: &Elsewhere) -> HashMap<String, HashMap<String, Arc<Relation>>> {
        let cascading: HashSet<Oid> = self.cascades.iter().map(|(referenced, _)| *referenced).collect();
        let kinds: HashMap<Oid, RelationKind> =
            self.relations.iter().map(|(oid, raw)| (*oid, self.kind(*oid, raw, rules))).collect();
        let rewriting = self.rewriting(elsewhere, &kinds);
        let stamping = self.stamping();
        let mut schemas: HashMap<String, HashMap<String, Arc<Relation>>> = HashMap::new();
        for (oid, raw) in self.relations {
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
                stamps: stamping.contains(&oid),
                guarded,
            };
            schemas.entry(schema).or_default().insert(name, Arc::new(relation));
        }
        schemas
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
    fn stamping(&self) -> HashSet<Oid> {
        let stamping = self.relations.iter().filter(|(_, raw)| !raw.stamps.is_empty());
        stamping.flat_map(|(oid, _)| std::iter::once(*oid).chain(self.ancestors(*oid))).collect()
    }

    /// Where a relation's rows live.
    fn kind(&self, oid: Oid, raw: &Raw, rules: &Rules) -> RelationKind {
        if is_system(&raw.schema) {
            return RelationKind::System;
        }
        let ruled = rules.rule(&raw.schema, &raw.name).is_some();
        match raw.relkind {
            'v' => view(raw.definition.as_deref().unwrap_or_default()),
            'S' => RelationKind::Sequence,
            // The data of one foreign server, not of a shard: one shard's way to it suffices.
            'f' if !ruled && !self.parents.contains_key(&oid) => RelationKind::Home,
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
            .filter_map(|root| self.relations.get(root))
            .map(|root| rules.kind(&root.schema, &root.name, &raw.columns))
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
fn view(definition: &str) -> RelationKind {
    RelationKind::View { definition: definition.trim().trim_end_matches(';').to_owned() }
}

/// A row of [`FUNCTIONS`].
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
