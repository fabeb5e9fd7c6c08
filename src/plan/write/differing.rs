//! What two servers may answer differently though they hold the same rows: the time, their own settings and names, and texts that are
//! read as a date when the statement runs.

use super::insert::relative_time;
use super::steady::{is_steady_name, is_wordless};
use crate::catalog::{Oid, Volatility};
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::sql::{Node, names, walk};
use pg_query::protobuf::{SqlValueFunctionOp, TypeName};

/// Types whose input reads the clock; called as functions they cast.
pub const TEMPORAL_NAMES: [&str; 11] = [
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "daterange",
    "tsrange",
    "tstzrange",
    "datemultirange",
    "tsmultirange",
    "tstzmultirange",
];

/// Functions that give a date or time whatever they are given.
const GIVE_TIMES: [&str; 14] = [
    "date_bin",
    "date_trunc",
    "make_date",
    "make_time",
    "make_timestamp",
    "make_timestamptz",
    "now",
    "statement_timestamp",
    "timezone",
    "to_date",
    "to_timestamp",
    "transaction_timestamp",
    "clock_timestamp",
    "age",
];

/// Functions that read a row's columns from JSON.
const RECORDS: [&str; 8] = [
    "json_populate_record",
    "json_populate_recordset",
    "json_to_record",
    "json_to_recordset",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
    "jsonb_to_record",
    "jsonb_to_recordset",
];

/// Stable functions of pg_catalog that tell of the server, beside those that are [`Call::Identity`]: its settings, its count of transactions, its
/// numbers of types.
const OWN: [&str; 5] = ["current_database", "current_setting", "mxid_age", "pg_typeof", "version"];

/// Types that read the number of an object, of which each server has its own, from its name.
pub const NUMBERED: [&str; 11] = [
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// A constant that may be read as the time of reading.
pub fn is_moment(node: &Node) -> bool {
    names::string_constant(node).is_some_and(relative_time)
}

/// Expressions are looked into so deep for such constants and for types; what is deeper may be anything.
pub const DEPTH_MAX: usize = 64;

/// Whether a constant that may be read as the time of reading is anywhere in it, sub-selects aside.
pub fn mentions_moment(node: &Node) -> bool {
    mentions_within(node, DEPTH_MAX)
}

fn mentions_within(node: &Node, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    let mut found = is_moment(node);
    let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
        found = found || mentions_within(child, depth);
        Ok(())
    });
    found || visited.is_err()
}

/// Whether such a constant is cast to a type that may read it so, by way of a text too: `('now'::text)::timestamp`.
pub fn casts_moment(node: &Node) -> bool {
    let mut found = match node {
        Node::TypeCast(cast) => {
            !cast.type_name.as_ref().is_some_and(is_steady_name) && names::inner(&cast.arg).is_some_and(mentions_moment)
        }
        Node::FuncCall(call) => {
            let name = names::qualified(&call.funcname).map(|(_, name)| name);
            name.is_some_and(|name| TEMPORAL_NAMES.contains(&name)) && mentions_moment(node)
        }
        _ => false,
    };
    let visited: Result<(), walk::Unknown> = walk::children(node, &mut |child| {
        found |= casts_moment(child);
        Ok(())
    });
    found || visited.is_err()
}

/// A constant, or a list of them.
pub fn are_constants(node: &Node) -> bool {
    match node {
        Node::AConst(_) => true,
        Node::List(list) => list.items.iter().all(|item| matches!(item.node, Some(Node::AConst(_)))),
        _ => false,
    }
}

/// Whether it asks for the current time.
fn is_clock(node: &Node) -> bool {
    match node {
        Node::SqlvalueFunction(function) => !matches!(
            function.op(),
            SqlValueFunctionOp::SvfopCurrentRole
                | SqlValueFunctionOp::SvfopCurrentUser
                | SqlValueFunctionOp::SvfopUser
                | SqlValueFunctionOp::SvfopSessionUser
                | SqlValueFunctionOp::SvfopCurrentCatalog
                | SqlValueFunctionOp::SvfopCurrentSchema
        ),
        Node::FuncCall(call) => names::qualified(&call.funcname).is_some_and(|(schema, name)| {
            schema.is_none_or(|schema| schema == "pg_catalog")
                && matches!(name, "now" | "transaction_timestamp" | "statement_timestamp")
        }),
        _ => false,
    }
}

impl Builder<'_> {
    /// Notes what a node of an expression, its children aside, may answer differently on two servers. A clock in the statement's own text
    /// does not count: one value is put in its place (see [`Builder::clocked`]); a view's text stays as it is.
    pub fn note_differing(&mut self, node: &Node) {
        let differs = self.differs(node, &|node| self.place(node).and_then(|(_, place)| self.place_type(place)));
        self.effects.differs |= differs || (self.view_depth > 0 && is_clock(node));
        self.effects.moment |= is_moment(node) || self.reads_moment(node);
    }

    /// Whether it reads as a date or time what has a constant like 'now' in it, by way of a text too.
    pub fn reads_moment(&self, node: &Node) -> bool {
        match node {
            Node::TypeCast(cast) => {
                !cast.type_name.as_ref().is_some_and(|name| self.is_steady_type(name))
                    && names::inner(&cast.arg).is_some_and(mentions_moment)
            }
            Node::FuncCall(call) => {
                let name = names::qualified(&call.funcname).map(|(_, name)| name);
                name.is_some_and(|name| TEMPORAL_NAMES.contains(&name)) && mentions_moment(node)
            }
            _ => false,
        }
    }

    /// Whether servers may give an expression different values, or one server at different times, for the same row.
    pub fn may_differ(&self, node: &Node, column: &dyn Fn(&Node) -> Option<Oid>) -> Result<bool, Stop> {
        let mut found = is_clock(node) || is_moment(node) || self.differs(node, column);
        if let Node::FuncCall(call) = node
            && let Some((schema, name)) = names::qualified(&call.funcname)
        {
            found |= self.call(schema, name)?.0 != Call::Steady;
        }
        walk::children(node, &mut |child| {
            found |= self.may_differ(child, column)?;
            Ok::<(), Stop>(())
        })?;
        Ok(found)
    }

    /// Whether servers may give a node different values, its children, the time and what its functions may do aside. `column`: a column's type.
    pub fn differs(&self, node: &Node, column: &dyn Fn(&Node) -> Option<Oid>) -> bool {
        match node {
            Node::TypeCast(cast) => {
                let steady = cast.type_name.as_ref().is_some_and(|name| self.is_steady_type(name));
                let read = || names::inner(&cast.arg).is_some_and(|arg| !self.reads_no_text(arg, column));
                cast.type_name.as_ref().is_some_and(is_numbered) || (!steady && read())
            }
            Node::FuncCall(call) => {
                let Some((schema, name)) = names::qualified(&call.funcname) else { return false };
                let mut arguments = call.args.iter().filter_map(|node| node.node.as_ref());
                let own = schema.is_none_or(|schema| schema == "pg_catalog");
                (own && OWN.contains(&name))
                    || (own && name == "age" && call.args.len() == 1)
                    || (own && TEMPORAL_NAMES.contains(&name) && call.args.len() == 1)
                        && arguments.clone().any(|node| !self.reads_no_text(node, column))
                    || (own && RECORDS.contains(&name) && arguments.any(|node| !self.reads_no_text(node, column)))
                    || self.is_stable_of_users(schema, name)
            }
            Node::SqlvalueFunction(function) => function.op() == SqlValueFunctionOp::SvfopCurrentCatalog,
            // JSON_VALUE and its kin, with RETURNING.
            Node::JsonFuncExpr(_) => true,
            _ => false,
        }
    }

    /// A user's function may be STABLE because it asks for the time or for a setting.
    fn is_stable_of_users(&self, schema: Option<&str>, name: &str) -> bool {
        let candidates = self.context.catalog.functions.get(name).map_or(&[][..], Vec::as_slice);
        candidates.iter().filter(|function| self.visible(schema, function)).any(|function| {
            function.schema != "pg_catalog" && function.volatility == Volatility::Stable && !function.native
        })
    }

    /// What is cast is no text, or one that is written in the statement, or a parameter.
    fn reads_no_text(&self, node: &Node, column: &dyn Fn(&Node) -> Option<Oid>) -> bool {
        match node {
            Node::AConst(_) | Node::ParamRef(_) | Node::SqlvalueFunction(_) => true,
            Node::ColumnRef(_) => column(node).is_some_and(|of| self.context.catalog.made_of.is_all(of, is_wordless)),
            Node::TypeCast(cast) => {
                let inner = names::inner(&cast.arg);
                let numbered = cast.type_name.as_ref().is_some_and(is_numbered);
                let steady = cast.type_name.as_ref().is_some_and(|name| self.is_steady_type(name));
                !steady && !numbered || inner.is_some_and(|inner| matches!(inner, Node::AConst(_)) && !is_moment(inner))
            }
            Node::FuncCall(call) => {
                let name = names::qualified(&call.funcname).map(|(_, name)| name);
                name.is_some_and(|name| GIVE_TIMES.contains(&name) || TEMPORAL_NAMES.contains(&name))
            }
            // Of a text there is no sum.
            Node::AExpr(expression) => {
                matches!(expression.name.first().and_then(names::string), Some("+" | "-")) && expression.lexpr.is_some()
            }
            Node::AArrayExpr(array) => {
                array.elements.iter().filter_map(|node| node.node.as_ref()).all(|node| self.reads_no_text(node, column))
            }
            Node::RowExpr(row) => {
                row.args.iter().filter_map(|node| node.node.as_ref()).all(|node| self.reads_no_text(node, column))
            }
            _ => false,
        }
    }
}

fn is_numbered(name: &TypeName) -> bool {
    let named = names::strings(&name.names).unwrap_or_default();
    matches!(named.as_slice(), [name] | ["pg_catalog", name] if NUMBERED.contains(name))
}
