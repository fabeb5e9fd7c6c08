//! UPDATE, DELETE, MERGE, and what every write shares: its target, SET, RETURNING.

pub mod conflict;
pub mod default;
pub mod differing;
pub mod insert;
pub mod merge;
pub mod move_texts;
pub mod moving;
pub mod put;
pub mod spread;
pub mod steady;
pub mod wanted;

use std::sync::Arc;

use pg_query::protobuf::{DeleteStmt, Node as Wrapped, RangeVar, ResTarget, ReturningClause, UpdateStmt};

use self::wanted::tells_time;
use super::Refusal;
use super::builder::{Builder, Write, WriteBody, WriteVerb};
use super::from::unusable;
use super::ir::{From, LeafId, Level, Parts, Stop};
use super::scope::Scope;
use crate::catalog::{Relation, RelationKind, Stamps};
use crate::sql::{Node, names};

impl<'a> Builder<'a> {
    /// A statement that changes rows, its own or in WITH.
    pub fn write(&mut self, node: &'a Node) -> Result<(), Stop> {
        match node {
            Node::InsertStmt(insert) => self.insert(insert),
            Node::UpdateStmt(update) => self.update(update),
            Node::DeleteStmt(delete) => self.delete(delete),
            Node::MergeStmt(merge) => self.merge_into(merge),
            _ => Err(Refusal::unsupported("this kind of statement is not supported in WITH").into()),
        }
    }

    /// The relation to be changed.
    pub fn target(&self, name: Option<&RangeVar>) -> Result<Arc<Relation>, Stop> {
        let name = name.ok_or(Stop::Fails)?;
        let relation = self.table(name).cloned().ok_or(Stop::Fails)?;
        match &relation.kind {
            RelationKind::Unusable { reason } => return Err(unusable(&relation, reason).into()),
            RelationKind::View { .. } => {
                return Err(Refusal::unsupported(format!(
                    "writing through view \"{}\" is not supported yet",
                    relation.name
                ))
                .hint("Write to the table itself.")
                .into());
            }
            RelationKind::System => {
                return Err(Refusal::unsupported("writing to system catalogs is not supported").into());
            }
            RelationKind::Sharded { .. } | RelationKind::Reference | RelationKind::Home | RelationKind::Sequence => {}
        }
        untriggered(&relation)?;
        Ok(relation)
    }

    // UPDATE, DELETE

    fn update(&mut self, update: &'a UpdateStmt) -> Result<(), Stop> {
        let name = update.relation.as_ref().ok_or(Stop::Fails)?;
        let relation = self.target(Some(name))?;
        if relation.has_heirs && name.inh {
            let targets = update.target_list.iter().filter_map(|node| node.node.as_ref());
            for node in targets {
                if let Node::ResTarget(target) = node
                    && sets_key(target, &relation, &[names::alias_or_name(name)])
                {
                    return Err(moving::with_heirs(&relation, &target.name).into());
                }
            }
        }
        self.with(update.with_clause.as_ref())?;
        let (target, level) = self.changed(name, &relation, &update.from_clause, |builder, parts| {
            let rows = [names::alias_or_name(name)];
            builder.assignments(&update.target_list, (&relation, &rows), WriteVerb::Update, parts)?;
            names::inner(&update.where_clause).map_or(Ok(()), |condition| builder.condition(condition, parts))?;
            builder.returning(update.returning_clause.as_ref(), parts)
        })?;
        self.end_with(update.with_clause.as_ref())?;
        self.writes.push(Write {
            target,
            verb: WriteVerb::Update,
            body: WriteBody::Level(level),
            inserts: Vec::new(),
            keeps_first: false,
        });
        Ok(())
    }

    fn delete(&mut self, delete: &'a DeleteStmt) -> Result<(), Stop> {
        let name = delete.relation.as_ref().ok_or(Stop::Fails)?;
        let relation = self.target(Some(name))?;
        self.with(delete.with_clause.as_ref())?;
        let (target, level) = self.changed(name, &relation, &delete.using_clause, |builder, parts| {
            names::inner(&delete.where_clause).map_or(Ok(()), |condition| builder.condition(condition, parts))?;
            builder.returning(delete.returning_clause.as_ref(), parts)
        })?;
        self.end_with(delete.with_clause.as_ref())?;
        self.writes.push(Write {
            target,
            verb: WriteVerb::Delete,
            body: WriteBody::Level(level),
            inserts: Vec::new(),
            keeps_first: false,
        });
        Ok(())
    }

    /// The level of an UPDATE or DELETE: its target joined with its other tables.
    fn changed(
        &mut self,
        name: &'a RangeVar,
        relation: &Arc<Relation>,
        others: &'a [Wrapped],
        expressions: impl FnOnce(&mut Self, &mut Parts) -> Result<(), Stop>,
    ) -> Result<(LeafId, Level), Stop> {
        self.scopes.push(Scope::default());
        self.windows.push(Vec::new());
        let mut level = Level::default();
        let target = self.relation_item(name, relation)?;
        level.from.push(From::Leaf(target));
        for node in others.iter().filter_map(|node| node.node.as_ref()) {
            let item = self.item(node)?;
            level.from.push(item);
        }
        expressions(self, &mut level.parts)?;
        self.windows.pop();
        self.scopes.pop();
        Ok((target, level))
    }

    /// SET: any column; the key in UPDATE alone, or if it stays. `rows`: names of rows that have the key of the one that is changed.
    pub fn assignments(
        &mut self,
        targets: &'a [Wrapped],
        (relation, rows): (&Relation, &[&str]),
        verb: WriteVerb,
        parts: &mut Parts,
    ) -> Result<(), Stop> {
        for node in targets.iter().filter_map(|node| node.node.as_ref()) {
            let Node::ResTarget(target) = node else { continue };
            if sets_key(target, relation, rows) {
                if let (WriteVerb::Update, Some(value)) = (verb, names::inner(&target.val)) {
                    self.set_key(value, relation);
                    self.expression(node, parts)?;
                    continue;
                }
                return Err(Refusal::unsupported(format!(
                    "changing the sharding key \"{}\" of a row of \"{}\" is not supported yet",
                    target.name, relation.name
                ))
                .hint("Leave the key out of SET, or DELETE the row and INSERT it with the new key.")
                .into());
            }
            let assigned = assigned(target);
            if let Some(Node::SetToDefault(_)) = assigned
                && let Some(column) = relation.columns.iter().find(|column| column.name == target.name)
                && !matches!(relation.kind, RelationKind::Home)
            {
                self.own_time |= tells_time(column);
                if let Some(refusal) = self.own_default(relation, column)? {
                    return Err(refusal.into());
                }
            }
            if let Some(value) = assigned {
                let column = relation.columns.iter().find(|column| column.name == target.name);
                if target.indirection.is_empty() {
                    self.inferred(value, column);
                    if self.is_steady_constant(value, column) {
                        continue;
                    }
                }
            }
            match assigned {
                Some(value) if target.indirection.is_empty() => self.expression(value, parts)?,
                _ => self.expression(node, parts)?,
            }
        }
        Ok(())
    }

    /// RETURNING.
    pub fn returning(&mut self, clause: Option<&'a ReturningClause>, parts: &mut Parts) -> Result<(), Stop> {
        self.returned = None;
        let Some(clause) = clause else { return Ok(()) };
        self.returned = Some(self.returned_columns(&clause.exprs, parts)?);
        Ok(())
    }
}

/// What a column is set to, also in `(a, b) = (1, 2)`.
fn assigned(target: &ResTarget) -> Option<&Node> {
    match names::inner(&target.val)? {
        Node::MultiAssignRef(of) => match names::inner(&of.source) {
            Some(Node::RowExpr(row)) if row.args.len() == usize::try_from(of.ncolumns).unwrap_or(0) => {
                let at = usize::try_from(of.colno).ok()?.checked_sub(1)?;
                row.args.get(at)?.node.as_ref()
            }
            _ => names::inner(&target.val),
        },
        value => Some(value),
    }
}

/// Whether a SET may change the key.
fn sets_key(target: &ResTarget, relation: &Relation, rows: &[&str]) -> bool {
    let RelationKind::Sharded { key, .. } = relation.kind else { return false };
    relation.columns.get(key).is_some_and(|column| column.name == target.name)
        && !names::inner(&target.val).is_some_and(|value| moving::is_itself(value, &target.name, rows))
}

/// A trigger runs on the shard where the row is, home tables' too: what it reads and writes there is not what it means.
pub fn untriggered(relation: &Relation) -> Result<(), Refusal> {
    if relation.stamps == Stamps::Freely && relation.kind == RelationKind::Reference {
        return Err(Refusal::unsupported(format!(
            "\"{}\" is a reference table with a trigger, which each shard would run for itself",
            relation.name
        ))
        .hint("Let the application compute what the trigger does, so that all shards store the same."));
    }
    if !relation.rewrites_rows {
        return Ok(());
    }
    Err(Refusal::unsupported(format!(
        "writes to \"{}\" meet a trigger or a rule, or a function in a constraint, default or index, which may change a row after it was \
         routed, or read or write rows elsewhere",
        relation.name
    ))
    .hint("Use a generated column or a default, or let the application do it in the same transaction."))
}
