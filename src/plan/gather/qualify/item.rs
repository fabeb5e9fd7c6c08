//! FROM items by the names that a statement gives them, for `qualify`.

use std::sync::Arc;

use super::query::Unsure;
use crate::catalog::{Oid, Relation};
use crate::plan::gather::node;
use crate::sql::Node;

/// A column that a name can mean.
#[derive(Clone)]
pub struct Column {
    /// As it is called here.
    pub name: String,
    /// What it is, by the items' own names.
    pub value: Node,
    /// Its type, where it is certain.
    pub type_oid: Option<Oid>,
}

/// A FROM item, or the merged columns of USING.
pub struct Item {
    /// As the statement calls it.
    pub name: Option<String>,
    /// Its own name.
    pub alias: String,
    /// In the order in which `*` shows them.
    pub columns: Vec<Column>,
    /// Columns merged by USING, not seen by their bare names.
    pub merged: Vec<String>,
    /// Its columns are seen by their bare names.
    pub bare: bool,
    /// It may have further columns.
    pub open: bool,
    /// Whose row it is.
    pub row: Option<Arc<Relation>>,
}

/// The FROM items of one query.
#[derive(Default)]
pub struct Level {
    /// In the order in which `*` shows them.
    pub items: Vec<Item>,
    /// In an ON clause only the items of the join are seen: from this one.
    pub first: usize,
    /// A sub-select in FROM that is not LATERAL does not see its siblings.
    pub hidden: bool,
}

impl Item {
    /// The columns that `*` shows.
    pub fn visible(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| self.bare && !self.merged.contains(&column.name))
    }

    /// Those of a bare name.
    pub fn shown<'i>(&'i self, name: &'i str) -> impl Iterator<Item = &'i Column> {
        self.visible().filter(move |column| column.name == name)
    }

    /// The column of a qualified name.
    pub fn column(&self, name: &str) -> Result<Node, Unsure> {
        let mut found = self.columns.iter().filter(|column| column.name == name);
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(column.value.clone()),
            (None, _) if self.open && !self.alias.is_empty() => Ok(node::column(&[&self.alias, name])),
            _ => Err(Unsure),
        }
    }
}

impl Level {
    /// The column of a bare name; `None` when it is not of this query.
    pub fn bare(&self, name: &str) -> Result<Option<Node>, Unsure> {
        let items = || self.items.iter().skip(self.first);
        let mut found = items().flat_map(|item| item.shown(name));
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(Some(column.value.clone())),
            (None, _) if !items().any(|item| item.open) => Ok(None),
            _ => Err(Unsure),
        }
    }
}
