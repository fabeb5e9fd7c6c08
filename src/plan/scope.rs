//! Names in force at a place of a statement, as parse_relation.c of PostgreSQL looks them up. Certain or not at all: a name
//! that might mean something else is unresolved, and no fact.

use std::sync::Arc;

use super::ir::{LeafId, Term};
use crate::catalog::Relation;

/// The FROM items of one query level.
#[derive(Debug, Default)]
pub struct Scope {
    /// In the order in which `*` shows them.
    pub items: Vec<Item>,
    /// Columns merged by NATURAL JOIN are not all known: no bare name is certain.
    pub uncertain: bool,
    /// A sub-select in FROM that is not LATERAL does not see its siblings.
    pub hidden: bool,
    /// In an ON clause only the items of the join are seen: from this one.
    pub first: usize,
}

/// One name in FROM, or the merged columns of a JOIN ... USING.
#[derive(Debug)]
pub struct Item {
    /// `None` for merged columns.
    pub name: Option<String>,
    /// Schema of a table without alias.
    pub schema: Option<String>,
    pub columns: Columns,
    /// It may have further columns, of unknown names.
    pub open: bool,
    /// Seen by `name.column`.
    pub by_name: bool,
    /// Seen by bare column names.
    pub bare: bool,
    /// Columns merged by USING, not seen by their bare names.
    pub merged: Vec<String>,
}

/// The columns of an item.
#[derive(Debug)]
pub enum Columns {
    /// A relation's, the first ones renamed by the alias.
    Relation { leaf: LeafId, relation: Arc<Relation>, aliases: Vec<String> },
    /// Of a query or function.
    Derived(Vec<(Option<String>, Option<Term>)>),
}

/// A column found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Column of a relation instance.
    Column(LeafId, usize),
    /// Anything else; the term if there is one.
    Derived(Option<Term>),
    /// `ctid`, `xmin`, ...
    System,
}

/// *Source*: manual of PostgreSQL 15, 5.5.
pub const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

impl Item {
    /// An item seen by its name and by its columns' bare names.
    pub fn new(name: Option<String>, columns: Columns, open: bool) -> Item {
        let by_name = name.is_some();
        Item { name, schema: None, columns, open, by_name, bare: true, merged: Vec::new() }
    }

    /// The column of this name. `Err` when several have it.
    fn find(&self, name: &str) -> Result<Option<Place>, ()> {
        match &self.columns {
            Columns::Relation { leaf, relation, aliases } => {
                let mut hits =
                    (0..relation.columns.len()).filter(|at| column_name(relation, aliases, *at) == Some(name));
                match (hits.next(), hits.next()) {
                    (Some(at), None) => Ok(Some(Place::Column(*leaf, at))),
                    (None, _) if SYSTEM_COLUMNS.contains(&name) => Ok(Some(Place::System)),
                    (None, _) => Ok(None),
                    (Some(_), Some(_)) => Err(()),
                }
            }
            Columns::Derived(columns) => {
                let mut hits = columns.iter().filter(|(column, _)| column.as_deref() == Some(name));
                match (hits.next(), hits.next()) {
                    (Some((_, term)), None) => Ok(Some(Place::Derived(*term))),
                    (None, _) => Ok(None),
                    (Some(_), Some(_)) => Err(()),
                }
            }
        }
    }

    /// The columns that `*` (`bare`) or `name.*` shows, in order.
    pub fn shown(&self, bare: bool) -> Vec<(Option<String>, Place)> {
        let hidden = |name: &Option<String>| bare && name.as_ref().is_some_and(|name| self.merged.contains(name));
        let all: Vec<_> = match &self.columns {
            Columns::Relation { leaf, relation, aliases } => (0..relation.columns.len())
                .map(|at| (column_name(relation, aliases, at).map(str::to_owned), Place::Column(*leaf, at)))
                .collect(),
            Columns::Derived(columns) => {
                columns.iter().map(|(name, term)| (name.clone(), Place::Derived(*term))).collect()
            }
        };
        all.into_iter().filter(|(name, _)| !hidden(name)).collect()
    }
}

/// The columns that `*` shows of items, as far as their places are certain, and whether there are others behind them.
pub fn shown<'i>(items: impl Iterator<Item = &'i Item>, uncertain: bool) -> (Vec<(Option<String>, Place)>, bool) {
    let mut shown = Vec::new();
    if uncertain {
        return (shown, true);
    }
    for item in items.filter(|item| item.bare) {
        shown.extend(item.shown(true));
        if item.open {
            return (shown, true);
        }
    }
    (shown, false)
}

fn column_name<'r>(relation: &'r Relation, aliases: &'r [String], at: usize) -> Option<&'r str> {
    aliases.get(at).or_else(|| relation.columns.get(at).map(|column| &column.name)).map(String::as_str)
}

impl Scope {
    fn seen(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().skip(self.first)
    }

    /// A name that is not found may be of this scope all the same.
    pub fn open(&self) -> bool {
        self.uncertain || self.items.iter().any(|item| item.open)
    }

    /// The column of a bare name among the items from `start` to `end`, if it is certain.
    pub fn among(&self, start: usize, end: usize, name: &str) -> Option<Place> {
        let mut found = None;
        for item in self.items.get(start..end)?.iter().filter(|item| item.bare) {
            if item.merged.iter().any(|merged| merged == name) {
                continue;
            }
            match item.find(name) {
                Ok(Some(place)) if found.is_none() => found = Some(place),
                Ok(None) => {}
                Ok(Some(_)) | Err(()) => return None,
            }
        }
        found.filter(|place| *place != Place::System)
    }

    /// A bare name. `Some(None)`: found here, but ambiguous or uncertain. `None`: not of this scope.
    fn bare(&self, name: &str) -> Option<Option<Place>> {
        if self.hidden {
            return None;
        }
        let mut found = None;
        let mut open = self.uncertain;
        for item in self.seen().filter(|item| item.bare) {
            open |= item.open;
            if item.merged.iter().any(|merged| merged == name) {
                continue;
            }
            match item.find(name) {
                // A user column wins over the system columns of other items.
                Ok(Some(place)) if found.is_none() || found == Some(Place::System) => found = Some(place),
                Ok(Some(Place::System)) | Ok(None) => {}
                Ok(Some(_)) | Err(()) => return Some(None),
            }
        }
        match found {
            Some(_) if self.uncertain => Some(None),
            Some(place) => Some(Some(place)),
            None if open => Some(None),
            None => None,
        }
    }

    /// A qualified name; as for bare names.
    fn qualified(&self, schema: Option<&str>, relation: &str, column: &str) -> Option<Option<Place>> {
        if self.hidden {
            return None;
        }
        let item = self.named(schema, relation)?;
        Some(item.find(column).ok().flatten())
    }

    /// The item of this name.
    pub fn named(&self, schema: Option<&str>, relation: &str) -> Option<&Item> {
        self.seen().filter(|item| item.by_name).find(|item| {
            item.name.as_deref() == Some(relation) && (schema.is_none() || item.schema.as_deref() == schema)
        })
    }
}

/// Whether a reference might be found in one of these scopes.
pub fn may_resolve(scopes: &[Scope], fields: &[&str]) -> bool {
    scopes.iter().filter(|scope| !scope.hidden).any(|scope| match fields {
        [column] => scope.bare(column).is_some(),
        [.., relation, _] => scope.named(None, relation).is_some(),
        [] => true,
    })
}

/// Looks a column reference up, from the innermost scope outwards; with the index of the scope it is found in.
pub fn resolve(scopes: &[Scope], fields: &[&str]) -> Option<(usize, Place)> {
    let (qualifier, column) = match fields {
        [column] => (None, *column),
        [relation, column] => (Some((None, *relation)), *column),
        [.., schema, relation, column] => (Some((Some(*schema), *relation)), *column),
        [] => return None,
    };
    for (depth, scope) in scopes.iter().enumerate().rev() {
        let found = match qualifier {
            None => scope.bare(column),
            Some((schema, relation)) => scope.qualified(schema, relation, column),
        };
        if let Some(found) = found {
            return found.map(|place| (depth, place));
        }
    }
    None
}
