//! Facts -> equivalence classes, the values a term is proved to be one of, and which owners cannot be NULL as a whole.

use crate::plan::KeySource;
use crate::plan::ir::{Fact, Owner, Term, TermInfo};

/// The consequences of a set of facts.
pub struct Solver<'q> {
    parents: Vec<u32>,
    /// By root: the shortest list of values.
    sources: Vec<Option<&'q [KeySource]>>,
    /// By root: a strict fact says it is not NULL.
    present: Vec<bool>,
}

impl<'q> Solver<'q> {
    /// Draws the consequences.
    pub fn new(terms: usize, facts: &[&'q Fact]) -> Solver<'q> {
        let mut solver = Solver {
            parents: (0..u32::try_from(terms).unwrap_or(u32::MAX)).collect(),
            sources: vec![None; terms],
            present: vec![false; terms],
        };
        for fact in facts {
            if let Fact::Equal { left, right, .. } = fact {
                let (left, right) = (solver.root(*left), solver.root(*right));
                if let Some(parent) = solver.parents.get_mut(left) {
                    *parent = u32::try_from(right).unwrap_or(u32::MAX);
                }
            }
        }
        for fact in facts {
            match fact {
                Fact::Equal { left, strict: true, .. } => solver.mark(*left),
                Fact::Equal { strict: false, .. } => {}
                Fact::OneOf { term, sources } => {
                    solver.mark(*term);
                    solver.restrict(*term, sources);
                }
            }
        }
        solver
    }

    fn root(&self, term: Term) -> usize {
        let mut at = term.0 as usize;
        loop {
            match self.parents.get(at) {
                Some(parent) if *parent as usize != at => at = *parent as usize,
                _ => return at,
            }
        }
    }

    fn mark(&mut self, term: Term) {
        let root = self.root(term);
        if let Some(present) = self.present.get_mut(root) {
            *present = true;
        }
    }

    fn restrict(&mut self, term: Term, sources: &'q [KeySource]) {
        let root = self.root(term);
        if let Some(known) = self.sources.get_mut(root)
            && known.is_none_or(|known| weight(sources) < weight(known))
        {
            *known = Some(sources);
        }
    }

    /// Whether the two are proved equal.
    pub fn same(&self, left: Term, right: Term) -> bool {
        self.root(left) == self.root(right)
    }

    /// Whether one of the terms is proved equal to one of the others.
    pub fn any_same(&self, left: &[Term], right: &[Term]) -> bool {
        left.iter().any(|l| right.iter().any(|r| self.same(*l, *r)))
    }

    /// The values it is proved to be one of.
    pub fn values(&self, term: Term) -> Option<&'q [KeySource]> {
        self.sources.get(self.root(term)).copied().flatten()
    }

    /// Whether a row of this owner is proved to be a real one, not NULLs of an outer join.
    pub fn present(&self, owner: Owner, terms: &[TermInfo]) -> bool {
        (0..).zip(terms).any(|(index, term)| {
            term.owner == owner && self.present.get(self.root(Term(index))).copied().unwrap_or(false)
        })
    }
}

/// Fewer values are better; of as many, those known when the plan is made.
fn weight(sources: &[KeySource]) -> usize {
    let later = |source: &&KeySource| match source {
        KeySource::Constant(_) | KeySource::Null | KeySource::Literal(_) => false,
        KeySource::Parameter { .. } | KeySource::ParameterArray { .. } => true,
    };
    let arrays = sources.iter().filter(|source| matches!(source, KeySource::ParameterArray { .. })).count();
    sources.len() * 4 + sources.iter().filter(later).count() + arrays * 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use shardmap::Key;

    #[test]
    fn equalities_carry_the_shortest_list_of_values() {
        let value = |n| KeySource::Constant(Key::Integer(n));
        let facts = [
            Fact::OneOf { term: Term(0), sources: vec![value(1), value(2)] },
            Fact::Equal { left: Term(0), right: Term(1), strict: true },
            Fact::Equal { left: Term(2), right: Term(1), strict: false },
            Fact::OneOf { term: Term(2), sources: vec![value(2)] },
        ];
        let solver = Solver::new(4, &facts.iter().collect::<Vec<_>>());
        assert_eq!(solver.values(Term(0)), Some([value(2)].as_slice()));
        assert!(solver.same(Term(0), Term(2)));
        assert!(!solver.same(Term(0), Term(3)));
        assert_eq!(solver.values(Term(3)), None);
    }
}
