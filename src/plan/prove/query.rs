//! The proof of queries and their levels: what SELECT, set operations and sub-selects make of the rows of FROM.

use super::verdict::{Shape, Verdict, unsteady};
use crate::plan::KeySource;
use crate::plan::builder::Stack;
use crate::plan::ir::{
    Body, Distinct, Fact, From, Leaf, Level, Parts, Query, Reason, SetKind, SetOperation, Term, TermInfo,
};
use crate::plan::prove::hold::{Environment, condition_facts, level_facts};
use crate::plan::prove::solver::Solver;

/// One statement's proof.
pub struct Prover<'q> {
    pub leaves: &'q [Leaf],
    pub terms: &'q [TermInfo],
    /// By leaf: visited, and the values its key is one of.
    pub found: Vec<Option<Option<Vec<KeySource>>>>,
    pub groups: Vec<Vec<Term>>,
    pub stack: Stack,
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

    pub fn solver(&self, facts: &Environment<'q>) -> Solver<'q> {
        Solver::new(self.terms.len(), facts)
    }

    /// Runs `visit` with one more set of anchors; with its bit.
    pub fn anchored_to<T>(&mut self, terms: Vec<Term>, visit: impl FnOnce(&mut Self) -> T) -> (T, u64) {
        let bit = 1u64.checked_shl(u32::try_from(self.groups.len()).unwrap_or(u32::MAX)).unwrap_or(0);
        self.groups.push(terms);
        let result = visit(self);
        self.groups.pop();
        (result, bit)
    }

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
        if (query.limit || query.shows_order) && verdict.unsteady.is_none() && !verdict.sharded {
            verdict.unsteady = Some(if query.limit { "LIMIT" } else { "ARRAY of a sub-select" });
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
