//! Transactions, SQL-level prepared statements, cursors, EXPLAIN, locks, and what a pooled session cannot have.

use pg_query::protobuf::{
    DeclareCursorStmt, DiscardMode, ExecuteStmt, ExplainStmt, LockStmt, Node as Wrapped, PrepareStmt, RawStmt,
    TransactionStmt, TransactionStmtKind, TruncateStmt,
};

use crate::catalog::RelationKind;
use crate::plan::block;
use crate::plan::builder::Builder;
use crate::plan::built_in::oid;
use crate::plan::followed;
use crate::plan::from::unusable;
use crate::plan::function;
use crate::plan::gather;
use crate::plan::ir::Stop;
use crate::plan::key;
use crate::plan::statement::{self, Source};
use crate::plan::unreadable::UNREADABLE;
use crate::plan::write::untriggered;
use crate::plan::{
    Access, Context, CursorVerb, DiscardVerb, Output, Plan, PreparedVerb, Refusal, Route, Several, Target,
    TransactionVerb,
};
use crate::sql::{Node, edit, names, tokens};

/// CURSOR_OPT_HOLD, parsenodes.h.
const CURSOR_HOLD: i32 = 0x0020;

/// Plans a statement of one of these kinds; `None` for another.
pub fn plan(node: &Node, source: &Source<'_>, context: &Context<'_>) -> Result<Option<Plan>, Stop> {
    let any = Plan::Rows(Route { access: Access::Read, target: Target::Any, output: Output::Rows });
    Ok(Some(match node {
        Node::TransactionStmt(transaction) => Plan::Transaction(transaction_verb(transaction)?),
        Node::ConstraintsSetStmt(set) => {
            Plan::Transaction(TransactionVerb::Constraints { all: set.constraints.is_empty() })
        }
        Node::DiscardStmt(discard) => Plan::Discard(match discard.target() {
            DiscardMode::DiscardAll => DiscardVerb::All,
            DiscardMode::DiscardPlans
            | DiscardMode::DiscardSequences
            | DiscardMode::DiscardTemp
            | DiscardMode::Undefined => DiscardVerb::Other,
        }),
        Node::PrepareStmt(prepare) => Plan::Prepared(prepared(prepare, source, context)?),
        Node::ExecuteStmt(execute) => Plan::Prepared(executed(execute, source)?),
        Node::DeallocateStmt(deallocate) => {
            Plan::Prepared(PreparedVerb::Deallocate((!deallocate.isall).then(|| deallocate.name.clone())))
        }
        Node::DeclareCursorStmt(declare) => Plan::Cursor(declared(declare, context)?),
        Node::FetchStmt(fetch) => Plan::Cursor(CursorVerb::Fetch { name: fetch.portalname.clone() }),
        Node::ClosePortalStmt(close) => {
            Plan::Cursor(CursorVerb::Close((!close.portalname.is_empty()).then(|| close.portalname.clone())))
        }
        Node::ExplainStmt(explain) => match names::inner(&explain.query) {
            Some(Node::ExecuteStmt(execute)) => executed_within(execute, false, source)?,
            _ => Plan::Rows(explained(explain, context)?),
        },
        Node::LockStmt(lock) => Plan::Rows(locked(lock, context)?),
        Node::TruncateStmt(truncate) => Plan::Rows(truncated(truncate, context)?),
        Node::UnlistenStmt(_) => any,
        Node::ListenStmt(_) | Node::NotifyStmt(_) => return Err(function::notifications().into()),
        Node::DoStmt(block) => block::plan(block, source, context)?,
        Node::CallStmt(call) => followed::call(call, context)?,
        Node::LoadStmt(_) => {
            return Err(Refusal::unsupported("LOAD is not supported: servers are lent for a transaction")
                .hint("Use shared_preload_libraries or session_preload_libraries on the shards.")
                .into());
        }
        _ => return Ok(None),
    }))
}

/// Why there are none.
pub const NO_PREPARED_TRANSACTIONS: &str = "prepared transactions are not supported: the gateway keeps them for itself";

fn transaction_verb(transaction: &TransactionStmt) -> Result<TransactionVerb, Refusal> {
    let chain = transaction.chain;
    let name = transaction.savepoint_name.clone();
    Ok(match transaction.kind() {
        TransactionStmtKind::TransStmtBegin | TransactionStmtKind::TransStmtStart => {
            TransactionVerb::Begin { read_only: read_only(&transaction.options) }
        }
        TransactionStmtKind::TransStmtCommit => TransactionVerb::Commit { chain },
        TransactionStmtKind::TransStmtRollback => TransactionVerb::Rollback { chain },
        TransactionStmtKind::TransStmtSavepoint => TransactionVerb::Savepoint(name),
        TransactionStmtKind::TransStmtRelease => TransactionVerb::Release(name),
        TransactionStmtKind::TransStmtRollbackTo => TransactionVerb::RollbackTo(name),
        TransactionStmtKind::TransStmtPrepare => TransactionVerb::Prepare,
        TransactionStmtKind::TransStmtCommitPrepared
        | TransactionStmtKind::TransStmtRollbackPrepared
        | TransactionStmtKind::Undefined => {
            return Err(Refusal::unsupported(NO_PREPARED_TRANSACTIONS));
        }
    })
}

/// READ ONLY or READ WRITE, where it is said.
pub fn read_only(options: &[Wrapped]) -> Option<bool> {
    options.iter().rev().find_map(|node| match &node.node {
        Some(Node::DefElem(element)) if element.defname == "transaction_read_only" => names::option_flag(element),
        _ => None,
    })
}

// Prepared statements

fn prepared(prepare: &PrepareStmt, source: &Source<'_>, context: &Context<'_>) -> Result<PreparedVerb, Stop> {
    let Some(node) = names::inner(&prepare.query) else { return Err(Stop::Fails) };
    let type_oid = |node: &Wrapped| match &node.node {
        Some(Node::TypeName(name)) => match names::plain_type(name) {
            Some((name, false)) => key::type_oid(name),
            Some((name, true)) => key::type_oid(name).and_then(key::array_of),
            None => None,
        },
        _ => None,
    };
    let unplaced = || Refusal::unsupported("this PREPARE cannot be analysed").hint("Use the protocol's Parse message.");
    let text = source.text.get(source.range.clone()).ok_or_else(unplaced)?;
    let body = tokens::after_as(text).ok_or_else(unplaced)?;
    let written = tokens::first_list(text.get(..body.start).unwrap_or_default()).unwrap_or_default();
    let known = |(nth, node): (usize, _)| match (type_oid(node), written.get(nth)) {
        (Some(oid), _) => Ok(Ok(oid)),
        (None, Some(name)) if is_name_of_type(node) && (context.utf8 || !str::contains(name, UNREADABLE)) => {
            Ok(Err((*name).to_owned()))
        }
        (None, _) => Err(unplaced()),
    };
    let types: Vec<_> = prepare.argtypes.iter().enumerate().map(known).collect::<Result<_, _>>()?;
    // A type the gateway does not know is still declared: its parameter must not be taken for a key.
    let declared: Vec<_> = types.iter().map(|known| known.as_ref().map_or(oid::NUMERIC, |oid| *oid)).collect();
    let inner = Context { declared_types: &declared, ..*context };
    let plan = match followed::instead(statement::rows(node, None, &inner), node, &inner) {
        Ok(route) => Plan::Rows(route),
        Err(Stop::Refuse(refusal)) => Plan::Refuse(refusal),
        Err(Stop::Fails) => Plan::Rows(statement::fails()),
    };
    Ok(PreparedVerb::Prepare {
        name: prepare.name.clone(),
        types,
        whole: source.range.clone(),
        body: source.range.start + body.start..source.range.start + body.end,
        plan: Box::new(plan),
    })
}

/// SETOF is a part of the grammar, and of no name.
fn is_name_of_type(node: &Wrapped) -> bool {
    matches!(&node.node, Some(Node::TypeName(name)) if !name.setof)
}

/// Constants as text.
fn argument(node: &Wrapped) -> Result<Option<String>, ()> {
    match &node.node {
        Some(node) if names::is_null(node) => Ok(None),
        Some(node @ Node::AConst(_)) if !rounds(node) => names::value_text(node).map(Some).ok_or(()),
        Some(_) | None => Err(()),
    }
}

/// EXECUTE within another statement, behind AS if that is CREATE TABLE AS.
pub fn executed_within(execute: &ExecuteStmt, behind_as: bool, source: &Source<'_>) -> Result<Plan, Stop> {
    let text = source.text.get(source.range.clone()).unwrap_or_default();
    let places = tokens::execute_within(text, behind_as)
        .ok_or_else(|| Stop::Refuse(Refusal::unsupported("this EXECUTE cannot be analysed")))?;
    let start = source.range.start;
    let in_script = |range: std::ops::Range<usize>| start + range.start..start + range.end;
    Ok(Plan::Prepared(PreparedVerb::Within {
        name: execute.name.clone(),
        arguments: execute.params.iter().map(argument).collect(),
        head: in_script(0..places.0),
        tail: in_script(places.1),
        rest: in_script(places.2..text.len()),
    }))
}

fn executed(execute: &ExecuteStmt, source: &Source<'_>) -> Result<PreparedVerb, Stop> {
    let text = source.text.get(source.range.clone()).unwrap_or_default();
    let tail = match execute.params.is_empty() {
        true => text.len()..text.len(),
        false => tokens::arguments(text)
            .ok_or_else(|| Stop::Refuse(Refusal::unsupported("this EXECUTE cannot be analysed")))?,
    };
    Ok(PreparedVerb::Execute {
        name: execute.name.clone(),
        arguments: execute.params.iter().map(argument).collect(),
        tail: source.range.start + tail.start..source.range.start + tail.end,
    })
}

/// A number with a point or exponent is rounded when the parameter is an integer.
fn rounds(node: &Node) -> bool {
    match names::constant(node) {
        Some(pg_query::protobuf::a_const::Val::Fval(value)) => key::integer(&value.fval).is_none(),
        _ => false,
    }
}

// Cursors

fn declared(declare: &DeclareCursorStmt, context: &Context<'_>) -> Result<CursorVerb, Stop> {
    let hold = declare.options & CURSOR_HOLD != 0;
    let Some(query) = names::inner(&declare.query) else { return Err(Stop::Fails) };
    let mut route = followed::instead(statement::rows(query, None, context), query, context)?;
    gathered(&mut route, query, hold, context)?;
    let several = || {
        Refusal::unsupported("a cursor over this query is not supported over several shards")
            .hint("Fetch all rows, or restrict the query to one key.")
    };
    on_one_shard(&mut route, several)?;
    if hold && !matches!(route.target, Target::Gather(_) | Target::Unknown) {
        return Err(Refusal::unsupported("a cursor WITH HOLD over this query is not supported")
            .hint("Keep the transaction open, or fetch all rows.")
            .into());
    }
    Ok(CursorVerb::Declare { name: declare.portalname.clone(), route, hold })
}

/// A cursor over several shards reads what they give from a merge server, which can go back and forth in it; so does every cursor that
/// outlives its transaction, since the servers of that are given back.
fn gathered(route: &mut Route, query: &Node, hold: bool, context: &Context<'_>) -> Result<(), Stop> {
    let Node::SelectStmt(select) = query else { return Ok(()) };
    let scattered = match &route.target {
        Target::Scatter => true,
        Target::Keyed(keyed) => hold || keyed.several == Several::Scatter,
        Target::Any | Target::Home => hold,
        _ => false,
    };
    if !scattered || route.access == Access::Write {
        return Ok(());
    }
    let Some(gather) = gather::wherever(select, "a cursor", context)? else { return Ok(()) };
    let gather = std::sync::Arc::new(gather);
    match &mut route.target {
        Target::Keyed(keyed) if !hold => keyed.several = Several::Gather(gather),
        target => *target = Target::Gather(gather),
    }
    Ok(())
}

// EXPLAIN

fn explained(explain: &ExplainStmt, context: &Context<'_>) -> Result<Route, Stop> {
    let Some(node) = names::inner(&explain.query) else { return Err(Stop::Fails) };
    let analyze = explain.options.iter().any(|node| match &node.node {
        Some(Node::DefElem(element)) => element.defname == "analyze" && names::option_flag(element) != Some(false),
        _ => false,
    });
    // They are explained by their queries; ANALYZE would make the table.
    let node = match node {
        Node::CreateTableAsStmt(create) if !analyze => names::inner(&create.query),
        Node::DeclareCursorStmt(declare) => names::inner(&declare.query),
        node => Some(node),
    };
    let Some(node) = node else { return Err(Stop::Fails) };
    let mut route = match node {
        Node::SelectStmt(_) | Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => {
            let route = followed::instead(statement::rows(node, None, context), node, context);
            of_steps(route, node, analyze, context)?
        }
        _ => {
            return Err(Refusal::unsupported("EXPLAIN of this kind of statement is not supported yet")
                .hint("EXPLAIN the query itself.")
                .into());
        }
    };
    if matches!(route.target, Target::Replicated { .. }) && !analyze {
        route.target = Target::Any;
    }
    route.output = match format(explain).as_deref() {
        None | Some("text") => Output::Explain,
        Some("json") => Output::ExplainJson,
        Some("yaml") => Output::ExplainYaml,
        Some("xml") => Output::ExplainXml,
        Some(_) => return Err(Stop::Fails),
    };
    Ok(route)
}

/// The route of a write that is explained: where it is one of several steps, as these.
fn of_steps(route: Result<Route, Stop>, node: &Node, analyze: bool, context: &Context<'_>) -> Result<Route, Stop> {
    // What runs on one shard does so with ANALYZE too.
    if analyze && route.is_ok() {
        return route;
    }
    let statement = RawStmt { stmt: Some(Box::new(Wrapped { node: Some(node.clone()) })), ..RawStmt::default() };
    let Some(text) = edit::print_statement(statement) else { return route };
    let steps = |route: &Route| matches!(route.target, Target::Fetched(_) | Target::Moved(_));
    let mut found = gather::fetch_instead(route, node, &text, context);
    if let (Err(Stop::Refuse(_)), Node::UpdateStmt(_)) = (&found, node)
        && let Ok(moved) = statement::rows(node, Some(&text), context)
        && steps(&moved)
    {
        found = Ok(moved);
    }
    if analyze && found.as_ref().is_ok_and(steps) {
        return Err(Refusal::unsupported("EXPLAIN ANALYZE of a write that takes several steps is not supported")
            .hint("EXPLAIN it without ANALYZE, and EXPLAIN ANALYZE the queries that it shows.")
            .into());
    }
    found
}

/// In lower case; the last one counts. *Source*: explain.c, ExplainQuery.
fn format(explain: &ExplainStmt) -> Option<String> {
    explain.options.iter().rev().find_map(|node| match &node.node {
        Some(Node::DefElem(element)) if element.defname == "format" => {
            names::value_text(names::inner(&element.arg)?).map(|format| format.to_ascii_lowercase())
        }
        _ => None,
    })
}

/// Refuses a route over several shards.
fn on_one_shard(route: &mut Route, refusal: impl Fn() -> Refusal) -> Result<(), Refusal> {
    match &mut route.target {
        Target::Scatter => return Err(refusal()),
        Target::Keyed(keyed) if matches!(keyed.several, Several::Scatter | Several::Split(_)) => {
            keyed.several = Several::Refuse(refusal())
        }
        Target::Keyed(_)
        | Target::Any
        | Target::Home
        | Target::Gather(_)
        | Target::Replicated { .. }
        | Target::Unknown => {}
        Target::Computed(_) | Target::Moved(_) | Target::Fetched(_) => {}
    }
    Ok(())
}

// LOCK TABLE, TRUNCATE

/// Statements on whole tables.
/// `keeps_writers_away`: it waits until nobody writes to them, and keeps them so until the transaction ends.
fn whole_tables(
    tables: &[Wrapped],
    (verb, keeps_writers_away): (&str, bool),
    context: &Context<'_>,
) -> Result<Route, Stop> {
    let builder = Builder::new(context);
    let mut target = Target::Home;
    for node in tables {
        let Some(Node::RangeVar(name)) = &node.node else { continue };
        let relation = builder.table(name).ok_or(Stop::Fails)?;
        match &relation.kind {
            RelationKind::Home | RelationKind::Sequence => {}
            RelationKind::Unusable { reason } => return Err(unusable(relation, reason).into()),
            // A home table has no rows on the other shards.
            RelationKind::Sharded { .. } | RelationKind::Reference => {
                // A lock of the table itself keeps writers of it away; the turn, which all take first, comes before it.
                let turn = matches!(relation.kind, RelationKind::Reference) && keeps_writers_away;
                let before = matches!(target, Target::Replicated { takes_turn: true });
                target = Target::Replicated { takes_turn: turn || before };
            }
            RelationKind::System | RelationKind::View { .. } => {
                return Err(Refusal::unsupported(format!("{verb} of \"{}\" is not supported", relation.name))
                    .hint("Name the tables themselves.")
                    .into());
            }
        }
    }
    Ok(Route { access: Access::Write, target, output: Output::Rows })
}

/// `ShareLock` of lockdefs.h: this mode and those above it conflict with that of writers.
const SHARE_LOCK: i32 = 5;

fn locked(lock: &LockStmt, context: &Context<'_>) -> Result<Route, Stop> {
    whole_tables(&lock.relations, ("LOCK TABLE", lock.mode >= SHARE_LOCK && !lock.nowait), context)
}

fn truncated(truncate: &TruncateStmt, context: &Context<'_>) -> Result<Route, Stop> {
    let builder = Builder::new(context);
    for node in &truncate.relations {
        let Some(Node::RangeVar(name)) = &node.node else { continue };
        if let Some(relation) = builder.table(name) {
            untriggered(relation)?;
        }
    }
    whole_tables(&truncate.relations, ("TRUNCATE", true), context)
}
