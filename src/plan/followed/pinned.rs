//! Keys that a statement's own conditions restrict to one value: where a function is called with such a column, it is called with that value.
//!
//! Only what is computed for rows that meet the conditions counts: not FROM, where rows are still being joined, nor the conditions themselves,
//! which may be asked in any order.

use pg_query::protobuf::{FuncCall, Node as Wrapped, RangeVar};

use crate::catalog::{KeyType, RelationKind};
use crate::plan::Context;
use crate::plan::builder::Builder;
use crate::plan::gather::{condition, survey};
use crate::sql::{Node, names};

/// Columns of one level, as they may be written there, and their values.
#[derive(Default)]
pub struct Pinned {
    known: Vec<(Vec<String>, Node)>,
}

impl Pinned {
    /// Of a query, an UPDATE or a DELETE; of anything else nothing.
    pub fn of(statement: &Node, context: &Context<'_>) -> Pinned {
        let mut items: Vec<&Wrapped> = Vec::new();
        let (target, condition) = match statement {
            Node::SelectStmt(select) => {
                items.extend(&select.from_clause);
                (None, &select.where_clause)
            }
            Node::UpdateStmt(update) => {
                items.extend(&update.from_clause);
                (update.relation.as_ref(), &update.where_clause)
            }
            Node::DeleteStmt(delete) => {
                items.extend(&delete.using_clause);
                (delete.relation.as_ref(), &delete.where_clause)
            }
            _ => return Pinned::default(),
        };
        // WITH queries may have the name of a table.
        if has_with(statement) {
            return Pinned::default();
        }
        let alone = items.len() + usize::from(target.is_some()) == 1;
        let tables = survey::tables(items.iter().filter_map(|item| item.node.as_ref()));
        let bare = alone
            && (target.is_some() || matches!(items.first().map(|item| &item.node), Some(Some(Node::RangeVar(_)))));
        let mut keys: Vec<Vec<String>> = Vec::new();
        for table in tables.into_iter().chain(target) {
            let Some(key) = key_of(table, context) else { continue };
            if bare {
                keys.push(vec![key.clone()]);
            }
            keys.push(vec![names::alias_or_name(table).to_owned(), key]);
        }
        let conditions = condition::split(condition.clone());
        let values = conditions.iter().filter_map(|condition| {
            let (column, value) = equality(condition)?;
            keys.contains(&column).then_some((column, value))
        });
        let mut known: Vec<(Vec<String>, Node)> = values.collect();
        // Of one table alone, with its name and without.
        if bare && let Some((_, value)) = known.first().cloned() {
            known = keys.into_iter().map(|column| (column, value.clone())).collect();
        }
        Pinned { known }
    }

    /// A call with these values in the places of its arguments.
    pub fn put(&self, call: &FuncCall) -> FuncCall {
        let mut call = call.clone();
        for argument in call.args.iter_mut().filter_map(|argument| argument.node.as_mut()) {
            let place = match argument {
                Node::NamedArgExpr(named) => named.arg.as_mut().and_then(|arg| arg.node.as_mut()),
                argument => Some(argument),
            };
            if let Some(place) = place
                && let Some(column) = written(place)
                && let Some((_, value)) = self.known.iter().find(|(known, _)| *known == column)
            {
                *place = value.clone();
            }
        }
        call
    }
}

/// What a level's rows are made of: its FROM items and its conditions.
pub struct Made {
    items: Vec<Wrapped>,
    condition: Option<Box<Wrapped>>,
}

impl Made {
    /// Takes it out of a query, an UPDATE or a DELETE.
    pub fn take(statement: &mut Node) -> Made {
        let mut made = Made { items: Vec::new(), condition: None };
        made.swap(statement);
        made
    }

    /// Puts it back.
    pub fn put(mut self, statement: &mut Node) {
        self.swap(statement);
    }

    fn swap(&mut self, statement: &mut Node) {
        let (items, condition) = match statement {
            Node::SelectStmt(select) => (&mut select.from_clause, &mut select.where_clause),
            Node::UpdateStmt(update) => (&mut update.from_clause, &mut update.where_clause),
            Node::DeleteStmt(delete) => (&mut delete.using_clause, &mut delete.where_clause),
            _ => return,
        };
        std::mem::swap(items, &mut self.items);
        std::mem::swap(condition, &mut self.condition);
    }

    /// What stands in it.
    pub fn nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        let items = self.items.iter_mut().filter_map(|item| item.node.as_mut());
        items.chain(self.condition.as_mut().and_then(|condition| condition.node.as_mut()))
    }
}

fn has_with(statement: &Node) -> bool {
    match statement {
        Node::SelectStmt(select) => select.with_clause.is_some(),
        Node::UpdateStmt(update) => update.with_clause.is_some(),
        Node::DeleteStmt(delete) => delete.with_clause.is_some(),
        _ => true,
    }
}

/// The key of a sharded table, if equal values of it are one value.
fn key_of(table: &RangeVar, context: &Context<'_>) -> Option<String> {
    if table.alias.as_ref().is_some_and(|alias| !alias.colnames.is_empty()) {
        return None;
    }
    let builder = Builder::new(context);
    let relation = builder.table(table)?;
    match relation.kind {
        RelationKind::Sharded {
            key,
            key_type: KeyType::Integer | KeyType::Uuid | KeyType::Text { max_chars: None },
        } => relation.columns.get(key).map(|column| column.name.clone()),
        _ => None,
    }
}

/// `column = value`, either way round, of a value that is a constant or a parameter.
fn equality(condition: &Node) -> Option<(Vec<String>, Node)> {
    let Node::AExpr(expression) = condition else { return None };
    if expression.kind() != pg_query::protobuf::AExprKind::AexprOp || names::strings(&expression.name)? != ["="] {
        return None;
    }
    let sides = [names::inner(&expression.lexpr)?, names::inner(&expression.rexpr)?];
    let value = |node: &Node| match node {
        Node::AConst(_) if !names::is_null(node) => true,
        Node::ParamRef(_) => true,
        _ => false,
    };
    match sides {
        [column, constant] if value(constant) => Some((written(column)?, constant.clone())),
        [constant, column] if value(constant) => Some((written(column)?, constant.clone())),
        _ => None,
    }
}

/// A column as it is written.
fn written(node: &Node) -> Option<Vec<String>> {
    let Node::ColumnRef(column) = node else { return None };
    Some(names::strings(&column.fields)?.into_iter().map(str::to_owned).collect())
}
