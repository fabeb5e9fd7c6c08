//! Whether a write over several shards is the sum of writes on each shard's rows.

use crate::catalog::{KeyType, RelationKind};
use crate::plan::builder::{Builder, Write, WriteBody, WriteVerb};
use crate::plan::finish::distributes;
use crate::plan::ir::{Query, Reason};
use crate::plan::prove::{Shape, Verdict};

impl Builder<'_> {
    /// Why the statement, whose writes were proved to be these, is not the sum of its runs on each shard, if it is not.
    /// A write on a reference table is not asked about here.
    pub fn spreads(&self, outer: Option<Verdict>, verdicts: Vec<Verdict>) -> Result<(), Reason> {
        if self.own_time {
            return Err(Reason {
                text: "a default that is the current time, of which each shard has its own, is not supported here"
                    .to_owned(),
                hint: Some("Give the value.".to_owned()),
            });
        }
        if self.effects.moment {
            return Err(Reason {
                text: "a constant that is read as the current time, of which each shard has its own, is not supported here"
                    .to_owned(),
                hint: Some("Use now() or current_date in place of 'now' or 'today'.".to_owned()),
            });
        }
        let several = outer.is_some() || self.writes.len() > 1;
        if several && !self.new_keys.is_empty() {
            return Err(Reason::new("changing the sharding key together with other writes is not supported yet"));
        }
        for (write, verdict) in self.writes.iter().zip(verdicts) {
            if several && write.verb == WriteVerb::Insert && matches!(write.body, WriteBody::Level(_)) {
                return Err(Reason::new(
                    "INSERT ... VALUES together with other writes over several shards is not supported",
                ));
            }
            self.spreads_alone(write, verdict)?;
        }
        outer.map_or(Ok(()), distributes)
    }

    /// The same for one write.
    fn spreads_alone(&self, write: &Write, verdict: Verdict) -> Result<(), Reason> {
        match (&write.body, write.verb) {
            (WriteBody::Level(_), WriteVerb::Update | WriteVerb::Delete | WriteVerb::Merge) => distributes(verdict),
            (WriteBody::Level(level), WriteVerb::Insert) => {
                // Each row is computed on one shard, so that what differs from shard to shard does no harm, unless one value of
                // a sub-select is meant for all rows.
                let shared = !level.parts.sublinks.is_empty();
                match verdict {
                    Verdict { shape: Err(reason), .. } => Err(reason),
                    Verdict { local: Some(local), .. } => {
                        Err(Reason::new(format!("{local}; over several shards that is not supported")))
                    }
                    Verdict { sharded: true, .. } => {
                        Err(Reason::new("an INSERT that reads rows of several shards is not supported yet"))
                    }
                    Verdict { unsteady: Some(what), .. } if shared => Err(crate::plan::prove::unsteady(what)),
                    Verdict { .. } => Ok(()),
                }
            }
            (WriteBody::Select { query, extra, key }, _) => {
                if !extra.parts.sublinks.is_empty() {
                    return Err(Reason::new(
                        "sub-selects in ON CONFLICT or RETURNING over several shards are not supported yet",
                    ));
                }
                self.selected_alike(write, query, *key, verdict)
            }
        }
    }

    /// Why a write on a reference table would not do the same on every shard.
    pub fn replicates(&self, query: Option<&Query>, verdicts: Vec<Verdict>) -> Result<(), Reason> {
        let because = |text: String, hint: &str| Err(Reason { text, hint: Some(hint.to_owned()) });
        let ([write], None, [verdict]) = (self.writes.as_slice(), query, verdicts.as_slice()) else {
            return because(
                "a write to a reference table together with other writes or queries is not supported yet".to_owned(),
                "Use a statement of its own.",
            );
        };
        let (tail, sublinks) = match &write.body {
            WriteBody::Level(level) => (level.tail, false),
            WriteBody::Select { extra, .. } => (extra.tail, !extra.parts.sublinks.is_empty()),
        };
        if verdict.sharded || sublinks || !matches!(verdict.shape, Ok(Shape::Replicated)) {
            return because(
                "a write to a reference table must not read other tables than reference tables".to_owned(),
                "Read the rows first, then write constants or parameters.",
            );
        }
        // Of several rows that match, UPDATE takes one, which may be another on each shard.
        if let (WriteBody::Level(level), WriteVerb::Update) = (&write.body, write.verb)
            && level.from.len() > 1
        {
            return because(
                "UPDATE ... FROM of a reference table may take another row on each shard".to_owned(),
                "Use a sub-select, which must return one row.",
            );
        }
        // Which row is the first of those that are in conflict is a matter of their order.
        if write.keeps_first {
            return because(
                "INSERT ... SELECT ... ON CONFLICT DO NOTHING into a reference table may keep another row on each shard".to_owned(),
                "Read the rows first, then write constants or parameters.",
            );
        }
        let own = verdict.local.clone().or(verdict.unsteady.or(tail).map(|what| format!("{what} differs")));
        let effects = &self.effects;
        let changes = effects.changes || effects.sequence || effects.transaction_lock || self.own_time;
        if own.is_some() || changes || effects.differs || effects.moment || effects.asks_server {
            return because(
                "a value that each shard would compute for itself cannot be stored in a reference table".to_owned(),
                "Compute the value first, then write it as a constant or parameter.",
            );
        }
        Ok(())
    }

    /// INSERT ... SELECT: each row that a shard selects is to be stored on that shard.
    fn selected_alike(&self, write: &Write, query: &Query, key: Option<usize>, verdict: Verdict) -> Result<(), Reason> {
        let outputs = match &verdict.shape {
            Ok(Shape::Distributed(outputs)) => outputs.clone(),
            Ok(Shape::Replicated) | Err(_) => Vec::new(),
        };
        distributes(verdict)?;
        let key = key.and_then(|at| query.columns.get(at)).and_then(|column| column.term);
        let moves = || Reason {
            text: "an INSERT ... SELECT whose rows would move to other shards is not supported yet".to_owned(),
            hint: Some("Select the target's sharding key from the sharding key of a table it reads.".to_owned()),
        };
        if !key.is_some_and(|key| outputs.contains(&key)) {
            return Err(moves());
        }
        // What is stored must be the value that was hashed: varchar(n) may cut blanks off.
        let Some(target) = self.leaves.get(write.target.0) else { return Err(moves()) };
        let stored = match target.relation.kind {
            RelationKind::Sharded { key_type, .. } => key_type,
            _ => return Err(moves()),
        };
        let kept = |from: KeyType| match (stored, from) {
            (KeyType::Integer, KeyType::Integer) | (KeyType::Uuid, KeyType::Uuid) => true,
            (KeyType::Text { max_chars: None }, KeyType::Text { .. }) => true,
            (to, from) => to == from,
        };
        let others = self.leaves.iter().enumerate().filter(|(at, _)| *at != write.target.0);
        if others.filter_map(|(_, leaf)| leaf.key).all(|(_, key_type)| kept(key_type)) { Ok(()) } else { Err(moves()) }
    }
}
