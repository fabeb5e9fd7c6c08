//! The plans that a session has used last, so that it finds them without a hash, a lock, or a count that others write too. What
//! is true of the caches' entries is true of these: they are found by scope, catalog version and text.

use std::sync::Arc;

use super::compiled::Compiled;
use super::scope::ScopeId;
use super::shapes::Placed;
use crate::catalog::CatalogVersion;

/// How many plans a session has at hand: those of a short transaction.
const RECENT: usize = 4;

/// How many texts without literals it has at hand.
const RECENT_TEXTS: usize = 2;

/// Longer shapes are looked up in the cache each time, so that a session does not keep them from being forgotten.
const RECENT_BYTES: usize = 1024;

/// The plans that a session has used last, found without a hash, a lock or a count.
#[derive(Debug, Default)]
pub struct Recent {
    plans: [Option<Arc<Placed>>; RECENT],
    next: usize,
    /// Texts without literals: BEGIN and COMMIT.
    texts: [Option<(ScopeId, Arc<Compiled>)>; RECENT_TEXTS],
    next_text: usize,
}

impl Recent {
    /// The plan of a shape, if it is at hand.
    pub fn find(&self, scope: ScopeId, version: CatalogVersion, shape: &[u8]) -> Option<&Arc<Placed>> {
        self.plans.iter().flatten().find(|placed| placed.is_of(scope, version, shape))
    }

    /// A text without declared types, if it is at hand.
    pub fn find_text(&self, scope: ScopeId, version: CatalogVersion, text: &[u8]) -> Option<&Arc<Compiled>> {
        let is =
            |(of, known): &&(ScopeId, Arc<Compiled>)| *known.text == *text && *of == scope && known.version == version;
        self.texts.iter().flatten().find(is).map(|(_, known)| known)
    }

    /// Has a text without declared types at hand from now on, in place of another.
    pub fn keep_text(&mut self, scope: ScopeId, compiled: &Arc<Compiled>) {
        if compiled.text.len() <= RECENT_BYTES
            && let Some(place) = self.texts.get_mut(self.next_text % RECENT_TEXTS)
        {
            *place = Some((scope, compiled.clone()));
            self.next_text = (self.next_text + 1) % RECENT_TEXTS;
        }
    }

    /// Has a plan at hand from now on, in place of another.
    pub fn keep(&mut self, placed: Arc<Placed>) {
        if placed.shape_bytes() <= RECENT_BYTES
            && let Some(place) = self.plans.get_mut(self.next % RECENT)
        {
            *place = Some(placed);
            self.next = (self.next + 1) % RECENT;
        }
    }
}
