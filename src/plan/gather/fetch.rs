//! Writes that need rows of other shards than those they change: these rows are fetched first, and stand in the statement's text as
//! constants, so that what is left of it is a write of each shard's own rows. WITH queries that write, whose rows the rest of the
//! statement puts together, run first in the same way.

use std::collections::BTreeSet;
use std::sync::Arc;

use pg_query::protobuf::{Node as Wrapped, RawStmt, SelectStmt};

use super::part::refused;
use super::site::{Found, Sites, has_erased, sets};
use super::unmatched::{self, Apart};
use super::{Gather, columns, plan};
use crate::catalog::{Relation, RelationKind};
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::{Access, Context, Output, Refusal, Route, Target, quoted, sequence, statement};
use crate::sql::{self, Node, edit, names};

/// The alias of rows that stand in a text: what has it is not looked through again.
pub const ROWS_ALIAS: &str = "pgbraid_fetched";

/// Places of a statement at the most whose rows are fetched.
const SITES_MAX: usize = 16;

/// A statement some of whose rows are fetched first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What is fetched: first what is read, then what writes, each in this order.
    pub sources: Vec<Source>,
    /// The statement with places for the rows.
    pub text: Vec<Chunk>,
    /// The statement itself, if all its rows are on one shard.
    pub stays: Option<Box<Target>>,
    /// It is one part of several of a statement of this name, whose tag counts what all of them change.
    pub part_of: Option<&'static str>,
}

/// What is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The statement, with places for the rows of those before.
    pub text: Vec<Chunk>,
    /// How a query is answered; `None` for a statement that is planned when the rows before it are there, as those that write are.
    pub gather: Option<Arc<Gather>>,
    /// Its columns; none for a write that returns nothing.
    pub columns: Vec<String>,
}

/// A piece of a statement's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// As it is.
    Text(String),
    /// The rows of this source, as a query in parentheses.
    Rows(usize),
    /// The value of this source, which should have one row of one column.
    Value(usize),
}

impl Source {
    /// Its text, for people.
    pub fn shown(&self) -> String {
        Fetched::fill(&self.text, |at| format!("(rows {})", at + 1), |at| format!("(value {})", at + 1))
    }
}

impl Fetched {
    /// A text with what is fetched as `rows` and `value` write it.
    pub fn fill(chunks: &[Chunk], rows: impl Fn(usize) -> String, value: impl Fn(usize) -> String) -> String {
        let piece = |chunk: &Chunk| match chunk {
            Chunk::Text(text) => text.clone(),
            Chunk::Rows(at) => rows(*at),
            Chunk::Value(at) => value(*at),
        };
        chunks.iter().map(piece).collect()
    }
}

/// Rows as a query in parentheses: an array of text for each column, and how each column is shown.
pub fn rows_text(arrays: &[String], columns: &[String]) -> String {
    let names: Vec<_> = (1..=arrays.len()).map(|at| format!("c{at}")).collect();
    // With several arguments it is a part of the grammar, of that name only. Source: parse_clause.c, transformRangeFunction.
    let unnest = if arrays.len() > 1 { "unnest" } else { "pg_catalog.unnest" };
    format!(
        "(SELECT {} FROM {unnest}({}) AS {ROWS_ALIAS} ({}))",
        columns.join(", "),
        arrays.join(", "),
        names.join(", ")
    )
}

/// The route of a write, given the one it has by itself: a refusal for rows on other shards becomes [`Fetched`] where that is possible.
///
/// # Errors
/// The refusal, where it is not.
pub fn instead(route: Result<Route, Stop>, node: &Node, text: &str, context: &Context<'_>) -> Result<Route, Stop> {
    if text.contains("pgbraid_") {
        return route;
    }
    match route {
        Ok(Route { access: Access::Write, target: Target::Keyed(keyed), output }) => {
            let refused = refused(&keyed).is_some();
            let mut target = Target::Keyed(keyed);
            if refused && let Some(mut fetched) = fetched(node, context) {
                fetched.stays = Some(Box::new(target));
                target = Target::Fetched(Box::new(fetched));
            }
            Ok(Route { access: Access::Write, target, output })
        }
        Err(Stop::Refuse(refusal)) if refusal.sqlstate == "0A000" => match fetched(node, context) {
            Some(fetched) => {
                let target = Target::Fetched(Box::new(fetched));
                Ok(Route { access: Access::Write, target, output: Output::Rows })
            }
            None => Err(Stop::Refuse(why_not(node, context).unwrap_or(refusal))),
        },
        route => route,
    }
}

/// Why a MERGE that inserts rows cannot be taken apart.
fn why_not(node: &Node, context: &Context<'_>) -> Option<Refusal> {
    let Node::MergeStmt(merge) = node else { return None };
    if unmatched::inserts(merge) { columns::reason(merge, context) } else { None }
}

/// As few sources as it takes.
fn fetched(node: &Node, context: &Context<'_>) -> Option<Fetched> {
    // Literals without values (`plan::shared`) cannot be printed.
    if !writes(node) || has_erased(&mut node.clone()) {
        return None;
    }
    let Some((all, sites)) =
        attempt(node, &|_| true, context).filter(|(all, sites)| (1..=SITES_MAX).contains(sites) && works(all, context))
    else {
        return merged(node, context);
    };
    let mut best = all;
    let mut chosen: BTreeSet<usize> = (0..sites).collect();
    for site in 0..sites {
        chosen.remove(&site);
        match attempt(node, &|site| chosen.contains(&site), context) {
            Some((fewer, _)) if !fewer.sources.is_empty() && works(&fewer, context) => best = fewer,
            _ => {
                chosen.insert(site);
            }
        }
    }
    (!best.sources.is_empty()).then_some(best)
}

fn writes(node: &Node) -> bool {
    match node {
        Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => true,
        Node::SelectStmt(select) => {
            sets(select) || select.with_clause.iter().flat_map(|with| &with.ctes).any(writes_in_with)
        }
        _ => false,
    }
}

/// Whether a WITH query is no SELECT.
pub fn writes_in_with(cte: &Wrapped) -> bool {
    match &cte.node {
        Some(Node::CommonTableExpr(cte)) => !matches!(names::inner(&cte.ctequery), Some(Node::SelectStmt(_))),
        _ => false,
    }
}

/// The statement with these places fetched, and how many there are.
fn attempt(node: &Node, chosen: &dyn Fn(usize) -> bool, context: &Context<'_>) -> Option<(Fetched, usize)> {
    let mut tree = node.clone();
    let mut sites = Sites::new(context, chosen);
    sites.statement(&mut tree).ok()?;
    let Sites { found, count, .. } = sites;
    let sources = sources(found, context)?;
    let text = chunks(&print(tree)?);
    Some((Fetched { sources, text, stays: None, part_of: None }, count))
}

/// A MERGE in several parts.
fn merged(node: &Node, context: &Context<'_>) -> Option<Fetched> {
    let Node::MergeStmt(merge) = node else { return None };
    let mut merge = columns::of(merge, context)?;
    let mut found = Vec::new();
    let shared = unmatched::shares_with(&merge)?;
    if shared {
        let mut sites = Sites::new(context, &|_| true);
        sites.with(merge.with_clause.as_mut()?).ok()?;
        found = sites.found;
        // What is left of it is asked anew by each part.
        if !unmatched::steady_with(merge.with_clause.as_ref()?, context)? {
            return None;
        }
    }
    let mut sites = Sites::new(context, &|_| true);
    sites.found = found;
    let Apart { source, reads, writes } = unmatched::apart(&merge, sites.found.len(), shared, context)?;
    let later = |select: SelectStmt| Found::Later(Box::new(Node::SelectStmt(Box::new(select))));
    let source = if sites.found.is_empty() { Found::Query(Box::new(source)) } else { later(source) };
    sites.place(|| source);
    sites.found.extend(reads.into_iter().map(later));
    let mut trees = Vec::with_capacity(writes.len());
    for mut tree in writes {
        sites.statement(&mut tree).ok()?;
        trees.push(tree);
    }
    let last = trees.pop()?;
    trees.into_iter().for_each(|tree| sites.found.push(Found::Later(Box::new(tree))));
    let sources = sources(sites.found, context)?;
    let text = chunks(&print(last)?);
    let fetched = Fetched { sources, text, stays: None, part_of: Some("MERGE") };
    (fetched.sources.len() <= SITES_MAX && works(&fetched, context)).then_some(fetched)
}

fn sources(found: Vec<Found>, context: &Context<'_>) -> Option<Vec<Source>> {
    let mut sources = Vec::with_capacity(found.len());
    for found in found {
        let source = match found {
            Found::Query(select) => {
                let gather = plan::wherever(&select, "rows for other shards", context).ok()??;
                let gather = Arc::new(Gather { ordered: None, ..gather });
                let text = edit::print(&select)?;
                Source { columns: output_names(&select, context)?, text: vec![Chunk::Text(text)], gather: Some(gather) }
            }
            Found::Later(node) => later(*node, &sources, context)?,
        };
        sources.push(source);
    }
    Some(sources)
}

/// A statement over the rows of others.
fn later(node: Node, sources: &[Source], context: &Context<'_>) -> Option<Source> {
    let mut source = Source { text: chunks(&print(node)?), gather: None, columns: Vec::new() };
    let text = dummy(&source.text, sources);
    let script = sql::parse(&text).ok()?;
    let node = script.statements.first()?.node()?;
    if let Node::SelectStmt(select) = node {
        source.columns = output_names(select, context)?;
        return Some(source);
    }
    if let Node::InsertStmt(insert) = node
        && insert.returning_clause.is_none()
    {
        return Some(source);
    }
    let mut builder = Builder::new(context);
    builder.text = Some(&text);
    builder.putting = true;
    builder.write(node).ok()?;
    if let Some(returned) = builder.returned.take().filter(|returned| !returned.open) {
        let named = |(name, _): (Option<String>, _)| name.unwrap_or_else(|| "?column?".to_owned());
        source.columns = returned.columns.into_iter().map(named).collect();
    }
    Some(source)
}

fn print(node: Node) -> Option<String> {
    let statement = Wrapped { node: Some(node) };
    edit::print_statement(RawStmt { stmt: Some(Box::new(statement)), ..RawStmt::default() })
}

/// Names of a query's output columns, if all are certain.
fn output_names(select: &pg_query::protobuf::SelectStmt, context: &Context<'_>) -> Option<Vec<String>> {
    let mut builder = Builder::new(context);
    builder.gathering = true;
    let query = builder.select(select).ok()?;
    let names = query.columns.iter().map(|column| column.name.clone().unwrap_or_else(|| "?column?".to_owned()));
    (!query.open && !query.columns.is_empty()).then(|| names.collect())
}

/// A printed text between its marks.
fn chunks(text: &str) -> Vec<Chunk> {
    const ROWS: &str = "pg_temp.pgbraid_rows_";
    const VALUE: &str = "pgbraid_value_";
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (at, mark) = match (rest.find(ROWS), rest.find(VALUE)) {
            (Some(rows), value) if value.is_none_or(|value| rows < value) => (rows, ROWS),
            (_, Some(value)) => (value, VALUE),
            (_, None) => break,
        };
        let (before, behind) = rest.split_at(at);
        let behind = behind.get(mark.len()..).unwrap_or_default();
        let Some((number, behind)) = behind.split_once('_') else { break };
        let Ok(number) = number.parse() else { break };
        found.push(Chunk::Text(before.to_owned()));
        found.push(if mark == ROWS { Chunk::Rows(number) } else { Chunk::Value(number) });
        rest = behind;
    }
    found.push(Chunk::Text(rest.to_owned()));
    found
}

/// A text with rows that are like those to be fetched, as far as it matters here.
fn dummy(chunks: &[Chunk], sources: &[Source]) -> String {
    let rows = |at: usize| {
        let names = sources.get(at).map(|source| source.columns.as_slice()).unwrap_or_default();
        let arrays = vec!["NULL::pg_catalog.text[]".to_owned(); names.len()];
        let column = |(at, name): (usize, &String)| format!("{ROWS_ALIAS}.c{} AS {}", at + 1, quoted(name));
        rows_text(&arrays, &names.iter().enumerate().map(column).collect::<Vec<_>>())
    };
    Fetched::fill(chunks, rows, |_| "'1'".to_owned())
}

/// Whether it can be planned when its rows are there, and means the same.
fn works(fetched: &Fetched, context: &Context<'_>) -> bool {
    let mut written: Vec<Arc<Relation>> = Vec::new();
    for source in fetched.sources.iter().filter(|source| source.gather.is_none()) {
        let text = dummy(&source.text, &fetched.sources);
        // It may need rows itself.
        let fits = plannable(&text, context) || (!text.contains(ROWS_ALIAS) && fetched_text(&text, context));
        if !fits || !apart(&text, &mut written, context) {
            return false;
        }
    }
    let text = dummy(&fetched.text, &fetched.sources);
    plannable(&text, context) && apart(&text, &mut written, context)
}

fn fetched_text(text: &str, context: &Context<'_>) -> bool {
    let Ok(script) = sql::parse(text) else { return false };
    let Some(node) = script.statements.first().and_then(sql::Statement::node) else { return false };
    fetched(node, context).is_some()
}

fn plannable(text: &str, context: &Context<'_>) -> bool {
    let Ok(script) = sql::parse(text) else { return false };
    let Some(node) = script.statements.first().and_then(sql::Statement::node) else { return false };
    match sequence::set(node, text, context) {
        Ok(None) => {}
        Ok(Some(_)) => return true,
        Err(_) => return false,
    }
    let own = (!matches!(node, Node::SelectStmt(_))).then_some(text);
    let Ok(route) = statement::rows(node, own, context) else { return false };
    match &route.target {
        Target::Unknown | Target::Fetched(_) => false,
        // One key is on one shard, whichever the value is that will stand there.
        Target::Keyed(keyed) => refused(keyed).is_none(),
        Target::Any
        | Target::Home
        | Target::Scatter
        | Target::Computed(_)
        | Target::Moved(_)
        | Target::Replicated { .. }
        | Target::Gather(_) => true,
    }
}

/// Whether a statement does not see what those before it have written, as all parts of one statement see what was there before it.
fn apart(text: &str, written: &mut Vec<Arc<Relation>>, context: &Context<'_>) -> bool {
    let Ok(script) = sql::parse(text) else { return false };
    let Some(node) = script.statements.first().and_then(sql::Statement::node) else { return false };
    let mut builder = Builder::new(context);
    builder.text = Some(text);
    builder.putting = true;
    let mut target = None;
    let built = match node {
        Node::SelectStmt(select) => builder.select(select).map(|_| ()),
        Node::InsertStmt(insert) if insert.on_conflict_clause.is_none() && insert.returning_clause.is_none() => {
            target = builder.target(insert.relation.as_ref()).ok();
            let selected =
                builder.with(insert.with_clause.as_ref()).and_then(|()| match names::inner(&insert.select_stmt) {
                    Some(Node::SelectStmt(select)) => builder.select(select).map(|_| ()),
                    _ => Ok(()),
                });
            selected.and_then(|()| builder.end_with(insert.with_clause.as_ref()))
        }
        node => builder.write(node),
    };
    if built.is_err() {
        return false;
    }
    let own = |relation: &Arc<Relation>| !matches!(relation.kind, RelationKind::System) && !relation.schema.is_empty();
    // A plain INSERT does not look at the rows that are there.
    let blind = match node {
        Node::InsertStmt(insert) if insert.on_conflict_clause.is_none() => {
            builder.writes.last().map(|write| write.target.0)
        }
        _ => None,
    };
    let leaves = builder.leaves.iter().enumerate().filter(|(at, _)| Some(*at) != blind);
    let mut used = leaves.map(|(_, leaf)| &leaf.relation).filter(|relation| own(relation));
    let sees = |relation: &Arc<Relation>| {
        written.iter().any(|written| {
            // Where a foreign key's action leads: to reference tables from reference tables only.
            let follows = relation.kind != RelationKind::Reference || written.kind == RelationKind::Reference;
            written.shares_rows(relation) || (written.cascades && follows)
        })
    };
    if used.any(sees) {
        return false;
    }
    let targets = builder.writes.iter().filter_map(|write| builder.leaves.get(write.target.0));
    written.extend(targets.map(|leaf| leaf.relation.clone()).chain(target));
    true
}
