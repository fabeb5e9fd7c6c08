//! `now()` and what is computed from it: one moment for all servers, handed to them as a parameter.

use pg_query::protobuf::{FuncCall, SqlValueFunctionOp as Op};

use super::node;
use crate::plan::Refusal;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// Puts a parameter in place of what tells the transaction's start.
pub struct Clock {
    /// 1-based.
    parameter: usize,
    /// It is used.
    pub used: bool,
}

/// Constants that mean a moment when they are read as a date or time (datetime.c, `datetktbl`).
const MOMENTS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

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
    /// For a constant such as 'now' that is read as a moment by each server.
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
                let constant = names::inner(&cast.arg).and_then(names::string_constant).map(str::trim);
                let moment = constant.is_some_and(|text| MOMENTS.iter().any(|word| text.eq_ignore_ascii_case(word)));
                let type_name = cast.type_name.as_ref().and_then(names::plain_type);
                match type_name {
                    Some(("date" | "time" | "timetz" | "timestamp" | "timestamptz", false)) if moment => {
                        Err(Refusal::unsupported(
                            "a constant that means the current time is not supported over several shards",
                        )
                        .hint("Use now() or current_date.")
                        .into())
                    }
                    _ => Ok(None),
                }
            }
            _ => Ok(None),
        }
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
