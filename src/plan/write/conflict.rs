//! ON CONFLICT and RETURNING of an INSERT.

use std::sync::Arc;

use pg_query::protobuf::{InsertStmt, OnConflictClause, RangeVar, ReturningClause};

use crate::catalog::Relation;
use crate::plan::builder::{Builder, Returned, WriteBody, WriteVerb};
use crate::plan::ir::{LeafId, Level, Parts, Stop};
use crate::plan::scope::{Columns, Item, Scope};
use crate::plan::select;
use crate::sql::{Node, names};

impl<'a> Builder<'a> {
    /// Refuses an INSERT for its ON CONFLICT and RETURNING; gives why two shards may compute something different there.
    pub fn check_tail(&mut self, insert: &'a InsertStmt) -> Result<Option<&'static str>, Stop> {
        let name = insert.relation.as_ref().ok_or(Stop::Fails)?;
        let relation = self.target(Some(name))?;
        let target = self.leaf(&relation)?;
        match self.insert_tail(insert, name, target, &relation, WriteBody::Level(Level::default()))? {
            WriteBody::Level(level) => Ok(level.tail),
            WriteBody::Select { extra, .. } => Ok(extra.tail),
        }
    }

    /// ON CONFLICT and RETURNING.
    pub fn insert_tail(
        &mut self,
        insert: &'a InsertStmt,
        name: &'a RangeVar,
        target: LeafId,
        relation: &Arc<Relation>,
        mut body: WriteBody,
    ) -> Result<WriteBody, Stop> {
        let mut scope = Scope::default();
        // Every unique index has the key, and the row that is inserted is where its key belongs.
        let rows = [names::alias_or_name(name), "excluded"];
        for shown in rows {
            let columns = Columns::Relation { leaf: target, relation: relation.clone(), aliases: Vec::new() };
            let mut item = Item::new(Some(shown.to_owned()), columns, false);
            // Facts about the target are of no use here: its rows are those inserted.
            item.bare = false;
            scope.items.push(item);
        }
        scope.uncertain = true;
        self.scopes.push(scope);
        let mut parts = Parts::default();
        let result = self.insert_expressions(insert.on_conflict_clause.as_deref(), (relation, &rows), &mut parts);
        let result = result.and_then(|()| self.returning(insert.returning_clause.as_ref(), &mut parts));
        self.scopes.pop();
        result?;
        self.returned = insert.returning_clause.as_ref().map(|clause| self.inserted_columns(target, relation, clause));
        match &mut body {
            WriteBody::Level(level) => {
                level.parts.sublinks.append(&mut parts.sublinks);
                level.tail = parts.unsteady;
            }
            WriteBody::Select { extra, .. } => {
                extra.parts.sublinks.append(&mut parts.sublinks);
                extra.tail = parts.unsteady;
            }
        }
        Ok(body)
    }

    /// RETURNING of an INSERT sees its own table only.
    fn inserted_columns(&mut self, target: LeafId, relation: &Relation, clause: &ReturningClause) -> Returned {
        let mut returned = Returned::default();
        for node in &clause.exprs {
            let Some(Node::ResTarget(shown)) = &node.node else { continue };
            if matches!(names::inner(&shown.val), Some(value @ Node::AIndirection(_)) if select::is_expanded(value)) {
                returned.open = true;
                return returned;
            }
            let fields = match names::inner(&shown.val) {
                Some(Node::ColumnRef(column)) => column.fields.as_slice(),
                _ => &[],
            };
            if matches!(fields.last().and_then(|node| node.node.as_ref()), Some(Node::AStar(_))) {
                for (at, column) in relation.columns.iter().enumerate() {
                    returned.columns.push((Some(column.name.clone()), self.column_term(target, at)));
                }
                continue;
            }
            let name = fields.last().and_then(names::string);
            let at = name.and_then(|name| relation.columns.iter().position(|column| column.name == name));
            let shown = if shown.name.is_empty() { name } else { Some(shown.name.as_str()) };
            let term = at.and_then(|at| self.column_term(target, at));
            returned.columns.push((shown.map(str::to_owned), term));
        }
        returned
    }

    fn insert_expressions(
        &mut self,
        conflict: Option<&'a OnConflictClause>,
        relation: (&Relation, &[&str]),
        parts: &mut Parts,
    ) -> Result<(), Stop> {
        let Some(conflict) = conflict else { return Ok(()) };
        if let Some(infer) = &conflict.infer {
            for node in
                infer.index_elems.iter().filter_map(|node| node.node.as_ref()).chain(names::inner(&infer.where_clause))
            {
                self.expression(node, parts)?;
            }
        }
        self.assignments(&conflict.target_list, relation, WriteVerb::Insert, parts)?;
        names::inner(&conflict.where_clause).map_or(Ok(()), |node| self.expression(node, parts))
    }
}
