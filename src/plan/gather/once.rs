//! Parts that the merge query only asks whether they have a row: each shard sends equal rows once.

use std::collections::BTreeMap;

use pg_query::protobuf::{Node as Wrapped, SelectStmt, SetOperation, SubLink, SubLinkType};

use super::part::{Outline, Parts};
use super::qualify::Known;
use super::reduce::one_spelling;
use super::reference::{self, Content};
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// Makes such parts DISTINCT. `node` is the merge query.
pub fn note(node: &mut Node, known: &Known, parts: &mut Parts<'_>) -> Result<(), Stop> {
    let mut finder = Finder { uses: BTreeMap::new(), asked: BTreeMap::new() };
    finder.node(node)?;
    for (part, outline) in parts.made.iter_mut().zip(&parts.outlines) {
        let uses = finder.uses.get(&part.name).copied().unwrap_or(0);
        let asked = finder.asked.get(&part.name).map_or(&[][..], Vec::as_slice);
        if uses == asked.len()
            && let Some(alias) = asked.first()
            && let Some(text) = outline.as_ref().and_then(|outline| distinct(&part.text, outline, alias, known))
        {
            part.text = text;
        }
    }
    Ok(())
}

struct Finder {
    /// How often each part is named.
    uses: BTreeMap<String, usize>,
    /// FROM items of each part where only that there is a row counts.
    asked: BTreeMap<String, Vec<String>>,
}

impl Finder {
    fn node(&mut self, node: &mut Node) -> Result<(), Stop> {
        match node {
            Node::RangeVar(name) if name.schemaname == "pg_temp" => {
                *self.uses.entry(name.relname.clone()).or_insert(0) += 1;
            }
            Node::SubLink(link) => self.link(link)?,
            _ => {}
        }
        edit::children(node, &mut |child| self.node(child))
    }

    fn link(&mut self, link: &SubLink) -> Result<(), Stop> {
        let Some(Node::SelectStmt(select)) = names::inner(&link.subselect) else { return Ok(()) };
        if !matches!(link.sub_link_type(), SubLinkType::ExistsSublink | SubLinkType::AnySublink) || !rows_only(select) {
            return Ok(());
        }
        // What is computed for each row might differ each time.
        if !Content::of(&mut Node::SelectStmt(select.clone()))?.functions.is_empty() {
            return Ok(());
        }
        for item in select.from_clause.iter().filter_map(|item| item.node.as_ref()) {
            if let Node::RangeVar(name) = item
                && name.schemaname == "pg_temp"
                && let Some(alias) = name.alias.as_ref().filter(|alias| alias.colnames.is_empty())
            {
                self.asked.entry(name.relname.clone()).or_default().push(alias.aliasname.clone());
            }
        }
        Ok(())
    }
}

/// It gives rows as they are joined, so that of equal ones each gives the same.
fn rows_only(select: &SelectStmt) -> bool {
    let value = |target: &Wrapped| match &target.node {
        Some(Node::ResTarget(target)) => names::inner(&target.val)
            .is_some_and(|value| reference::of(value).is_some() || matches!(value, Node::AConst(_))),
        _ => false,
    };
    is_bare(select) && select.with_clause.is_none() && select.target_list.iter().all(value)
}

fn is_bare(select: &SelectStmt) -> bool {
    select.op() == SetOperation::SetopNone
        && select.group_clause.is_empty()
        && select.having_clause.is_none()
        && select.distinct_clause.is_empty()
        && select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.values_lists.is_empty()
}

/// Of a part that might have each row once.
pub fn outline(select: &SelectStmt) -> Option<Outline> {
    let column = |target: &Wrapped| match &target.node {
        Some(Node::ResTarget(of)) => {
            let Some(Node::ColumnRef(column)) = names::inner(&of.val) else { return None };
            let own = column.fields.last().and_then(names::string)?;
            Some(if of.name.is_empty() { own.to_owned() } else { of.name.clone() })
        }
        _ => None,
    };
    let columns: Vec<String> = select.target_list.iter().map(column).collect::<Option<_>>()?;
    (is_bare(select) && select.with_clause.is_none() && !columns.is_empty()).then_some(Outline { columns })
}

/// The part with each row once, if equal values of its columns cannot be told apart.
fn distinct(text: &str, outline: &Outline, alias: &str, known: &Known) -> Option<String> {
    let one_spelling =
        |column: &String| known.types.get(&(alias.to_owned(), column.clone())).copied().is_some_and(one_spelling);
    let rest = text.strip_prefix("SELECT ")?;
    outline.columns.iter().all(one_spelling).then(|| format!("SELECT DISTINCT {rest}"))
}
