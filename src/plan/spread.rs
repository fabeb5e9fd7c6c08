//! Whether a write over several shards is the sum of writes on each shard's rows.

use super::builder::{Builder, Write, WriteBody, WriteVerb};
use super::finish::distributes;
use super::ir::{Query, Reason};
use super::prove::{Shape, Verdict};
use crate::catalog::{KeyType, RelationKind};

impl Builder<'_> {
    /// Why the statement, whose writes were proved to be these, is not the sum of its runs on each shard, if it is not.
    /// A write on a reference table is not asked about here.
    pub fn spreads(&self, query: Option<&Query>, verdicts: Vec<Verdict>) -> Result<(), Reason> {
        let [write] = self.writes.as_slice() else {
            return Err(Reason::new("several writes in one statement over several shards are not supported yet"));
        };
        if query.is_some() {
            return Err(Reason::new("a write in WITH over several shards is not supported yet"));
        }
        let Some(verdict) = verdicts.into_iter().next() else { return Ok(()) };
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
                    Verdict { unsteady: Some(what), .. } if shared => Err(super::prove::unsteady(what)),
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

    /// INSERT ... SELECT: each row that a shard selects is to be stored on that shard.
    fn selected_alike(
        &self,
        write: &Write,
        query: &Query,
        key: Option<usize>,
        verdict: Verdict,
    ) -> Result<(), Reason> {
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
