//! Types and values of which it is certain that a text read as one means the same at any time: no date, and nothing made of one.

use pg_query::protobuf::{AExpr, FuncCall, TypeCast, TypeName};

use super::differing::{DEPTH_MAX, NUMBERED, TEMPORAL_NAMES, is_moment};
use crate::catalog::{Catalog, Column, Oid};
use crate::plan::builder::Builder;
use crate::plan::built_in;
use crate::sql::{Node, names};

/// Types that read the same from a text at any time, `now` and `today` too; so do their arrays.
const STEADY: [&str; 29] = [
    "bool", "bytea", "char", "name", "int8", "int2", "int4", "text", "oid", "json", "xml", "float4", "float8", "money",
    "cidr", "inet", "macaddr", "bpchar", "varchar", "interval", "numeric", "uuid", "tsvector", "tsquery", "jsonb",
    "jsonpath", "bit", "varbit", "macaddr8",
];

/// Types whose values have no words that could be read as a date, of the same value on every server; nor have their arrays.
const WORDLESS: [&str; 21] = [
    "bool",
    "bytea",
    "int8",
    "int2",
    "int4",
    "float4",
    "float8",
    "money",
    "cidr",
    "inet",
    "macaddr",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "timetz",
    "numeric",
    "uuid",
    "bit",
    "varbit",
];

/// Ranges and multiranges of these: of numbers and dates, the ranges with their arrays. *Source*: pg_type.dat.
const WORDLESS_RANGES: [Oid; 18] =
    [3904, 3905, 3906, 3907, 3908, 3909, 3910, 3911, 3912, 3913, 3926, 3927, 4451, 4532, 4533, 4534, 4535, 4536];

/// Functions of pg_catalog that take texts, or values of any type, and read none of them as a date; they give texts, JSON or numbers, or arrays of
/// these.
const OF_TEXTS: [&str; 67] = [
    "array_to_string",
    "ascii",
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "concat",
    "concat_ws",
    "decode",
    "encode",
    "format",
    "initcap",
    "json_build_array",
    "json_build_object",
    "json_extract_path",
    "json_extract_path_text",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_extract_path",
    "jsonb_extract_path_text",
    "jsonb_insert",
    "jsonb_set",
    "jsonb_set_lax",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "normalize",
    "octet_length",
    "overlay",
    "parse_ident",
    "phraseto_tsquery",
    "plainto_tsquery",
    "position",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_matches",
    "regexp_replace",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "regexp_substr",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "string_agg",
    "string_to_array",
    "string_to_table",
    "strpos",
    "substr",
    "substring",
    "to_tsquery",
    "to_tsvector",
    "translate",
    "upper",
    "websearch_to_tsquery",
];

/// Whether the values of a type of PostgreSQL's own have no words.
pub fn is_wordless(of: Oid) -> bool {
    built_in::name(of).is_some_and(|name| WORDLESS.contains(&name)) || WORDLESS_RANGES.contains(&of)
}

/// Whether a name is that of a type that reads the same at any time, of PostgreSQL's own.
pub fn is_steady_name(name: &TypeName) -> bool {
    let named = names::strings(&name.names).unwrap_or_default();
    matches!(named.as_slice(), [name] | ["pg_catalog", name] if STEADY.contains(name))
}

/// Whether a type reads the same from a text at any time.
pub fn is_steady(of: Oid, catalog: &Catalog) -> bool {
    catalog.made_of.is_all(of, is_steady_built_in)
}

fn is_steady_built_in(of: Oid) -> bool {
    built_in::name(of).is_some_and(|name| STEADY.contains(&name))
}

impl Builder<'_> {
    /// The same of a type that the builder has met.
    pub fn is_steady_oid(&self, of: Oid) -> bool {
        is_steady(of, self.context.catalog)
    }

    /// Whether a column's type may read a moment from words like `now`.
    pub fn reads_moments(&self, column: &Column) -> bool {
        !self.is_steady_oid(column.type_oid)
    }

    /// The same of a type by its name.
    pub fn is_steady_type(&self, name: &TypeName) -> bool {
        let named = names::strings(&name.names).unwrap_or_default();
        is_steady_name(name)
            || match named.as_slice() {
                ["pg_catalog", _] => false,
                // A type of this name in another schema is not what a bare name means.
                [name] if TEMPORAL_NAMES.contains(name) || NUMBERED.contains(name) => false,
                ["record" | "unknown"] => false,
                [name] | [_, name] => self.context.catalog.made_of.is_all_named(name, is_steady_built_in),
                _ => false,
            }
    }

    /// A constant that is the same at any time when it is stored into this column.
    pub fn is_steady_constant(&self, value: &Node, column: Option<&Column>) -> bool {
        let steady = column.is_some_and(|column| !self.reads_moments(column));
        matches!(value, Node::AConst(_)) && (steady || !is_moment(value))
    }

    /// A constant that is cast to a type that reads the same from it at any time.
    pub fn is_steady_cast(&self, cast: &TypeCast) -> bool {
        cast.type_name.as_ref().is_some_and(|name| self.is_steady_type(name))
            && matches!(names::inner(&cast.arg), Some(Node::AConst(_)))
    }

    /// Whether a value of a steady type stands beside constants, which then are read as that type.
    pub fn beside_steady(&self, expression: &AExpr) -> bool {
        self.beside_within(expression, DEPTH_MAX)
    }

    fn beside_within(&self, expression: &AExpr, depth: usize) -> bool {
        let steady = |side: Option<&Node>| side.is_some_and(|node| self.is_steady_within(node, depth));
        let path = matches!(expression.name.last().and_then(names::string), Some("->" | "->>" | "#>" | "#>>"));
        path || steady(names::inner(&expression.rexpr)) || steady(names::inner(&expression.lexpr))
    }

    /// Whether an expression is certainly of a steady type, whatever its constants stand beside. A constant alone is not.
    pub fn is_steady(&self, node: &Node) -> bool {
        self.is_steady_within(node, DEPTH_MAX)
    }

    fn is_steady_within(&self, node: &Node, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return false };
        match node {
            Node::ColumnRef(_) => {
                let place = self.place(node).and_then(|(_, place)| self.place_type(place));
                place.is_some_and(|of| self.is_steady_oid(of))
            }
            Node::TypeCast(cast) => cast.type_name.as_ref().is_some_and(|name| self.is_steady_type(name)),
            Node::CollateClause(_) => true,
            Node::FuncCall(call) => self.takes_texts(call),
            Node::AExpr(expression) => match expression.name.last().and_then(names::string) {
                Some("->" | "->>" | "#>" | "#>>") => true,
                Some("||") => self.beside_within(expression, depth),
                _ => false,
            },
            Node::CoalesceExpr(_) | Node::CaseExpr(_) | Node::MinMaxExpr(_) | Node::AArrayExpr(_) => {
                results(node).all(|one| matches!(one, Node::AConst(_)) || self.is_steady_within(one, depth))
            }
            _ => false,
        }
    }

    /// Whether constants among the results of COALESCE, CASE, GREATEST, LEAST or ARRAY are texts, or of the steady type of the others.
    pub fn has_steady_results(&self, node: &Node) -> bool {
        matches!(node, Node::CoalesceExpr(_) | Node::CaseExpr(_) | Node::MinMaxExpr(_) | Node::AArrayExpr(_))
            && self.is_steady(node)
    }

    /// Whether a function reads none of its arguments as a date, by its name.
    pub fn takes_texts(&self, call: &FuncCall) -> bool {
        let Some((schema, name)) = names::qualified(&call.funcname) else { return false };
        let candidates = self.context.catalog.functions.get(name).map_or(&[][..], Vec::as_slice);
        OF_TEXTS.contains(&name)
            && candidates
                .iter()
                .filter(|function| self.visible(schema, function))
                .all(|function| function.schema == "pg_catalog")
    }
}

/// What an expression's value may be one of, or an array's elements.
pub fn results(node: &Node) -> impl Iterator<Item = &Node> {
    let (list, last) = match node {
        Node::CoalesceExpr(of) => (&of.args[..], None),
        Node::MinMaxExpr(of) => (&of.args[..], None),
        Node::AArrayExpr(of) => (&of.elements[..], None),
        Node::CaseExpr(of) => (&of.args[..], names::inner(&of.defresult)),
        _ => (&[][..], None),
    };
    let each = list.iter().filter_map(|node| match node.node.as_ref()? {
        Node::CaseWhen(when) => names::inner(&when.result),
        other => Some(other),
    });
    each.chain(last)
}
