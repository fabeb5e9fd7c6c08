//! What calling a function may do, by name: arguments' types are not known here, so the worst of the functions of a name counts.

use pg_query::protobuf::FuncCall;

use super::Refusal;
use super::builder::Builder;
use super::ir::Stop;
use crate::catalog::{Function, FunctionKind, Volatility};
use crate::sql::names;

/// What a call may do, beyond computing a value from its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Nothing: immutable, or stable and not reading tables of the user's.
    Steady,
    /// Tells of the server or session it runs on (its address, sizes, snapshots).
    Identity,
    /// A new value at each call, and nothing else.
    Fresh,
    /// A number that no other call gives, from the shard's own sequence.
    Unique,
    /// May change something.
    Changing,
    /// `nextval` and its kin.
    Sequence,
    /// `pg_advisory_xact_lock` and its kin.
    TransactionLock,
    /// An aggregate.
    Aggregate,
    /// A window function.
    Window,
    /// No function of that name: a server raises the error.
    Missing,
}

/// Volatile functions of pg_catalog that only give a new value, or wait.
const FRESH: [&str; 12] = [
    "clock_timestamp",
    "gen_random_uuid",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "random",
    "random_normal",
    "timeofday",
    "uuidv4",
    "uuidv7",
    "pg_advisory_unlock_all",
    "pg_stat_clear_snapshot",
];

/// Functions of pg_catalog that differ between servers though the rows do not; by name or, with `*`, by beginning.
const IDENTITY: [&str; 20] = [
    "inet_*",
    "pg_backend_pid",
    "pg_blocking_pids",
    "pg_conf_load_time",
    "pg_current_*",
    "pg_database_size",
    "pg_get_*",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_last_*",
    "pg_listening_channels",
    "pg_my_temp_schema",
    "pg_postmaster_start_time",
    "pg_relation_*",
    "pg_stat_*",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "to_reg*",
    "txid_*",
];

const SEQUENCE: [&str; 5] = ["currval", "lastval", "nextval", "pg_sequence_last_value", "setval"];

/// Functions that read tables named in a text, at run time.
const READS_BY_NAME: [&str; 7] =
    ["cursor_to_xml*", "database_to_xml*", "query_to_xml*", "schema_to_xml*", "table_to_xml*", "ts_rewrite", "ts_stat"];

/// The same of extensions, in C: tablefunc, xml2, dblink.
const NATIVE_BY_NAME: [&str; 4] = ["connectby*", "crosstab*", "dblink*", "xpath_table"];

const SESSION_LOCKS: [&str; 6] = [
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
];

const LARGE_OBJECTS: [&str; 3] = ["lo_*", "loread", "lowrite"];

/// Aggregates whose result does not depend on the order of the rows, for any type.
const ORDERLESS: [&str; 14] = [
    "any_value",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "max",
    "min",
    "regr_count",
    "avg",
    "sum",
    "grouping",
];

/// Functions of extensions, in C, that look at one server's files of a table: pgrowlocks, pgstattuple, amcheck, pageinspect, pg_visibility,
/// pg_freespacemap, pg_surgery.
const OF_FILES: [&str; 11] = [
    "bt_*",
    "get_raw_page",
    "heap_force_*",
    "pg_check_*",
    "pg_freespace",
    "pg_relpages",
    "pg_truncate_visibility_map",
    "pg_visibility*",
    "pgrowlocks",
    "pgstat*",
    "verify_heapam",
];

/// Settings that tell servers apart; those of an application's own and those of a session are the same on all.
const OWN_SETTINGS: [&str; 22] = [
    "archive_*",
    "bonjour_name",
    "cluster_name",
    "config_file",
    "data_*",
    "event_source",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "in_hot_standby",
    "listen_addresses",
    "log_directory",
    "log_filename",
    "port",
    "primary_*",
    "promote_trigger_file",
    "recovery_*",
    "restore_command",
    "stats_temp_directory",
    "synchronous_standby_names",
    "syslog_ident",
    "unix_socket_*",
];

/// Whether `current_setting` is asked for what is a server's own, or for what is not known before it runs.
pub fn asks_own_setting(call: &FuncCall) -> bool {
    let name = call.args.first().and_then(|node| node.node.as_ref());
    name.and_then(names::string_constant).is_none_or(|name| {
        let name = name.to_ascii_lowercase();
        listed(&OWN_SETTINGS, &name) || name.starts_with("ssl_") && name.ends_with("_file")
    })
}

fn listed(list: &[&str], name: &str) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => *entry == name,
    })
}

/// Whether an aggregate gives the same for the same rows in any order; sums and averages only of exact numbers.
pub fn orderless(name: &str, exact: bool) -> bool {
    listed(&ORDERLESS, name) && (exact || !matches!(name, "avg" | "sum"))
}

impl Builder<'_> {
    /// What calling the function of this name may do, and whether it returns a set.
    pub fn call(&self, schema: Option<&str>, name: &str) -> Result<(Call, bool), Stop> {
        if schema.is_none_or(|schema| schema == "pg_catalog") {
            refused_by_name(name)?;
        }
        let candidates = self.context.catalog.functions.get(name).map_or(&[][..], Vec::as_slice);
        let mut worst = None;
        let mut set = false;
        for function in candidates.iter().filter(|function| self.visible(schema, function)) {
            let call = classify(function, name)?;
            set |= function.returns_set;
            worst = Some(worst.map_or(call, |worst| worse(worst, call)));
        }
        Ok((worst.unwrap_or(Call::Missing), set))
    }

    pub fn visible(&self, schema: Option<&str>, function: &Function) -> bool {
        match schema {
            Some(schema) => function.schema == schema,
            None => function.schema == "pg_catalog" || self.path().contains(&function.schema),
        }
    }
}

fn refused_by_name(name: &str) -> Result<(), Refusal> {
    if name == "set_config" {
        return Err(Refusal::unsupported("set_config in an expression is not supported")
            .hint("Use SET, or SELECT set_config(...) alone with constants."));
    }
    if listed(&READS_BY_NAME, name) {
        return Err(reads_by_name(name));
    }
    if listed(&SESSION_LOCKS, name) {
        return Err(Refusal::unsupported(
            "session-level advisory locks are not supported: servers are lent for a transaction",
        )
        .hint("Use pg_advisory_xact_lock."));
    }
    if listed(&LARGE_OBJECTS, name) {
        return Err(Refusal::unsupported("large objects are not supported").hint("Use a column of type bytea."));
    }
    match name {
        "currval" | "lastval" => Err(unremembered()),
        "setseed" => {
            Err(session_state(name, "Compute with a hash of what the rows have, or let the application dice."))
        }
        "pg_notify" => Err(notifications()),
        "pg_backup_start"
        | "pg_backup_stop"
        | "pg_replication_origin_session_setup"
        | "pg_replication_origin_session_reset" => Err(session_state(name, "Connect to the shards directly.")),
        "pg_export_snapshot" => {
            Err(Refusal::unsupported("exported snapshots are not supported: a snapshot is one shard's")
                .hint("Dump with one job: pg_dump without -j is of one moment on all shards."))
        }
        "pg_logical_emit_message" => {
            Err(Refusal::unsupported("logical messages are not supported: they are one shard's"))
        }
        "pg_prepared_statement" | "pg_cursor" => Err(own_statements()),
        _ => Ok(()),
    }
}

/// A function that changes what its server remembers, in no way that the gateway can take along.
fn session_state(name: &str, hint: &str) -> Refusal {
    Refusal::unsupported(format!(
        "function {name} is not supported: it sets what a server keeps, and servers are lent for a transaction"
    ))
    .hint(hint)
}

fn reads_by_name(name: &str) -> Refusal {
    Refusal::unsupported(format!("function {name} reads tables that the statement does not name"))
        .hint("Write the query itself.")
}

/// `currval`, `lastval`, where they cannot be answered.
pub fn unremembered() -> Refusal {
    Refusal::unsupported("currval and lastval are not supported here: only a server that has drawn for the session knows its numbers")
        .hint("SELECT currval('sequence') or lastval() in the transaction that has drawn, INSERT ... RETURNING, or what nextval returned.")
}

/// LISTEN, NOTIFY, `pg_notify`.
pub fn notifications() -> Refusal {
    Refusal::unsupported("LISTEN and NOTIFY are not supported yet")
        .hint("Connect to a shard directly for notifications.")
}

/// `pg_prepared_statements`, `pg_cursors`.
pub fn own_statements() -> Refusal {
    Refusal::unsupported(
        "pg_cursors, and pg_prepared_statements elsewhere than in FROM of a query sent alone, are not supported",
    )
    .hint("They belong to servers that are lent for a transaction; SELECT ... FROM pg_prepared_statements.")
}

fn classify(function: &Function, name: &str) -> Result<Call, Refusal> {
    match function.kind {
        FunctionKind::Aggregate => return Ok(Call::Aggregate),
        FunctionKind::Window => return Ok(Call::Window),
        FunctionKind::Plain | FunctionKind::Procedure => {}
    }
    if function.schema == "pg_catalog" {
        return Ok(builtin(function, name));
    }
    if function.schema == "pgbraid" && name == "unique_id" {
        return Ok(Call::Unique);
    }
    match function.volatility {
        _ if function.native && listed(&NATIVE_BY_NAME, name) => Err(reads_by_name(name)),
        _ if function.native && listed(&OF_FILES, name) => Err(Refusal::unsupported(format!(
            "function {name} looks at the files of a table, which every shard has of its own"
        ))
        .hint("Connect to the shards directly.")),
        _ if function.native && name == "set_limit" => {
            Err(session_state(name, "SET pg_trgm.similarity_threshold TO ..."))
        }
        Volatility::Immutable => Ok(Call::Steady),
        Volatility::Stable if function.native => Ok(Call::Steady),
        Volatility::Volatile if function.native => Ok(Call::Changing),
        Volatility::Stable if function.closed => Ok(Call::Steady),
        Volatility::Volatile if function.closed => Ok(Call::Fresh),
        Volatility::Stable | Volatility::Volatile => {
            Err(Refusal::unsupported(format!("function {name} may read or write tables, which is not supported yet"))
                .hint(format!("Declare {name} IMMUTABLE if it reads and writes none.")))
        }
    }
}

fn builtin(function: &Function, name: &str) -> Call {
    if listed(&SEQUENCE, name) {
        return Call::Sequence;
    }
    if name.starts_with("pg_advisory_xact_lock") || name.starts_with("pg_try_advisory_xact_lock") {
        return Call::TransactionLock;
    }
    // These assign a transaction id, or reset statistics.
    if matches!(name, "pg_current_xact_id" | "txid_current") || name.contains("_reset") {
        return Call::Changing;
    }
    if listed(&IDENTITY, name) && function.volatility != Volatility::Immutable {
        return Call::Identity;
    }
    match function.volatility {
        Volatility::Immutable | Volatility::Stable => Call::Steady,
        Volatility::Volatile if listed(&FRESH, name) => Call::Fresh,
        Volatility::Volatile => Call::Changing,
    }
}

fn worse(one: Call, other: Call) -> Call {
    if rank(other) > rank(one) { other } else { one }
}

fn rank(call: Call) -> u8 {
    match call {
        Call::Missing => 0,
        Call::Steady => 1,
        Call::Identity => 2,
        Call::Fresh => 3,
        Call::Unique => 4,
        Call::Changing => 5,
        Call::TransactionLock => 6,
        Call::Sequence => 7,
        Call::Window => 8,
        Call::Aggregate => 9,
    }
}
