//! Which parts the merge query looks into again and again: a sub-select that computes one value for each outer row.

use std::collections::BTreeMap;

use pg_query::protobuf::{SelectStmt, SubLinkType};

use super::condition;
use super::part::Parts;
use super::qualify::Known;
use super::reduce::one_spelling;
use super::reference::{self, Content};
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// Notes the columns of parts by which such sub-selects find their rows.
pub fn note(node: &mut Node, known: &Known, parts: &mut Parts<'_>) -> Result<(), Stop> {
    if let Node::SubLink(link) = node
        && matches!(link.sub_link_type(), SubLinkType::ExprSublink | SubLinkType::ArraySublink)
        && let Some(Node::SelectStmt(select)) = names::inner(&link.subselect)
    {
        level(select, known, parts)?;
    }
    edit::children(node, &mut |child| note(child, known, parts))
}

fn level(select: &SelectStmt, known: &Known, parts: &mut Parts<'_>) -> Result<(), Stop> {
    let mut items: BTreeMap<&str, (&str, Vec<String>)> = BTreeMap::new();
    for item in select.from_clause.iter().filter_map(|item| item.node.as_ref()) {
        if let Node::RangeVar(name) = item
            && name.schemaname == "pg_temp"
            && let Some(alias) = &name.alias
        {
            items.insert(&alias.aliasname, (&name.relname, Vec::new()));
        }
    }
    for condition in condition::split(select.where_clause.clone()) {
        let Node::AExpr(e) = &condition else { continue };
        if names::operator(&e.name).is_none_or(|(name, _)| name != "=") {
            continue;
        }
        let (Some(left), Some(right)) = (names::inner(&e.lexpr), names::inner(&e.rexpr)) else { continue };
        for (own, other) in [(left, right), (right, left)] {
            let Some((item, column)) = reference::of(own) else { continue };
            let other = Content::of(&mut other.clone())?;
            let outer = !other.outside().is_empty() && other.outside().iter().all(|other| !items.contains_key(other));
            let type_oid = known.types.get(&(item.to_owned(), column.to_owned()));
            if let Some((_, columns)) =
                items.get_mut(item).filter(|_| outer && type_oid.is_some_and(|type_oid| one_spelling(*type_oid)))
            {
                columns.push(column.to_owned());
            }
        }
    }
    for (part, columns) in items.into_values() {
        if let Some(part) = parts.made.iter_mut().find(|known| known.name == part)
            && !columns.is_empty()
            && !part.lookups.contains(&columns)
        {
            part.lookups.push(columns);
        }
    }
    Ok(())
}
