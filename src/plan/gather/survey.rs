//! Which columns a statement might mean, by the names that stand in it.

use std::collections::HashSet;

use pg_query::protobuf::{JoinExpr, RangeVar, SelectStmt};

use crate::plan::Refusal;
use crate::plan::ir::Stop;
use crate::plan::scope::SYSTEM_COLUMNS;
use crate::sql::{Node, edit, names};

/// The names in a statement. Whose they are is not asked.
#[derive(Default)]
pub struct Survey {
    /// Every name that may be that of a column.
    pub mentioned: HashSet<String>,
    /// Names of FROM items whose rows may be meant as a whole.
    pub whole: HashSet<String>,
    /// FROM items, by [`RangeVar::location`], of which every column may be meant.
    pub all: HashSet<i32>,
}

/// Whether every column of this FROM item must be there, in order.
pub fn in_full(survey: &Survey, name: &RangeVar) -> bool {
    survey.all.contains(&name.location)
        || survey.whole.contains(names::alias_or_name(name))
        || name.alias.as_ref().is_some_and(|alias| !alias.colnames.is_empty())
}

/// The tables among the FROM items of a level, through its joins.
pub fn tables<'t>(items: impl IntoIterator<Item = &'t Node>) -> Vec<&'t RangeVar> {
    let mut found = Vec::new();
    let mut waiting: Vec<&Node> = items.into_iter().collect();
    while let Some(item) = waiting.pop() {
        match item {
            Node::RangeVar(name) => found.push(name),
            Node::JoinExpr(join) => waiting.extend([&join.larg, &join.rarg].into_iter().filter_map(names::inner)),
            Node::RangeTableSample(sample) => waiting.extend(names::inner(&sample.relation)),
            _ => {}
        }
    }
    found
}

impl Survey {
    /// Takes in a node and what is below it.
    pub fn node(&mut self, node: &mut Node) -> Result<(), Stop> {
        match node {
            Node::SelectStmt(select) => self.level(select)?,
            Node::JoinExpr(join) => self.join(join),
            Node::ColumnRef(column) => {
                let Some((last, qualifier)) = column.fields.split_last() else { return Ok(()) };
                match (names::string(last), qualifier.last().and_then(names::string)) {
                    (Some(last), qualifier) => {
                        if SYSTEM_COLUMNS.contains(&last) {
                            return Err(Refusal::unsupported(
                                "system columns are each shard's own; over several shards that is not supported",
                            )
                            .hint("Restrict the query to one key, or use the primary key.")
                            .into());
                        }
                        self.mentioned.insert(last.to_owned());
                        if qualifier.is_none() {
                            self.whole.insert(last.to_owned());
                        }
                    }
                    (None, Some(qualifier)) => {
                        self.whole.insert(qualifier.to_owned());
                    }
                    (None, None) => {}
                }
            }
            // Of the rows that are shipped the merge server takes a sample as good as any; but not the same as one Postgres, whose rows
            // lie elsewhere in its pages.
            Node::RangeTableSample(sample) => {
                let method = names::qualified(&sample.method).map(|(_, name)| name);
                if sample.repeatable.is_some() || !matches!(method, Some("bernoulli" | "system")) {
                    return Err(Refusal::unsupported(
                        "TABLESAMPLE REPEATABLE, or by an extension's method, depends on where rows lie in a table's file; over several shards that is not supported",
                    )
                    .hint("Use TABLESAMPLE without REPEATABLE, or a condition on a hash of the key.")
                    .into());
                }
            }
            _ => {}
        }
        edit::children(node, &mut |child| self.node(child))
    }

    fn level(&mut self, select: &SelectStmt) -> Result<(), Stop> {
        let tables = tables(select.from_clause.iter().filter_map(|node| node.node.as_ref()));
        let bare_star = |node: &pg_query::protobuf::Node| match &node.node {
            Some(Node::ResTarget(target)) => {
                matches!(names::inner(&target.val), Some(Node::ColumnRef(column)) if matches!(column.fields.as_slice(), [only] if names::string(only).is_none()))
            }
            _ => false,
        };
        if select.target_list.iter().any(bare_star) {
            self.all.extend(tables.iter().map(|table| table.location));
        }
        let mut seen = HashSet::new();
        for table in tables {
            if !seen.insert(names::alias_or_name(table)) {
                return Err(Refusal::unsupported(
                    "two tables of the same name in one FROM clause are not supported over several shards",
                )
                .hint("Give each an alias.")
                .into());
            }
        }
        Ok(())
    }

    fn join(&mut self, join: &JoinExpr) {
        let using = names::strings(&join.using_clause).unwrap_or_default();
        self.mentioned.extend(using.into_iter().map(str::to_owned));
        if join.is_natural || join.alias.is_some() {
            let sides = [&join.larg, &join.rarg].into_iter().filter_map(names::inner);
            self.all.extend(tables(sides).iter().map(|table| table.location));
        }
    }
}
