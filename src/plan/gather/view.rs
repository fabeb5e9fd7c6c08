//! Views that do not distribute become the sub-selects that they stand for; and finds the relations that a statement names, which are not its WITH queries.

use std::sync::Arc;

use pg_query::protobuf::{Alias, RangeSubselect, RangeVar, SelectStmt};

use super::clock::Clock;
use super::node;
use super::part::Parts;
use super::plan::functions;
use crate::catalog::{Relation, RelationKind};
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::{Context, Refusal};
use crate::sql::{self, Node, edit, names};

/// Views within views at the most.
const DEPTH_MAX: usize = 20;

/// Is shown a FROM item and the relation it names.
type Visit<'v> = &'v mut dyn FnMut(&mut Node, &Arc<Relation>) -> Result<(), Stop>;

/// Visits every FROM item that names a relation of the catalog, with that relation; `visit` may put something else in its place.
pub fn relations(node: &mut Node, builder: &Builder<'_>, visit: Visit<'_>) -> Result<(), Stop> {
    Finder { builder, visit, ctes: Vec::new() }.node(node)
}

struct Finder<'f, 'b> {
    builder: &'f Builder<'b>,
    visit: Visit<'f>,
    /// Names of WITH queries in force.
    ctes: Vec<String>,
}

impl Finder<'_, '_> {
    fn node(&mut self, node: &mut Node) -> Result<(), Stop> {
        self.builder.enter()?;
        match node {
            Node::SelectStmt(select) => self.select(select),
            Node::RangeVar(name) => {
                if name.schemaname.is_empty() && self.ctes.contains(&name.relname) || node::is_mark(name) {
                    return Ok(());
                }
                let relation = self.builder.table(name).cloned().ok_or(Stop::Fails)?;
                (self.visit)(node, &relation)
            }
            _ => edit::children(node, &mut |child| self.node(child)),
        }
    }

    /// WITH RECURSIVE puts all its names in force at once, WITH one after the other.
    fn select(&mut self, select: &mut SelectStmt) -> Result<(), Stop> {
        let before = self.ctes.len();
        let mut with = select.with_clause.take();
        if let Some(with) = &mut with {
            let recursive = with.recursive;
            if recursive {
                self.ctes.extend(with.ctes.iter().filter_map(names::cte_name));
            }
            for cte in &mut with.ctes {
                let name = names::cte_name(cte);
                if let Some(cte) = &mut cte.node {
                    self.node(cte)?;
                }
                if !recursive {
                    self.ctes.extend(name);
                }
            }
        }
        let result = edit::select(select, &mut |child| self.node(child));
        select.with_clause = with;
        self.ctes.truncate(before);
        result
    }
}

/// Puts their definitions in place of views that do not distribute. The others stay: PostgreSQL reads with a view's owner's rights, and under
/// the policies that apply to him, what would be read with those of who asks.
pub fn expand(node: &mut Node, context: &Context<'_>) -> Result<(), Stop> {
    expand_some(node, context, &|view, definition| {
        let mut all = query(view, definition)?;
        let mut tables = Vec::new();
        expand_some(&mut all, context, &|_, _| Ok(true))?;
        relations(&mut all, &Builder::new(context), &mut |_, table| {
            tables.push(table.clone());
            Ok(())
        })?;
        if stays(&mut all, view, context)? {
            return Ok(false);
        }
        if !Builder::new(context).system_operators() {
            return Err(ambiguous(view).into());
        }
        tables.iter().try_for_each(|table| check_policies(view, table, context)).map(|()| true)
    })
}

/// The same of views of which `is_for_it` says so.
fn expand_some(
    node: &mut Node,
    context: &Context<'_>,
    is_for_it: &dyn Fn(&Relation, &str) -> Result<bool, Stop>,
) -> Result<(), Stop> {
    let builder = Builder::new(context);
    for _ in 0..DEPTH_MAX {
        let mut found = false;
        relations(node, &builder, &mut |item, relation| {
            if let RelationKind::View { definition, .. } = &relation.kind
                && let Node::RangeVar(name) = item
                && is_for_it(relation, definition)?
            {
                found = true;
                *item = subselect(name, relation, definition)?;
            }
            Ok(())
        })?;
        if !found {
            return Ok(());
        }
    }
    Err(Refusal::too_complex().into())
}

/// Its definition is written for an empty search path, and means pg_catalog's operators.
fn ambiguous(view: &Relation) -> Refusal {
    Refusal::unsupported(format!(
        "view \"{}\" in a query over several shards is not supported where the search path has other operators for PostgreSQL's own types",
        view.name
    ))
    .hint("Take the schema with those operators out of search_path.")
}

/// Whether shards can be asked for a view's rows by its name. `all`: its query, without views. One that tells the time is not: each shard
/// would tell its own.
fn stays(all: &mut Node, view: &Relation, context: &Context<'_>) -> Result<bool, Stop> {
    let mut clock = Clock::new(1);
    clock.replace(all)?;
    let all_columns = node::target(node::star(), "");
    let select =
        node::select(vec![all_columns], vec![node::wrap(Node::RangeVar(node::relation(&view.schema, &view.name, "")))]);
    match functions(all, &mut Builder::new(context), false) {
        Err(Stop::Refuse(_)) => Ok(false),
        Err(stop) => Err(stop),
        Ok(()) => Ok(!clock.used && Parts::new(context, Vec::new()).target(&select)?.is_some()),
    }
}

/// Policies of row security apply to a view's owner, not to who asks.
fn check_policies(view: &Relation, table: &Relation, context: &Context<'_>) -> Result<(), Stop> {
    let (RelationKind::View { owner: Some(owner), .. }, Some(exempt)) = (&view.kind, &table.exempt) else {
        return Ok(());
    };
    let is_exempt = |role: &str| exempt.iter().any(|name| name == role);
    if owner == context.role || is_exempt(owner) && is_exempt(context.role) {
        return Ok(());
    }
    let text = format!(
        "view \"{}\" does not distribute over the shards and reads \"{}\", whose row security policies apply to the view's owner",
        view.name, table.name
    );
    Err(Refusal::unsupported(text)
        .hint("Make the view one that each shard can answer for its rows and do the rest in the query, or make it WITH (security_invoker).")
        .into())
}

fn subselect(name: &RangeVar, view: &Relation, definition: &str) -> Result<Node, Stop> {
    let query = query(view, definition)?;
    let given = name.alias.as_ref();
    let aliasname = given.map_or_else(|| view.name.clone(), |alias| alias.aliasname.clone());
    let mut colnames = given.map_or_else(Vec::new, |alias| alias.colnames.clone());
    colnames.extend(view.columns.iter().skip(colnames.len()).map(|column| node::name(&column.name)));
    let alias = Some(Alias { aliasname, colnames });
    Ok(Node::RangeSubselect(Box::new(RangeSubselect { lateral: false, subquery: node::boxed(query), alias })))
}

/// The query that a view stands for.
fn query(view: &Relation, definition: &str) -> Result<Node, Stop> {
    let unreadable = || Refusal::unsupported(format!("view \"{}\" cannot be analysed", view.name));
    let mut script = sql::parse(definition).map_err(|_| unreadable())?;
    let tree = script.statements.pop().and_then(|statement| statement.tree).ok_or_else(unreadable)?;
    let mut query = tree.stmt.and_then(|statement| statement.node).ok_or_else(unreadable)?;
    in_system_schema(&mut query)?;
    Ok(query)
}

/// A view's definition is written for an empty search path: a bare function is one of pg_catalog.
fn in_system_schema(node: &mut Node) -> Result<(), Stop> {
    if let Node::FuncCall(call) = node
        && let [only] = call.funcname.as_slice()
        && names::string(only).is_some()
    {
        call.funcname.insert(0, node::name("pg_catalog"));
    }
    edit::children(node, &mut in_system_schema)
}

/// Numbers the tables of a statement: [`RangeVar::location`] tells them apart from then on.
pub fn number(node: &mut Node) -> Result<(), Stop> {
    fn visit(node: &mut Node, next: &mut i32) -> Result<(), Stop> {
        if let Node::RangeVar(name) = node {
            name.location = *next;
            *next += 1;
        }
        edit::children(node, &mut |child| visit(child, next))
    }
    visit(node, &mut 1)
}
