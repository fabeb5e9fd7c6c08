//! Constants like 'now' in what DDL stores as it is read: views, bodies and defaults of functions, policies, indexes, triggers, rules. Each
//! shard would read its own moment.

use pg_query::protobuf::{CreateFunctionStmt, Node as Wrapped, SelectStmt, SetOperation, ViewStmt};

use super::fill::{check_moment, frozen, has_moment, is_on_shards, may_be_time};
use super::table::{as_table, existing};
use crate::catalog::RelationKind;
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::write::differing::{DEPTH_MAX, is_moment};
use crate::plan::{Context, relative_time};
use crate::sql::{Node, edit, names, walk};

/// Refuses a moment in what a statement stores, other than in tables' own constraints.
pub fn check(node: &Node, context: &Context<'_>) -> Result<(), Stop> {
    match node {
        Node::ViewStmt(create) => check_view(create, context),
        Node::CreateFunctionStmt(create) => check_function(create),
        Node::CreatePolicyStmt(create) => {
            let expressions = [names::inner(&create.qual), names::inner(&create.with_check)];
            check_on(create.table.as_ref(), &expressions, context)
        }
        Node::AlterPolicyStmt(alter) => {
            let expressions = [names::inner(&alter.qual), names::inner(&alter.with_check)];
            check_on(alter.table.as_ref(), &expressions, context)
        }
        Node::IndexStmt(index) => {
            let elements = index.index_params.iter().map(|node| node.node.as_ref());
            let expressions: Vec<_> = elements.chain([names::inner(&index.where_clause)]).collect();
            check_on(index.relation.as_ref(), &expressions, context)
        }
        Node::CreateTrigStmt(create) => {
            check_on(create.relation.as_ref(), &[names::inner(&create.when_clause)], context)
        }
        Node::RuleStmt(create) => {
            let actions = create.actions.iter().map(|node| node.node.as_ref());
            let mut parts = actions.chain([names::inner(&create.where_clause)]).flatten();
            if parts.any(mentions_time) { Err(frozen()) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn check_on(
    name: Option<&pg_query::protobuf::RangeVar>,
    expressions: &[Option<&Node>],
    context: &Context<'_>,
) -> Result<(), Stop> {
    let Some(relation) = existing(name, context) else { return Ok(()) };
    let table = as_table(&relation);
    for node in expressions.iter().flatten() {
        check_moment(&table, node, None)?;
        if is_on_shards(&table) && has_sub_select(node) && mentions_time(node) {
            return Err(frozen());
        }
    }
    Ok(())
}

/// A view's constants are read when it is made, or, by way of a text, on each shard when it is asked.
fn check_view(create: &ViewStmt, context: &Context<'_>) -> Result<(), Stop> {
    let Some(Node::SelectStmt(select)) = names::inner(&create.query) else { return Ok(()) };
    let mut select = select.clone();
    let width = select_width(&select);
    let texts: Vec<bool> = (0..width).map(|at| is_text(&select, at)).collect();
    blank(&mut select, &texts);
    let mut builder = Builder::new(context);
    let understood = builder.select(&select).is_ok();
    let homely = |kind: &RelationKind| matches!(kind, RelationKind::Home | RelationKind::System);
    let at_home = !builder.leaves.is_empty() && builder.leaves.iter().all(|leaf| homely(&leaf.relation.kind));
    let tells = match understood {
        true => builder.effects.moment && !at_home,
        false => mentions_time(&Node::SelectStmt(select.clone())),
    };
    if tells { Err(frozen()) } else { Ok(()) }
}

fn select_width(select: &SelectStmt) -> usize {
    select.larg.as_deref().map_or(select.target_list.len(), select_width)
}

fn target(select: &SelectStmt, at: usize) -> Option<&Node> {
    match select.target_list.get(at)?.node.as_ref()? {
        Node::ResTarget(target) => names::inner(&target.val),
        _ => None,
    }
}

/// Whether an output is nothing but constants, which then are text.
fn is_text(select: &SelectStmt, at: usize) -> bool {
    match (select.op(), &select.larg, &select.rarg) {
        (SetOperation::SetopNone, _, _) => matches!(target(select, at), Some(Node::AConst(_))),
        (_, Some(left), Some(right)) => is_text(left, at) && is_text(right, at),
        _ => false,
    }
}

/// Takes such outputs out.
fn blank(select: &mut SelectStmt, texts: &[bool]) {
    for arm in [&mut select.larg, &mut select.rarg].into_iter().flatten() {
        blank(arm, texts);
    }
    for (node, _) in select.target_list.iter_mut().zip(texts).filter(|(_, text)| **text) {
        if let Some(Node::ResTarget(target)) = &mut node.node {
            target.val = Some(Box::new(Wrapped { node: Some(Node::AConst(pg_query::protobuf::AConst::default())) }));
        }
    }
}

/// BEGIN ATOMIC and RETURN are read when the function is made, and so are defaults of its arguments; a body in quotes is read when it runs.
fn check_function(create: &CreateFunctionStmt) -> Result<(), Stop> {
    for node in &create.parameters {
        if let Some(Node::FunctionParameter(parameter)) = &node.node
            && let Some(default) = names::inner(&parameter.defexpr)
            && has_moment(default, may_be_time(parameter.arg_type.as_ref()))
        {
            return Err(frozen());
        }
    }
    if names::inner(&create.sql_body).is_some_and(mentions_time) { Err(frozen()) } else { Ok(()) }
}

/// Whether a constant that may mean a moment is anywhere in it, if not cast to what is no time; `true` where that cannot be told and one is
/// written.
fn mentions_time(node: &Node) -> bool {
    mentions_within(node, DEPTH_MAX)
}

fn mentions_within(node: &Node, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    match node {
        Node::AConst(_) => is_moment(node),
        Node::TypeCast(cast) if !may_be_time(cast.type_name.as_ref()) => {
            let inner = names::inner(&cast.arg).filter(|inner| !matches!(inner, Node::AConst(_)));
            inner.is_some_and(|inner| mentions_within(inner, depth))
        }
        Node::ReturnStmt(of) => names::inner(&of.returnval).is_some_and(|value| mentions_within(value, depth)),
        Node::List(list) => {
            list.items.iter().filter_map(|node| node.node.as_ref()).any(|node| mentions_within(node, depth))
        }
        _ => {
            let mut found = false;
            let mut copy = node.clone();
            let visited: Result<(), walk::Unknown> = edit::children(&mut copy, &mut |child| {
                found = found || mentions_within(child, depth);
                Ok(())
            });
            // INSERT and its like.
            found || visited.is_err() && relative_time(&format!("{node:?}"))
        }
    }
}

fn has_sub_select(node: &Node) -> bool {
    let mut found = matches!(node, Node::SubLink(_));
    let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
        found |= has_sub_select(child);
        Ok(())
    });
    found || visited.is_err()
}
