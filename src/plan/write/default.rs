//! Columns that an INSERT or COPY leaves out take their defaults: which of these each shard may compute for itself.

use pg_query::protobuf::OverridingKind;

use super::insert::relative_time;
use crate::catalog::{Column, ColumnDefault, Relation, RelationKind};
use crate::plan::Refusal;
use crate::plan::builder::Builder;
use crate::plan::function::Call;
use crate::plan::ir::Stop;
use crate::sql::{self, Node, names, walk};

impl<'a> Builder<'a> {
    /// Columns that are left out take their defaults: those must not be numbers of a sequence of one shard, nor, in a reference
    /// table, differ from shard to shard.
    pub fn check_omitted(&self, relation: &Relation, given: &[usize]) -> Result<(), Stop> {
        if relation.kind != RelationKind::Reference && !matches!(relation.kind, RelationKind::Sharded { .. }) {
            return Ok(());
        }
        for (_, column) in relation.columns.iter().enumerate().filter(|(at, _)| !given.contains(at)) {
            if let Some(refusal) = self.own_default(relation, column)? {
                return Err(refusal.into());
            }
        }
        Ok(())
    }

    /// OVERRIDING USER VALUE has a shard draw the number whatever is given: that must not be the key, on which the shard depends, nor one that
    /// shards do not draw for themselves.
    pub fn check_override(&self, overriding: OverridingKind, relation: &Relation) -> Result<(), Stop> {
        let key = match relation.kind {
            RelationKind::Sharded { key, .. } => Some(key),
            RelationKind::Reference => None,
            _ => return Ok(()),
        };
        if overriding != OverridingKind::OverridingUserValue {
            return Ok(());
        }
        for (at, column) in relation.columns.iter().enumerate().filter(|(_, column)| column.identity) {
            if key == Some(at) || self.own_default(relation, column)?.is_some() {
                return Err(Refusal::unsupported(format!(
                    "OVERRIDING USER VALUE is not supported for \"{}\": a shard would draw its \"{}\" when the row is there already",
                    relation.name, column.name
                ))
                .hint(format!("Leave out OVERRIDING USER VALUE and the column \"{}\".", column.name))
                .into());
            }
        }
        Ok(())
    }

    /// Why each shard must not compute a column's default for itself, if it must not.
    pub fn own_default(&self, relation: &Relation, column: &Column) -> Result<Option<Refusal>, Stop> {
        let reference = relation.kind == RelationKind::Reference;
        let differs = || {
            Refusal::unsupported(format!(
                "the default of \"{}\" may differ from shard to shard, and \"{}\" is a reference table",
                column.name, relation.name
            ))
            .hint(format!("Give a value for \"{}\".", column.name))
        };
        Ok(match &column.default {
            ColumnDefault::None => None,
            ColumnDefault::Sequence
                if !reference
                    && self.context.catalog.own_numbers.column(&relation.schema, &relation.name, &column.name) =>
            {
                None
            }
            ColumnDefault::Sequence => Some(sequence_default(relation, column)),
            ColumnDefault::Expression(_) if column.generated && !reference => None,
            ColumnDefault::Expression(text) => match self.default_call(text)? {
                Call::Sequence => Some(sequence_default(relation, column)),
                Call::Steady if !reference || constant_text(text) => None,
                _ if reference => Some(differs()),
                _ => None,
            },
        })
    }

    /// Whether a column's default draws numbers.
    pub fn draws_default(&self, column: &Column) -> Result<bool, Stop> {
        Ok(match &column.default {
            ColumnDefault::None => false,
            ColumnDefault::Sequence => true,
            ColumnDefault::Expression(text) => self.default_call(text)? == Call::Sequence,
        })
    }

    /// The same for COPY FROM with these columns; without its key COPY is refused in words of its own.
    pub fn check_copied(&self, relation: &Relation, given: &[usize]) -> Result<(), Stop> {
        let mut given = given.to_vec();
        if let RelationKind::Sharded { key, .. } = relation.kind {
            given.push(key);
        }
        self.check_omitted(relation, &given)
    }

    /// The worst that a default's functions may do.
    fn default_call(&self, text: &str) -> Result<Call, Stop> {
        let unreadable =
            || Refusal::unsupported("a column's default cannot be analysed").hint("Give a value for every column.");
        let script = sql::parse(&format!("SELECT {text}")).map_err(|_| unreadable())?;
        let Some(Node::SelectStmt(select)) = script.statements.first().and_then(sql::Statement::node) else {
            return Err(unreadable().into());
        };
        let mut worst = Call::Steady;
        for node in select.target_list.iter().filter_map(|node| node.node.as_ref()) {
            self.worst_call(node, &mut worst)?;
        }
        Ok(worst)
    }

    /// The worst that the functions in an expression may do.
    pub fn worst_call(&self, node: &Node, worst: &mut Call) -> Result<(), Stop> {
        if let Node::FuncCall(call) = node
            && let Some((schema, name)) = names::qualified(&call.funcname)
        {
            match self.call(schema, name)?.0 {
                Call::Sequence => *worst = Call::Sequence,
                other if *worst == Call::Steady => *worst = other,
                _ => {}
            }
        }
        walk::children(node, &mut |child| self.worst_call(child, worst))
    }
}

/// A default without a function or keyword of the current time or user.
fn constant_text(text: &str) -> bool {
    !relative_time(text) && !text.to_ascii_uppercase().contains("CURRENT") && !text.contains('(')
}

fn sequence_default(relation: &Relation, column: &Column) -> Refusal {
    Refusal::unsupported(format!(
        "column \"{}\" of \"{}\" takes its default from a sequence, and each shard would count for itself",
        column.name, relation.name
    ))
    .hint("Give a value: draw it with SELECT nextval(...) first, or use a uuid.")
}
