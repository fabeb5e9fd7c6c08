//! Statements that call functions or procedures which read or write tables: their bodies are read, and what they do is planned with the
//! call's arguments in the places of the parameters. Where all of it belongs to one shard, that of the keys among the arguments, the
//! statement runs there as it is; else it is refused. Nothing is said of a body that cannot be read.

use std::collections::HashSet;

use pg_query::protobuf::{CallStmt, FuncCall, Node as Wrapped};

use super::block::together;
use super::builder::Builder;
use super::gather::node;
use super::ir::Stop;
use super::key::{self, Class};
use super::{Access, Context, Output, Plan, Refusal, Route, Target, plpgsql, statement};
use crate::catalog::{Language, Parameter, Routine};
use crate::sql::{self, Node, names, statements};

/// Calls within calls at the most.
const DEPTH_MAX: usize = 8;

/// Settings of a function that say nothing of where its rows are. `search_path` is followed.
const HARMLESS: [&str; 10] = [
    "client_min_messages",
    "enable_seqscan",
    "idle_in_transaction_session_timeout",
    "jit",
    "lock_timeout",
    "log_statement",
    "plan_cache_mode",
    "statement_timeout",
    "timezone",
    "work_mem",
];

/// The route of a statement, given the one it has by itself: where that is refused because of functions that it calls, these are read.
///
/// # Errors
/// The refusal, if none is called that can be read, or the reason why it is no use.
pub fn instead(route: Result<Route, Stop>, node: &Node, context: &Context<'_>) -> Result<Route, Stop> {
    match route {
        Err(Stop::Refuse(refusal)) if refusal.sqlstate == "0A000" && !context.catalog.routines.is_empty() => {
            let mut follower = Follower::new(context, 0);
            let followed = follower.statement(node)?;
            if !followed {
                return Err(refusal.into());
            }
            follower.route()
        }
        route => route,
    }
}

/// The plan of a CALL.
///
/// # Errors
/// The refusal.
pub fn call(call: &CallStmt, context: &Context<'_>) -> Result<Plan, Stop> {
    let mut follower = Follower::new(context, 0);
    follower.call_statement(call)?;
    follower.route().map(Plan::Rows)
}

/// The route of a DO that defines nothing; `None` if it cannot be read.
///
/// # Errors
/// The refusal.
pub fn block(body: &str, context: &Context<'_>) -> Result<Option<Route>, Stop> {
    let mut follower = Follower::new(context, 0);
    let Ok(body) = plpgsql::read(body) else { return Ok(None) };
    for piece in &body.pieces {
        let mut node = parsed("DO", piece)?;
        let values =
            Values { context, names: &[], arguments: &[], numbered: false, routine: "", variables: &body.variables };
        values.put(&mut node).map_err(|()| refused("DO", UNREADABLE))?;
        follower.piece("DO", &node)?;
    }
    follower.routines.insert(0, "DO".to_owned());
    follower.route().map(Some)
}

const UNREADABLE: &str = "a statement in it is not understood";

fn refused(what: &str, why: &str) -> Refusal {
    let hint = match what {
        "DO" => "Send its statements themselves.",
        _ => {
            "All that it reads and writes must belong to one shard: let its statements compare or store the sharding key as one of the \
             call's arguments, which is a constant or a parameter; or send the statements themselves."
        }
    };
    Refusal::unsupported(format!("{what} is not supported here: {why}")).hint(hint)
}

fn one_shard(what: &str) -> Refusal {
    refused(what, "its statements do not all belong to one shard")
}

fn parsed(what: &str, piece: &str) -> Result<Node, Stop> {
    let script = sql::parse(piece).map_err(|_| refused(what, "a statement in it is not plain SQL"))?;
    match script.statements.as_slice() {
        [statement] => Ok(statement.node().ok_or_else(Refusal::too_complex)?.clone()),
        _ => Err(refused(what, "a statement in it is not plain SQL").into()),
    }
}

/// Collects where a statement and all that it calls belong.
struct Follower<'c, 'a> {
    context: &'c Context<'a>,
    targets: Vec<Target>,
    depth: usize,
    /// What is called, for messages.
    routines: Vec<String>,
    /// Something is called that is no routine of users'.
    unknown: bool,
}

impl<'c, 'a> Follower<'c, 'a> {
    fn new(context: &'c Context<'a>, depth: usize) -> Self {
        Follower { context, targets: Vec::new(), depth, routines: Vec::new(), unknown: false }
    }

    fn route(self) -> Result<Route, Stop> {
        let what = self.routines.first().map_or("CALL", String::as_str);
        let refusal = one_shard(what);
        let target = together(self.targets, &refusal).ok_or(refusal)?;
        Ok(Route { access: Access::Write, target, output: Output::Rows })
    }

    /// A query or a write; whether it calls what is followed.
    fn statement(&mut self, node: &Node) -> Result<bool, Stop> {
        let before = self.routines.len();
        let mut tree = node.clone();
        self.calls(&mut tree)?;
        if self.unknown || self.routines.len() == before {
            return Ok(false);
        }
        let route = statement::rows(&tree, None, self.context)?;
        self.targets.push(route.target);
        Ok(true)
    }

    /// Replaces calls of what is followed by calls of a function that reads nothing, and notes where they belong.
    fn calls(&mut self, node: &mut Node) -> Result<(), Stop> {
        if let Node::FuncCall(call) = node
            && let Some((schema, name)) = names::qualified(&call.funcname)
            && Builder::new(self.context).call(schema, name).is_err()
        {
            let candidates = self.candidates(schema, name, false);
            if candidates.is_empty() {
                self.unknown = true;
                return Ok(());
            }
            let routine = chosen(name, &candidates, call)?;
            self.routine(routine, call)?;
            call.funcname = node::call("concat", Vec::new()).funcname;
            for argument in &mut call.args {
                if let Some(Node::NamedArgExpr(named)) = &mut argument.node {
                    argument.node = named.arg.take().and_then(|inner| inner.node);
                }
            }
        }
        statements::children(node, &mut |child| self.calls(child))
    }

    fn call_statement(&mut self, statement: &CallStmt) -> Result<(), Stop> {
        let Some(call) = &statement.funccall else { return Err(Stop::Fails) };
        let Some((schema, name)) = names::qualified(&call.funcname) else { return Err(Stop::Fails) };
        let candidates = self.candidates(schema, name, true);
        if candidates.is_empty() {
            return Err(Stop::Fails);
        }
        let routine = chosen(name, &candidates, call)?;
        // What is computed for its arguments.
        for argument in call.args.iter().filter(|argument| value(argument).is_none()) {
            let Some(node) = argument.node.clone() else { return Err(Stop::Fails) };
            let node = match node {
                Node::NamedArgExpr(named) => named.arg.and_then(|inner| inner.node).ok_or(Stop::Fails)?,
                node => node,
            };
            let query = node::select(vec![node::target(node, "")], Vec::new());
            self.piece("CALL", &Node::SelectStmt(Box::new(query)))?;
        }
        self.routine(routine, call)
    }

    /// A CALL in a body gives its arguments values that stand for what the procedure returns.
    fn assigned_by(&self, piece: &Node, assigned: &mut HashSet<String>) {
        let Node::CallStmt(statement) = piece else { return };
        let Some(call) = &statement.funccall else { return };
        let Some((_, name)) = names::qualified(&call.funcname) else { return };
        let named = self.context.catalog.routines.get(name).map_or(&[][..], Vec::as_slice);
        if named.iter().all(|routine| routine.parameters.iter().all(|parameter| !parameter.gives)) {
            return;
        }
        for argument in &call.args {
            let argument = match &argument.node {
                Some(Node::NamedArgExpr(named)) => names::inner(&named.arg),
                node => node.as_ref(),
            };
            if let Some(Node::ColumnRef(column)) = argument {
                assigned.extend(column.fields.iter().filter_map(names::string).map(str::to_owned));
            }
        }
    }

    fn candidates(&self, schema: Option<&str>, name: &str, procedures: bool) -> Vec<&'a Routine> {
        let catalog = self.context.catalog;
        let all = catalog.routines.get(name).map_or(&[][..], Vec::as_slice);
        // One of PostgreSQL's own may be meant.
        let built_in = catalog.functions.get(name).is_some_and(|all| all.iter().any(|one| one.schema == "pg_catalog"));
        if built_in && schema.is_none() {
            return Vec::new();
        }
        let path = self.context.search_path;
        let visible = |routine: &&Routine| match schema {
            Some(schema) => routine.schema == schema,
            None => path.contains(&routine.schema),
        };
        all.iter().filter(visible).filter(|routine| routine.procedure == procedures).collect()
    }

    /// What a body does, with the arguments of a call.
    fn routine(&mut self, routine: &'a Routine, call: &FuncCall) -> Result<(), Stop> {
        let what = match routine.procedure {
            true => format!("procedure {}", routine.name),
            false => format!("function {}", routine.name),
        };
        self.routines.push(what.clone());
        if self.depth >= DEPTH_MAX {
            return Err(refused(&what, "it calls itself, or calls are nested too deeply").into());
        }
        let arguments = arguments(routine, call).ok_or_else(|| refused(&what, "its arguments are not understood"))?;
        let path = search_path(routine).map_err(|why| refused(&what, why))?;
        let (pieces, variables, mut assigned) = body(routine).map_err(|why| refused(&what, &why))?;
        let pieces = pieces.iter().map(|piece| parsed(&what, piece)).collect::<Result<Vec<Node>, Stop>>()?;
        for piece in &pieces {
            self.assigned_by(piece, &mut assigned);
        }
        // In SQL, what a function returns has no name inside.
        let named = |parameter: &'a Parameter| match parameter.takes || routine.language != Language::Sql {
            true => parameter.name.as_str(),
            false => "",
        };
        let names: Vec<&str> = routine.parameters.iter().map(named).collect();
        // What is given another value, or whose name means something else somewhere, is not the argument.
        let kept = |(argument, name): (Option<Node>, &&str)| {
            argument.filter(|_| name.is_empty() || !(variables.contains(*name) || assigned.contains(*name)))
        };
        // $1 is the same variable as the parameter's name.
        let arguments: Vec<Option<Node>> = arguments.into_iter().zip(&names).map(kept).collect();
        let numbered = routine.parameters.iter().all(|parameter| parameter.takes);
        let role = if routine.definer { "" } else { self.context.role };
        let own = path.as_deref().unwrap_or(self.context.search_path);
        let context = Context { search_path: own, role, ..*self.context };
        let values = Values {
            context: &context,
            names: &names,
            arguments: &arguments,
            numbered,
            routine: &routine.name,
            variables: &variables,
        };
        let mut inner = Follower::new(&context, self.depth + 1);
        for mut node in pieces {
            values.put(&mut node).map_err(|()| refused(&what, UNREADABLE))?;
            inner.piece(&what, &node)?;
        }
        let targets = std::mem::take(&mut inner.targets);
        self.targets.extend(targets);
        Ok(())
    }

    /// One statement of a body.
    fn piece(&mut self, what: &str, node: &Node) -> Result<(), Stop> {
        match node {
            Node::SelectStmt(select) if select.into_clause.is_none() => {}
            Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => {}
            Node::CallStmt(call) => return self.call_statement(call),
            _ => return Err(refused(what, "a statement in it is neither a query nor a plain write").into()),
        }
        match statement::rows(node, None, self.context) {
            Ok(route) => self.targets.push(route.target),
            Err(Stop::Refuse(refusal)) if refusal.sqlstate == "0A000" => {
                if !self.statement(node)? {
                    return Err(refused(what, &refusal.reason).into());
                }
            }
            Err(stop) => return Err(stop),
        }
        Ok(())
    }
}

/// The one routine that a call can only mean.
fn chosen<'r>(name: &str, candidates: &[&'r Routine], call: &FuncCall) -> Result<&'r Routine, Stop> {
    let fits = |routine: &&&Routine| {
        let takes = routine.parameters.iter().filter(|parameter| parameter.takes || routine.procedure).count();
        let variadic = routine.parameters.iter().any(|parameter| parameter.variadic);
        variadic || (takes.saturating_sub(routine.defaults)..=takes).contains(&call.args.len())
    };
    let mut fitting = candidates.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        // A server says that there is none.
        (None, _) => Err(Stop::Fails),
        (Some(_), Some(_)) => Err(refused(
            name,
            "several functions have this name and number of arguments, and which is called depends on types",
        )
        .into()),
    }
}

/// The value of each parameter, where it is one that may be a key; `None` if it is not clear which is which.
fn arguments(routine: &Routine, call: &FuncCall) -> Option<Vec<Option<Node>>> {
    let plain = !call.func_variadic && !routine.parameters.iter().any(|parameter| parameter.variadic);
    if !plain || call.over.is_some() || call.agg_filter.is_some() || !call.agg_order.is_empty() || call.agg_star {
        return None;
    }
    let mut values = vec![None; routine.parameters.len()];
    // An argument of CALL stands for an OUT parameter, too.
    let taking: Vec<usize> = (0..values.len())
        .filter(|at| routine.procedure || routine.parameters.get(*at).is_some_and(|parameter| parameter.takes))
        .collect();
    for (position, argument) in call.args.iter().enumerate() {
        let (at, node) = match argument.node.as_ref()? {
            Node::NamedArgExpr(named) => {
                let at = taking
                    .iter()
                    .find(|at| routine.parameters.get(**at).is_some_and(|parameter| parameter.name == named.name))?;
                (*at, names::inner(&named.arg)?.clone())
            }
            node => (*taking.get(position)?, node.clone()),
        };
        let parameter = routine.parameters.get(at)?;
        *values.get_mut(at)? = parameter.takes.then(|| typed(&node, &parameter.type_name)).flatten();
    }
    Some(values)
}

/// A constant or parameter among the arguments.
fn value(argument: &Wrapped) -> Option<&Node> {
    match argument.node.as_ref()? {
        Node::NamedArgExpr(named) => value(named.arg.as_deref()?),
        Node::TypeCast(cast) => value(cast.arg.as_deref()?).map(|_| argument.node.as_ref())?,
        node @ (Node::AConst(_) | Node::ParamRef(_)) => Some(node),
        _ => None,
    }
}

/// A constant or parameter as a value of a type; `None` for anything else.
fn typed(node: &Node, type_name: &str) -> Option<Node> {
    let target = Class::of_type(key::type_oid(type_name)?)?;
    let arg = match node {
        Node::AConst(_) if names::is_null(node) => return None,
        Node::AConst(_) | Node::ParamRef(_) => node.clone(),
        Node::TypeCast(cast) => {
            let (name, false) = names::plain_type(cast.type_name.as_ref()?)? else { return None };
            let own = Class::of_type(key::type_oid(name)?)?;
            let same = own == target && own != Class::Padded;
            return (same && !names::is_null(names::inner(&cast.arg)?)).then(|| node.clone());
        }
        _ => return None,
    };
    Some(node::cast(arg, &["pg_catalog", type_name], &[]))
}

/// The schemas of its own in which its names are looked up.
fn search_path(routine: &Routine) -> Result<Option<Vec<String>>, &'static str> {
    let mut path = None;
    for setting in &routine.settings {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        match name.to_ascii_lowercase().as_str() {
            "search_path" => {
                let schema = |name: &str| {
                    let name = name.trim();
                    let plain = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(name);
                    let known = !plain.is_empty() && !plain.contains(['"', '$']);
                    known.then(|| if plain == name { name.to_lowercase() } else { plain.to_owned() })
                };
                let schemas: Option<Vec<String>> = match value {
                    "" | "\"\"" => Some(Vec::new()),
                    value => value.split(',').map(schema).collect(),
                };
                path = Some(schemas.ok_or("its search_path is not understood")?);
            }
            name if HARMLESS.contains(&name) => {}
            _ => return Err("it has a setting of its own that may change what its statements mean"),
        }
    }
    if routine.definer && path.is_none() {
        return Err("it is SECURITY DEFINER without a search_path of its own");
    }
    Ok(path)
}

/// What a body runs, its variables, and those it gives values.
type Read = (Vec<String>, HashSet<String>, HashSet<String>);

fn body(routine: &Routine) -> Result<Read, String> {
    let mut read = match routine.language {
        Language::Other => return Err("it is not written in SQL or PL/pgSQL".to_owned()),
        Language::PlPgSql => {
            let body = plpgsql::read(&routine.body)?;
            (body.pieces, body.variables, body.assigned)
        }
        Language::Sql => {
            (sql_pieces(&routine.body).ok_or("its body is not plain SQL")?, HashSet::new(), HashSet::new())
        }
    };
    if routine.defaults > 0 {
        read.0.push(format!("SELECT {}", routine.default_text));
    }
    Ok(read)
}

/// The statements of a body in SQL, also of one that PostgreSQL prints: `BEGIN ATOMIC ... END`, `RETURN expression`.
fn sql_pieces(body: &str) -> Option<Vec<String>> {
    let trimmed = body.trim();
    let word = |word: &str| trimmed.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let text = if word("begin atomic") {
        let inner = trimmed.get("begin atomic".len()..)?;
        inner.get(..inner.len().checked_sub("end".len())?)?.to_owned()
    } else if word("return ") {
        format!("SELECT {}", trimmed.get("return ".len()..)?)
    } else {
        body.to_owned()
    };
    let script = sql::parse(&text).ok()?;
    script.statements.iter().map(|statement| text.get(statement.range.clone()).map(str::to_owned)).collect()
}

/// What stands in the places of a body's parameters and variables.
struct Values<'v> {
    context: &'v Context<'v>,
    /// Of all parameters, in order; empty for one without.
    names: &'v [&'v str],
    /// Their values; `None` where nothing is known.
    arguments: &'v [Option<Node>],
    /// `$n` is the n-th of them.
    numbered: bool,
    /// A qualifier of their names.
    routine: &'v str,
    variables: &'v HashSet<String>,
}

impl Values<'_> {
    /// Puts values in the places of names, in one pass.
    fn put(&self, node: &mut Node) -> Result<(), ()> {
        let mut scope = Scope::default();
        scope.look(node, &Builder::new(self.context)).map_err(|_| ())?;
        self.walk(node, &scope).map_err(|_| ())
    }

    fn walk(&self, node: &mut Node, scope: &Scope) -> Result<(), sql::walk::Unknown> {
        match node {
            Node::ColumnRef(column) => {
                let Some(fields) = names::strings(&column.fields) else {
                    // All columns of a table, or of a variable, of which it is not known how many they are.
                    let first = column.fields.first().and_then(names::string);
                    let own = first.is_some_and(|name| self.is_own(name) && !scope.tables.contains(name));
                    return if own { Err(sql::walk::Unknown) } else { Ok(()) };
                };
                if let Some(value) = self.value(&fields, scope) {
                    *node = value;
                }
                Ok(())
            }
            Node::ParamRef(parameter) => {
                let at = usize::try_from(parameter.number).ok().and_then(|number| number.checked_sub(1));
                let known = at.filter(|_| self.numbered).and_then(|at| self.arguments.get(at)).cloned().flatten();
                *node = known.unwrap_or_else(opaque);
                Ok(())
            }
            Node::AIndirection(part) => {
                let star = part.indirection.iter().any(|node| matches!(node.node, Some(Node::AStar(_))));
                if star {
                    Err(sql::walk::Unknown)
                } else {
                    statements::children(node, &mut |child| self.walk(child, scope))
                }
            }
            _ => statements::children(node, &mut |child| self.walk(child, scope)),
        }
    }

    fn is_own(&self, name: &str) -> bool {
        self.variables.contains(name) || name == self.routine || self.names.contains(&name)
    }

    fn argument(&self, name: &str) -> Option<&Option<Node>> {
        let at = self.names.iter().position(|known| *known == name && !name.is_empty())?;
        self.arguments.get(at)
    }

    /// What stands for a name; `None` if it is none of the body's own. What may be a column as well is neither: nothing is known of it.
    fn value(&self, fields: &[&str], scope: &Scope) -> Option<Node> {
        match fields {
            [name] => match self.argument(name) {
                Some(argument) if !scope.has_column(name) => Some(argument.clone().unwrap_or_else(opaque)),
                Some(_) => Some(opaque()),
                None => self.variables.contains(*name).then(opaque),
            },
            [first, ..] if scope.tables.contains(*first) => None,
            [first, name] if *first == self.routine => {
                Some(self.argument(name).cloned().flatten().unwrap_or_else(opaque))
            }
            [first, ..] => self.is_own(first).then(opaque),
            [] => None,
        }
    }
}

/// A value of which nothing is known.
fn opaque() -> Node {
    Node::FuncCall(Box::new(node::call("abs", vec![node::integer(0)])))
}

/// Names in a statement that may be meant instead of a parameter.
#[derive(Default)]
struct Scope {
    /// Tables and aliases.
    tables: HashSet<String>,
    /// Columns that are named in the statement itself.
    columns: HashSet<String>,
    /// There may be columns of any name.
    open: bool,
}

impl Scope {
    fn has_column(&self, name: &str) -> bool {
        self.open || self.columns.contains(name)
    }

    fn look(&mut self, node: &mut Node, builder: &Builder<'_>) -> Result<(), sql::walk::Unknown> {
        match node {
            Node::RangeVar(name) => self.table(name, builder),
            Node::InsertStmt(insert) => {
                // Its values stand where no column is known.
                let seen = insert.on_conflict_clause.is_some() || insert.returning_clause.is_some();
                insert.relation.iter().filter(|_| seen).for_each(|name| self.table(name, builder));
            }
            Node::UpdateStmt(update) => update.relation.iter().for_each(|name| self.table(name, builder)),
            Node::DeleteStmt(delete) => delete.relation.iter().for_each(|name| self.table(name, builder)),
            Node::MergeStmt(merge) => merge.relation.iter().for_each(|name| self.table(name, builder)),
            Node::RangeSubselect(item) => self.alias(item.alias.as_ref()),
            Node::JoinExpr(join) => {
                self.alias(join.alias.as_ref());
                self.alias(join.join_using_alias.as_ref());
            }
            Node::RangeFunction(item) => {
                self.alias(item.alias.as_ref());
                self.open |=
                    item.coldeflist.is_empty() && item.alias.as_ref().is_none_or(|alias| alias.colnames.is_empty());
            }
            Node::RangeTableFunc(item) => self.alias(item.alias.as_ref()),
            Node::RangeTableFuncCol(column) => drop(self.columns.insert(column.colname.clone())),
            Node::ColumnDef(column) => drop(self.columns.insert(column.colname.clone())),
            Node::CommonTableExpr(cte) => {
                self.tables.insert(cte.ctename.clone());
                self.columns.extend(cte.aliascolnames.iter().filter_map(names::string).map(str::to_owned));
            }
            Node::SelectStmt(select) => {
                for target in &select.target_list {
                    if let Some(Node::ResTarget(target)) = &target.node {
                        self.columns.insert(target.name.clone());
                    }
                }
            }
            _ => {}
        }
        statements::children(node, &mut |child| self.look(child, builder))
    }

    fn table(&mut self, name: &pg_query::protobuf::RangeVar, builder: &Builder<'_>) {
        self.tables.insert(name.relname.clone());
        self.alias(name.alias.as_ref());
        let schema = (!name.schemaname.is_empty()).then_some(name.schemaname.as_str());
        if let Some(relation) = builder.relation(schema, &name.relname) {
            // Source: manual, 5.5, "System Columns".
            let system = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"].map(str::to_owned);
            self.columns.extend(relation.columns.iter().map(|column| column.name.clone()).chain(system));
        }
    }

    fn alias(&mut self, alias: Option<&pg_query::protobuf::Alias>) {
        if let Some(alias) = alias {
            self.tables.insert(alias.aliasname.clone());
            self.columns.extend(alias.colnames.iter().filter_map(names::string).map(str::to_owned));
        }
    }
}
