//! Which columns a function in FROM gives, where that is certain without PostgreSQL's type resolution. `from` asks it for what a name
//! means, `gather/qualify` for what `*` stands for.

use pg_query::protobuf::{AExprKind, FuncCall, Node as Wrapped, SubLinkType, TypeName};

use super::builder::Builder;
use super::built_in;
use crate::catalog::{Oid, Relation, RelationKind};
use crate::sql::{Node, names};

/// What is known of the expressions that a function is given.
#[derive(Clone, Copy)]
pub struct Known<'k> {
    /// The type of an expression, where it is certain.
    pub type_of: &'k dyn Fn(&Node) -> Option<Oid>,
    /// It knows columns of sub-selects, too.
    pub qualified: bool,
}

/// Functions of pg_catalog that give one column, named as the item or as the function. *Source*: pg_proc.dat: no OUT parameters.
const ONE_COLUMN: [&str; 9] = [
    "generate_series",
    "generate_subscripts",
    "json_object_keys",
    "jsonb_object_keys",
    "jsonb_path_query",
    "jsonb_path_query_tz",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
];

/// Those that give one column, `value`, whatever the item is called. *Source*: pg_proc.dat; get_func_result_name, funcapi.c.
const VALUES: [&str; 4] =
    ["json_array_elements", "json_array_elements_text", "jsonb_array_elements", "jsonb_array_elements_text"];

/// Those that give `key` and `value`.
const PAIRS: [&str; 4] = ["json_each", "json_each_text", "jsonb_each", "jsonb_each_text"];

/// Those that give the columns of their first argument's type.
const POPULATED: [&str; 4] =
    ["json_populate_record", "json_populate_recordset", "jsonb_populate_record", "jsonb_populate_recordset"];

/// Those that give an array, of elements that are no rows if they are given none.
const ARRAYS: [&str; 9] = [
    "array_agg",
    "array_append",
    "array_cat",
    "array_prepend",
    "array_remove",
    "array_replace",
    "regexp_match",
    "regexp_split_to_array",
    "string_to_array",
];

/// Types of pg_catalog whose values are neither rows nor arrays.
const PLAIN: [&str; 38] = [
    "bit",
    "bool",
    "box",
    "bpchar",
    "bytea",
    "char",
    "cidr",
    "circle",
    "date",
    "daterange",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int4range",
    "int8",
    "int8range",
    "interval",
    "json",
    "jsonb",
    "line",
    "macaddr",
    "money",
    "name",
    "numeric",
    "numrange",
    "oid",
    "point",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "uuid",
    "varbit",
    "varchar",
    "xml",
];

impl Builder<'_> {
    /// Names of the columns that a function in FROM gives. `alias`: what the item is called, if the function stands alone in it.
    pub fn returned_by(&self, call: &Node, alias: Option<&str>, known: Known<'_>) -> Option<Vec<String>> {
        let Node::FuncCall(call) = call else { return None };
        let (schema, name) = names::qualified(&call.funcname)?;
        // Each array is a column, in the grammar of PostgreSQL itself. Source: parse_clause.c, transformRangeFunction.
        if schema.is_none() && name == "unnest" && call.args.len() > 1 && is_plain_call(call) {
            let all = arguments(call).all(|array| self.is_plain_array(array, known));
            return all.then(|| vec![name.to_owned(); call.args.len()]);
        }
        if !self.is_system(call) {
            return None;
        }
        let shown = || Some(vec![alias.unwrap_or(name).to_owned()]);
        match name {
            "unnest" => match call.args.as_slice() {
                [array] if self.is_plain_array(array.node.as_ref()?, known) => shown(),
                _ => None,
            },
            _ if ONE_COLUMN.contains(&name) => shown(),
            _ if VALUES.contains(&name) => Some(vec!["value".to_owned()]),
            _ => self.fields_of(call),
        }
    }

    /// Names of the fields of the row that an expression gives, which `(...).*` stands for.
    pub fn fields(&self, value: &Node) -> Option<Vec<String>> {
        match value {
            Node::FuncCall(call) if self.is_system(call) => self.fields_of(call),
            _ => None,
        }
    }

    fn fields_of(&self, call: &FuncCall) -> Option<Vec<String>> {
        let (_, name) = names::qualified(&call.funcname)?;
        if PAIRS.contains(&name) {
            return Some(vec!["key".to_owned(), "value".to_owned()]);
        }
        if !POPULATED.contains(&name) {
            return None;
        }
        let Node::TypeCast(cast) = arguments(call).next()? else { return None };
        let relation = self.row_type(cast.type_name.as_ref()?)?;
        let fields: Vec<_> = relation.columns.iter().map(|column| column.name.clone()).collect();
        (!fields.is_empty()).then_some(fields)
    }

    /// The table of whose rows a type is, if no other type can have the name: not one of a schema that is searched before.
    fn row_type(&self, name: &TypeName) -> Option<&Relation> {
        if name.setof || name.pct_type || !name.typmods.is_empty() || !name.array_bounds.is_empty() {
            return None;
        }
        let (schema, name) = names::qualified(&name.names)?;
        let relation = self.relation(schema, name)?;
        let catalog = self.context.catalog;
        let exists = |schema: &String| catalog.schemas.contains_key(schema) || catalog.empty_schemas.contains(schema);
        let first = self.path().iter().find(|schema| *schema != "pg_catalog" && exists(schema));
        let certain = schema.is_some() || (self.system_first() && first == Some(&relation.schema));
        let has_rows = matches!(
            relation.kind,
            RelationKind::Sharded { .. } | RelationKind::Reference | RelationKind::Home | RelationKind::View { .. }
        );
        (certain && has_rows).then_some(relation.as_ref())
    }

    /// Whether it can only be a function of pg_catalog that is called.
    pub(super) fn is_system(&self, call: &FuncCall) -> bool {
        match names::qualified(&call.funcname) {
            Some((None, name)) => self.system_first() && !self.is_overloaded(name),
            Some((Some(schema), _)) => schema == "pg_catalog",
            None => false,
        }
    }

    /// The same of an operator.
    fn is_system_operator(&self, name: &[Wrapped]) -> bool {
        names::operator(name).is_some_and(|(_, written)| written || self.system_operators())
    }

    /// Whether it is certainly an array, and not one of rows.
    fn is_plain_array(&self, node: &Node, known: Known<'_>) -> bool {
        match node {
            Node::TypeCast(cast) => {
                cast.type_name.as_ref().is_some_and(|name| self.is_plain_type(name) && !name.array_bounds.is_empty())
            }
            Node::AArrayExpr(array) => {
                array.elements.iter().filter_map(|node| node.node.as_ref()).all(|element| self.is_plain(element, known))
            }
            Node::ParamRef(parameter) => self.declared(parameter.number).is_some_and(is_plain_array_oid),
            Node::FuncCall(call) => {
                let array = names::qualified(&call.funcname).is_some_and(|(_, name)| ARRAYS.contains(&name));
                array && self.is_system(call) && arguments(call).all(|argument| self.is_plain(argument, known))
            }
            Node::CoalesceExpr(either) => {
                either.args.iter().filter_map(|node| node.node.as_ref()).all(|node| self.is_plain_array(node, known))
            }
            Node::SubLink(link) => match (link.sub_link_type(), selected(link)) {
                (SubLinkType::ArraySublink, Some(value)) if known.qualified => self.is_plain(value, known),
                (SubLinkType::ExprSublink, Some(value)) if known.qualified => self.is_plain_array(value, known),
                _ => false,
            },
            _ => (known.type_of)(node).is_some_and(is_plain_array_oid),
        }
    }

    /// Whether it is certainly no row, nor an array of rows.
    fn is_plain(&self, node: &Node, known: Known<'_>) -> bool {
        match node {
            Node::AConst(_) => true,
            Node::TypeCast(cast) => cast.type_name.as_ref().is_some_and(|name| self.is_plain_type(name)),
            // One of no declared type is what the others are, or a text.
            Node::ParamRef(parameter) => self.declared(parameter.number).is_none_or(is_plain_oid),
            Node::AExpr(e) if e.kind() == AExprKind::AexprOp && self.is_system_operator(&e.name) => {
                [&e.lexpr, &e.rexpr].into_iter().filter_map(names::inner).all(|side| self.is_plain(side, known))
            }
            Node::CoalesceExpr(either) => {
                either.args.iter().filter_map(|node| node.node.as_ref()).all(|node| self.is_plain(node, known))
            }
            _ => (known.type_of)(node).is_some_and(is_plain_oid) || self.is_plain_array(node, known),
        }
    }

    fn is_plain_type(&self, name: &TypeName) -> bool {
        let named = names::strings(&name.names).unwrap_or_default();
        let plain = match named.as_slice() {
            [name] => self.system_first() && PLAIN.contains(name),
            ["pg_catalog", name] => PLAIN.contains(name),
            _ => false,
        };
        plain && !name.setof && !name.pct_type
    }

    /// The type with which a parameter was declared.
    fn declared(&self, number: i32) -> Option<Oid> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.context.declared_types.get(index).copied().filter(|oid| *oid != 0)
    }
}

/// Of the type itself, or of an array of it.
fn is_plain_oid(oid: Oid) -> bool {
    built_in::name(oid).is_some_and(|name| PLAIN.contains(&name))
}

fn is_plain_array_oid(oid: Oid) -> bool {
    built_in::element_name(oid).is_some_and(|name| PLAIN.contains(&name))
}

fn arguments(call: &FuncCall) -> impl Iterator<Item = &Node> {
    call.args.iter().filter_map(|node| node.node.as_ref())
}

/// Nothing but a name and arguments.
fn is_plain_call(call: &FuncCall) -> bool {
    call.agg_order.is_empty()
        && call.agg_filter.is_none()
        && call.over.is_none()
        && !call.agg_star
        && !call.agg_distinct
        && !call.func_variadic
}

/// The one expression that a sub-select gives.
fn selected(link: &pg_query::protobuf::SubLink) -> Option<&Node> {
    let Some(Node::SelectStmt(select)) = names::inner(&link.subselect) else { return None };
    let [Wrapped { node: Some(Node::ResTarget(target)) }] = select.target_list.as_slice() else { return None };
    if select.larg.is_some() || !select.values_lists.is_empty() { None } else { names::inner(&target.val) }
}
