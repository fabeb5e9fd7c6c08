//! Collects where a statement and all that it calls belong.

use std::collections::HashSet;

use pg_query::protobuf::{CallStmt, FuncCall};

use super::body::{body, search_path};
use super::call::{arguments, chosen, value};
use super::pinned::{Made, Pinned};
use super::stand_in::Values;
use super::{plpgsql, refused};
use crate::catalog::{Language, Parameter, Routine};
use crate::plan::block::together;
use crate::plan::builder::Builder;
use crate::plan::gather::node;
use crate::plan::ir::Stop;
use crate::plan::{Access, Context, Output, Plan, Refusal, Route, Target, statement};
use crate::sql::{self, Node, names, statements};

/// Calls within calls at the most.
const DEPTH_MAX: usize = 8;

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

/// What has been collected.
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
        self.calls(&mut tree, &Pinned::default())?;
        if self.unknown || self.routines.len() == before {
            return Ok(false);
        }
        let route = statement::rows(&tree, None, self.context)?;
        self.targets.push(route.target);
        Ok(true)
    }

    /// Replaces calls of what is followed by calls of a function that reads nothing, and notes where they belong.
    fn calls(&mut self, node: &mut Node, pinned: &Pinned) -> Result<(), Stop> {
        if let Node::SelectStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) = node {
            return self.level(node);
        }
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
            self.routine(routine, &pinned.put(call))?;
            call.funcname = node::call("concat", Vec::new()).funcname;
            for argument in &mut call.args {
                if let Some(Node::NamedArgExpr(named)) = &mut argument.node {
                    argument.node = named.arg.take().and_then(|inner| inner.node);
                }
            }
        }
        statements::children(node, &mut |child| self.calls(child, pinned))
    }

    /// The same of a query, UPDATE or DELETE, where its conditions restrict keys.
    fn level(&mut self, node: &mut Node) -> Result<(), Stop> {
        let pinned = Pinned::of(node, self.context);
        let mut made = Made::take(node);
        made.nodes().try_for_each(|part| self.calls(part, &Pinned::default()))?;
        statements::children(node, &mut |child| self.calls(child, &pinned))?;
        made.put(node);
        Ok(())
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
