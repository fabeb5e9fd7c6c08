//! What DDL would have each shard compute for itself: values for rows that exist, where each shard would have a count or a time of its own,
//! and constants like 'today', which mean the moment when they are read.

use pg_query::protobuf::{ColumnDef, ConstrType, Constraint, PartitionBoundSpec, SqlValueFunctionOp as Op, TypeName};

use super::table::{Table, default_of};
use crate::catalog::{Column, ColumnDefault, Oid, RelationKind};
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::plan::scope::SYSTEM_COLUMNS;
use crate::plan::{Context, Refusal};
use crate::sql::{self, Node, Statement, clock, names, walk};
use crate::wire::embedded::FIRST_NORMAL_OID;

/// ADD COLUMN gives existing rows its default, or its domain's.
pub fn check_added(
    table: &Table<'_>,
    definition: &ColumnDef,
    added: &Column,
    context: &Context<'_>,
) -> Result<(), Stop> {
    let refuse = |why: &str| {
        Refusal::unsupported(format!("the default of the new column \"{}\" of \"{}\" {why}", added.name, table.name))
            .hint("Add the column without the default, fill it, then set the default.")
            .into()
    };
    if !is_on_shards(table) {
        return Ok(());
    }
    if added.default == ColumnDefault::Sequence {
        return Err(refuse(NUMBERS));
    }
    let builder = Builder::new(context);
    match default_of(definition) {
        Some(default) if column_may_be_time(added) && mentions_moment(default) => Err(refuse(TIMES)),
        Some(default) => builder.why_not(default, table)?.map_or(Ok(()), |why| Err(refuse(why))),
        None => {
            for text in domain_defaults(definition.type_name.as_ref(), context) {
                let script = sql::parse(&format!("SELECT {text}")).map_err(|_| refuse(VALUES))?;
                let node = script.statements.first().and_then(Statement::node).ok_or_else(|| refuse(VALUES))?;
                let Node::SelectStmt(select) = node else { return Err(refuse(VALUES)) };
                for node in select.target_list.iter().filter_map(|node| node.node.as_ref()) {
                    if let Some(why) = builder.why_not(node, table)? {
                        return Err(refuse(why));
                    }
                }
            }
            Ok(())
        }
    }
}

/// ALTER COLUMN ... TYPE ... USING gives existing rows a value.
pub fn check_using(table: &Table<'_>, changed: &Column, using: &Node, context: &Context<'_>) -> Result<(), Stop> {
    if !is_on_shards(table) {
        return Ok(());
    }
    let moment = column_may_be_time(changed) && mentions_moment(using);
    let why = if moment { Some(TIMES) } else { Builder::new(context).why_not(using, table)? };
    match why {
        None => Ok(()),
        Some(why) => Err(Refusal::unsupported(format!(
            "the expression for the column \"{}\" of \"{}\" {why}",
            changed.name, table.name
        ))
        .hint("Change the type with an expression of the row's own columns (of texts: to_date, to_timestamp with a format), and fill the column with UPDATE.")
        .into()),
    }
}

const NUMBERS: &str = "would number existing rows on each shard for itself";
const VALUES: &str = "may give existing rows another value on each shard";
const TIMES: &str = "would give existing rows the time of each shard";

pub fn is_on_shards(table: &Table<'_>) -> bool {
    matches!(table.kind, RelationKind::Reference | RelationKind::Sharded { .. })
}

/// The defaults of domains of this name.
fn domain_defaults<'c>(name: Option<&TypeName>, context: &Context<'c>) -> &'c [String] {
    let name = name.filter(|name| name.array_bounds.is_empty());
    let name = name.and_then(|name| names::strings(&name.names)).and_then(|parts| parts.last().copied());
    name.and_then(|name| context.catalog.domain_defaults.get(name)).map_or(&[], Vec::as_slice)
}

impl Builder<'_> {
    /// Why each shard must not compute an expression for the rows of a table for itself, if it must not. Where every row is on one shard
    /// only, each may have a value of its own (`random()`).
    fn why_not(&self, node: &Node, table: &Table<'_>) -> Result<Option<&'static str>, Stop> {
        let mut worst = Call::Steady;
        self.worst_call(node, &mut worst)?;
        let reference = table.kind == RelationKind::Reference;
        let told = match worst {
            Call::Sequence => Some(NUMBERS),
            Call::Identity => Some(VALUES),
            Call::Steady | Call::Missing => tells(node, reference),
            _ if reference => Some(VALUES),
            _ => tells(node, reference),
        };
        Ok(told.or_else(|| self.reads(node, table)))
    }

    /// The same for casts that read a moment; in a reference table for those too that may read one from a row's text, and for what has
    /// the number of an object or of a row's transaction.
    fn reads(&self, node: &Node, table: &Table<'_>) -> Option<&'static str> {
        let name = |node: &Node| match node {
            Node::ColumnRef(column) => column.fields.last().and_then(names::string).map(str::to_owned),
            _ => None,
        };
        let known = |node: &Node| table.columns.iter().find(|column| name(node).as_ref() == Some(&column.name));
        let system = name(node).is_some_and(|name| SYSTEM_COLUMNS.contains(&name.as_str()));
        let differs = || system || self.differs(node, &|node| known(node).map(|column| column.type_oid));
        let mut found = match table.kind {
            _ if self.reads_moment(node) => Some(TIMES),
            RelationKind::Reference if differs() => Some(VALUES),
            _ => None,
        };
        let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
            found = found.or_else(|| self.reads(child, table));
            Ok(())
        });
        if visited.is_err() { found.or(Some(VALUES)) } else { found }
    }
}

/// Whether an expression tells the time, or who asks where.
fn tells(node: &Node, reference: bool) -> Option<&'static str> {
    let own = match node {
        Node::SqlvalueFunction(function) => match function.op() {
            Op::SvfopCurrentRole
            | Op::SvfopCurrentUser
            | Op::SvfopUser
            | Op::SvfopSessionUser
            | Op::SvfopCurrentCatalog
            | Op::SvfopCurrentSchema => reference.then_some(VALUES),
            _ => Some(TIMES),
        },
        Node::FuncCall(call) => match (names::qualified(&call.funcname), call.args.len()) {
            (Some((_, "now" | "transaction_timestamp" | "statement_timestamp")), 0) | (Some((_, "age")), 1) => {
                Some(TIMES)
            }
            // One for the statement, of each server's own count.
            (Some((_, "txid_current" | "pg_current_xact_id" | "mxid_age")), _) => Some(VALUES),
            (Some((_, "current_setting" | "current_database" | "version" | "inet_server_addr")), _) => Some(VALUES),
            _ => None,
        },
        _ => None,
    };
    let mut found = own;
    let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
        found = found.or_else(|| tells(child, reference));
        Ok(())
    });
    if visited.is_err() { found.or(Some(VALUES)) } else { found }
}

// Constants that mean a moment.

/// Refuses a moment in a DEFAULT, CHECK or GENERATED: it is read when the constraint is made, on each shard at a time of its own.
pub fn check_moments(table: &Table<'_>, constraint: &Constraint, column: Option<&str>) -> Result<(), Stop> {
    if !matches!(
        constraint.contype(),
        ConstrType::ConstrDefault | ConstrType::ConstrCheck | ConstrType::ConstrGenerated
    ) {
        return Ok(());
    }
    names::inner(&constraint.raw_expr).map_or(Ok(()), |node| check_moment(table, node, column))
}

/// The same for SET DEFAULT and the like.
pub fn check_moment(table: &Table<'_>, node: &Node, column: Option<&str>) -> Result<(), Stop> {
    if !is_on_shards(table) {
        return Ok(());
    }
    let known = |name: &str| table.columns.iter().find(|column| column.name == name);
    let timely = column.is_some_and(|name| known(name).is_none_or(column_may_be_time));
    if has_moment(node, timely || names_time(node, &known)) { Err(frozen()) } else { Ok(()) }
}

/// The same for constraints of domains, whose values may be in any table.
pub fn check_domain<'c>(type_name: Option<&TypeName>, constraints: impl Iterator<Item = &'c Node>) -> Result<(), Stop> {
    let timely = type_name.is_none_or(|name| may_be_time(Some(name)));
    for node in constraints {
        let expression = match node {
            Node::Constraint(constraint) => names::inner(&constraint.raw_expr),
            node => Some(node),
        };
        if expression.is_some_and(|node| has_moment(node, timely)) {
            return Err(frozen());
        }
    }
    Ok(())
}

/// Bounds of a partition are computed when it is made.
pub fn check_bound(table: &Table<'_>, bound: Option<&PartitionBoundSpec>) -> Result<(), Stop> {
    let Some(bound) = bound.filter(|_| is_on_shards(table)) else { return Ok(()) };
    let values = bound.listdatums.iter().chain(&bound.lowerdatums).chain(&bound.upperdatums);
    let values = values.filter_map(|node| match &node.node {
        Some(Node::PartitionRangeDatum(datum)) => names::inner(&datum.value),
        node => node.as_ref(),
    });
    for value in values {
        if has_moment(value, true) || tells(value, false).is_some() {
            return Err(frozen());
        }
    }
    Ok(())
}

pub fn frozen() -> Stop {
    Refusal::unsupported("a constant like 'now' or 'today' would mean the time when each shard reads it")
        .hint("In a default write now() or CURRENT_DATE; else write the date.")
        .into()
}

/// Whether a constant means a moment: as it is cast, or else as what it meets.
pub fn has_moment(node: &Node, timely: bool) -> bool {
    let timely = match node {
        Node::AConst(_) => return timely && names::string_constant(node).is_some_and(is_moment),
        Node::TypeCast(cast) => may_be_time(cast.type_name.as_ref()),
        _ => timely,
    };
    let mut found = false;
    let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
        found |= has_moment(child, timely);
        Ok(())
    });
    found || visited.is_err()
}

/// Whether a constant that may mean one is anywhere in it: a text can become a time later.
fn mentions_moment(node: &Node) -> bool {
    let mut found = names::string_constant(node).is_some_and(is_moment);
    let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
        found |= mentions_moment(child);
        Ok(())
    });
    found || visited.is_err()
}

fn is_moment(text: &str) -> bool {
    clock::has_moment(&format!("'{}'", text.replace('\'', "''")))
}

/// Whether an expression names a column that may be a date or time.
fn names_time<'c>(node: &Node, known: &impl Fn(&str) -> Option<&'c Column>) -> bool {
    if let Node::ColumnRef(column) = node {
        let name = column.fields.last().and_then(names::string);
        return name.and_then(known).is_none_or(column_may_be_time);
    }
    let mut found = false;
    let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
        found |= names_time(child, known);
        Ok(())
    });
    found || visited.is_err()
}

/// `date`, `time`, `timestamp`, `timestamptz`, `timetz`, their arrays, ranges and multiranges. *Source*: pg_type.dat.
const TIME_TYPES: [Oid; 22] = [
    1082, 1083, 1114, 1115, 1182, 1183, 1184, 1185, 1266, 1270, 3908, 3909, 3910, 3911, 3912, 3913, 4533, 4534, 4535,
    6152, 6153, 6155,
];

/// Types of a user's own may be domains over these; 0 is what the planner does not know by its name.
fn column_may_be_time(column: &Column) -> bool {
    column.type_oid == 0 || column.type_oid >= FIRST_NORMAL_OID || TIME_TYPES.contains(&column.type_oid)
}

pub fn may_be_time(name: Option<&TypeName>) -> bool {
    const NO_TIMES: [&str; 9] = ["text", "varchar", "bpchar", "char", "name", "json", "jsonb", "xml", "citext"];
    let name = name.and_then(|name| names::strings(&name.names)).and_then(|parts| parts.last().copied());
    name.is_none_or(|name| !NO_TIMES.contains(&name))
}
