//! Picks the planner for a statement's kind.

use super::builder::Builder;
use super::ddl::make;
use super::ddl::materialize;
use super::ir::Stop;
use super::session::remembered;
use super::session::setting;
use super::session::utility;
use super::write::put;
use super::{Access, Context, Output, Plan, Refusal, Route, Target, copy, ddl, followed, gather, sequence};
use crate::sql::{Node, Statement};

/// Plans one statement of `text`.
pub fn plan(text: &str, parsed: &Statement, context: &Context<'_>) -> Plan {
    let Some(node) = parsed.node() else { return Plan::Refuse(Refusal::too_complex()) };
    let statement = Source { text, range: parsed.range.clone() };
    match plan_node(node, &statement, context) {
        Ok(plan) => plan,
        Err(Stop::Refuse(refusal)) => Plan::Refuse(refusal),
        Err(Stop::Fails) => Plan::Rows(fails()),
    }
}

/// Whether it may change what later statements of the same script mean: the catalog, the search path, the user, the encoding.
pub fn changes_context(plan: &Plan) -> bool {
    match plan {
        Plan::Everywhere(everywhere) => everywhere.changes_catalog,
        Plan::Rows(Route { target: Target::Gather(gather), .. }) => make::makes(gather),
        // COMMIT and ROLLBACK undo SET LOCAL, ROLLBACK also SET and DDL.
        Plan::Setting(_) | Plan::SettingQuery(_) | Plan::Discard(_) | Plan::Transaction(_) => true,
        Plan::Empty | Plan::Rows(_) | Plan::CopyIn(_) | Plan::Prepared(_) | Plan::Cursor(_) | Plan::Refuse(_) => false,
    }
}

/// The text of a statement, for what the tree does not tell.
pub struct Source<'t> {
    /// The script.
    pub text: &'t str,
    /// The statement in it.
    pub range: std::ops::Range<usize>,
}

/// A server will raise an error before it reads anything. Not a replica, which may lag behind a CREATE.
pub fn fails() -> Route {
    Route { access: Access::Write, target: Target::Unknown, output: Output::Rows }
}

fn plan_node(node: &Node, source: &Source<'_>, context: &Context<'_>) -> Result<Plan, Stop> {
    let own = source.text.get(source.range.clone()).unwrap_or_default();
    if let Some(route) = remembered::plan(node, (own, source.range.start), context)? {
        return Ok(Plan::Rows(route));
    }
    match sequence::set(node, own, context) {
        Ok(None) => {}
        Ok(Some(route)) => return Ok(Plan::Rows(route)),
        Err(stop) => return gather::fetch_instead(Err(stop), node, own, context).map(Plan::Rows),
    }
    match node {
        Node::CreateTableAsStmt(create) => {
            ddl::check_temporary(node, context).map_err(Stop::from).and_then(|()| make::plan(create, source, context))
        }
        Node::RefreshMatViewStmt(refresh) => materialize::refreshed(refresh, context),
        Node::SelectStmt(select) if make::has_into(select) => {
            make::select_into(select, context).unwrap_or(Err(Stop::Fails))
        }
        Node::SelectStmt(select) => match setting::query(select) {
            Some(settings) => {
                settings.iter().try_for_each(|set| setting::check_value(&set.name, set.value.as_deref()))?;
                Ok(Plan::SettingQuery(settings))
            }
            None => {
                let route = gather::fetch_instead(rows(node, None, context), node, own, context);
                followed::instead(route, node, context).map(Plan::Rows)
            }
        },
        Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => {
            let route = gather::fetch_instead(rows(node, Some(own), context), node, own, context);
            followed::instead(route, node, context).map(Plan::Rows)
        }
        Node::CopyStmt(copy) => copy::plan(copy, context),
        Node::VariableSetStmt(set) => setting::plan(set),
        Node::VariableShowStmt(_) => {
            Ok(Plan::Rows(Route { access: Access::ReadPrimary, target: Target::Any, output: Output::Rows }))
        }
        _ => match utility::plan(node, source, context)? {
            Some(plan) => Ok(plan),
            None => ddl::plan(node, context),
        },
    }
}

/// Plans a query or a statement that changes rows, whose text may be changed if it is given.
pub fn rows(node: &Node, text: Option<&str>, context: &Context<'_>) -> Result<Route, Stop> {
    let mut builder = Builder::new(context);
    builder.text = text;
    match node {
        Node::SelectStmt(select) => {
            let route = builder.select(select).and_then(|query| builder.finish(Some(&query)));
            // What writes cannot be taken apart.
            let mut ctes = select.with_clause.iter().flat_map(|with| &with.ctes);
            let writes = !builder.writes.is_empty() || ctes.any(gather::writes_in_with);
            if writes { route } else { gather::instead(route, select, context) }
        }
        _ => {
            let route = builder.write(node).and_then(|()| builder.finish(None));
            put::instead(route, node, context)
        }
    }
}
