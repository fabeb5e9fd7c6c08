//! What is proved of a part of a statement.

use crate::plan::ir::{Parts, Reason, Term};

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
    pub fn replicated() -> Verdict {
        Verdict { shape: Ok(Shape::Replicated), anchored: u64::MAX, sharded: false, unsteady: None, local: None }
    }

    pub fn absorb(&mut self, other: &Verdict) {
        self.anchored &= other.anchored;
        self.sharded |= other.sharded;
        self.unsteady = self.unsteady.or(other.unsteady);
        if self.local.is_none() {
            self.local.clone_from(&other.local);
        }
    }

    pub fn note(&mut self, parts: &Parts) {
        if self.local.is_none() {
            self.local.clone_from(&parts.local);
        }
    }

    pub fn keys(&self) -> Vec<Term> {
        match &self.shape {
            Ok(Shape::Distributed(keys)) => keys.clone(),
            Ok(Shape::Replicated) | Err(_) => Vec::new(),
        }
    }
}

/// A part that does not depend on a shard's rows, yet could come out differently on each.
pub fn unsteady(what: &str) -> Reason {
    Reason::new(format!("{what} in a part of the query that each shard would compute for itself is not supported yet"))
}
