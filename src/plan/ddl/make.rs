//! CREATE TABLE AS, SELECT INTO: the table is made on every shard without rows, and what the query gives is put into it. Where its rows live
//! is decided by its name and columns, as for any table: by the key column if it has one, else on the home shard.

use std::sync::Arc;

use pg_query::protobuf::{CreateTableAsStmt, IntoClause, Node as Wrapped, ObjectType, RawStmt, SelectStmt};

use super::materialize::{self, Materialize};
use crate::plan::builder::Builder;
use crate::plan::ir::Stop;
use crate::plan::rewrite::quoted;
use crate::plan::session::utility;
use crate::plan::statement::Source;
use crate::plan::{Access, Context, Everywhere, Gather, Output, Plan, Refusal, Route, Target, ddl, gather, statement};
use crate::sql::{Node, edit, names};

/// A table to be made for the rows of a [`Gather`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Make {
    /// The statement WITH NO DATA.
    pub create: String,
    /// Its query.
    pub query: String,
    /// The schema where it will be.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// As the statement writes it, quoted.
    pub table: String,
    /// Columns that the statement names; the others are named as the query's.
    pub columns: Vec<String>,
    /// It is a materialized view.
    pub materialize: Option<Materialize>,
}

/// Plans CREATE TABLE AS.
pub fn plan(create: &CreateTableAsStmt, source: &Source<'_>, context: &Context<'_>) -> Result<Plan, Stop> {
    match names::inner(&create.query) {
        Some(Node::ExecuteStmt(execute)) => utility::executed_within(execute, true, source),
        _ => of_query(create, context),
    }
}

fn of_query(create: &CreateTableAsStmt, context: &Context<'_>) -> Result<Plan, Stop> {
    if create.objtype() == ObjectType::ObjectMatview {
        let name = create.into.as_ref().and_then(|into| into.rel.as_ref());
        let known = name.is_some_and(|name| Builder::new(context).table(name).is_some());
        return match create.if_not_exists && known {
            true => Ok(Plan::Everywhere(Everywhere { in_transaction: true, ..Everywhere::default() })),
            false => materialize::created(create, context),
        };
    }
    let everywhere = |changes_catalog| {
        Ok(Plan::Everywhere(Everywhere { in_transaction: true, changes_catalog, ..Everywhere::default() }))
    };
    let Some(into) = create.into.as_deref() else { return Err(Stop::Fails) };
    let Some(name) = &into.rel else { return Err(Stop::Fails) };
    if create.if_not_exists && Builder::new(context).table(name).is_some() {
        // PostgreSQL says so, and does not run the query.
        return everywhere(false);
    }
    let Some(Node::SelectStmt(select)) = names::inner(&create.query) else { return Err(Stop::Fails) };
    if into.skip_data {
        return everywhere(true);
    }
    made(create, into, select, context)
}

/// INTO, taken out of a query: of UNION and its like it stands in the first arm.
fn taken_into(select: &mut SelectStmt) -> Option<Box<IntoClause>> {
    match (select.into_clause.take(), &mut select.larg) {
        (Some(into), _) => Some(into),
        (None, Some(first)) => taken_into(first),
        (None, None) => None,
    }
}

/// Whether a query is SELECT INTO.
pub fn has_into(select: &SelectStmt) -> bool {
    select.into_clause.is_some() || select.larg.as_deref().is_some_and(has_into)
}

/// Plans SELECT INTO; `None` for another query.
pub fn select_into(select: &SelectStmt, context: &Context<'_>) -> Option<Result<Plan, Stop>> {
    let mut query = select.clone();
    let into = taken_into(&mut query)?;
    let node = Node::SelectStmt(Box::new(query));
    let create = CreateTableAsStmt {
        query: Some(Box::new(Wrapped { node: Some(node) })),
        into: Some(into),
        objtype: ObjectType::ObjectTable as i32,
        is_select_into: false,
        if_not_exists: false,
    };
    let node = Node::CreateTableAsStmt(Box::new(create));
    Some(ddl::check_temporary(&node, context).map_err(Stop::from).and_then(|()| match &node {
        Node::CreateTableAsStmt(create) => of_query(create, context),
        _ => Err(Stop::Fails),
    }))
}

fn made(
    create: &CreateTableAsStmt,
    into: &IntoClause,
    select: &SelectStmt,
    context: &Context<'_>,
) -> Result<Plan, Stop> {
    let unfit = || unfit("CREATE TABLE AS");
    let mut gather = match gather::wherever(select, "rows for a new table", context)? {
        Some(gather) => gather,
        // The query's own refusal says more.
        None => {
            let query = Node::SelectStmt(Box::new(select.clone()));
            return Err(statement::rows(&query, None, context).err().unwrap_or_else(unfit));
        }
    };
    let Some(name) = &into.rel else { return Err(Stop::Fails) };
    let default_schema = context.search_path.first().map_or("public", String::as_str);
    let (schema, table) = match name.schemaname.as_str() {
        "" => (default_schema, quoted(&name.relname)),
        schema => (schema, format!("{}.{}", quoted(schema), quoted(&name.relname))),
    };
    let mut empty = create.clone();
    if let Some(into) = empty.into.as_deref_mut() {
        into.skip_data = true;
    }
    let statement = Wrapped { node: Some(Node::CreateTableAsStmt(Box::new(empty))) };
    let raw = RawStmt { stmt: Some(Box::new(statement)), ..RawStmt::default() };
    gather.ordered = None;
    gather.sink = gather::Sink::Make(Box::new(Make {
        create: edit::print_statement(raw).ok_or_else(unfit)?,
        query: edit::print(select).ok_or_else(unfit)?,
        schema: schema.to_owned(),
        name: name.relname.clone(),
        table,
        columns: names::strings(&into.col_names).unwrap_or_default().into_iter().map(str::to_owned).collect(),
        materialize: None,
    }));
    let target = Target::Gather(Arc::new(gather));
    Ok(Plan::Rows(Route { access: Access::Write, target, output: Output::Rows }))
}

/// Whether later statements of a script may mean the table.
pub fn makes(gather: &Gather) -> bool {
    gather.make().is_some()
}

/// A query whose rows cannot be stored in this way.
pub fn unfit(verb: &str) -> Stop {
    let refusal = Refusal::unsupported(format!("{verb} of this query is not supported"));
    refusal.hint("CREATE TABLE first, then INSERT or COPY the rows.").into()
}
