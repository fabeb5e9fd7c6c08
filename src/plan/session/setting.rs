//! SET, RESET, SHOW, `set_config`.

use pg_query::protobuf::{AExprKind, Node as Wrapped, SelectStmt, SetOperation, VariableSetKind, VariableSetStmt};

use super::utility;
use crate::plan::ir::Stop;
use crate::plan::{Plan, Refusal, SettingName, SettingVerb, TransactionVerb};
use crate::sql::{Node, names};

/// Plans SET and RESET.
pub fn plan(set: &VariableSetStmt) -> Result<Plan, Stop> {
    let name = set.name.to_ascii_lowercase();
    let verb = match set.kind() {
        VariableSetKind::VarResetAll => SettingVerb::ResetAll,
        VariableSetKind::VarReset => SettingVerb::Reset { name },
        VariableSetKind::VarSetMulti => {
            return match name.as_str() {
                "transaction" => {
                    Ok(Plan::Transaction(TransactionVerb::Modes { read_only: utility::read_only(&set.args) }))
                }
                "session characteristics" => {
                    Ok(Plan::Setting(SettingVerb::Characteristics(characteristics(&set.args))))
                }
                _ => {
                    Err(Refusal::unsupported("SET TRANSACTION SNAPSHOT is not supported: a snapshot is one shard's")
                        .into())
                }
            };
        }
        VariableSetKind::VarSetDefault => {
            SettingVerb::Set { name, local: set.is_local, to_default: true, search_path: None }
        }
        // SET ... FROM CURRENT is for functions only; the server says so.
        VariableSetKind::VarSetCurrent => return Err(Stop::Fails),
        VariableSetKind::VarSetValue | VariableSetKind::Undefined => {
            let values = schemas(&set.args);
            check_value(&name, values.first().map(String::as_str))?;
            let search_path = matches!(name.as_str(), "search_path" | "role").then_some(values);
            SettingVerb::Set { name, local: set.is_local, to_default: false, search_path }
        }
    };
    Ok(Plan::Setting(verb))
}

/// Settings that change what a text means to the planner, and the only value with which it reads it right.
///
/// Not among them: `backslash_quote` only refuses texts; `DateStyle`, `IntervalStyle`, `lc_*` concern types that are no keys;
/// `quote_all_identifiers` concerns what servers print; `session_replication_role` and `row_security` switch off what the planner
/// takes to be on; `xmloption`, `bytea_output`, `extra_float_digits` concern values that are passed on;
/// `plpgsql.*` the inside of functions. `search_path`, `role`, `client_encoding` and `standard_conforming_strings` are followed.
/// *Source*: manual of PostgreSQL 15, chapter 20.
const ONLY_VALUES: [(&str, bool, &str); 2] = [
    ("transform_null_equals", false, "Write IS NULL where NULL is meant."),
    ("array_nulls", true, "Write the text \"NULL\" in double quotes where it is meant."),
];

/// Whether a setting may have a value; `None` when that is computed.
///
/// # Errors
/// It would make the gateway's reading of statements wrong.
pub fn check_value(name: &str, value: Option<&str>) -> Result<(), Refusal> {
    if name == "session_authorization" && value != Some("default") {
        return Err(Refusal::unsupported(
            "SET SESSION AUTHORIZATION is not supported: servers are shared by the sessions of a user",
        )
        .hint("Use SET ROLE, or connect as that user."));
    }
    // Servers take anything for settings that are not theirs.
    let invalid = match name {
        "pgbraid.snapshot_reads" if value.and_then(boolean).is_none() => Some("on, off"),
        "pgbraid.serializable" if !matches!(value, Some("refuse" | "per_shard")) => Some("refuse, per_shard"),
        _ => None,
    };
    if let Some(values) = invalid {
        let reason = format!("invalid value for parameter \"{name}\"");
        return Err(Refusal {
            sqlstate: "22023",
            reason,
            hint: Some(format!("Available values: {values}.")),
            column: None,
        });
    }
    match ONLY_VALUES.iter().find(|(known, _, _)| *known == name) {
        // What is no boolean, a server refuses.
        Some((_, only, hint)) if value.is_none_or(|value| boolean(value) == Some(!only)) => {
            let only = if *only { "on" } else { "off" };
            Err(Refusal::unsupported(format!("{name} other than {only} is not supported")).hint(*hint))
        }
        Some(_) | None => Ok(()),
    }
}

/// *Source*: bool.c, parse_bool_with_len: any beginning of a word, in any case.
pub fn boolean(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    match value.as_str() {
        "1" => Some(true),
        "0" => Some(false),
        _ if begins("true", 1) || begins("yes", 1) || begins("on", 2) => Some(true),
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => Some(false),
        _ => None,
    }
}

/// The settings that SET SESSION CHARACTERISTICS makes of modes. *Source*: guc.c, ExecSetVariableStmt.
fn characteristics(modes: &[Wrapped]) -> Vec<(String, String)> {
    let setting = |mode: &Wrapped| match &mode.node {
        Some(Node::DefElem(mode)) => {
            let name = format!("default_{}", mode.defname);
            let value = match names::option_flag(mode) {
                _ if mode.defname == "transaction_isolation" => names::option_text(mode)?,
                flag => if flag? { "on" } else { "off" }.to_owned(),
            };
            Some((name, value))
        }
        _ => None,
    };
    modes.iter().filter_map(setting).collect()
}

fn schemas(values: &[Wrapped]) -> Vec<String> {
    values.iter().filter_map(|node| names::value_text(node.node.as_ref()?)).collect()
}

/// What a SELECT without FROM sets whose columns are calls of `set_config` and `current_setting`, constants and parameters; `None` for
/// any other statement.
pub fn query(select: &SelectStmt) -> Option<Vec<SettingName>> {
    if !select.from_clause.is_empty() {
        return if_known(select).map(|setting| vec![setting]);
    }
    let alone = SelectStmt { limit_option: 0, op: 0, ..SelectStmt::default() };
    let rest = SelectStmt { target_list: Vec::new(), limit_option: 0, op: 0, ..select.clone() };
    if rest != alone || select.op() != SetOperation::SetopNone {
        return None;
    }
    let mut settings: Vec<SettingName> = Vec::new();
    for target in &select.target_list {
        let Some(Node::ResTarget(target)) = &target.node else { return None };
        let set = match names::inner(&target.val)? {
            Node::FuncCall(call) => call_of(call)?,
            Node::AConst(_) | Node::ParamRef(_) => None,
            _ => return None,
        };
        // One for the session behind which one for the transaction stands: the server says the latter alone.
        if set.iter().any(|set| settings.iter().any(|before| before.name == set.name && before.local != set.local)) {
            return None;
        }
        settings.extend(set);
    }
    (!settings.is_empty()).then_some(settings)
}

/// `SELECT set_config(name, 'value', false) FROM pg_settings WHERE name = 'known'`, as pg_dump asks it: a setting that not all versions have.
/// pgAdmin gives the name twice, and reads `pg_show_all_settings()` in its place.
fn if_known(select: &SelectStmt) -> Option<SettingName> {
    let ([from], [target]) = (select.from_clause.as_slice(), select.target_list.as_slice()) else { return None };
    let Some(Node::ResTarget(target)) = &target.node else { return None };
    let (Node::AExpr(condition), Node::FuncCall(call)) =
        (names::inner(&select.where_clause)?, names::inner(&target.val)?)
    else {
        return None;
    };
    let ((None | Some("pg_catalog"), "set_config"), [of, value, local]) =
        (names::qualified(&call.funcname)?, call.args.as_slice())
    else {
        return None;
    };
    let is_name = |node: &Node| matches!(node, Node::ColumnRef(column) if names::strings(&column.fields).as_deref() == Some(&["name"]));
    // Not IS DISTINCT FROM, ANY and the like, which have the same name.
    let equal = condition.kind() == AExprKind::AexprOp
        && matches!(names::strings(&condition.name).as_deref(), Some(["="] | ["pg_catalog", "="]));
    if !are_settings(from.node.as_ref()?) || !is_plain(value) || !equal {
        return None;
    }
    let alone = SelectStmt { limit_option: 0, op: 0, ..SelectStmt::default() };
    let rest = SelectStmt {
        target_list: Vec::new(),
        from_clause: Vec::new(),
        where_clause: None,
        limit_option: 0,
        op: 0,
        ..select.clone()
    };
    let name = names::string_constant(names::inner(&condition.rexpr)?)?;
    let of = of.node.as_ref()?;
    let same = is_name(of) || names::string_constant(of) == Some(name);
    let plain = rest == alone && select.op() == SetOperation::SetopNone && is_name(names::inner(&condition.lexpr)?);
    (plain && same).then_some(SettingName {
        name: name.to_ascii_lowercase(),
        value: None,
        local: boolean(&names::value_text(local.node.as_ref()?)?)?,
    })
}

/// Whether a FROM item has a row for each setting: `pg_settings`, or the function behind it.
fn are_settings(item: &Node) -> bool {
    match item {
        Node::RangeVar(view) => {
            view.relname == "pg_settings"
                && matches!(view.schemaname.as_str(), "" | "pg_catalog")
                && view.alias.is_none()
        }
        Node::RangeFunction(range) => {
            let [only] = range.functions.as_slice() else { return false };
            let Some(Node::List(pair)) = &only.node else { return false };
            let Some(Node::FuncCall(call)) = pair.items.first().and_then(|node| node.node.as_ref()) else {
                return false;
            };
            range.alias.is_none()
                && !range.ordinality
                && range.coldeflist.is_empty()
                && call.args.is_empty()
                && matches!(names::qualified(&call.funcname), Some((None | Some("pg_catalog"), "pg_show_all_settings")))
        }
        _ => false,
    }
}

/// What a call of `set_config` (one) or `current_setting` (none) sets; `None` for another function.
fn call_of(call: &pg_query::protobuf::FuncCall) -> Option<Option<SettingName>> {
    match (names::qualified(&call.funcname)?, call.args.as_slice()) {
        ((None | Some("pg_catalog"), "set_config"), [name, value, local]) if is_plain(value) => {
            let name = names::string_constant(name.node.as_ref()?)?.to_ascii_lowercase();
            let local = boolean(&names::value_text(local.node.as_ref()?)?)?;
            let value = match &value.node {
                // A part of DateStyle leaves the rest of it.
                Some(constant @ Node::AConst(_)) if name != "datestyle" => names::value_text(constant),
                _ => None,
            };
            Some(Some(SettingName { name, value, local }))
        }
        ((None | Some("pg_catalog"), "current_setting"), arguments) if arguments.iter().all(is_plain) => Some(None),
        _ => None,
    }
}

/// A constant or parameter, cast or not.
fn is_plain(node: &Wrapped) -> bool {
    match &node.node {
        Some(Node::AConst(_) | Node::ParamRef(_)) => true,
        Some(Node::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_plain),
        _ => false,
    }
}
