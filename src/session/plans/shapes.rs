//! Plans of simple queries, shared by all texts that differ in their literals only: shape -> route.
//!
//! Which literals of a shape may differ is known from the first text that was planned. If all of them may, the shape leads to
//! the plan at once; else it leads to a narrower shape, in which the others stand as they are.

use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use super::bound::Bound;
use super::scope::ScopeId;
use crate::catalog::CatalogVersion;
use crate::plan::{Shared, Sharing, Target};
use crate::pool::expect::StatementId;
use crate::sql::lift::Lifted;

/// What is known of a shape.
#[derive(Debug)]
enum Known {
    /// Texts of this shape are planned one by one.
    Nothing,
    /// These literals may differ.
    Narrower(Box<[bool]>),
    /// The plan of all its texts.
    Plan(Arc<Placed>),
}

/// The plan of all texts of a shape, with all that it is found by.
#[derive(Debug)]
pub struct Placed {
    scope: ScopeId,
    version: CatalogVersion,
    shape: Box<[u8]>,
    /// The plan.
    pub shared: Shared,
    /// What servers prepare, if the texts find one row.
    pub bound: Option<Bound>,
}

impl Placed {
    /// Whether it is the plan of this shape.
    pub fn is_of(&self, scope: ScopeId, version: CatalogVersion, shape: &[u8]) -> bool {
        *self.shape == *shape && self.scope == scope && self.version == version
    }

    /// Length of its shape.
    pub fn shape_bytes(&self) -> usize {
        self.shape.len()
    }
}

#[derive(Debug)]
struct Shape {
    version: CatalogVersion,
    known: Known,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: ScopeId,
    shape: Box<[u8]>,
}

#[derive(Hash)]
struct KeyRef<'a> {
    scope: ScopeId,
    shape: &'a [u8],
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.scope == key.scope && self.shape == &*key.shape
    }
}

/// Bytes of memory, roughly.
#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Key, Arc<Shape>> for Bytes {
    fn weight(&self, key: &Key, shape: &Arc<Shape>) -> u64 {
        /// Of an entry with its key, without what hangs on them.
        const ENTRY_BYTES: usize = 160;
        /// Of a pin, and of a source of its.
        const PIN_BYTES: usize = 96;
        const SOURCE_BYTES: usize = 64;
        let known = match &shape.known {
            Known::Nothing => 0,
            Known::Narrower(literals) => literals.len(),
            Known::Plan(placed) => {
                let pins = match &placed.shared.route.target {
                    Target::Keyed(keyed) => keyed.pins.as_slice(),
                    _ => &[],
                };
                let pins = pins.iter().map(|pin| PIN_BYTES + pin.relation.len() + pin.sources.len() * SOURCE_BYTES);
                let bound = placed.bound.as_ref().map_or(0, |bound| bound.text.len() + 4 * bound.types.len());
                size_of::<Placed>() + placed.shape.len() + pins.sum::<usize>() + bound
            }
        };
        (ENTRY_BYTES + key.shape.len() + known) as u64
    }
}

/// What the cache says of a text.
#[derive(Debug)]
pub enum Lookup {
    /// Its plan, if its literals fit.
    Plan(Arc<Placed>),
    /// It is to be planned by itself.
    Alone,
    /// Its shape is not known yet.
    Unknown,
}

/// The cache.
#[derive(Debug)]
pub struct Shapes {
    cache: Cache<Key, Arc<Shape>, Bytes>,
}

impl Shapes {
    /// For so many shapes, of so many bytes.
    pub fn new(shapes: usize, bytes: u64) -> Self {
        Shapes { cache: Cache::with_weighter(shapes, bytes, Bytes) }
    }

    /// Bytes of memory that they take, roughly.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// What is known of a text that has been taken apart.
    pub fn find(&self, scope: ScopeId, version: CatalogVersion, text: &[u8], lifted: &Lifted) -> Lookup {
        let get = |shape: &[u8]| self.cache.get(&KeyRef { scope, shape }).filter(|shape| shape.version == version);
        let Some(shape) = get(&lifted.shape) else { return Lookup::Unknown };
        let literals = match &shape.known {
            Known::Nothing => return Lookup::Alone,
            Known::Plan(placed) => return Lookup::Plan(placed.clone()),
            Known::Narrower(literals) => literals,
        };
        match get(&lifted.narrowed(text, literals)).as_deref() {
            Some(Shape { known: Known::Plan(placed), .. }) => Lookup::Plan(placed.clone()),
            Some(_) | None => Lookup::Unknown,
        }
    }

    /// Remembers what planning a text has shown of its shape. `id`: a name for the text on servers.
    pub fn learn(
        &self,
        (scope, version): (ScopeId, CatalogVersion),
        text: &[u8],
        lifted: &Lifted,
        sharing: Sharing,
        id: impl FnOnce() -> StatementId,
    ) {
        let insert =
            |shape: Box<[u8]>, known| self.cache.insert(Key { scope, shape }, Arc::new(Shape { version, known }));
        let shape = || lifted.shape.as_slice().into();
        match sharing {
            Sharing::Shared(shared, literals) => {
                let whole = literals.iter().all(|lifted| *lifted);
                let placed_by: Box<[u8]> = if whole { shape() } else { lifted.narrowed(text, &literals).into() };
                let bound = shared.finds_one_row.then(|| Bound::new(id(), lifted));
                let placed = Placed { scope, version, shape: placed_by.clone(), shared, bound };
                insert(placed_by, Known::Plan(Arc::new(placed)));
                if !whole {
                    insert(shape(), Known::Narrower(literals.into()));
                }
            }
            Sharing::Never => insert(shape(), Known::Nothing),
            Sharing::NotThis => {}
        }
    }
}
