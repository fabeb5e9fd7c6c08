//! The proof of FROM: joins bring together rows that lie on one shard, or they do not distribute.

use super::query::Prover;
use super::verdict::{Shape, Verdict};
use crate::catalog::RelationKind;
use crate::plan::KeySource;
use crate::plan::ir::{From, Join, LeafId, Parts, Reason, Sublink};
use crate::plan::prove::hold::{Environment, Flat, condition_facts, from_facts, present};
use crate::plan::prove::solver::Solver;

impl<'q> Prover<'q> {
    /// A list of FROM items, inner-joined. Also gives the facts that hold for their rows, besides those of `base`.
    pub fn items(&mut self, items: &[&'q From], base: &Environment<'q>) -> (Verdict, Environment<'q>) {
        let (flat, environment) = self.flatten(items, base);
        let solver = self.solver(&environment);
        let mut verdict = Verdict::replicated();
        for (at, unit) in flat.units.iter().enumerate() {
            let keys = verdict.keys();
            let (right, bit) = match unit {
                From::Leaf(leaf) => self.anchored_to(keys, |prover| prover.leaf(*leaf, &solver)),
                From::Opaque(parts) => self.anchored_to(keys, |prover| prover.opaque(parts, &environment)),
                From::Query(_) | From::Inner(_) | From::Left(_) | From::Full(_) => {
                    // Without what the unit itself says: that must not come back into it.
                    let mut others = base.clone();
                    others.extend(self.flat_facts(&flat, &solver, Some(at), None));
                    self.anchored_to(keys, |prover| prover.unit(unit, &others))
                }
            };
            verdict = joined(verdict, right, bit, &solver);
        }
        for sublink in flat.parts.iter().flat_map(|parts| &parts.sublinks) {
            let mut facts = base.clone();
            facts.extend(self.flat_facts(&flat, &solver, None, Some(sublink)));
            let (inner, bit) = self.anchored_to(verdict.keys(), |prover| prover.query(&sublink.query, &facts));
            on_sublink(&mut verdict, &inner, bit);
        }
        for parts in &flat.parts {
            note(&mut verdict, parts);
        }
        let added = self.flat_facts(&flat, &solver, None, None);
        (verdict, added)
    }

    /// Inner joins as one list; facts can turn outer joins into inner ones, which gives more facts. With all facts then in force.
    fn flatten(&self, items: &[&'q From], base: &Environment<'q>) -> (Flat<'q>, Environment<'q>) {
        let mut environment = base.clone();
        let mut reduced = None;
        loop {
            let solver = self.solver(&environment);
            let mut flat = Flat::default();
            items.iter().for_each(|item| flat.add(item, &solver, self.terms, self.leaves));
            environment.clone_from(base);
            environment.extend(self.flat_facts(&flat, &solver, None, None));
            // The first round knows only the surroundings.
            if flat.outer == 0 || reduced == Some(flat.reduced) {
                return (flat, environment);
            }
            reduced = Some(flat.reduced);
        }
    }

    /// The facts of a flattened list, without those of one unit and of one sub-select.
    fn flat_facts(
        &self,
        flat: &Flat<'q>,
        solver: &Solver<'_>,
        but: Option<usize>,
        except: Option<&Sublink>,
    ) -> Environment<'q> {
        let mut facts = Vec::new();
        for parts in &flat.parts {
            facts.extend(&parts.facts);
            facts.extend(condition_facts(parts, self.terms, self.leaves, except));
        }
        for (_, unit) in flat.units.iter().enumerate().filter(|(at, _)| Some(*at) != but) {
            facts.extend(from_facts(unit, solver, self.terms, self.leaves));
        }
        facts
    }

    fn unit(&mut self, unit: &'q From, environment: &Environment<'q>) -> Verdict {
        match unit {
            From::Leaf(leaf) => {
                let solver = self.solver(environment);
                self.leaf(*leaf, &solver)
            }
            From::Query(query) => self.query(query, environment),
            From::Opaque(parts) => self.opaque(parts, environment),
            From::Inner(_) => self.items(&[unit], environment).0,
            From::Left(join) => self.left_join(&join.left, &join.right, &join.on, environment),
            From::Full(join) => self.full_join(join, environment),
        }
    }

    fn leaf(&mut self, id: LeafId, solver: &Solver<'q>) -> Verdict {
        let mut verdict = Verdict::replicated();
        let Some(leaf) = self.leaves.get(id.0) else { return verdict };
        let values = leaf.key.and_then(|(key, _)| solver.values(key)).map(<[KeySource]>::to_vec);
        if let Some(found) = self.found.get_mut(id.0) {
            *found = Some(values);
        }
        match (&leaf.relation.kind, leaf.key) {
            (_, Some((key, _))) => {
                verdict.sharded = true;
                verdict.shape = Ok(Shape::Distributed(vec![key]));
                verdict.anchored = 0;
                for (bit, group) in (0..u64::BITS).zip(&self.groups) {
                    if group.iter().any(|term| solver.same(*term, key)) {
                        verdict.anchored |= 1 << bit;
                    }
                }
            }
            // What a write in WITH returns, without its key.
            (RelationKind::Sharded { .. }, None) => {
                verdict.sharded = true;
                verdict.shape = Ok(Shape::Distributed(Vec::new()));
                verdict.anchored = 0;
            }
            (RelationKind::System, None) => verdict.unsteady = Some("a system catalog"),
            (RelationKind::Reference, None) => {}
            _ => {
                verdict.shape = Err(Reason::new(format!(
                    "home table \"{}\" in a query over several shards is not supported yet",
                    leaf.relation.name
                )));
                verdict.anchored = 0;
            }
        }
        verdict
    }

    fn opaque(&mut self, parts: &'q Parts, environment: &Environment<'q>) -> Verdict {
        let mut verdict = Verdict::replicated();
        let keys = self.groups.last().cloned().unwrap_or_default();
        verdict.note(parts);
        // Its sub-selects are computed for each row to its left.
        for sublink in &parts.sublinks {
            let (inner, _) = self.anchored_to(keys.clone(), |prover| prover.query(&sublink.query, environment));
            if !matches!((&inner.shape, inner.sharded), (Ok(_), false)) {
                verdict.shape =
                    Err(Reason::new("a subquery over sharded tables in a function of FROM is not supported yet"));
            }
            verdict.absorb(&inner);
        }
        note(&mut verdict, parts);
        verdict
    }

    /// `kept` is the side whose rows all stay.
    fn left_join(&mut self, kept: &'q From, other: &'q From, on: &'q Parts, environment: &Environment<'q>) -> Verdict {
        let left = self.items(&[kept], environment).0;
        let keys = left.keys();
        let pairs = self.pairs(kept, on, environment, None);
        let (right, bit) = self.anchored_to(keys.clone(), |prover| prover.items(&[other], &pairs).0);
        let solver = self.solver(&pairs);
        let shape = match (&left.shape, &right.shape) {
            (Err(reason), _) => Err(reason.clone()),
            (Ok(Shape::Replicated), Ok(Shape::Replicated)) => Ok(Shape::Replicated),
            (Ok(Shape::Replicated), Ok(Shape::Distributed(_))) => Err(Reason::new(
                "an outer join that keeps all rows of a reference table next to rows of several shards is not supported yet",
            )),
            (Ok(shape), Ok(Shape::Replicated)) => Ok(shape.clone()),
            (Ok(shape), _) if right.sharded && right.anchored & bit != 0 => Ok(shape.clone()),
            (Ok(shape), Ok(Shape::Distributed(others))) if solver.any_same(&keys, others) => Ok(shape.clone()),
            (Ok(_), Ok(Shape::Distributed(_))) => Err(off_key()),
            (Ok(_), Err(reason)) => Err(reason.clone()),
        };
        let mut verdict = Verdict { shape, ..Verdict::replicated() };
        verdict.absorb(&left);
        verdict.absorb(&right);
        for sublink in &on.sublinks {
            let mut facts = self.pairs(kept, on, environment, Some(sublink));
            facts.extend(from_facts(other, &solver, self.terms, self.leaves));
            let (inner, bit) = self.anchored_to(keys.clone(), |prover| prover.query(&sublink.query, &facts));
            on_sublink(&mut verdict, &inner, bit);
        }
        note(&mut verdict, on);
        verdict
    }

    /// What holds for the pairs of rows that an outer join's condition brings together.
    fn pairs(
        &self,
        kept: &'q From,
        on: &'q Parts,
        environment: &Environment<'q>,
        except: Option<&Sublink>,
    ) -> Environment<'q> {
        let mut pairs = environment.clone();
        pairs.extend(&on.facts);
        pairs.extend(condition_facts(on, self.terms, self.leaves, except));
        let solver = self.solver(&pairs);
        pairs.extend(from_facts(kept, &solver, self.terms, self.leaves));
        pairs
    }

    fn full_join(&mut self, join: &'q Join, environment: &Environment<'q>) -> Verdict {
        let solver = self.solver(environment);
        if present(&join.left, &solver, self.terms, self.leaves) {
            return self.left_join(&join.left, &join.right, &join.on, environment);
        }
        if present(&join.right, &solver, self.terms, self.leaves) {
            return self.left_join(&join.right, &join.left, &join.on, environment);
        }
        let left = self.items(&[&join.left], environment).0;
        let right = self.items(&[&join.right], environment).0;
        // Rows without a partner stay: only the ON condition itself brings partners together.
        let solver = self.solver(&join.on.facts.iter().collect());
        let shape = match (&left.shape, &right.shape) {
            (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
            (Ok(Shape::Replicated), Ok(Shape::Replicated)) => Ok(Shape::Replicated),
            (Ok(Shape::Distributed(l)), Ok(Shape::Distributed(r))) if solver.any_same(l, r) => {
                Ok(Shape::Distributed(Vec::new()))
            }
            (Ok(Shape::Distributed(_)), Ok(Shape::Distributed(_))) => Err(off_key()),
            (Ok(_), Ok(_)) => Err(Reason::new(
                "a FULL JOIN of rows that every shard has and rows of several shards is not supported yet",
            )),
        };
        let mut verdict = Verdict { shape, ..Verdict::replicated() };
        verdict.absorb(&left);
        verdict.absorb(&right);
        for sublink in &join.on.sublinks {
            let (inner, _) = self.anchored_to(Vec::new(), |prover| prover.query(&sublink.query, environment));
            on_sublink(&mut verdict, &inner, 0);
        }
        note(&mut verdict, &join.on);
        verdict
    }
}

/// A sub-select in an ON clause or function.
fn on_sublink(verdict: &mut Verdict, inner: &Verdict, bit: u64) {
    let allowed = match (&inner.shape, inner.sharded) {
        (Ok(_), false) => true,
        (_, true) => matches!(verdict.shape, Ok(Shape::Distributed(_))) && inner.anchored & bit != 0,
        (Err(_), false) => false,
    };
    if verdict.shape.is_ok() && !allowed {
        verdict.shape = Err(Reason::new("a subquery over other shards in an ON clause is not supported yet"));
    }
    verdict.absorb(inner);
}

/// Remarks on expressions next to FROM items.
fn note(verdict: &mut Verdict, parts: &Parts) {
    verdict.unsteady = verdict.unsteady.or(parts.unsteady);
    verdict.note(parts);
}

/// Inner join of what stands to the left and a further item.
fn joined(left: Verdict, right: Verdict, bit: u64, solver: &Solver<'_>) -> Verdict {
    let shape = match (&left.shape, &right.shape) {
        (Ok(Shape::Replicated), Ok(shape)) | (Ok(shape), Ok(Shape::Replicated)) => Ok(shape.clone()),
        (Ok(Shape::Distributed(l)), Ok(Shape::Distributed(r))) => {
            if right.anchored & bit != 0 || solver.any_same(l, r) {
                Ok(Shape::Distributed(l.iter().chain(r).copied().collect()))
            } else {
                Err(off_key())
            }
        }
        (Ok(Shape::Distributed(l)), Err(_)) if right.sharded && right.anchored & bit != 0 => {
            Ok(Shape::Distributed(l.clone()))
        }
        (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
    };
    let mut verdict = Verdict { shape, ..Verdict::replicated() };
    verdict.absorb(&left);
    verdict.absorb(&right);
    verdict
}

fn off_key() -> Reason {
    Reason {
        text: "a join of sharded tables on other columns than their keys is not supported yet".to_owned(),
        hint: Some("Join them on their keys too, or restrict each to the same key.".to_owned()),
    }
}
