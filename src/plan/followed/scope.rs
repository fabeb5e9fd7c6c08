//! Names in a statement that may be meant instead of a parameter of the body it is in.

use std::collections::HashSet;

use pg_query::protobuf::{Alias, RangeVar};

use crate::plan::builder::Builder;
use crate::plan::scope::SYSTEM_COLUMNS;
use crate::sql::{self, Node, names, statements};

/// Names in a statement that may be meant instead of a parameter.
#[derive(Default)]
pub struct Scope {
    /// Tables and aliases.
    pub tables: HashSet<String>,
    /// Columns that are named in the statement itself.
    columns: HashSet<String>,
    /// There may be columns of any name.
    open: bool,
}

impl Scope {
    pub fn has_column(&self, name: &str) -> bool {
        self.open || self.columns.contains(name)
    }

    pub fn look(&mut self, node: &mut Node, builder: &Builder<'_>) -> Result<(), sql::walk::Unknown> {
        match node {
            Node::RangeVar(name) => self.table(name, builder),
            Node::InsertStmt(insert) => {
                // Its values stand where no column is known.
                let seen = insert.on_conflict_clause.is_some() || insert.returning_clause.is_some();
                insert.relation.iter().filter(|_| seen).for_each(|name| self.table(name, builder));
            }
            Node::UpdateStmt(update) => update.relation.iter().for_each(|name| self.table(name, builder)),
            Node::DeleteStmt(delete) => delete.relation.iter().for_each(|name| self.table(name, builder)),
            Node::MergeStmt(merge) => merge.relation.iter().for_each(|name| self.table(name, builder)),
            Node::RangeSubselect(item) => self.alias(item.alias.as_ref()),
            Node::JoinExpr(join) => {
                self.alias(join.alias.as_ref());
                self.alias(join.join_using_alias.as_ref());
            }
            Node::RangeFunction(item) => {
                self.alias(item.alias.as_ref());
                self.open |=
                    item.coldeflist.is_empty() && item.alias.as_ref().is_none_or(|alias| alias.colnames.is_empty());
            }
            Node::RangeTableFunc(item) => self.alias(item.alias.as_ref()),
            Node::RangeTableFuncCol(column) => drop(self.columns.insert(column.colname.clone())),
            Node::ColumnDef(column) => drop(self.columns.insert(column.colname.clone())),
            Node::CommonTableExpr(cte) => {
                self.tables.insert(cte.ctename.clone());
                self.columns.extend(cte.aliascolnames.iter().filter_map(names::string).map(str::to_owned));
            }
            Node::SelectStmt(select) => {
                for target in &select.target_list {
                    if let Some(Node::ResTarget(target)) = &target.node {
                        self.columns.insert(target.name.clone());
                    }
                }
            }
            _ => {}
        }
        statements::children(node, &mut |child| self.look(child, builder))
    }

    fn table(&mut self, name: &RangeVar, builder: &Builder<'_>) {
        self.tables.insert(name.relname.clone());
        self.alias(name.alias.as_ref());
        if let Some(relation) = builder.table(name) {
            let system = SYSTEM_COLUMNS.map(str::to_owned);
            self.columns.extend(relation.columns.iter().map(|column| column.name.clone()).chain(system));
        }
    }

    fn alias(&mut self, alias: Option<&Alias>) {
        if let Some(alias) = alias {
            self.tables.insert(alias.aliasname.clone());
            self.columns.extend(alias.colnames.iter().filter_map(names::string).map(str::to_owned));
        }
    }
}
