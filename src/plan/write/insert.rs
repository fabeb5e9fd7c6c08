//! INSERT: where the keys of new rows come from, and what the columns left out are given.

use std::sync::Arc;

use pg_query::protobuf::{
    InsertStmt, Node as Wrapped, OnConflictAction, OnConflictClause, SelectStmt, SetOperation as AstSet,
};

use super::differing::mentions_moment;
use super::wanted::{Computable, Wanted, tells_time};
use crate::catalog::{Column, ColumnDefault, KeyType, Relation, RelationKind};
use crate::plan::builder::{Builder, Write, WriteBody, WriteVerb};
use crate::plan::built_in::oid;
use crate::plan::finish::expressions;
use crate::plan::function::Call;
use crate::plan::ir::{LeafId, Level, Parts, Stop};
use crate::plan::key::{self, Class};
use crate::plan::{KeySource, Refusal, select};
use crate::sql::{Node, names, walk};

impl<'a> Builder<'a> {
    /// Plans INSERT.
    pub fn insert(&mut self, insert: &'a InsertStmt) -> Result<(), Stop> {
        let name = insert.relation.as_ref().ok_or(Stop::Fails)?;
        let relation = self.target(Some(name))?;
        self.with(insert.with_clause.as_ref())?;
        let target = self.leaf(&relation)?;
        let columns = insert_columns(&relation, &insert.cols)?;
        self.check_override(insert.r#override(), &relation)?;
        let key = match relation.kind {
            RelationKind::Sharded { key, key_type } => Some((key, key_type)),
            _ => None,
        };
        let body = match names::inner(&insert.select_stmt) {
            None => {
                self.want_defaults(&relation, &[], 0)?;
                let sources =
                    key.map(|(key, key_type)| self.key_sources(&relation, key, key_type, &[None])).transpose()?;
                self.store(target, sources);
                WriteBody::Level(Level::default())
            }
            Some(Node::SelectStmt(select)) if plain_values(select) => {
                let known = self.wanted.len();
                let body = self.insert_values(select, &relation, target, &columns, key)?;
                self.check_parts(insert, known)?;
                body
            }
            Some(source) => self.insert_select(source, &relation, &columns, key)?,
        };
        let body = self.insert_tail(insert, name, target, &relation, body)?;
        self.end_with(insert.with_clause.as_ref())?;
        let selects = matches!(body, WriteBody::Select { .. });
        let nothing = |clause: &&OnConflictClause| clause.action() == OnConflictAction::OnconflictNothing;
        let keeps_first = selects && insert.on_conflict_clause.as_deref().as_ref().is_some_and(nothing);
        self.writes.push(Write { target, verb: WriteVerb::Insert, body, inserts: Vec::new(), keeps_first });
        Ok(())
    }

    fn store(&mut self, target: LeafId, sources: Option<Vec<KeySource>>) {
        if let (Some(leaf), Some(sources)) = (self.leaves.get_mut(target.0), sources) {
            leaf.stored = Some(sources);
        }
    }

    fn insert_values(
        &mut self,
        select: &'a SelectStmt,
        relation: &Arc<Relation>,
        target: LeafId,
        columns: &[usize],
        key: Option<(usize, KeyType)>,
    ) -> Result<WriteBody, Stop> {
        let mut parts = Parts::default();
        let mut keys = Vec::new();
        let width = select::values_width(&select.values_lists)?;
        if width.is_none() && (key.is_some() || relation.kind == RelationKind::Reference) {
            return Err(Refusal::unsupported(format!(
                "the columns of a row value in VALUES, (value).*, are not supported for \"{}\"",
                relation.name
            ))
            .hint("Name the fields one by one: (value).field.")
            .into());
        }
        if width.is_some_and(|width| width > columns.len()) {
            return Err(Stop::Fails);
        }
        for (number, row) in select.values_lists.iter().enumerate() {
            let Some(Node::List(row)) = &row.node else { continue };
            let mut given = Vec::new();
            let mut defaulted = Vec::new();
            let items = row.items.iter().filter_map(|node| node.node.as_ref());
            for (item, (value, at)) in items.zip(columns).enumerate() {
                if matches!(value, Node::SetToDefault(_)) {
                    defaulted.push((*at, item));
                    continue;
                }
                given.push(*at);
                self.inferred(value, relation.columns.get(*at));
                if self.want_value(value, relation, key, number, *at, item)?
                    || self.is_steady_constant(value, relation.columns.get(*at))
                {
                    continue;
                }
                let moment = self.effects.moment;
                self.expression(value, &mut parts)?;
                if relation.kind == RelationKind::Reference
                    && self.constant_value(value, relation.columns.get(*at)).is_ok()
                {
                    // Fields of a row are read as what the column is made of.
                    self.effects.moment = moment;
                }
            }
            self.want_defaults(relation, &given, number)?;
            for wanted in self.wanted.iter_mut().filter(|wanted| wanted.row == number && wanted.item.is_none()) {
                wanted.item = defaulted.iter().find(|(at, _)| *at == wanted.column).map(|(_, item)| *item);
            }
            if let Some((key, _)) = key {
                let place = columns.iter().position(|at| *at == key);
                keys.push(place.and_then(|at| row.items.get(at)).and_then(|node| node.node.as_ref()));
            }
        }
        if let Some((at, key_type)) = key {
            let sources = self.key_sources(relation, at, key_type, &keys)?;
            self.store(target, Some(sources));
        }
        Ok(WriteBody::Level(expressions(parts)))
    }

    /// Refuses values to be computed, those from `known` on, of an element or a field of a column: its type is not known.
    fn check_parts(&self, insert: &InsertStmt, known: usize) -> Result<(), Refusal> {
        let mut items = self.wanted.iter().skip(known).filter_map(|wanted| insert.cols.get(wanted.item?));
        let part = items.find_map(|node| match &node.node {
            Some(Node::ResTarget(target)) if !target.indirection.is_empty() => Some(&target.name),
            _ => None,
        });
        let Some(name) = part else { return Ok(()) };
        Err(Refusal::unsupported(format!(
            "a value for an element or a field of \"{name}\" that must be computed before the row is stored is not supported"
        ))
        .hint("Compute the value first, or give the whole column."))
    }

    /// Notes a value that must be computed before the statement runs: a key that is no constant, a number to be drawn, what each
    /// shard would compute for itself. Whether it is one.
    fn want_value(
        &mut self,
        value: &'a Node,
        relation: &Relation,
        key: Option<(usize, KeyType)>,
        row: usize,
        at: usize,
        item: usize,
    ) -> Result<bool, Stop> {
        let reference = relation.kind == RelationKind::Reference;
        let Some(column) = relation.columns.get(at).filter(|_| reference || key.is_some()) else { return Ok(false) };
        let constant = match key {
            _ if reference => self.constant_value(value, Some(column)),
            Some((key, key_type)) if key == at => {
                // A parameter is counted once.
                let known = matches!(value, Node::ParamRef(_))
                    || self.is_source(value, Class::of_key(key_type), column.type_oid);
                if known { Ok(()) } else { Err(not_constant(relation, column).into()) }
            }
            _ => match self.computable(value)? {
                Computable::Draws => Err(sequence_value().into()),
                Computable::No | Computable::Anywhere => Ok(()),
            },
        };
        let Err(refusal) = constant else { return Ok(false) };
        let computable = self.computable(value)?;
        if computable == Computable::No && reference {
            // A sub-select over reference tables gives the same everywhere, which is proved later.
            let mut worst = Call::Steady;
            self.worst_call(value, &mut worst)?;
            return if worst == Call::Steady { Ok(false) } else { Err(refusal) };
        }
        if computable == Computable::No || !self.can_rewrite() || column.type_name.is_empty() {
            return Err(refusal);
        }
        self.draws |= computable == Computable::Draws;
        self.wanted.push(Wanted { row, column: at, item: Some(item), default: false, late: false });
        Ok(true)
    }

    /// Notes the defaults of columns left out that must be computed before the statement runs.
    fn want_defaults(&mut self, relation: &Relation, given: &[usize], row: usize) -> Result<(), Stop> {
        if relation.kind != RelationKind::Reference && !matches!(relation.kind, RelationKind::Sharded { .. }) {
            return Ok(());
        }
        for (column, late) in self.wanted_defaults(relation, given)? {
            self.draws |= relation.columns.get(column).is_some_and(|column| column.default == ColumnDefault::Sequence);
            self.wanted.push(Wanted { row, column, item: None, default: true, late });
        }
        Ok(())
    }

    /// Whether an expression is certainly a key's value.
    pub fn is_source(&mut self, value: &'a Node, class: Class, type_oid: u32) -> bool {
        let before = self.parameters.clone();
        let known = self.source(value, class, type_oid).is_some();
        self.parameters = before;
        known
    }

    /// A bare parameter takes the type of the column it is stored into.
    pub fn inferred(&mut self, value: &Node, column: Option<&Column>) {
        if let (Node::ParamRef(parameter), Some(column)) = (value, column)
            && Class::of_type(column.type_oid).is_some()
        {
            self.type_parameter(parameter.number, column.type_oid);
        }
    }

    /// Where the keys of new rows come from; `None` and DEFAULT stand for a key that is left out.
    fn key_sources(
        &mut self,
        relation: &Relation,
        at: usize,
        key_type: KeyType,
        values: &[Option<&'a Node>],
    ) -> Result<Vec<KeySource>, Refusal> {
        let Some(column) = relation.columns.get(at) else { return Ok(Vec::new()) };
        let class = Class::of_key(key_type);
        let mut sources = Vec::new();
        for (row, value) in values.iter().enumerate() {
            if self.wanted.iter().any(|wanted| wanted.row == row && wanted.column == at && !wanted.late) {
                // Planned anew when it is known.
                sources.push(KeySource::Null);
                continue;
            }
            let value = match value {
                None | Some(Node::SetToDefault(_)) => return Err(key_left_out(relation, column)),
                Some(value) => *value,
            };
            let source = match value {
                // Counted by `inferred`.
                Node::ParamRef(parameter) => {
                    let index = usize::try_from(parameter.number).ok().and_then(|number| number.checked_sub(1));
                    index.map(|index| KeySource::Parameter { index, type_oid: None })
                }
                _ => self.source(value, class, column.type_oid),
            };
            sources.push(match source {
                Some(KeySource::Constant(key)) => {
                    KeySource::Constant(key::stored(key, key_type).ok_or_else(|| too_long(column))?)
                }
                Some(source) => source,
                None => return Err(not_constant(relation, column)),
            });
        }
        Ok(sources)
    }

    fn insert_select(
        &mut self,
        source: &'a Node,
        relation: &Arc<Relation>,
        columns: &[usize],
        key: Option<(usize, KeyType)>,
    ) -> Result<WriteBody, Stop> {
        let query = self.query(source)?;
        if self.putting {
            return Ok(WriteBody::Select { query: Box::new(query), extra: Level::default(), key: None });
        }
        let width = if query.open { columns.len() } else { query.columns.len().min(columns.len()) };
        let given = columns.get(..width).unwrap_or_default();
        self.check_omitted(relation, given)?;
        let omitted = relation.columns.iter().enumerate().filter(|(at, _)| !given.contains(at));
        self.own_time |= omitted.into_iter().any(|(_, column)| tells_time(column));
        let mut place = None;
        if let Some((key, key_type)) = key {
            let Some(column) = relation.columns.get(key) else { return Err(Stop::Fails) };
            place = columns.iter().position(|at| *at == key).filter(|at| *at < width);
            let Some(at) = place else { return Err(key_left_out(relation, column).into()) };
            // The value is stored as it is only if its class is the key's.
            let term = query.columns.get(at).filter(|_| !query.open).and_then(|column| column.term);
            let class = term.and_then(|term| self.terms.get(term.0 as usize)).map(|info| info.class);
            if class != Some(Class::of_key(key_type)) {
                return Err(Refusal::unsupported(format!(
                    "INSERT ... SELECT into \"{}\" is not supported yet unless its \"{}\" is selected from a column or constant of the same type",
                    relation.name, column.name
                ))
                .hint("Select the key as a column restricted to one value, or as a constant.")
                .into());
            }
        }
        Ok(WriteBody::Select { query: Box::new(query), extra: Level::default(), key: place })
    }

    /// Whether a value stored into a reference table is the same on every shard.
    fn constant_value(&self, node: &Node, column: Option<&Column>) -> Result<(), Stop> {
        let refuse = || {
            Stop::Refuse(
                Refusal::unsupported(
                    "a value that each shard would compute for itself cannot be stored in a reference table",
                )
                .hint("Use constants and parameters."),
            )
        };
        match node {
            Node::AConst(_) if self.is_steady_constant(node, column) => Ok(()),
            Node::ParamRef(_) => Ok(()),
            Node::TypeCast(cast) if self.is_steady_cast(cast) => Ok(()),
            // Any other type may read a text as relative to now.
            Node::TypeCast(cast) => names::inner(&cast.arg).map_or(Ok(()), |node| {
                let steady = cast.type_name.as_ref().is_some_and(|name| self.is_steady_type(name));
                if !steady && mentions_moment(node) { Err(refuse()) } else { self.constant_value(node, None) }
            }),
            // Elements are read as what they are stored into is made of.
            Node::AArrayExpr(_) | Node::RowExpr(_) => {
                walk::children(node, &mut |child| self.constant_value(child, column))
            }
            _ => Err(refuse()),
        }
    }
}

/// VALUES and nothing around it.
pub fn plain_values(select: &SelectStmt) -> bool {
    !select.values_lists.is_empty()
        && select.op() == AstSet::SetopNone
        && select.with_clause.is_none()
        && select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.locking_clause.is_empty()
}

/// Positions of the columns of an INSERT.
pub fn insert_columns(relation: &Relation, columns: &[Wrapped]) -> Result<Vec<usize>, Stop> {
    if columns.is_empty() {
        return Ok((0..relation.columns.len()).collect());
    }
    let position = |node: &Wrapped| match &node.node {
        Some(Node::ResTarget(target)) => relation.columns.iter().position(|column| column.name == target.name),
        _ => None,
    };
    columns.iter().map(|node| position(node).ok_or(Stop::Fails)).collect()
}

/// Whether a text has one of the words that are read as the time of reading. *Source*: manual of PostgreSQL 15, 8.5.1.4
/// (`allballs` and `epoch` are always the same), and datetime.c, `ParseDateTime`: whatever is no letter ends a word.
pub fn relative_time(text: &str) -> bool {
    let words = ["now", "today", "tomorrow", "yesterday"];
    text.split(|c: char| !c.is_ascii_alphabetic()).any(|word| words.iter().any(|own| word.eq_ignore_ascii_case(own)))
}

pub fn not_constant(relation: &Relation, column: &Column) -> Refusal {
    Refusal::unsupported(format!(
        "the sharding key \"{}\" of a new row of \"{}\" must be a value that can be computed before the row is stored",
        column.name, relation.name
    ))
    .hint("Compute the value first, then insert it.")
}

fn sequence_value() -> Refusal {
    Refusal::unsupported("sequences in a statement on sharded tables are not supported yet")
        .hint("Draw the number first with SELECT nextval(...), then use it as a constant or parameter.")
}

pub fn key_left_out(relation: &Relation, column: &Column) -> Refusal {
    if column.generated {
        return Refusal::unsupported(format!(
            "the sharding key \"{}\" of \"{}\" is a generated column, which each shard would compute for itself",
            column.name, relation.name
        ))
        .hint("Shard the table by a column that is given, or make the key a plain one.");
    }
    let default = match column.default {
        ColumnDefault::None => "no default",
        ColumnDefault::Sequence => "a sequence as default, which would be one shard's",
        ColumnDefault::Expression(_) => "an expression as default",
    };
    Refusal {
        sqlstate: if column.default == ColumnDefault::None { "23502" } else { "0A000" },
        reason: format!(
            "the sharding key \"{}\" of a new row of \"{}\" is left out, and it has {default}",
            column.name, relation.name
        ),
        hint: Some("The key decides on which shard a row lives; give it a value.".to_owned()),
        column: (column.default == ColumnDefault::None).then(|| Box::new(relation.column_name(&column.name))),
    }
}

/// string_data_right_truncation, in PostgreSQL's words.
fn too_long(column: &Column) -> Refusal {
    let (kind, max) =
        (if column.type_oid == oid::BPCHAR { "character" } else { "character varying" }, column.typmod - 4);
    Refusal { sqlstate: "22001", reason: format!("value too long for type {kind}({max})"), hint: None, column: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_are_the_time_of_reading() {
        for text in ["now", "NOW", "  Today 10:00", "tomorrow+1", "2020-01-01now", "'yesterday'"] {
            assert!(relative_time(text), "{text}");
        }
        for text in ["", "unknown", "Snow", "nowhere", "todays", "allballs", "epoch", "infinity", "2020-01-01 10:00"] {
            assert!(!relative_time(text), "{text}");
        }
    }
}
