//! Names in expressions: which column of which FROM item each means.

use pg_query::protobuf::{Node as Wrapped, SubLinkType};

use super::item::Item;
use super::query::{Namer, Unsure};
use crate::plan::gather::node;
use crate::sql::{Node, edit, names};

impl Namer<'_> {
    pub fn one(&mut self, node: &mut Option<Box<Wrapped>>) -> Result<(), Unsure> {
        node.as_mut().and_then(|node| node.node.as_mut()).map_or(Ok(()), |node| self.expression(node))
    }

    pub fn list(&mut self, nodes: &mut [Wrapped]) -> Result<(), Unsure> {
        nodes.iter_mut().filter_map(|node| node.node.as_mut()).try_for_each(|node| self.expression(node))
    }

    pub fn expression(&mut self, node: &mut Node) -> Result<(), Unsure> {
        match node {
            Node::ColumnRef(column) => {
                let fields: Option<Vec<_>> = names::strings(&column.fields);
                *node = self.column(&fields.ok_or(Unsure)?)?;
                Ok(())
            }
            Node::SubLink(link) => {
                self.one(&mut link.testexpr)?;
                if link.sub_link_type() == SubLinkType::ExistsSublink {
                    without_outputs(link.subselect.as_deref_mut());
                }
                match link.subselect.as_mut().and_then(|node| node.node.as_mut()) {
                    Some(Node::SelectStmt(query)) => self.select(query).map(|_| ()),
                    _ => Err(Unsure),
                }
            }
            Node::SelectStmt(_) => Err(Unsure),
            _ => edit::children(node, &mut |child| self.expression(child)),
        }
    }

    fn column(&self, fields: &[&str]) -> Result<Node, Unsure> {
        match fields {
            [name] => {
                for level in self.levels.iter().rev().filter(|level| !level.hidden) {
                    if let Some(found) = level.bare(name)? {
                        return Ok(found);
                    }
                }
                let item = self.named(name).ok_or(Unsure)?;
                self.row(item)
            }
            [.., item, name] => self.named(item).ok_or(Unsure)?.column(name),
            [] => Err(Unsure),
        }
    }

    pub fn named(&self, name: &str) -> Option<&Item> {
        let seen = self.levels.iter().rev().filter(|level| !level.hidden);
        seen.flat_map(|level| level.items.iter().skip(level.first)).find(|item| item.name.as_deref() == Some(name))
    }

    /// The row of a table as a value of its type.
    fn row(&self, item: &Item) -> Result<Node, Unsure> {
        let relation = item.row.as_ref().filter(|_| !self.outer_joins).ok_or(Unsure)?;
        let fields = item.columns.iter().map(|column| column.value.clone());
        Ok(node::cast(node::row(fields), &[&relation.schema, &relation.name], &[]))
    }
}

/// What a sub-select of EXISTS selects does not matter, where it is columns.
fn without_outputs(query: Option<&mut Wrapped>) {
    let Some(Node::SelectStmt(query)) = query.and_then(|query| query.node.as_mut()) else { return };
    let column = |target: &Wrapped| match &target.node {
        Some(Node::ResTarget(target)) => {
            matches!(names::inner(&target.val), Some(Node::ColumnRef(_) | Node::AConst(_)))
        }
        _ => false,
    };
    let plain = query.group_clause.is_empty()
        && query.having_clause.is_none()
        && query.distinct_clause.is_empty()
        && query.sort_clause.is_empty()
        && !query.from_clause.is_empty();
    if plain && query.target_list.iter().all(column) {
        query.target_list = vec![node::target(node::integer(1), "")];
    }
}
