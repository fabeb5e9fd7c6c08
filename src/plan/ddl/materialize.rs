//! Materialized views. REFRESH on a shard would see that shard's rows only, so each is made with a definition that reads what the gateway
//! has gathered: `SELECT * FROM (query) AS query WHERE false UNION ALL SELECT * FROM pgbraid.refreshed() AS ...`. The first arm gives it the
//! query's names, types and dependencies and nothing else; the second one is read while the gateway refreshes it, on the home shard, where its
//! rows live. The catalog keeps the definition ([`crate::catalog::Relation::materialized`]), from which a REFRESH has its query again.

use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{CreateTableAsStmt, Node as Wrapped, RawStmt, RefreshMatViewStmt, SelectStmt, SetOperation};

use crate::catalog::{Relation, RelationKind};
use crate::plan::builder::Builder;
use crate::plan::ddl::make;
use crate::plan::ir::Stop;
use crate::plan::rewrite::quoted;
use crate::plan::{Access, Context, Everywhere, Make, Output, Plan, Refusal, Route, Target, gather, statement};
use crate::sql::{self, Node, edit, names};

/// Stands in [`Make::create`] where the definition is to be.
pub const DEFINITION: &str = "SELECT pgbraid_definition";

/// What is to be done to a materialized view with what a gather gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Materialize {
    /// CREATE.
    Create {
        /// Its query, as it was written.
        query: String,
        /// WITH DATA.
        filled: bool,
    },
    /// REFRESH, of this text.
    Refresh(String),
}

/// Plans CREATE MATERIALIZED VIEW.
pub fn created(create: &CreateTableAsStmt, context: &Context<'_>) -> Result<Plan, Stop> {
    let Some(into) = create.into.as_deref() else { return Err(Stop::Fails) };
    let Some(name) = &into.rel else { return Err(Stop::Fails) };
    let Some(Node::SelectStmt(select)) = names::inner(&create.query) else { return Err(Stop::Fails) };
    let dumped = dumped(select);
    let (select, column_names) = dumped.as_ref().map_or((&**select, &[][..]), |(query, names)| (query, names));
    let mut made = create.clone();
    made.query = sql::parse(DEFINITION).ok().and_then(|mut script| script.statements.pop()?.tree?.stmt);
    if let Some(into) = made.into.as_deref_mut() {
        into.skip_data = true;
        if into.col_names.is_empty() {
            into.col_names = column_names.to_vec();
        }
    }
    let made = RawStmt {
        stmt: Some(Box::new(Wrapped { node: Some(Node::CreateTableAsStmt(Box::new(made))) })),
        ..RawStmt::default()
    };
    let text = edit::print_statement(made).filter(|text| text.contains(DEFINITION)).ok_or_else(unfit)?;
    let query = edit::print(select).ok_or_else(unfit)?;
    let what = Materialize::Create { query: query.clone(), filled: !into.skip_data };
    gathered(select, (&name.schemaname, &name.relname, text, query), what, context)
}

/// Plans REFRESH MATERIALIZED VIEW.
pub fn refreshed(refresh: &RefreshMatViewStmt, context: &Context<'_>) -> Result<Plan, Stop> {
    let Some(name) = &refresh.relation else { return Err(Stop::Fails) };
    let relation = Builder::new(context).table(name).cloned().ok_or(Stop::Fails)?;
    let Some(definition) = &relation.materialized else { return foreign(&relation) };
    if refresh.skip_data {
        return Ok(Plan::Everywhere(Everywhere { in_transaction: true, ..Everywhere::default() }));
    }
    let select = query_of(definition).ok_or_else(unfit)?;
    let table = format!("{}.{}", quoted(&relation.schema), quoted(&relation.name));
    let concurrently = if refresh.concurrent { "CONCURRENTLY " } else { "" };
    let what = Materialize::Refresh(format!("REFRESH MATERIALIZED VIEW {concurrently}{table}"));
    let query = edit::print(&select).ok_or_else(unfit)?;
    gathered(&select, (&relation.schema, &relation.name, String::new(), query), what, context)
}

/// The query of a definition as `pg_dump` writes it, and the names of its columns where they are not the query's own; `None` for a query that
/// is a user's.
fn dumped(union: &SelectStmt) -> Option<(SelectStmt, Vec<Wrapped>)> {
    let (query, refreshed) = (union.larg.as_ref()?, union.rarg.as_ref()?);
    let Some(Node::RangeFunction(function)) = &refreshed.from_clause.first()?.node else { return None };
    let mut called = function.functions.iter().filter_map(|node| match &node.node {
        Some(Node::List(list)) => list.items.first()?.node.as_ref(),
        _ => None,
    });
    let Some(Node::FuncCall(call)) = called.next() else { return None };
    let nothing = names::inner(&query.where_clause).and_then(names::constant);
    let is_stored = union.op() == SetOperation::SetopUnion
        && union.all
        && names::qualified(&call.funcname) == Some((Some("pgbraid"), "refreshed"))
        && matches!(nothing, Some(Val::Boolval(value)) if !value.boolval);
    let mut renamed = false;
    let name = |node: &Wrapped| {
        let Some(Node::ResTarget(target)) = &node.node else { return None };
        let Some(Node::ColumnRef(column)) = names::inner(&target.val) else { return None };
        renamed |= !target.name.is_empty();
        let name = if target.name.is_empty() { names::string(column.fields.last()?)? } else { &target.name };
        Some(Wrapped { node: Some(Node::String(pg_query::protobuf::String { sval: name.to_owned() })) })
    };
    let columns: Vec<Wrapped> = query.target_list.iter().map(name).collect::<Option<_>>()?;
    let query = query_in(union).filter(|_| is_stored)?;
    Some((query, if renamed { columns } else { Vec::new() }))
}

/// One that was not made through the gateway, or is none.
fn foreign(relation: &Relation) -> Result<Plan, Stop> {
    match relation.kind {
        RelationKind::Unusable { .. } | RelationKind::Home => Err(Refusal::unsupported(format!(
            "materialized view \"{}\" was not made through the gateway: REFRESH would see each shard's own rows only",
            relation.name
        ))
        .hint("DROP it and CREATE it again through the gateway.")
        .into()),
        RelationKind::Sharded { .. }
        | RelationKind::Reference
        | RelationKind::System
        | RelationKind::View { .. }
        | RelationKind::Sequence => Err(Stop::Fails),
    }
}

/// The query of a definition that was made by [`created`].
fn query_of(definition: &str) -> Option<SelectStmt> {
    let statement = sql::parse(definition).ok()?.statements.pop()?;
    let Some(Node::SelectStmt(union)) = statement.node() else { return None };
    query_in(union)
}

fn query_in(union: &SelectStmt) -> Option<SelectStmt> {
    let from = union.larg.as_ref()?.from_clause.first()?;
    let Some(Node::RangeSubselect(query)) = &from.node else { return None };
    match names::inner(&query.subquery) {
        Some(Node::SelectStmt(select)) => Some((**select).clone()),
        _ => None,
    }
}

fn gathered(
    select: &SelectStmt,
    (schema, name, create, query): (&str, &str, String, String),
    what: Materialize,
    context: &Context<'_>,
) -> Result<Plan, Stop> {
    let Some(mut gather) = gather::wherever(select, "rows for a materialized view", context)? else {
        let query = Node::SelectStmt(Box::new(select.clone()));
        return Err(statement::rows(&query, None, context).err().unwrap_or_else(unfit));
    };
    gather.ordered = None;
    gather.sink = gather::Sink::Make(Box::new(Make {
        create,
        query,
        // None: the first one of the search path that there is.
        schema: schema.to_owned(),
        name: name.to_owned(),
        table: quoted(name),
        columns: Vec::new(),
        materialize: Some(what),
    }));
    let target = Target::Gather(std::sync::Arc::new(gather));
    Ok(Plan::Rows(Route { access: Access::Write, target, output: Output::Rows }))
}

fn unfit() -> Stop {
    make::unfit("CREATE MATERIALIZED VIEW")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_query_is_found_in_what_postgres_makes_of_the_definition() {
        let definition = " SELECT query.a\n   FROM ( SELECT t.a\n           FROM public.t) query\n  WHERE false\nUNION ALL\n \
             SELECT refreshed.c1 AS a\n   FROM pgbraid.refreshed() refreshed(c1 integer);";
        assert_eq!(edit::print(&query_of(definition).unwrap()).unwrap(), "SELECT t.a FROM public.t");
    }
}
