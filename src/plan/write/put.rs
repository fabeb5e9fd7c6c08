//! INSERT ... SELECT whose rows go to other shards than those they are read from: the query is gathered, and the merge server keeps what it
//! gives in a table of its own, from where each row goes to its shard.

use pg_query::protobuf::{InsertStmt, Node as Wrapped, OverridingKind, RangeVar, RawStmt, ResTarget, SelectStmt};

use super::insert::plain_values;
use super::wanted::default_text;
use crate::catalog::{Column, ColumnDefault, KeyType, Relation, RelationKind};
use crate::plan::builder::Builder;
use crate::plan::gather::{self, Defaults, Sink};
use crate::plan::ir::Stop;
use crate::plan::rewrite::quoted;
use crate::plan::{Access, Context, Gather, Route};
use crate::sql::{self, Node, clock, edit, names, tokens};
use crate::wire::reply::ColumnName;

/// What becomes of the rows of a [`Gather`] that are not the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The table, qualified and quoted.
    pub table: String,
    /// The same for messages.
    pub relation: String,
    /// Columns that the query gives, quoted.
    pub columns: Vec<String>,
    /// Columns whose defaults are computed with the query, quoted, with their expressions.
    pub defaults: Vec<(String, String)>,
    /// A default draws numbers from a sequence, which are the home shard's to give.
    pub draws: bool,
    /// Where each row goes.
    pub store: Store,
    /// INSERT up to its rows and from behind them; `None` where COPY does the same.
    pub insert: Option<(String, String)>,
    /// It has RETURNING.
    pub returns: bool,
}

/// Where a row goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// To the shard of its key.
    Sharded {
        /// The key's place among `columns` and `defaults`.
        key: usize,
        /// How it is hashed.
        key_type: KeyType,
        /// Its name, for messages.
        column: ColumnName,
    },
    /// To every shard.
    Reference,
    /// To the home shard.
    Home,
}

/// The route of an INSERT, given the one it has by itself: a refusal over several shards becomes a gather where that is possible.
///
/// # Errors
/// The refusal, where it is not.
pub fn instead(route: Result<Route, Stop>, node: &Node, context: &Context<'_>) -> Result<Route, Stop> {
    let Node::InsertStmt(insert) = node else { return route };
    gather::where_refused(route, |_| Ok(planned(insert, context).ok().flatten().map(|gather| (gather, Access::Write))))
}

/// `None` if it is refused for other reasons than where rows live.
fn planned(insert: &InsertStmt, context: &Context<'_>) -> Result<Option<Gather>, Stop> {
    let Some(Node::SelectStmt(select)) = names::inner(&insert.select_stmt) else { return Ok(None) };
    if plain_values(select) || insert.r#override() == OverridingKind::OverridingUserValue {
        return Ok(None);
    }
    let relation = Builder::new(context).target(insert.relation.as_ref())?;
    let Some(select) = with(insert, select) else { return Ok(None) };
    let Some(width) = width(&select, context)? else { return Ok(None) };
    let Some(given) = given(insert, &relation, width) else { return Ok(None) };
    let omitted = omitted(&relation, &given, context)?;
    let Some(text) = shell(insert, &relation, &given, &omitted) else { return Ok(None) };
    if !same_tail(insert, &relation, &text.1, context)? {
        return Ok(None);
    }
    let parameters = tokens::parameters(&format!("{}{}", text.0, text.1)).into_iter().max().map_or(0, |last| last + 1);
    let mut declared = context.declared_types.to_vec();
    declared.resize(declared.len().max(parameters), 0);
    let context = Context { declared_types: &declared, ..*context };
    let Some(mut gather) = gather::wherever_drawn(&select, "rows for other shards", &context)? else { return Ok(None) };
    let draws = gather::drawn(&select, &context)? != gather::Drawn::Not;
    let mut defaults = Defaults::new();
    let mut draws_default = false;
    for at in &omitted {
        let Some(column) = relation.columns.get(*at) else { return Ok(None) };
        draws_default |= Builder::new(&context).draws_default(column)?;
        let Some(text) = default_text(column) else { return Ok(None) };
        if !defaults.add(&quoted(&column.name), text)? {
            return Ok(None);
        }
    }
    if defaults.tells_time && gather.now_parameter.is_none() {
        gather.now_parameter = Some(gather.parameters + 1);
    }
    let order: Vec<usize> = given.iter().chain(&omitted).copied().collect();
    let store = match relation.kind {
        RelationKind::Sharded { key, key_type } => {
            let Some(place) = order.iter().position(|at| *at == key) else { return Ok(None) };
            let column = relation.columns.get(key).map(|column| relation.column_name(&column.name)).unwrap_or_default();
            Store::Sharded { key: place, key_type, column }
        }
        RelationKind::Reference => Store::Reference,
        RelationKind::Home => Store::Home,
        _ => return Ok(None),
    };
    let name = |at: &usize| relation.columns.get(*at).map(|column| quoted(&column.name)).unwrap_or_default();
    let returns = insert.returning_clause.as_ref().is_some_and(|returning| !returning.exprs.is_empty());
    // COPY FROM is not for tables whose policies apply.
    let secured = Builder::new(&context).secured(&relation);
    let plain = insert.on_conflict_clause.is_none() && !returns && !secured;
    // Its rows stay on the merge server until they are put.
    gather.ordered = None;
    gather.sink = Sink::Put(Box::new(Put {
        table: format!("{}.{}", quoted(&relation.schema), quoted(&relation.name)),
        relation: relation.name.clone(),
        columns: given.iter().map(name).collect(),
        draws: draws || draws_default,
        defaults: defaults.made,
        store,
        insert: (!plain).then_some(text),
        returns,
    }));
    Ok(Some(gather))
}

/// Whether ON CONFLICT and RETURNING do on several shards what they do on one.
fn same_tail(insert: &InsertStmt, relation: &Relation, tail: &str, context: &Context<'_>) -> Result<bool, Stop> {
    let mut builder = Builder::new(context);
    let unsteady = builder.check_tail(insert)?.is_some() && relation.kind == RelationKind::Reference;
    let effects = &builder.effects;
    let changes = effects.sequence || effects.transaction_lock || effects.changes;
    // Each shard would tell its own time.
    let tells_time = relation.kind != RelationKind::Home && !tail.is_empty() && !clock::find(tail).is_empty();
    let differs = match relation.kind {
        RelationKind::Home => false,
        RelationKind::Reference => effects.moment || effects.differs || effects.asks_server,
        _ => effects.moment,
    };
    Ok(!unsteady && !changes && !tells_time && !differs)
}

/// The query with the queries of the INSERT's own WITH.
fn with(insert: &InsertStmt, select: &SelectStmt) -> Option<SelectStmt> {
    let mut select = select.clone();
    let Some(outer) = &insert.with_clause else { return Some(select) };
    match &mut select.with_clause {
        None => select.with_clause = Some(outer.clone()),
        Some(inner) => {
            let known: Vec<_> = outer.ctes.iter().filter_map(names::cte_name).collect();
            let clash = inner.ctes.iter().filter_map(names::cte_name).any(|name| known.contains(&name));
            if clash || inner.recursive != outer.recursive {
                return None;
            }
            inner.ctes.splice(0..0, outer.ctes.iter().cloned());
        }
    }
    Some(select)
}

/// How many columns the query gives, if that is certain.
fn width(select: &SelectStmt, context: &Context<'_>) -> Result<Option<usize>, Stop> {
    let mut builder = Builder::new(context);
    let query = builder.select(select)?;
    Ok((!query.open).then_some(query.columns.len()))
}

/// Positions of the columns that are given.
fn given(insert: &InsertStmt, relation: &Relation, width: usize) -> Option<Vec<usize>> {
    let position = |node: &Wrapped| match &node.node {
        Some(Node::ResTarget(target)) if target.indirection.is_empty() => {
            relation.columns.iter().position(|column| column.name == target.name)
        }
        _ => None,
    };
    let all: Vec<usize> = match insert.cols.as_slice() {
        [] => (0..relation.columns.len()).collect(),
        cols => cols.iter().map(position).collect::<Option<_>>()?,
    };
    let given = all.get(..width)?;
    let generated = |at: &usize| relation.columns.get(*at).is_some_and(|column| column.generated);
    (!given.iter().any(generated)).then(|| given.to_vec())
}

/// Columns left out whose defaults the shards must not compute for themselves: each would have its own time or count, and which shard a row
/// belongs to must be known before.
fn omitted(relation: &Relation, given: &[usize], context: &Context<'_>) -> Result<Vec<usize>, Stop> {
    let builder = Builder::new(context);
    let own = |at: usize, column: &Column| match (&relation.kind, &column.default) {
        (RelationKind::Home, _) | (_, ColumnDefault::None) => Ok(false),
        (_, ColumnDefault::Sequence) | (RelationKind::Reference, _) => Ok(true),
        (RelationKind::Sharded { key, .. }, _) if at == *key || super::wanted::tells_time(column) => Ok(true),
        (RelationKind::Sharded { .. }, _) => Ok::<_, Stop>(builder.own_default(relation, column)?.is_some()),
        _ => Ok(false),
    };
    let mut left_out = Vec::new();
    for (at, column) in relation.columns.iter().enumerate() {
        if !given.contains(&at) && !column.generated && own(at, column)? {
            left_out.push(at);
        }
    }
    Ok(left_out)
}

/// INSERT up to its rows and from behind them, as PostgreSQL's printer writes them.
fn shell(insert: &InsertStmt, relation: &Relation, given: &[usize], omitted: &[usize]) -> Option<(String, String)> {
    const ROWS: &str = " VALUES ('pgbraid_rows')";
    let mut insert = insert.clone();
    insert.select_stmt = sql::parse(ROWS).ok()?.statements.pop()?.tree?.stmt;
    insert.with_clause = None;
    let column = |at: &usize| {
        let target = ResTarget { name: relation.columns.get(*at)?.name.clone(), ..ResTarget::default() };
        Some(Wrapped { node: Some(Node::ResTarget(Box::new(target))) })
    };
    insert.cols = given.iter().chain(omitted).map(column).collect::<Option<_>>()?;
    let always = |at: &usize| relation.columns.get(*at).is_some_and(|column| column.always);
    if omitted.iter().any(always) {
        insert.r#override = OverridingKind::OverridingSystemValue as i32;
    }
    if let Some(name) = &mut insert.relation {
        *name = RangeVar { schemaname: relation.schema.clone(), ..name.clone() };
    }
    let reads = |node: &Wrapped| reads_tables(node.node.as_ref());
    let returning = insert.returning_clause.iter().flat_map(|returning| &returning.exprs);
    let conflict = insert.on_conflict_clause.iter();
    let conflict = conflict.flat_map(|clause| clause.target_list.iter().chain(clause.where_clause.as_deref()));
    if returning.chain(conflict).any(reads) {
        return None;
    }
    let statement = Wrapped { node: Some(Node::InsertStmt(Box::new(insert))) };
    let printed = edit::print_statement(RawStmt { stmt: Some(Box::new(statement)), ..RawStmt::default() })?;
    let (head, tail) = printed.split_once(ROWS)?;
    (!tail.contains(ROWS)).then(|| (format!("{head} "), tail.to_owned()))
}

/// Whether a sub-select is in it, or something that is not known.
fn reads_tables(node: Option<&Node>) -> bool {
    let Some(node) = node else { return false };
    if matches!(node, Node::SubLink(_)) {
        return true;
    }
    let mut found = false;
    let visited: Result<(), sql::walk::Unknown> = sql::walk::children(node, &mut |child| {
        found |= reads_tables(Some(child));
        Ok(())
    });
    found || visited.is_err()
}
