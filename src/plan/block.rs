//! DO: an anonymous block in PL/pgSQL: DDL on every shard, as migrations write it to be repeatable, without variables; or, read by
//! `followed`, statements that belong to one shard. Everything else is refused.
//!
//! DDL must come to the same on every shard. So what decides whether it runs must be the same there: conditions ask the system catalogs
//! for what DDL has made, and errors that are caught are about definitions, not about the rows, which differ.

use pg_query::protobuf::DoStmt;

use super::builder::Builder;
use super::function::Call;
use super::ir::Stop;
use super::session::utility;
use super::statement::Source;
use super::{
    Access, Context, Everywhere, Keyed, Output, Plan, Refusal, Route, Several, Target, When, ddl, followed, statement,
};
use crate::sql::{self, Node, edit, names, tokens};

/// Blocks within blocks at the most.
const DEPTH_MAX: usize = 20;

/// Catalogs that say what DDL has made, and nothing of rows, sizes or the server.
const DEFINITIONS: [&str; 29] = [
    "pg_attribute",
    "pg_attrdef",
    "pg_auth_members",
    "pg_authid",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_database",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_index",
    "pg_indexes",
    "pg_inherits",
    "pg_language",
    "pg_namespace",
    "pg_operator",
    "pg_policies",
    "pg_policy",
    "pg_proc",
    "pg_range",
    "pg_roles",
    "pg_rules",
    "pg_tables",
    "pg_trigger",
    "pg_type",
    "pg_user",
    "pg_views",
];

/// Columns of those that differ between shards all the same. *Source*: manual, 53.11, 53.15.
const OF_ROWS: [&str; 11] = [
    "age",
    "datfrozenxid",
    "datminmxid",
    "relallvisible",
    "relfilenode",
    "relfrozenxid",
    "relminmxid",
    "relpages",
    "reltuples",
    "xmax",
    "xmin",
];

/// Operators under which numbers of objects, which are each shard's own, come to the same: whether two are equal.
const OF_NUMBERS: [&str; 2] = ["=", "<>"];

/// Errors that one shard raises if all do. *Source*: manual, appendix A, classes 2B, 3F and 42.
const OF_DEFINITIONS: [&str; 17] = [
    "dependent_objects_still_exist",
    "duplicate_alias",
    "duplicate_column",
    "duplicate_database",
    "duplicate_function",
    "duplicate_object",
    "duplicate_schema",
    "duplicate_table",
    "invalid_object_definition",
    "invalid_schema_name",
    "invalid_table_definition",
    "or",
    "undefined_column",
    "undefined_function",
    "undefined_object",
    "undefined_table",
    "wrong_object_type",
];

/// The plan of a DO.
///
/// # Errors
/// The refusal, with what is not understood.
pub fn plan(block: &DoStmt, source: &Source<'_>, context: &Context<'_>) -> Result<Plan, Stop> {
    let body = body(block).ok_or_else(|| refused("it is not in PL/pgSQL"))?;
    match plain(&body, source, context) {
        Err(Stop::Refuse(refusal)) if refusal.sqlstate == "0A000" => match followed::block(&body, context)? {
            Some(route) => Ok(Plan::Rows(route)),
            None => Err(refusal.into()),
        },
        plan => plan,
    }
}

/// Of one without variables.
fn plain(body: &str, source: &Source<'_>, context: &Context<'_>) -> Result<Plan, Stop> {
    let words = tokens::words(body)
        .ok_or_else(|| refused("it has variables, labels or other words that are not understood"))?;
    let mut reader = Reader { body, words, at: 0, found: Vec::new(), caught: Vec::new() };
    if reader.block(0).is_none() || reader.at != reader.words.len() {
        return Err(
            refused("it defines objects and has variables or loops, or a statement that is not followed").into()
        );
    }
    let mut everywhere = None;
    let mut targets = Vec::new();
    let mut asked = Vec::new();
    let mut earlier = ddl::Earlier::default();
    for piece in &reader.found {
        let script = sql::parse(piece).map_err(|_| refused("a statement in it is not plain SQL"))?;
        let [parsed] = script.statements.as_slice() else {
            return Err(refused("a statement in it is not plain SQL").into());
        };
        let Some(node) = parsed.node() else { return Err(Refusal::too_complex().into()) };
        match piece_plan(node, source, context)? {
            Plan::Everywhere(one @ Everywhere { in_transaction: true, .. }) => {
                if let Some(name) = earlier.decides(node) {
                    return Err(refused(&format!("it changes \"{name}\", and then does what depends on that")).into());
                }
                earlier.note(node);
                let all: &mut Everywhere = everywhere.get_or_insert_default();
                all.changes_catalog |= one.changes_catalog;
                all.changes_logins |= one.changes_logins;
                all.vacates = one.vacates.or(all.vacates.take());
                all.renews.extend(one.renews);
            }
            Plan::Rows(route) => {
                asked.push(node.clone());
                targets.push(route.target);
            }
            Plan::Refuse(refusal) => return Err(refusal.into()),
            _ => return Err(refused("a statement in it cannot run in a block").into()),
        }
    }
    if let Some(everywhere) = everywhere {
        if targets.iter().any(|target| *target != Target::Any) {
            return Err(refused("it defines objects, which is done on every shard, and reads or writes rows").into());
        }
        for mut query in asked {
            if !is_same_everywhere(&mut query, &Builder::new(context))? {
                return Err(refused("what it asks before it defines objects may differ between the shards").into());
            }
        }
        if let Some(name) = reader.caught.iter().find(|name| !OF_DEFINITIONS.contains(&name.as_str())) {
            return Err(
                refused(&format!("it defines objects and catches {name}, which one shard may raise alone")).into()
            );
        }
        return Ok(Plan::Everywhere(Everywhere { in_transaction: true, ..everywhere }));
    }
    let refusal = refused("its statements do not all belong to one shard");
    let target = together(targets, &refusal).ok_or(refusal)?;
    Ok(Plan::Rows(Route { access: Access::Write, target, output: Output::Rows }))
}

fn refused(why: &str) -> Refusal {
    Refusal::unsupported(format!("DO is not supported here: {why}")).hint("Send its statements themselves.")
}

/// The text between the quotes.
fn body(block: &DoStmt) -> Option<String> {
    let mut body = None;
    for argument in &block.args {
        let Some(Node::DefElem(argument)) = &argument.node else { return None };
        match (argument.defname.as_str(), names::inner(&argument.arg)) {
            ("as", Some(Node::String(text))) => body = Some(text.sval.clone()),
            ("language", Some(Node::String(name))) if name.sval.eq_ignore_ascii_case("plpgsql") => {}
            _ => return None,
        }
    }
    body
}

fn piece_plan(node: &Node, source: &Source<'_>, context: &Context<'_>) -> Result<Plan, Stop> {
    match node {
        Node::SelectStmt(_) | Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) => {
            followed::instead(statement::rows(node, None, context), node, context).map(Plan::Rows)
        }
        Node::MergeStmt(_) | Node::CopyStmt(_) | Node::VariableSetStmt(_) | Node::VariableShowStmt(_) => {
            Err(refused("a statement in it is neither DDL nor a plain write").into())
        }
        _ => match utility::plan(node, source, context)? {
            Some(_) => Err(refused("a statement in it is neither DDL nor a plain write").into()),
            None => ddl::plan(node, context),
        },
    }
}

/// Whether a query gives the same on shards that have the same schema.
fn is_same_everywhere(node: &mut Node, builder: &Builder<'_>) -> Result<bool, Stop> {
    builder.enter()?;
    let own = match node {
        Node::FuncCall(call) => match names::qualified(&call.funcname) {
            // Clocks are not quite the same.
            Some((_, "now" | "transaction_timestamp" | "statement_timestamp")) => false,
            // Whether there is such an object.
            Some((_, name)) if name.starts_with("to_reg") => true,
            Some((schema, name)) => matches!(builder.call(schema, name)?.0, Call::Steady | Call::Aggregate),
            None => false,
        },
        Node::RangeVar(table) => match table.schemaname.as_str() {
            "information_schema" => true,
            "" | "pg_catalog" => DEFINITIONS.contains(&table.relname.as_str()),
            _ => false,
        },
        Node::ColumnRef(column) => !column.fields.iter().filter_map(names::string).any(|name| OF_ROWS.contains(&name)),
        Node::SqlvalueFunction(_) => false,
        Node::AExpr(e) => {
            let equal = names::operator(&e.name).is_some_and(|(name, _)| OF_NUMBERS.contains(&name));
            let sides = || [&e.lexpr, &e.rexpr].into_iter().filter_map(names::inner);
            let number = |side: &Node| matches!(side, Node::AConst(_)) && names::string_constant(side).is_none();
            !sides().any(is_object_number) || (equal && !sides().any(number))
        }
        _ => true,
    };
    let mut all = own;
    edit::children(node, &mut |child| {
        all = all && is_same_everywhere(child, builder)?;
        Ok::<(), Stop>(())
    })?;
    Ok(all)
}

/// The number of an object: `oid`.
fn is_object_number(node: &Node) -> bool {
    match node {
        Node::ColumnRef(column) => column.fields.last().and_then(names::string) == Some("oid"),
        Node::TypeCast(cast) => names::inner(&cast.arg).is_some_and(is_object_number),
        _ => false,
    }
}

/// Where statements run that are one.
pub fn together(targets: Vec<Target>, several: &Refusal) -> Option<Target> {
    let mut all = Target::Any;
    for target in targets {
        let target = match target {
            Target::Computed(computed) => match computed.when {
                When::Several(target) => *target,
                When::Always | When::Anew => return None,
            },
            target => target,
        };
        all = match (all, target) {
            (all, Target::Any) => all,
            (Target::Any | Target::Home, Target::Home) => Target::Home,
            (Target::Any, Target::Keyed(keyed)) => Target::Keyed(alone(keyed, several)),
            (Target::Keyed(all), Target::Keyed(keyed)) => {
                let pins = all.pins.into_iter().chain(keyed.pins).collect();
                let touches_home = all.touches_home || keyed.touches_home;
                Target::Keyed(alone(Keyed { pins, touches_home, ..keyed }, several))
            }
            (Target::Keyed(keyed), Target::Home) | (Target::Home, Target::Keyed(keyed)) => {
                Target::Keyed(alone(Keyed { touches_home: true, ..keyed }, several))
            }
            _ => return None,
        };
    }
    Some(if all == Target::Any { Target::Home } else { all })
}

fn alone(keyed: Keyed, several: &Refusal) -> Keyed {
    Keyed { several: Several::Refuse(several.clone()), ..keyed }
}

/// Reads a block word by word.
struct Reader<'b> {
    body: &'b str,
    words: Vec<tokens::Word>,
    at: usize,
    /// Statements, and conditions as queries.
    found: Vec<String>,
    /// Words between WHEN and THEN of EXCEPTION.
    caught: Vec<String>,
}

impl Reader<'_> {
    fn is(&self, word: &str) -> bool {
        self.words.get(self.at).is_some_and(|found| found.text == word)
    }

    fn take(&mut self, word: &str) -> Option<()> {
        let found = self.is(word);
        self.at += usize::from(found);
        found.then_some(())
    }

    /// `BEGIN ... [EXCEPTION WHEN ... THEN ...] END [;]`
    fn block(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.take("begin")?;
        self.statements(depth)?;
        if self.take("exception").is_some() {
            while self.take("when").is_some() {
                let first = self.at;
                self.until("then")?;
                self.caught.extend(self.words.get(first..self.at)?.iter().map(|word| word.text.clone()));
                self.take("then")?;
                self.statements(depth)?;
            }
        }
        self.take("end")?;
        let ended = self.take(";").is_some();
        (ended || depth == 0).then_some(())
    }

    fn statements(&mut self, depth: usize) -> Option<()> {
        loop {
            let word = self.words.get(self.at)?.text.clone();
            match word.as_str() {
                "end" | "exception" | "when" | "else" => return Some(()),
                "begin" => self.block(depth + 1)?,
                "if" => self.condition(depth)?,
                "null" => {
                    self.at += 1;
                    self.take(";")?;
                }
                "raise" => {
                    self.at += 1;
                    self.take("notice")?;
                    let text = self.words.get(self.at)?.text.starts_with('\'');
                    self.at += 1;
                    self.take(";").filter(|()| text)?;
                }
                _ => {
                    let piece = self.until(";")?;
                    self.found.push(piece);
                    self.take(";")?;
                }
            }
        }
    }

    fn condition(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.take("if")?;
        let condition = self.until("then")?;
        self.found.push(format!("SELECT {condition}"));
        self.take("then")?;
        self.statements(depth + 1)?;
        if self.take("else").is_some() {
            self.statements(depth + 1)?;
        }
        self.take("end")?;
        self.take("if")?;
        self.take(";")
    }

    /// The text up to a word outside parentheses.
    fn until(&mut self, word: &str) -> Option<String> {
        let start = self.words.get(self.at)?.range.start;
        let mut parentheses = 0usize;
        loop {
            let found = self.words.get(self.at)?;
            match found.text.as_str() {
                "(" => parentheses += 1,
                ")" => parentheses = parentheses.checked_sub(1)?,
                // Has a THEN of its own.
                "case" if word == "then" => return None,
                text if text == word && parentheses == 0 => {
                    return self.body.get(start..found.range.start).map(str::to_owned);
                }
                _ => {}
            }
            self.at += 1;
        }
    }
}
