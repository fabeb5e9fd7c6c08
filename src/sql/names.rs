//! Reads names out of the syntax tree: qualified names, operators, type names, integers.

use pg_query::protobuf::{self as ast, Node as Wrapped, a_const::Val, node::Node};

/// The node in an optional box.
pub fn inner(node: &Option<Box<Wrapped>>) -> Option<&Node> {
    node.as_ref()?.node.as_ref()
}

/// The text of a String node.
pub fn string(node: &Wrapped) -> Option<&str> {
    match &node.node {
        Some(Node::String(value)) => Some(&value.sval),
        _ => None,
    }
}

/// The texts of a list of String nodes; `None` if one is something else.
pub fn strings(nodes: &[Wrapped]) -> Option<Vec<&str>> {
    nodes.iter().map(string).collect()
}

/// The name of a WITH query.
pub fn cte_name(node: &Wrapped) -> Option<String> {
    match &node.node {
        Some(Node::CommonTableExpr(cte)) => Some(cte.ctename.clone()),
        _ => None,
    }
}

/// A possibly qualified name, as (schema, name). A database in front is left to the server to check.
pub fn qualified(nodes: &[Wrapped]) -> Option<(Option<&str>, &str)> {
    match strings(nodes)?.as_slice() {
        [name] => Some((None, name)),
        [.., schema, name] => Some((Some(schema), name)),
        [] => None,
    }
}

/// An operator's name when it can only be one of `pg_catalog`: written bare, or as `OPERATOR(pg_catalog.=)`.
/// The flag says whether the schema was written.
pub fn operator(nodes: &[Wrapped]) -> Option<(&str, bool)> {
    match strings(nodes)?.as_slice() {
        [name] => Some((name, false)),
        ["pg_catalog", name] => Some((name, true)),
        _ => None,
    }
}

/// The value of a constant; `None` for NULL and for what is no constant.
pub fn constant(node: &Node) -> Option<&Val> {
    match node {
        Node::AConst(constant) if !constant.isnull => constant.val.as_ref(),
        _ => None,
    }
}

/// Whether the node is the constant NULL.
pub fn is_null(node: &Node) -> bool {
    matches!(node, Node::AConst(constant) if constant.isnull)
}

/// The text of a string constant, without a cast.
pub fn string_constant(node: &Node) -> Option<&str> {
    match constant(node)? {
        Val::Sval(value) => Some(&value.sval),
        _ => None,
    }
}

/// The name of a type without its schema, if that is `pg_catalog` or not written; with whether it is an array.
/// `None` for SETOF, `%TYPE`, other schemas and types with a modifier (`varchar(3)`).
pub fn plain_type(name: &ast::TypeName) -> Option<(&str, bool)> {
    if name.setof || name.pct_type || !name.typmods.is_empty() {
        return None;
    }
    let text = match strings(&name.names)?.as_slice() {
        [text] | ["pg_catalog", text] => *text,
        _ => return None,
    };
    Some((text, !name.array_bounds.is_empty()))
}

/// The integer modifiers of a type name, `None` if one is not an integer constant.
pub fn type_modifiers(name: &ast::TypeName) -> Option<Vec<i32>> {
    name.typmods
        .iter()
        .map(|node| match constant(node.node.as_ref()?)? {
            Val::Ival(value) => Some(value.ival),
            _ => None,
        })
        .collect()
}

/// Whether its modifiers are such as PostgreSQL takes: constants and names; of an interval, a range of fields that its grammar has. The
/// printer reads others as what they are not, or gives up the process. *Source*: parse_type.c, typenameTypeMod; timestamp.c,
/// intervaltypmodin; gram.y, opt_interval.
pub fn has_plain_modifiers(name: &ast::TypeName) -> bool {
    /// YEAR, MONTH, DAY, HOUR, MINUTE, SECOND alone, what lies between two of them, and all (datetime.h, timestamp.h).
    const FIELDS: [i32; 14] = [4, 2, 8, 1024, 2048, 4096, 6, 1032, 3080, 7176, 3072, 7168, 6144, 0x7FFF];
    let named = strings(&name.names).unwrap_or_default();
    let built_in = matches!(named.as_slice(), ["pg_catalog", _]);
    let simple = |node: &Wrapped| match node.node.as_ref() {
        Some(Node::ColumnRef(column)) => !built_in && column.fields.len() == 1,
        Some(node) => matches!(constant(node), Some(Val::Ival(_))) || (!built_in && constant(node).is_some()),
        None => false,
    };
    let interval = matches!(named.as_slice(), ["pg_catalog", "interval"]) && !name.typmods.is_empty();
    name.typmods.iter().all(simple)
        && (!interval || type_modifiers(name).is_some_and(|all| all.first().is_some_and(|one| FIELDS.contains(one))))
}

/// The argument of an option as text: a name, a string, a number or a Boolean; empty when there is none.
pub fn option_text(element: &ast::DefElem) -> Option<String> {
    let Some(node) = inner(&element.arg) else { return Some(String::new()) };
    value_text(node)
}

/// A value as its text: name, string, number or Boolean.
pub fn value_text(node: &Node) -> Option<String> {
    match node {
        Node::String(value) => Some(value.sval.clone()),
        Node::Integer(value) => Some(value.ival.to_string()),
        Node::Float(value) => Some(value.fval.clone()),
        Node::Boolean(value) => Some(value.boolval.to_string()),
        Node::TypeName(name) => strings(&name.names)?.last().map(|text| (*text).to_owned()),
        Node::AConst(_) => match constant(node)? {
            Val::Sval(value) => Some(value.sval.clone()),
            Val::Ival(value) => Some(value.ival.to_string()),
            Val::Fval(value) => Some(value.fval.clone()),
            Val::Boolval(value) => Some(value.boolval.to_string()),
            Val::Bsval(_) => None,
        },
        Node::TypeCast(cast) => value_text(inner(&cast.arg)?),
        _ => None,
    }
}

/// An option as a Boolean, as `defGetBoolean` (commands/define.c) reads it; `None` for what is none.
pub fn option_flag(element: &ast::DefElem) -> Option<bool> {
    match option_text(element)?.to_ascii_lowercase().as_str() {
        "" | "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// What a table in FROM, or the target of a write, is called in the statement, also in front of its columns.
pub fn alias_or_name(name: &ast::RangeVar) -> &str {
    match &name.alias {
        Some(alias) if !alias.aliasname.is_empty() => &alias.aliasname,
        Some(_) | None => &name.relname,
    }
}
