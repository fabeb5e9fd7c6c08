//! What is proved of a statement -> its route, or the refusal.

use super::builder::{Builder, InsertedKey, Write, WriteBody, WriteVerb};
use super::ir::{LeafId, Level, Query, Reason, Stop};
use super::prove::hold;
use super::prove::solver::Solver;
use super::prove::{self, Prover, Shape, Verdict};
use super::{Access, KeySource, Keyed, NullKey, Output, Pin, Refusal, Route, Several, Target};
use crate::catalog::RelationKind;

/// What a statement's sharded instances are restricted to.
struct Proof {
    /// One per sharded instance that is read or written.
    pins: Vec<Pin>,
    /// Instances that are not restricted.
    unpinned: Vec<LeafId>,
    home: bool,
    reference: bool,
    /// Whether it distributes.
    distributes: Result<(), Reason>,
}

impl Builder<'_> {
    /// The route of the statement that was built; `query` is `None` for one that is only a write.
    pub fn finish(&self, query: Option<&Query>) -> Result<Route, Stop> {
        if let Some(target) = self.computed()? {
            return Ok(Route { access: Access::Write, target, output: Output::Rows });
        }
        let proof = self.prove(query)?;
        let access = self.access();
        let route = |target| {
            let kept = self.keeps_keys(&target);
            let target = if kept { target } else { self.moved(self.clocked(target, access)?)? };
            Ok(Route { access, target, output: Output::Rows })
        };
        if self.writes.iter().any(|write| self.is_reference(write)) {
            return match proof.distributes {
                Ok(()) => route(Target::Replicated { takes_turn: true }),
                Err(reason) => Err(self.refusal(&reason, None).into()),
            };
        }
        if proof.pins.is_empty() && proof.unpinned.is_empty() {
            // A lock or a number drawn must be the same for everybody.
            let single = self.effects.sequence || self.effects.transaction_lock || self.effects.locks_reference;
            return route(if proof.home || single { Target::Home } else { Target::Any });
        }
        self.check_effects(&proof)?;
        if !proof.unpinned.is_empty() {
            return match &proof.distributes {
                Ok(()) if proof.home => Err(self.unpinned(&proof, None)),
                Ok(()) => route(Target::Scatter),
                Err(reason) => Err(self.unpinned(&proof, Some(reason.clone()))),
            };
        }
        let several = match proof.distributes {
            Ok(()) if proof.home => Several::Refuse(self.several_writes()),
            Ok(()) if self.inserts_values() => match proof.pins.as_slice() {
                [pin] if pin.sources.len() > 1 => match self.split() {
                    Some(split) => Several::Split(split),
                    None => Several::Refuse(self.several_writes()),
                },
                _ => Several::Refuse(self.several_writes()),
            },
            Ok(()) => Several::Scatter,
            Err(reason) => Several::Refuse(self.refusal(&reason, proof.pins.first())),
        };
        let keyed = Keyed { pins: proof.pins, touches_home: proof.home, several, utf8: self.context.utf8 };
        route(Target::Keyed(keyed))
    }

    fn is_reference(&self, write: &Write) -> bool {
        self.leaves.get(write.target.0).is_some_and(|leaf| leaf.relation.kind == RelationKind::Reference)
    }

    /// Its rows are in the text.
    fn inserts_values(&self) -> bool {
        let values = |write: &Write| write.verb == WriteVerb::Insert && matches!(write.body, WriteBody::Level(_));
        self.writes.iter().any(values)
    }

    /// Whether the statement changes anything.
    pub fn access(&self) -> Access {
        let effects = &self.effects;
        let writes = !self.writes.is_empty() || effects.changes || effects.sequence || effects.transaction_lock;
        match writes || effects.locks {
            true => Access::Write,
            false if effects.asks_server => Access::ReadPrimary,
            false => Access::Read,
        }
    }

    fn prove(&self, query: Option<&Query>) -> Result<Proof, Stop> {
        let mut prover = Prover::new(&self.leaves, &self.terms);
        let mut verdict = query.map(|query| prover.query(query, &Vec::new()));
        let mut verdicts = Vec::with_capacity(self.writes.len());
        for write in &self.writes {
            verdicts.push(self.prove_write(write, &mut prover));
        }
        let inserted: Vec<_> =
            self.writes.iter().zip(&mut verdicts).map(|(write, verdict)| self.inserted_keys(write, verdict)).collect();
        if prover.overflow {
            return Err(Refusal::too_complex().into());
        }
        let found = prover.found;
        let mut proof =
            Proof { pins: Vec::new(), unpinned: Vec::new(), home: false, reference: false, distributes: Ok(()) };
        for ((at, leaf), found) in self.leaves.iter().enumerate().zip(found) {
            let stored = leaf.stored.clone();
            let visited = found.is_some() || stored.is_some() || self.writes.iter().any(|write| write.target.0 == at);
            if !visited {
                continue;
            }
            proof.home |= leaf.home;
            proof.reference |= leaf.relation.kind == RelationKind::Reference;
            let Some((_, key_type)) = leaf.key else { continue };
            let inserted = self.writes.iter().any(|write| write.verb == WriteVerb::Insert && write.target.0 == at);
            let null = if inserted { NullKey::refused(&leaf.relation) } else { NullKey::Nothing };
            match stored.or(found.flatten()) {
                Some(sources) => {
                    let sources = sources.into_iter().map(|source| self.with_type(source)).collect();
                    proof.pins.push(Pin { relation: leaf.relation.name.clone(), key_type, sources, null });
                }
                None => proof.unpinned.push(LeafId(at)),
            }
        }
        for (write, keys) in self.writes.iter().zip(inserted) {
            let Some((leaf, key_type)) = self.leaves.get(write.target.0).and_then(|leaf| Some((leaf, leaf.key?.1)))
            else {
                continue;
            };
            for sources in keys {
                match sources {
                    Some(sources) => {
                        let sources = sources.into_iter().map(|source| self.with_type(source)).collect();
                        let relation = leaf.relation.name.clone();
                        proof.pins.push(Pin { relation, key_type, sources, null: NullKey::refused(&leaf.relation) });
                    }
                    None => proof.unpinned.push(write.target),
                }
            }
        }
        proof.distributes = match verdict.take() {
            Some(verdict) if self.writes.is_empty() => distributes(verdict),
            _ if self.writes.is_empty() => Ok(()),
            _ if self.writes.iter().any(|write| self.is_reference(write)) => self.replicates(query, verdicts),
            outer => self.spreads(outer, verdicts),
        };
        Ok(proof)
    }

    fn prove_write<'q>(&'q self, write: &'q Write, prover: &mut Prover<'q>) -> Verdict {
        match &write.body {
            WriteBody::Level(level) => prover.level(level, &Vec::new()),
            WriteBody::Select { query, extra, key } => {
                let verdict = prover.query(query, &Vec::new());
                prover.level(extra, &Vec::new());
                if let Some(slot) = prover.found.get_mut(write.target.0) {
                    *slot = Some(key.and_then(|key| self.selected_key(query, key)));
                }
                verdict
            }
        }
    }

    /// The values that the key of each INSERT of a MERGE is one of, where they are known; if not, the rows must come from the shard
    /// on which they are to be stored.
    fn inserted_keys(&self, write: &Write, verdict: &mut Verdict) -> Vec<Option<Vec<KeySource>>> {
        let WriteBody::Level(level) = &write.body else { return Vec::new() };
        let mut facts = Vec::new();
        hold::level_facts(level, &self.terms, &self.leaves, &mut facts);
        let solver = Solver::new(self.terms.len(), &facts);
        let mut values = Vec::with_capacity(write.inserts.len());
        for key in &write.inserts {
            let elsewhere = match (key, &verdict.shape) {
                (InsertedKey::Column(term), Ok(Shape::Distributed(keys))) => !solver.any_same(&[*term], keys),
                (InsertedKey::Values(_), Ok(_)) => true,
                (_, Ok(Shape::Replicated) | Err(_)) => false,
            };
            if elsewhere {
                verdict.shape = Err(Reason {
                    text: "a MERGE whose inserted rows would live on other shards than its source's rows is not supported yet".to_owned(),
                    hint: Some("Insert the sharding key that the source is joined by.".to_owned()),
                });
            }
            values.push(match key {
                InsertedKey::Column(term) => solver.values(*term).map(<[KeySource]>::to_vec),
                InsertedKey::Values(sources) => Some(sources.clone()),
            });
        }
        values
    }

    /// The values that the keys of the rows are one of which a write changes, or stores.
    pub fn written_keys(&self, write: &Write, key: super::ir::Term) -> Option<Vec<KeySource>> {
        if let Some(stored) = self.leaves.get(write.target.0).and_then(|leaf| leaf.stored.clone()) {
            return Some(stored);
        }
        match &write.body {
            WriteBody::Level(_) if write.verb == WriteVerb::Merge => None,
            WriteBody::Level(level) => {
                let mut facts = Vec::new();
                hold::level_facts(level, &self.terms, &self.leaves, &mut facts);
                Solver::new(self.terms.len(), &facts).values(key).map(<[KeySource]>::to_vec)
            }
            WriteBody::Select { query, key, .. } => self.selected_key(query, (*key)?),
        }
    }

    /// The values that an output column is one of.
    fn selected_key(&self, query: &Query, key: usize) -> Option<Vec<KeySource>> {
        let term = query.columns.get(key)?.term?;
        let mut facts = Vec::new();
        hold::query_facts(query, &self.terms, &self.leaves, &mut facts);
        Solver::new(self.terms.len(), &facts).values(term).map(<[KeySource]>::to_vec)
    }

    pub fn with_type(&self, source: KeySource) -> KeySource {
        match source {
            KeySource::Parameter { index, .. } => KeySource::Parameter { index, type_oid: self.parameter_type(index) },
            KeySource::ParameterArray { index, .. } => {
                KeySource::ParameterArray { index, type_oid: self.parameter_type(index) }
            }
            KeySource::Constant(_) | KeySource::Null | KeySource::Literal(_) => source,
        }
    }

    /// What must not be done next to sharded rows.
    fn check_effects(&self, proof: &Proof) -> Result<(), Refusal> {
        if self.effects.sequence {
            return Err(Refusal::unsupported("sequences in a statement on sharded tables are not supported yet")
                .hint("Draw the number first with SELECT nextval(...), then use it as a constant or parameter."));
        }
        if self.effects.transaction_lock {
            return Err(Refusal::unsupported("advisory locks in a statement on sharded tables are not supported yet")
                .hint("Take the lock in a statement of its own."));
        }
        if self.effects.locks_reference && proof.reference {
            return Err(Refusal::unsupported(
                "locking rows of a reference table next to sharded rows is not supported yet",
            )
            .hint("Name the sharded tables: FOR UPDATE OF ..."));
        }
        Ok(())
    }

    fn several_writes(&self) -> Refusal {
        let (verb, hint) = match self.writes.first().map(|write| write.verb) {
            Some(WriteVerb::Insert) => ("an INSERT", "Use one statement for each key, or COPY for loading."),
            Some(WriteVerb::Update) => ("an UPDATE", "Use one statement for each key."),
            Some(WriteVerb::Delete) => ("a DELETE", "Use one statement for each key."),
            Some(WriteVerb::Merge) => ("a MERGE", "Use one statement for each key."),
            None => ("a statement with home tables", "Use one statement for each key."),
        };
        Refusal::unsupported(format!("{verb} of rows that live on several shards is not supported yet")).hint(hint)
    }

    /// The refusal of a statement with instances that are not restricted to a key.
    fn unpinned(&self, proof: &Proof, reason: Option<Reason>) -> Stop {
        let leaf = proof.unpinned.first().and_then(|id| self.leaves.get(id.0));
        let pin = leaf.and_then(|leaf| {
            let (_, key_type) = leaf.key?;
            Some(Pin { relation: leaf.relation.name.clone(), key_type, sources: Vec::new(), null: NullKey::Nothing })
        });
        let text = match self.writes.first() {
            Some(_) => "a write that reads rows of several shards is not supported yet",
            None => "this query over several shards is not supported yet",
        };
        let reason = reason.unwrap_or_else(|| Reason::new(text));
        Stop::Refuse(self.refusal(&reason, pin.as_ref()))
    }

    fn refusal(&self, reason: &Reason, pin: Option<&Pin>) -> Refusal {
        let key = pin.and_then(|pin| {
            let leaf = self.leaves.iter().find(|leaf| leaf.relation.name == pin.relation)?;
            match leaf.relation.kind {
                RelationKind::Sharded { key, .. } => {
                    let column = &leaf.relation.columns.get(key)?.name;
                    Some(format!("Restrict \"{}\" to one {column}: WHERE {column} = ...", pin.relation))
                }
                _ => None,
            }
        });
        let mut refusal = Refusal::unsupported(reason.text.clone());
        refusal.hint = reason.hint.clone().or(key);
        refusal
    }
}

/// Why the union of the answers over each shard's rows is not the answer, if it is not.
pub fn distributes(verdict: Verdict) -> Result<(), Reason> {
    match (verdict.shape, verdict.local, verdict.unsteady) {
        (Err(reason), _, _) => Err(reason),
        (Ok(_), Some(local), _) => Err(Reason::new(format!("{local}; over several shards that is not supported"))),
        (Ok(Shape::Distributed(_)), None, Some(what)) => Err(prove::unsteady(what)),
        (Ok(Shape::Distributed(_)), None, None) => Ok(()),
        (Ok(Shape::Replicated), None, _) => Err(Reason::new("this query over several shards is not supported yet")),
    }
}

/// A level with nothing but expressions.
pub fn expressions(parts: super::ir::Parts) -> Level {
    Level { parts, ..Level::default() }
}
