//! The proof: which keys each relation instance is restricted to, and whether a query distributes (the answer over all rows is
//! the union of the answers over each shard's rows).
//!
//! An *environment* is a list of facts that hold for every combination of rows that can matter. Going down a statement, each
//! part sees the facts of its surroundings, never its own consequences brought back through a LIMIT, a window or an outer join.
//!
//! A sharded instance is *anchored* to a set of terms if its key is proved equal to one of them: for each row with those terms,
//! the instance's rows that matter lie on that row's shard. Sets are kept in `groups`; bit i of a verdict's `anchored` says that
//! every sharded instance below is anchored to set i.

use super::KeySource;
use super::builder::Stack;
use super::hold::{Environment, Flat, condition_facts, from_facts, level_facts, present};
use super::ir::{
    Body, Distinct, Fact, From, Join, Leaf, LeafId, Level, Parts, Query, Reason, SetKind, SetOperation, Sublink, Term,
    TermInfo,
};
use super::solver::Solver;
use crate::catalog::RelationKind;

/// How a query's rows lie on the shards.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Every shard has them all.
    Replicated,
    /// Each row lies on the shard of each of these terms (none: on some shard, nothing known of which).
    Distributed(Vec<Term>),
}

/// What is proved of a part.
pub struct Verdict {
    pub shape: Result<Shape, Reason>,
    /// See the module's text.
    pub anchored: u64,
    /// There is a sharded instance below.
    pub sharded: bool,
    /// Why shards that hold the same rows may give different answers.
    pub unsteady: Option<&'static str>,
    /// Why it must not be computed on several shards.
    pub local: Option<String>,
}

impl Verdict {
    fn replicated() -> Verdict {
        Verdict { shape: Ok(Shape::Replicated), anchored: u64::MAX, sharded: false, unsteady: None, local: None }
    }

    fn absorb(&mut self, other: &Verdict) {
        self.anchored &= other.anchored;
        self.sharded |= other.sharded;
        self.unsteady = self.unsteady.or(other.unsteady);
        if self.local.is_none() {
            self.local.clone_from(&other.local);
        }
    }

    fn note(&mut self, parts: &Parts) {
        if self.local.is_none() {
            self.local.clone_from(&parts.local);
        }
    }

    fn keys(&self) -> Vec<Term> {
        match &self.shape {
            Ok(Shape::Distributed(keys)) => keys.clone(),
            Ok(Shape::Replicated) | Err(_) => Vec::new(),
        }
    }
}

/// One statement's proof.
pub struct Prover<'q> {
    leaves: &'q [Leaf],
    terms: &'q [TermInfo],
    /// By leaf: visited, and the values its key is one of.
    pub found: Vec<Option<Option<Vec<KeySource>>>>,
    groups: Vec<Vec<Term>>,
    stack: Stack,
    /// The stack did not suffice: nothing is proved.
    pub overflow: bool,
}

impl<'q> Prover<'q> {
    /// Nothing proved yet.
    pub fn new(leaves: &'q [Leaf], terms: &'q [TermInfo]) -> Prover<'q> {
        Prover {
            leaves,
            terms,
            found: vec![None; leaves.len()],
            groups: Vec::new(),
            stack: Stack::here(),
            overflow: false,
        }
    }

    fn solver(&self, facts: &Environment<'q>) -> Solver<'q> {
        Solver::new(self.terms.len(), facts)
    }

    /// Runs `visit` with one more set of anchors; with its bit.
    fn anchored_to<T>(&mut self, terms: Vec<Term>, visit: impl FnOnce(&mut Self) -> T) -> (T, u64) {
        let bit = 1u64.checked_shl(u32::try_from(self.groups.len()).unwrap_or(u32::MAX)).unwrap_or(0);
        self.groups.push(terms);
        let result = visit(self);
        self.groups.pop();
        (result, bit)
    }

    // Queries

    /// A query under the facts around it.
    pub fn query(&mut self, query: &'q Query, around: &Environment<'q>) -> Verdict {
        if self.overflow || self.stack.is_deep() {
            self.overflow = true;
            return Verdict::replicated();
        }
        let mut verdict = match &query.body {
            Body::Select(level) => {
                let mut environment = around.clone();
                if query.pushable {
                    environment.extend(&query.links);
                }
                let verdict = self.level(level, &environment);
                self.outputs(query, level, verdict, around)
            }
            Body::SetOperation(operation) => self.set_operation(query, operation, around),
            Body::Values(parts) => {
                let mut verdict = Verdict::replicated();
                self.sublinks(parts, around, &[], &mut verdict);
                verdict
            }
            Body::Recursive(inner) => {
                let mut verdict = self.query(inner, around);
                if verdict.sharded {
                    verdict.shape = Err(Reason::new("a recursive query over several shards is not supported yet"));
                }
                verdict
            }
        };
        self.sublinks(&query.extra, around, &[], &mut verdict);
        // A row limit, or an order that a limit or the reader above relies on.
        if query.limit && verdict.unsteady.is_none() && !verdict.sharded {
            verdict.unsteady = Some("LIMIT");
        }
        if let Ok(Shape::Distributed(_)) = verdict.shape {
            let reason = match query {
                Query { limit: true, .. } => Some("LIMIT and OFFSET over several shards are not supported yet"),
                Query { order: true, .. } => Some("ORDER BY over several shards is not supported yet"),
                _ => None,
            };
            if let Some(reason) = reason {
                verdict.shape = Err(Reason::new(reason));
            }
        }
        verdict
    }

    /// Names the terms by which a query's rows are distributed with its output columns.
    fn outputs(
        &mut self,
        query: &'q Query,
        level: &'q Level,
        mut verdict: Verdict,
        around: &Environment<'q>,
    ) -> Verdict {
        if let Ok(Shape::Distributed(keys)) = &verdict.shape {
            let mut facts = around.clone();
            level_facts(level, self.terms, self.leaves, &mut facts);
            let solver = self.solver(&facts);
            let mut outputs = Vec::new();
            for (column, source) in query.columns.iter().zip(&level.sources) {
                if let (Some(column), Some(source)) = (column.term, source)
                    && keys.iter().any(|key| solver.same(*key, *source))
                {
                    outputs.push(column);
                }
            }
            verdict.shape = Ok(Shape::Distributed(outputs));
        }
        verdict
    }

    fn set_operation(&mut self, query: &'q Query, operation: &'q SetOperation, around: &Environment<'q>) -> Verdict {
        let mut branch = |side: &'q Query, links: &'q [Fact]| {
            let mut environment = around.clone();
            if query.pushable {
                environment.extend(links);
            }
            self.query(side, &environment)
        };
        let left = branch(&operation.left, &operation.left_links);
        let right = branch(&operation.right, &operation.right_links);
        let shape = match (&left.shape, &right.shape) {
            (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
            (Ok(left_shape), Ok(right_shape)) => set_shape(query, operation, left_shape, right_shape),
        };
        let mut verdict = Verdict { shape, ..Verdict::replicated() };
        verdict.absorb(&left);
        verdict.absorb(&right);
        verdict
    }

    // Levels

    /// One query level. `around` holds what is known outside, and of the output.
    pub fn level(&mut self, level: &'q Level, around: &Environment<'q>) -> Verdict {
        let mut base = around.clone();
        base.extend(&level.parts.facts);
        let conditions = condition_facts(&level.parts, self.terms, self.leaves, None);
        base.extend(conditions.iter().copied());
        let items: Vec<&From> = level.from.iter().collect();
        let (mut verdict, inner) = self.items(&items, &base);
        let mut environment = around.clone();
        environment.extend(&level.parts.facts);
        environment.extend(inner);
        let keys = verdict.keys();
        verdict.note(&level.parts);
        self.sublinks(&level.parts, &environment, &keys, &mut verdict);
        if !verdict.sharded {
            verdict.unsteady = verdict.unsteady.or(level.parts.unsteady);
            if matches!(level.distinct, Distinct::On(_)) {
                verdict.unsteady = verdict.unsteady.or(Some("DISTINCT ON"));
            }
        }
        if let Ok(Shape::Distributed(_)) = verdict.shape {
            environment.extend(conditions);
            let solver = self.solver(&environment);
            if let Some(reason) = not_distributive(level, &keys, &solver) {
                verdict.shape = Err(reason);
            } else if let Some(what) = verdict.unsteady {
                verdict.shape = Err(unsteady(what));
            }
        }
        verdict
    }

    /// The sub-selects of expressions at a place where rows are distributed by `keys`.
    fn sublinks(&mut self, parts: &'q Parts, environment: &Environment<'q>, keys: &[Term], verdict: &mut Verdict) {
        for sublink in &parts.sublinks {
            let mut facts = environment.clone();
            facts.extend(condition_facts(parts, self.terms, self.leaves, Some(sublink)));
            let (inner, bit) = self.anchored_to(keys.to_vec(), |prover| prover.query(&sublink.query, &facts));
            let distributed = matches!(verdict.shape, Ok(Shape::Distributed(_)));
            let allowed = match (&inner.shape, inner.sharded) {
                (Ok(Shape::Replicated), false) => Ok(()),
                (Err(reason), false) => Err(reason.clone()),
                (_, true) if distributed && inner.anchored & bit != 0 => Ok(()),
                (_, _) if !distributed => Err(Reason::new("a subquery over several shards is not supported yet")),
                (Ok(_), _) | (Err(_), true) => Err(Reason::new(
                    "a subquery whose rows live on other shards than the row it is computed for is not supported yet",
                )),
            };
            if let (Ok(_), Err(reason)) = (&verdict.shape, allowed) {
                verdict.shape = Err(reason);
            }
            verdict.absorb(&inner);
        }
    }

    // FROM

    /// A list of FROM items, inner-joined. Also gives the facts that hold for their rows, besides those of `base`.
    fn items(&mut self, items: &[&'q From], base: &Environment<'q>) -> (Verdict, Environment<'q>) {
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

/// A part that does not depend on a shard's rows, yet could come out differently on each.
pub fn unsteady(what: &str) -> Reason {
    Reason::new(format!("{what} in a part of the query that each shard would compute for itself is not supported yet"))
}

/// Why the union of a level's answers on each shard is not its answer, if so.
fn not_distributive(level: &Level, keys: &[Term], solver: &Solver<'_>) -> Option<Reason> {
    let has_key = |columns: &[Option<Term>]| columns.iter().flatten().any(|column| solver.any_same(&[*column], keys));
    let no = |text: &str| Some(Reason::new(format!("{text} over several shards is not supported yet")));
    if level.grouping_sets {
        return no("GROUPING SETS, ROLLUP or CUBE");
    }
    match &level.group {
        Some(columns) if !has_key(columns) => return no("GROUP BY without the sharding key"),
        Some(_) => {}
        None if level.parts.aggregate => return no("an aggregate"),
        None if level.having => return no("HAVING"),
        None => {}
    }
    if !level.parts.windows.iter().all(|partition| has_key(partition)) {
        return no("a window function whose PARTITION BY lacks the sharding key");
    }
    match &level.distinct {
        Distinct::No => None,
        Distinct::All if has_key(&level.sources) => None,
        Distinct::On(columns) if has_key(columns) => None,
        Distinct::All | Distinct::On(_) => no("DISTINCT without the sharding key"),
    }
}

fn set_shape(query: &Query, operation: &SetOperation, left: &Shape, right: &Shape) -> Result<Shape, Reason> {
    let keyed = |side: &Query, keys: &[Term]| -> Vec<bool> {
        side.columns.iter().map(|column| column.term.is_some_and(|term| keys.contains(&term))).collect()
    };
    let outputs = |mask: &[bool]| -> Vec<Term> {
        query.columns.iter().zip(mask).filter(|(_, key)| **key).filter_map(|(column, _)| column.term).collect()
    };
    match (left, right, operation.kind, operation.all) {
        (Shape::Replicated, Shape::Replicated, _, _) => Ok(Shape::Replicated),
        (Shape::Distributed(l), Shape::Distributed(r), kind, all) => {
            let left = keyed(&operation.left, l);
            let both: Vec<_> = left.iter().zip(keyed(&operation.right, r)).map(|(l, r)| *l && r).collect();
            match (kind, all) {
                (SetKind::Union, true) => Ok(Shape::Distributed(outputs(&both))),
                // Equal rows lie on one shard. The key must be known to be compared as such in both.
                _ if !outputs(&both).is_empty() => Ok(Shape::Distributed(outputs(&both))),
                (SetKind::Union, false) => {
                    Err(Reason::new("UNION without the sharding key over several shards is not supported yet"))
                }
                (SetKind::Intersect | SetKind::Except, _) => Err(Reason::new(
                    "INTERSECT and EXCEPT without the sharding key over several shards are not supported yet",
                )),
            }
        }
        (Shape::Replicated, Shape::Distributed(_), _, _) | (Shape::Distributed(_), Shape::Replicated, _, _) => Err(
            Reason::new("a set operation of rows that every shard has and rows of several shards is not supported yet"),
        ),
    }
}
