//! MERGE: its source joined with its target, and where the rows live that it inserts.

use pg_query::protobuf::{CmdType, MergeMatchKind, MergeStmt, MergeWhenClause};

use super::insert::{insert_columns, key_left_out, not_constant};
use super::wanted::tells_time;
use crate::catalog::{ColumnDefault, KeyType, Relation, RelationKind};
use crate::plan::Refusal;
use crate::plan::builder::{Builder, InsertedKey, Write, WriteBody, WriteVerb};
use crate::plan::ir::{From, Join, Level, Parts, Stop};
use crate::plan::key::{self, Class};
use crate::plan::scope::Scope;
use crate::sql::{Node, names};

impl<'a> Builder<'a> {
    /// Plans MERGE.
    pub fn merge_into(&mut self, merge: &'a MergeStmt) -> Result<(), Stop> {
        let name = merge.relation.as_ref().ok_or(Stop::Fails)?;
        let relation = self.target(Some(name))?;
        self.with(merge.with_clause.as_ref())?;
        self.scopes.push(Scope::default());
        self.windows.push(Vec::new());
        let mut level = Level::default();
        let target = self.relation_item(name, &relation)?;
        let source = match names::inner(&merge.source_relation) {
            Some(source) => self.item(source)?,
            None => return Err(Stop::Fails),
        };
        let mut on = Parts::default();
        names::inner(&merge.join_condition).map_or(Ok(()), |condition| self.condition(condition, &mut on))?;
        let mut inserts = Vec::new();
        let (mut unmatched_source, mut unmatched_target) = (false, false);
        for clause in &merge.merge_when_clauses {
            let Some(Node::MergeWhenClause(clause)) = &clause.node else { continue };
            names::inner(&clause.condition).map_or(Ok(()), |node| self.expression(node, &mut level.parts))?;
            unmatched_target |= clause.match_kind() == MergeMatchKind::MergeWhenNotMatchedBySource;
            if clause.command_type() == CmdType::CmdInsert {
                unmatched_source = true;
                inserts.extend(self.merged_row(clause, &relation, &mut level.parts)?);
            } else {
                let rows = [names::alias_or_name(name)];
                self.assignments(&clause.target_list, (&relation, &rows), WriteVerb::Merge, &mut level.parts)?;
            }
        }
        self.returning(merge.returning_clause.as_ref(), &mut level.parts)?;
        let target_item = From::Leaf(target);
        level.from.push(match (unmatched_source, unmatched_target) {
            (false, false) => From::Inner(Box::new(Join { left: target_item, right: source, on })),
            (true, false) => From::Left(Box::new(Join { left: source, right: target_item, on })),
            (false, true) => From::Left(Box::new(Join { left: target_item, right: source, on })),
            (true, true) => From::Full(Box::new(Join { left: source, right: target_item, on })),
        });
        self.windows.pop();
        self.scopes.pop();
        self.end_with(merge.with_clause.as_ref())?;
        self.writes.push(Write {
            target,
            verb: WriteVerb::Merge,
            body: WriteBody::Level(level),
            inserts,
            keeps_first: false,
        });
        Ok(())
    }

    /// WHEN NOT MATCHED THEN INSERT: where the key comes from.
    fn merged_row(
        &mut self,
        clause: &'a MergeWhenClause,
        relation: &Relation,
        parts: &mut Parts,
    ) -> Result<Option<InsertedKey>, Stop> {
        let columns = insert_columns(relation, &clause.target_list)?;
        self.check_override(clause.r#override(), relation)?;
        let given = columns.get(..clause.values.len()).unwrap_or_default();
        let mut stored = Vec::new();
        for (value, at) in clause.values.iter().filter_map(|node| node.node.as_ref()).zip(given) {
            if matches!(value, Node::SetToDefault(_)) {
                continue;
            }
            stored.push(*at);
            self.inferred(value, relation.columns.get(*at));
            if !self.is_steady_constant(value, relation.columns.get(*at)) {
                self.expression(value, parts)?;
            }
        }
        self.check_omitted(relation, &stored)?;
        if relation.kind != RelationKind::Home {
            let mut omitted = relation.columns.iter().enumerate().filter(|(at, _)| !stored.contains(at));
            self.own_time |= omitted.any(|(_, column)| tells_time(column));
        }
        let RelationKind::Sharded { key, key_type } = relation.kind else { return Ok(None) };
        let Some(column) = relation.columns.get(key) else { return Err(Stop::Fails) };
        let value = given.iter().position(|at| *at == key).and_then(|at| clause.values.get(at)?.node.as_ref());
        let Some(value) = value.filter(|_| stored.contains(&key)) else {
            let mut column = column.clone();
            column.default = ColumnDefault::None;
            return Err(key_left_out(relation, &column).into());
        };
        let class = Class::of_key(key_type);
        if let Some(term) = self.expression_term(value) {
            // What is stored must be what was compared: varchar(n) may cut blanks off.
            let kept = matches!(key_type, KeyType::Integer | KeyType::Uuid | KeyType::Text { max_chars: None });
            let alike = self.terms.get(term.0 as usize).is_some_and(|info| info.class == class);
            return if kept && alike {
                Ok(Some(InsertedKey::Column(term)))
            } else {
                Err(not_constant(relation, column).into())
            };
        }
        let source = match value {
            // Counted by `inferred`.
            Node::ParamRef(parameter) => {
                let index = usize::try_from(parameter.number).ok().and_then(|number| number.checked_sub(1));
                index.map(|index| crate::plan::KeySource::Parameter { index, type_oid: None })
            }
            _ => self.source(value, class, column.type_oid),
        };
        let source = match source {
            Some(crate::plan::KeySource::Constant(constant)) => {
                key::stored(constant, key_type).map(crate::plan::KeySource::Constant)
            }
            source => source,
        };
        match source {
            Some(source) => Ok(Some(InsertedKey::Values(vec![source]))),
            None => Err(Refusal::unsupported(format!(
                "MERGE must insert the key \"{}\" of \"{}\" as it is in its source, or as a constant",
                column.name, relation.name
            ))
            .hint("Compute the key in the source of the MERGE.")
            .into()),
        }
    }
}
