//! What a qualified tree refers to, and putting other expressions in place of some.

use std::collections::BTreeSet;

use pg_query::protobuf::{Alias, SelectStmt};

use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::sql::{Node, edit, names};

/// A column of a FROM item.
pub type Reference = (String, String);

/// The item and column of a qualified reference.
pub fn of(node: &Node) -> Option<(&str, &str)> {
    let Node::ColumnRef(column) = node else { return None };
    match column.fields.as_slice() {
        [item, column] => Some((names::string(item)?, names::string(column)?)),
        _ => None,
    }
}

/// What stands in a tree.
#[derive(Default)]
pub struct Content {
    /// Columns referred to.
    pub columns: BTreeSet<Reference>,
    /// FROM items, by name.
    pub items: BTreeSet<String>,
    /// Relations and WITH queries named in FROM without a schema.
    pub bare: BTreeSet<String>,
    /// WITH queries defined.
    pub ctes: BTreeSet<String>,
    /// FROM items that are tables, by name.
    pub tables: Vec<String>,
    pub sublinks: bool,
    pub functions: Vec<(Option<String>, String)>,
}

impl Content {
    /// Of a tree.
    pub fn of(node: &mut Node) -> Result<Content, Stop> {
        let mut content = Content::default();
        content.add(node)?;
        Ok(content)
    }

    /// Of a statement.
    pub fn of_select(select: &mut SelectStmt) -> Result<Content, Stop> {
        let mut tree = Node::SelectStmt(Box::new(std::mem::take(select)));
        let content = Content::of(&mut tree);
        if let Node::SelectStmt(tree) = tree {
            *select = *tree;
        }
        content
    }

    /// Whether all that it calls says the same each time it is asked; `None` if a function must not be called.
    pub fn calls_steady(&self, builder: &Builder<'_>) -> Option<bool> {
        for (schema, name) in &self.functions {
            if !matches!(builder.call(schema.as_deref(), name).ok()?.0, Call::Steady | Call::Aggregate | Call::Window) {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Adds what stands in a further tree.
    pub fn add(&mut self, node: &mut Node) -> Result<(), Stop> {
        let mut item = |alias: &Option<Alias>| {
            self.items.extend(alias.iter().map(|alias| alias.aliasname.clone()));
        };
        match node {
            Node::ColumnRef(_) => {
                if let Some((item, column)) = of(node) {
                    self.columns.insert((item.to_owned(), column.to_owned()));
                }
            }
            Node::RangeVar(name) => {
                item(&name.alias);
                if name.schemaname.is_empty() {
                    self.bare.insert(name.relname.clone());
                } else if let Some(alias) = &name.alias {
                    self.tables.push(alias.aliasname.clone());
                }
            }
            Node::RangeSubselect(subselect) => item(&subselect.alias),
            Node::RangeFunction(function) => item(&function.alias),
            Node::CommonTableExpr(cte) => {
                self.ctes.insert(cte.ctename.clone());
            }
            Node::SubLink(_) => self.sublinks = true,
            Node::FuncCall(call) => {
                if let Some((schema, name)) = names::qualified(&call.funcname) {
                    self.functions.push((schema.map(str::to_owned), name.to_owned()));
                }
            }
            _ => {}
        }
        edit::children(node, &mut |child| self.add(child))
    }

    /// Items referred to that are defined elsewhere.
    pub fn outside(&self) -> BTreeSet<&str> {
        self.columns.iter().map(|(item, _)| item.as_str()).filter(|item| !self.items.contains(*item)).collect()
    }

    /// It can be understood by itself.
    pub fn closed(&self) -> bool {
        self.outside().is_empty() && self.bare.iter().all(|name| self.ctes.contains(name))
    }
}

/// Puts what `replace` gives in place of nodes, from the top down; what is put there is not looked into.
pub fn substitute(node: &mut Node, replace: &mut dyn FnMut(&Node) -> Option<Node>) -> Result<(), Stop> {
    if let Some(new) = replace(node) {
        *node = new;
        return Ok(());
    }
    edit::children(node, &mut |child| substitute(child, replace))
}
