//! Decides whether a query is answered by way of a merge server, and takes the steps in their order.

use std::sync::Arc;

use pg_query::protobuf::SelectStmt;

use super::clock::{self, Clock};
use super::draw::{self, Drawn};
use super::part::{Parts, one_shard, refused};
use super::{Gather, Sink, Value, engine, label, row, view, whole};
use crate::catalog::Oid;
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::plan::{Access, Context, Output, Refusal, Route, Several, Target};
use crate::sql::{Node, edit, erase, names};

/// The route of a query, given the one it has by itself: a refusal over several shards becomes a [`Gather`] where that is possible.
///
/// # Errors
/// The refusal, where it is not.
pub fn instead(mut route: Result<Route, Stop>, select: &SelectStmt, context: &Context<'_>) -> Result<Route, Stop> {
    if let Ok(Route { access: Access::Write, target: Target::Keyed(keyed), .. }) = &mut route {
        if refused(keyed).is_some() && locks(&mut Node::SelectStmt(Box::new(select.clone())))? {
            keyed.several = Several::Refuse(locked(select));
        }
        return route;
    }
    let route = where_refused(route, |refusal| if_for_it(gather(select, &refusal.reason, context, USUAL)))?;
    Ok(at_one_moment(route, select, context))
}

/// The same for any statement. `gathered`: what is made of it, and how it touches the shards; `None` if the refusal stands.
///
/// # Errors
/// The refusal, where it stands, or that of `gathered`.
pub fn where_refused(
    route: Result<Route, Stop>,
    gathered: impl FnOnce(&Refusal) -> Result<Option<(Gather, Access)>, Stop>,
) -> Result<Route, Stop> {
    match route {
        Ok(Route { access, target: Target::Keyed(mut keyed), output }) => {
            if let Some(refusal) = refused(&keyed)
                && let Ok(Some((gather, _))) = gathered(refusal)
            {
                keyed.several = Several::Gather(Arc::new(gather));
            }
            Ok(Route { access, target: Target::Keyed(keyed), output })
        }
        Err(Stop::Refuse(refusal)) => match gathered(&refusal)? {
            Some((gather, access)) => {
                Ok(Route { access, target: Target::Gather(Arc::new(gather)), output: Output::Rows })
            }
            None => Err(Stop::Refuse(refusal)),
        },
        route => route,
    }
}

/// A query that distributes, but that tells the time, is gathered: each shard would tell its own.
fn at_one_moment(mut route: Route, select: &SelectStmt, context: &Context<'_>) -> Route {
    match &mut route.target {
        Target::Keyed(keyed) if keyed.several == Several::Scatter && !one_shard(keyed) => {
            if let Some(gather) = one_moment(select, route.access, context) {
                keyed.several = Several::Gather(gather);
            }
        }
        Target::Scatter => {
            if let Some(gather) = one_moment(select, route.access, context) {
                route.target = Target::Gather(gather);
            }
        }
        _ => {}
    }
    route
}

fn one_moment(select: &SelectStmt, access: Access, context: &Context<'_>) -> Option<Arc<Gather>> {
    if access == Access::Write || !clock::is_told(select) {
        return None;
    }
    gather(select, "telling one time for all shards", context, USUAL).ok().map(|(gather, _)| Arc::new(gather))
}

/// The gather of a query whose rows the gateway itself wants, wherever they are; `None` if it is not for that.
///
/// # Errors
/// When the query is refused.
pub fn wherever(select: &SelectStmt, reason: &str, context: &Context<'_>) -> Result<Option<Gather>, Stop> {
    let found = if_for_it(gather(select, reason, context, Allowed { values: false, draws: Drawn::Not }))?;
    Ok(found.map(|(gather, _)| gather))
}

/// The same of rows to be stored, which may have numbers of the home shard's sequences: the merge server is one of the home shard.
///
/// # Errors
/// When the query is refused.
pub fn wherever_drawn(select: &SelectStmt, reason: &str, context: &Context<'_>) -> Result<Option<Gather>, Stop> {
    let draws = draw::drawn(select, context)?;
    let found = if_for_it(gather(select, reason, context, Allowed { values: false, draws }))?;
    Ok(found.map(|(gather, _)| gather))
}

fn if_for_it(found: Result<(Gather, Access), GatherStop>) -> Result<Option<(Gather, Access)>, Stop> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(GatherStop::NotForIt) => Ok(None),
        Err(GatherStop::Stop(stop)) => Err(stop),
    }
}

/// What a gather may do.
#[derive(Clone, Copy)]
struct Allowed {
    /// Single values may be computed before the rest.
    values: bool,
    /// Where it may draw numbers.
    draws: Drawn,
}

const USUAL: Allowed = Allowed { values: true, draws: Drawn::Not };

/// Why there is no gather plan.
enum GatherStop {
    /// Not because of where rows live: the first refusal stands.
    NotForIt,
    Stop(Stop),
}

impl From<Stop> for GatherStop {
    fn from(stop: Stop) -> GatherStop {
        GatherStop::Stop(stop)
    }
}

/// What the deparser prints is not what it was given.
pub fn unprintable() -> Stop {
    Refusal::unsupported("this query cannot be taken apart for several shards").into()
}

fn gather(
    select: &SelectStmt,
    reason: &str,
    context: &Context<'_>,
    allowed: Allowed,
) -> Result<(Gather, Access), GatherStop> {
    let mut tree = Node::SelectStmt(Box::new(select.clone()));
    // Literals without values (`plan::shared`) cannot be written; that plan is only for keys of one shard.
    if has_erased(&mut tree)? {
        return Err(GatherStop::NotForIt);
    }
    row::expand_views(&mut tree, context).and_then(|()| view::expand(&mut tree, context))?;
    let Node::SelectStmt(expanded) = &tree else { return Err(GatherStop::NotForIt) };
    let mut builder = Builder::new(context);
    builder.gathering = true;
    match builder.select(expanded) {
        Ok(_) => {}
        Err(Stop::Refuse(_)) => return Err(GatherStop::NotForIt),
        Err(Stop::Fails) => return Err(GatherStop::Stop(Stop::Fails)),
    }
    let effects = &builder.effects;
    let draws = allowed.draws != Drawn::Not;
    if effects.locks && !effects.locks_reference && builder.writes.is_empty() {
        return Err(Stop::from(locked(select)).into());
    }
    if !builder.writes.is_empty() || effects.sequence && !draws || effects.transaction_lock || effects.locks {
        return Err(GatherStop::NotForIt);
    }
    let count = builder.parameters.len().max(context.declared_types.len());
    let types: Vec<_> = (0..count).map(|index| builder.parameter_type(index)).collect();
    let access = builder.access();
    let mut names = Builder::new(context);
    functions(&mut tree, &mut names, draws)?;
    let mut clock = Clock::new(count + 1);
    label::everywhere(&mut tree).and_then(|()| clock.replace(&mut tree))?;
    let first_value = if allowed.values { count + 1 + usize::from(clock.used) } else { 0 };
    let pieces = match allowed.draws {
        Drawn::Not | Drawn::InOutput => pieces(tree, context, &types, first_value).ok(),
        Drawn::Elsewhere => None,
    };
    let (parts, merge, values) = match pieces {
        Some(found) => found,
        None => {
            let mut tree = Node::SelectStmt(Box::new(select.clone()));
            row::expand_views(&mut tree, context).and_then(|()| view::expand(&mut tree, context))?;
            label::everywhere(&mut tree).and_then(|()| clock.replace(&mut tree))?;
            tables(tree, context, &types).map(|(parts, merge)| (parts, merge, Vec::new()))?
        }
    };
    let gather = Gather {
        merge,
        parts: parts.made,
        ordered: parts.ordered,
        now_parameter: clock.used.then_some(count + 1),
        values,
        parameters: count,
        sink: Sink::Asker,
        reason: [" is not supported yet", " are not supported yet"]
            .iter()
            .find_map(|end| reason.strip_suffix(end))
            .unwrap_or(reason)
            .to_owned(),
    };
    // What would change something has been refused.
    Ok((gather, if access == Access::Write { Access::Read } else { access }))
}

pub fn has_erased(node: &mut Node) -> Result<bool, Stop> {
    let mut found = erase::erased(node).is_some();
    edit::children(node, &mut |child| -> Result<(), Stop> {
        found |= has_erased(child)?;
        Ok(())
    })?;
    Ok(found)
}

/// Whether a query locks rows, in whatever level.
fn locks(node: &mut Node) -> Result<bool, Stop> {
    let mut found = matches!(node, Node::SelectStmt(select) if !select.locking_clause.is_empty());
    edit::children(node, &mut |child| -> Result<(), Stop> {
        found |= locks(child)?;
        Ok(())
    })?;
    Ok(found)
}

/// Why rows of several shards cannot be locked by this query. PostgreSQL sorts before it locks, and locks no more rows than it returns.
/// *Source*: manual of PostgreSQL 15, SELECT, The Locking Clause.
fn locked(select: &SelectStmt) -> Refusal {
    let own = !select.locking_clause.is_empty();
    if own && (select.limit_count.is_some() || select.limit_offset.is_some()) {
        return Refusal::unsupported(
            "row locks with LIMIT or OFFSET over several shards are not supported: each shard would lock rows that are not returned",
        )
        .hint("Lock the rows of one key at a time, or select the keys first and lock those rows without LIMIT.");
    }
    if own && !select.sort_clause.is_empty() {
        return Refusal::unsupported("row locks with ORDER BY over several shards are not supported")
            .hint("Leave ORDER BY out and sort the rows when they are there, or lock the rows of one key at a time.");
    }
    Refusal::unsupported("row locks in a query that does not distribute over the shards are not supported")
        .hint("Restrict it to one key, or lock rows by their keys in a statement of its own.")
}

/// The largest pieces that distribute run on the shards.
fn pieces<'c>(
    tree: Node,
    context: &'c Context<'c>,
    types: &[Option<Oid>],
    first_value: usize,
) -> Result<(Parts<'c>, String, Vec<Value>), Stop> {
    let Node::SelectStmt(select) = tree else { return Err(unprintable()) };
    let mut select = *select;
    let mut parts = Parts::new(context, types.to_vec());
    parts.first_value = first_value;
    let values = engine::split(&mut select, context, &mut parts)?;
    Ok((parts, edit::print_owned(select).ok_or_else(unprintable)?, values))
}

/// Every table is shipped.
fn tables<'c>(mut tree: Node, context: &'c Context<'c>, types: &[Option<Oid>]) -> Result<(Parts<'c>, String), Stop> {
    let mut parts = Parts::new(context, types.to_vec());
    whole::ship(&mut tree, context, &mut parts)?;
    let Node::SelectStmt(merge) = &tree else { return Err(unprintable()) };
    Ok((parts, edit::print(merge).ok_or_else(unprintable)?))
}

/// Refuses functions whose answer would be the merge server's own.
pub fn functions(node: &mut Node, builder: &mut Builder<'_>, draws: bool) -> Result<(), Stop> {
    if let Node::FuncCall(call) = node
        && let Some((schema, name)) = names::qualified(&call.funcname)
    {
        let refuse = |what: String| {
            Err(Refusal::unsupported(format!("{what}; over several shards that is not supported")).into())
        };
        match builder.call(schema, name)?.0 {
            Call::Steady | Call::Fresh | Call::Aggregate | Call::Window | Call::Missing => {}
            Call::Identity => return refuse(format!("{name} differs between shards")),
            Call::Changing | Call::Unique => {
                return refuse(format!("function {name} may change something on each shard"));
            }
            Call::Sequence if draws => {}
            Call::Sequence | Call::TransactionLock => return refuse(format!("function {name} has effects")),
        }
    }
    edit::children(node, &mut |child| functions(child, builder, draws))
}
