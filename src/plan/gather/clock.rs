//! `now()` and what is computed from it: one moment for all servers, handed to them as a parameter.

use pg_query::protobuf::{FuncCall, SelectStmt, SqlValueFunctionOp as Op, TypeCast, TypeName};

use super::node;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// Puts a parameter in place of what tells the transaction's start.
pub struct Clock {
    /// 1-based.
    parameter: usize,
    /// It is used.
    pub used: bool,
}

/// Whether rows of a query may hold the time of the transaction's start. What conditions compare with it is not looked at: as long as it
/// takes to ask all shards, rows come and go.
pub fn is_told(select: &SelectStmt) -> bool {
    let mut tree = Node::SelectStmt(Box::new(select.clone()));
    let mut clock = Clock::new(1);
    without_conditions(&mut tree).and_then(|()| clock.replace(&mut tree)).is_ok() && clock.used
}

fn without_conditions(node: &mut Node) -> Result<(), Stop> {
    match node {
        Node::SelectStmt(select) => select.where_clause = None,
        Node::JoinExpr(join) => join.quals = None,
        _ => {}
    }
    edit::children(node, &mut without_conditions)
}

impl Clock {
    /// A clock that is read from parameter `parameter`, counted from 1.
    pub fn new(parameter: usize) -> Clock {
        Clock { parameter, used: false }
    }

    /// The transaction's start.
    fn moment(&mut self) -> Node {
        self.used = true;
        node::cast(node::parameter(self.parameter), &["pg_catalog", "timestamptz"], &[])
    }

    /// The transaction's start as a value of another type.
    fn cast(&mut self, type_name: &str, digits: i32) -> Node {
        let modifiers: &[i32] = if digits < 0 { &[] } else { &[digits] };
        let moment = self.moment();
        if type_name == "timestamptz" && modifiers.is_empty() {
            return moment;
        }
        node::cast(moment, &["pg_catalog", type_name], modifiers)
    }

    /// Replaces them in `node` and below.
    ///
    /// # Errors
    /// None of its own; those of a walk.
    pub fn replace(&mut self, node: &mut Node) -> Result<(), Stop> {
        if let Some(value) = self.value(node)? {
            *node = value;
            return Ok(());
        }
        edit::children(node, &mut |child| self.replace(child))
    }

    fn value(&mut self, node: &mut Node) -> Result<Option<Node>, Stop> {
        match node {
            Node::SqlvalueFunction(function) => {
                let digits = function.typmod;
                Ok(match function.op() {
                    Op::SvfopCurrentDate => Some(self.cast("date", -1)),
                    Op::SvfopCurrentTime | Op::SvfopCurrentTimeN => Some(self.cast("timetz", digits)),
                    Op::SvfopCurrentTimestamp | Op::SvfopCurrentTimestampN => Some(self.cast("timestamptz", digits)),
                    Op::SvfopLocaltime | Op::SvfopLocaltimeN => Some(self.cast("time", digits)),
                    Op::SvfopLocaltimestamp | Op::SvfopLocaltimestampN => Some(self.cast("timestamp", digits)),
                    _ => None,
                })
            }
            Node::FuncCall(call) => {
                let Some((None | Some("pg_catalog"), name)) = names::qualified(&call.funcname) else { return Ok(None) };
                match (name, call.args.len()) {
                    ("now" | "transaction_timestamp", 0) => Ok(Some(self.cast("timestamptz", -1))),
                    // age(x) counts from midnight of the current date (timestamp_age of pg_proc.dat).
                    ("age", 1) => {
                        self.since_midnight(call)?;
                        Ok(None)
                    }
                    _ => Ok(None),
                }
            }
            Node::TypeCast(cast) => {
                if let Some(moment) = self.constant(cast) {
                    cast.arg = node::boxed(moment);
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// What a constant such as 'now' means that is cast to a date or time. Other ones of such words are left to the servers: they are text, or no
    /// times, as PostgreSQL says then, or are read by each shard when it parses the text.
    fn constant(&mut self, cast: &TypeCast) -> Option<Node> {
        let constant = written(cast)?.trim().to_ascii_lowercase();
        let plain = TypeName { typmods: Vec::new(), ..cast.type_name.clone()? };
        let (type_name, is_array) = names::plain_type(&plain)?;
        let has_day = matches!(type_name, "date" | "timestamp" | "timestamptz");
        if is_array || !(has_day || matches!(type_name, "time" | "timetz")) {
            return None;
        }
        let days = match constant.as_str() {
            "now" => return Some(self.moment()),
            "today" if has_day => 0,
            "tomorrow" if has_day => 1,
            "yesterday" if has_day => -1,
            _ => return None,
        };
        Some(node::plus(self.cast("date", -1), days))
    }

    fn since_midnight(&mut self, call: &mut FuncCall) -> Result<(), Stop> {
        if let Some(argument) = call.args.first_mut().and_then(|node| node.node.as_mut()) {
            self.replace(argument)?;
        }
        let today = self.cast("date", -1);
        call.args.insert(0, node::wrap(today));
        Ok(())
    }
}

/// The constant that is cast, by way of a text too: `('now'::text)::date`.
fn written(cast: &TypeCast) -> Option<&str> {
    match names::inner(&cast.arg)? {
        Node::TypeCast(inner) => {
            let (name, is_array) = names::plain_type(inner.type_name.as_ref()?)?;
            let text = !is_array && matches!(name, "text" | "varchar" | "bpchar" | "name");
            if text { written(inner) } else { None }
        }
        constant => names::string_constant(constant),
    }
}
