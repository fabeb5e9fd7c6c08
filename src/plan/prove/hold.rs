//! What holds for the rows of a part of a statement: the facts it brings to its surroundings.

use super::solver::Solver;
use crate::plan::ir::{Body, Fact, From, Join, Leaf, Level, Owner, Parts, Query, Sublink, TermInfo};

/// Facts in force.
pub type Environment<'q> = Vec<&'q Fact>;

/// FROM items after inner joins are flattened into one list, also those outer joins that facts make inner.
#[derive(Default)]
pub struct Flat<'q> {
    pub units: Vec<&'q From>,
    /// ON of the joins.
    pub parts: Vec<&'q Parts>,
    /// Outer joins seen, and those made inner.
    pub outer: usize,
    pub reduced: usize,
}

impl<'q> Flat<'q> {
    /// Adds an item, taken apart.
    pub fn add(&mut self, item: &'q From, solver: &Solver<'_>, terms: &[TermInfo], leaves: &[Leaf]) {
        match item {
            From::Leaf(_) | From::Query(_) | From::Opaque(_) => self.units.push(item),
            From::Inner(join) => self.join(join, solver, terms, leaves),
            From::Left(join) => {
                self.outer += 1;
                if present(&join.right, solver, terms, leaves) {
                    self.reduced += 1;
                    self.join(join, solver, terms, leaves);
                } else {
                    self.units.push(item);
                }
            }
            From::Full(join) => {
                self.outer += 1;
                if present(&join.left, solver, terms, leaves) && present(&join.right, solver, terms, leaves) {
                    self.reduced += 1;
                    self.join(join, solver, terms, leaves);
                } else {
                    self.units.push(item);
                }
            }
        }
    }

    fn join(&mut self, join: &'q Join, solver: &Solver<'_>, terms: &[TermInfo], leaves: &[Leaf]) {
        self.parts.push(&join.on);
        self.add(&join.left, solver, terms, leaves);
        self.add(&join.right, solver, terms, leaves);
    }
}

/// Whether a FROM item is proved to give a real row, not NULLs of an outer join.
pub fn present(item: &From, solver: &Solver<'_>, terms: &[TermInfo], leaves: &[Leaf]) -> bool {
    let owner = |owner: Owner| solver.present(owner, terms);
    match item {
        From::Leaf(id) => leaves.get(id.0).is_some_and(|leaf| owner(leaf.owner)),
        From::Query(query) => owner(query.owner),
        From::Opaque(_) => false,
        From::Inner(join) => present(&join.left, solver, terms, leaves) || present(&join.right, solver, terms, leaves),
        // The kept side of an outer join tells; the other side, being there, implies it.
        From::Left(join) => present(&join.left, solver, terms, leaves) || present(&join.right, solver, terms, leaves),
        From::Full(join) => present(&join.left, solver, terms, leaves) || present(&join.right, solver, terms, leaves),
    }
}

/// What holds for every row of a query.
pub fn query_facts<'q>(query: &'q Query, terms: &[TermInfo], leaves: &[Leaf], facts: &mut Environment<'q>) {
    match &query.body {
        Body::Select(level) => {
            facts.extend(&query.links);
            level_facts(level, terms, leaves, facts);
        }
        Body::SetOperation(operation) => facts.extend(&operation.exports),
        Body::Values(_) => facts.extend(&query.links),
        Body::Recursive(_) => {}
    }
}

/// What holds for every row of a level.
pub fn level_facts<'q>(level: &'q Level, terms: &[TermInfo], leaves: &[Leaf], facts: &mut Environment<'q>) {
    // One row comes out of it even if no row meets its conditions.
    if level.plain_aggregate() {
        return;
    }
    facts.extend(&level.parts.facts);
    facts.extend(condition_facts(&level.parts, terms, leaves, None));
    for item in &level.from {
        let solver = Solver::new(terms.len(), facts);
        facts.extend(from_facts(item, &solver, terms, leaves));
    }
}

/// What holds for every row of a FROM item.
pub fn from_facts<'q>(item: &'q From, solver: &Solver<'_>, terms: &[TermInfo], leaves: &[Leaf]) -> Environment<'q> {
    let mut facts = Vec::new();
    let both = |join: &'q Join, facts: &mut Environment<'q>| {
        facts.extend(&join.on.facts);
        facts.extend(condition_facts(&join.on, terms, leaves, None));
        facts.extend(from_facts(&join.left, solver, terms, leaves));
        facts.extend(from_facts(&join.right, solver, terms, leaves));
    };
    match item {
        From::Leaf(_) => {}
        From::Query(query) => query_facts(query, terms, leaves, &mut facts),
        From::Opaque(parts) => facts.extend(&parts.facts),
        From::Inner(join) => both(join, &mut facts),
        From::Left(join) if present(&join.right, solver, terms, leaves) => both(join, &mut facts),
        From::Left(join) => facts.extend(from_facts(&join.left, solver, terms, leaves)),
        From::Full(join)
            if present(&join.left, solver, terms, leaves) && present(&join.right, solver, terms, leaves) =>
        {
            both(join, &mut facts);
        }
        From::Full(_) => {}
    }
    facts
}

/// What the sub-selects among conditions say: a row of theirs exists. `except` leaves one out.
pub fn condition_facts<'q>(
    parts: &'q Parts,
    terms: &[TermInfo],
    leaves: &[Leaf],
    except: Option<&Sublink>,
) -> Environment<'q> {
    let mut facts = Vec::new();
    for sublink in parts.sublinks.iter().filter(|sublink| sublink.condition) {
        if except.is_none_or(|except| !std::ptr::eq(except, sublink)) {
            query_facts(&sublink.query, terms, leaves, &mut facts);
        }
    }
    facts
}
