//! Compiled statements, shared by all clients: text -> plans, made once and bounded in number.
//!
//! What a plan depends on is in its key (database, search path, declared types, whether literals are UTF-8) or checked at
//! each use (catalog version). The map and parameter values are looked at when the plan is resolved, so they may change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use super::scope::{Scope, ScopeId, Scoped};
use super::shapes::Shapes;
use crate::catalog::{Catalog, CatalogVersion, Oid, Rules};
use crate::plan::unreadable::UNREADABLE;
use crate::plan::{self, Gather, Plan, Planned, Sharing, Target};
use crate::pool::expect::{Inferred, StatementId};
use crate::session::gather::described::Described;
use crate::sql::lift::Lifted;
use crate::sql::{clock, tokens};

/// Texts longer than this are compiled each time: they hold data rather than a statement that comes again.
const CACHED_TEXT_BYTES: usize = 64 * 1024;

/// Memory that a plan may take on average: a text of a kilobyte, twice, and what was made of it.
const PLAN_BYTES: u64 = 4 * 1024;

/// What a statement's binary values hold of numbers of types, by the home shard's catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Embeds {
    /// Parameters whose values do, with their types.
    pub parameters: Vec<(usize, Oid)>,
    /// Values of some column do.
    pub rows: bool,
}

/// A compiled text.
#[derive(Debug)]
pub struct Compiled {
    /// Names the text on servers.
    pub id: StatementId,
    /// The text as the client sent it.
    pub text: Box<[u8]>,
    /// Types declared in Parse.
    pub types: Box<[Oid]>,
    /// The types of all parameters, if some are not declared. They stay what they were when the statement was first parsed: clients
    /// send values of them.
    pub inferred: Option<Inferred>,
    /// The catalog it was made under.
    pub version: CatalogVersion,
    /// What names and literals meant.
    pub scope: ScopeId,
    /// Its statements; `None` when it is not SQL: PostgreSQL shall say what is wrong with it.
    pub statements: Option<Vec<Planned>>,
    /// It has constants that mean the current time: each Parse is to read them anew.
    pub fleeting: bool,
    /// Which of its values hold numbers of types, once asked because shards have different ones.
    pub embeds: OnceLock<Embeds>,
}

impl Compiled {
    /// How many statements it has.
    pub fn count(&self) -> usize {
        self.statements.as_ref().map_or(0, Vec::len)
    }

    /// The one statement in it. An empty text is an empty statement; several are refused by PostgreSQL in Parse.
    pub fn plan(&self) -> Option<&Plan> {
        match self.statements.as_deref() {
            Some([]) => Some(&Plan::Empty),
            Some([Planned { plan, .. }]) => Some(plan),
            Some(_) | None => None,
        }
    }

    /// It finds one row by its primary key, which parameters give.
    pub fn finds_one_row(&self) -> bool {
        matches!(self.statements.as_deref(), Some([Planned { finds_one_row: true, .. }])) && !self.fleeting
    }

    /// It is SQL and every relation in it is known.
    pub fn is_certain(&self) -> bool {
        let unknown = |planned: &Planned| match &planned.plan {
            Plan::Rows(route) => matches!(route.target, Target::Unknown),
            _ => false,
        };
        self.statements.as_deref().is_some_and(|statements| !statements.iter().any(unknown))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: ScopeId,
    types: Box<[Oid]>,
    text: Box<[u8]>,
}

#[derive(Hash)]
struct KeyRef<'a> {
    scope: ScopeId,
    types: &'a [Oid],
    text: &'a [u8],
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.scope == key.scope && self.text == &*key.text && self.types == &*key.types
    }
}

/// Bytes of memory, roughly.
#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Key, Arc<Compiled>> for Bytes {
    fn weight(&self, key: &Key, compiled: &Arc<Compiled>) -> u64 {
        /// Of an entry without what hangs on it, and of a statement.
        const ENTRY_BYTES: usize = 256;
        const STATEMENT_BYTES: usize = 512;
        let statements = compiled.statements.as_ref().map_or(0, Vec::len);
        (ENTRY_BYTES + 2 * key.text.len() + 8 * key.types.len() + STATEMENT_BYTES * statements) as u64
    }
}

/// The cache.
#[derive(Debug)]
pub struct Plans {
    cache: Cache<Key, Arc<Compiled>, Bytes>,
    /// By the address of the plan, which each entry keeps alive.
    described: Cache<usize, Arc<Described>>,
    /// Plans that many texts share.
    pub shapes: Shapes,
    last: AtomicU64,
}

impl Plans {
    /// Keeps about `plans_max` compiled texts, and as many shapes; fewer if they are long.
    pub fn new(plans_max: usize) -> Self {
        let bytes = PLAN_BYTES.saturating_mul(plans_max as u64);
        Plans {
            cache: Cache::with_weighter(plans_max, bytes, Bytes),
            shapes: Shapes::new(plans_max, bytes),
            described: Cache::new(plans_max),
            last: AtomicU64::new(0),
        }
    }

    /// What servers have said of a plan's texts.
    pub fn described(&self, gather: &Arc<Gather>) -> Option<Arc<Described>> {
        self.described.get(&Arc::as_ptr(gather).addr())
    }

    /// Keeps what servers have said.
    pub fn keep_described(&self, described: Arc<Described>) {
        self.described.insert(Arc::as_ptr(&described.gather).addr(), described);
    }

    /// A name for a text on servers.
    pub fn next_id(&self) -> StatementId {
        StatementId(self.last.fetch_add(1, Ordering::Relaxed))
    }

    /// Bytes of memory that plans take, roughly.
    pub fn bytes(&self) -> u64 {
        self.cache.weight() + self.shapes.bytes()
    }

    /// The compiled text, from the cache if it is still true.
    pub fn compile(
        &self,
        text: &[u8],
        types: &[Oid],
        scope: &Scoped,
        catalog: &Catalog,
        rules: &Rules,
    ) -> Arc<Compiled> {
        let key = KeyRef { scope: scope.id, types, text };
        if let Some(found) = self.cache.get(&key).filter(|found| found.version == catalog.version) {
            return found;
        }
        if let Some((text, planned)) = plan::shown(text) {
            return Arc::new(self.compiled(text.as_bytes(), types, (scope.id, catalog), Some(vec![planned])));
        }
        let (readable, utf8) = readable(text);
        let context = plan::Context {
            catalog,
            rules,
            search_path: &scope.scope.search_path,
            role: &scope.scope.role,
            declared_types: types,
            utf8: scope.scope.utf8 && utf8,
        };
        let mut statements = timed(|| plan::compile(&readable, &context)).ok();
        if !utf8 {
            statements.iter_mut().for_each(|statements| plan::unreadable::refuse(statements));
        }
        let compiled = Arc::new(self.compiled(text, types, (scope.id, catalog), statements));
        self.keep(scope.id, &compiled);
        compiled
    }

    /// Compiles a text without parameters whose shape is not known, so that the shape is known then.
    pub fn learn(
        &self,
        text: &str,
        lifted: &Lifted,
        scope: &Scoped,
        catalog: &Catalog,
        rules: &Rules,
    ) -> Arc<Compiled> {
        if let Some((text, planned)) = plan::shown(text.as_bytes()) {
            return Arc::new(self.compiled(text.as_bytes(), &[], (scope.id, catalog), Some(vec![planned])));
        }
        let Scope { search_path, role, utf8, .. } = &scope.scope;
        let context = plan::Context { catalog, rules, search_path, role, declared_types: &[], utf8: *utf8 };
        let (statements, sharing) = match timed(|| plan::compile_shared(text, &lifted.literals, &context)) {
            Ok((statements, sharing)) => (Some(statements), sharing),
            Err(_) => (None, Sharing::Never),
        };
        let compiled = Arc::new(self.compiled(text.as_bytes(), &[], (scope.id, catalog), statements));
        if !matches!(sharing, Sharing::Shared(..)) {
            self.keep(scope.id, &compiled);
        }
        self.shapes.learn((scope.id, catalog.version), text.as_bytes(), lifted, sharing, || self.next_id());
        compiled
    }

    fn compiled(
        &self,
        text: &[u8],
        types: &[Oid],
        (scope, catalog): (ScopeId, &Catalog),
        statements: Option<Vec<Planned>>,
    ) -> Compiled {
        let readable = readable(text).0;
        Compiled {
            id: self.next_id(),
            text: text.into(),
            types: types.into(),
            inferred: infers(&readable, types).then(Inferred::default),
            version: catalog.version,
            scope,
            statements,
            fleeting: clock::has_moment(&readable),
            embeds: OnceLock::new(),
        }
    }

    fn keep(&self, scope: ScopeId, compiled: &Arc<Compiled>) {
        if compiled.text.len() <= CACHED_TEXT_BYTES && !compiled.fleeting {
            let key = Key { scope, types: compiled.types.clone(), text: compiled.text.clone() };
            self.cache.insert(key, compiled.clone());
        }
    }
}

/// It has parameters without a declared type.
fn infers(text: &str, types: &[Oid]) -> bool {
    // The lexer is to be given something.
    let last = || tokens::parameters(&format!("{text};")).into_iter().max();
    text.contains('$') && (types.contains(&0) || last().is_some_and(|last| last >= types.len()))
}

/// Planning, with the time it takes for the metrics.
fn timed<T>(work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let made = work();
    metrics::histogram!("pgbraid_planning_seconds").record(begun.elapsed().as_secs_f64());
    made
}

/// The text as UTF-8 with every byte in its place, and whether it was UTF-8. Bytes of other encodings become `$`, which no
/// key or known name contains, so that nothing is proved from them.
fn readable(text: &[u8]) -> (std::borrow::Cow<'_, str>, bool) {
    match std::str::from_utf8(text) {
        Ok(text) => (text.into(), true),
        Err(_) => {
            let ascii = text.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { UNREADABLE });
            (ascii.collect::<String>().into(), false)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::session::plans::scope::Scopes;
    use crate::session::plans::shapes::Lookup;

    fn named(schema: &str) -> Scope {
        Scope {
            database: "shop".to_owned(),
            search_path: vec![schema.to_owned()],
            role: String::new(),
            utf8: true,
            literals: String::new(),
        }
    }

    fn public() -> Arc<Scoped> {
        Scopes::default().scoped(named("public"))
    }

    fn learn(plans: &Plans, text: &str, scope: &Scoped, catalog: &Catalog) {
        let mut lifted = Lifted::default();
        if lifted.read(text.as_bytes()) {
            plans.learn(text, &lifted, scope, catalog, &Rules::default());
        } else {
            plans.compile(text.as_bytes(), &[], scope, catalog, &Rules::default());
        }
    }

    #[test]
    fn a_flood_of_texts_of_their_own_stays_within_its_bytes() {
        let (plans, scope, catalog) = (Plans::new(40), public(), Catalog::default());
        for nth in 0..150 {
            // Of a shape each; without a literal; with one that stays in the shape.
            learn(&plans, &format!("SELECT {} AS a{nth}", "1 + ".repeat(nth) + "1"), &scope, &catalog);
            learn(&plans, &format!("SELECT current_date AS {}{nth}", "a".repeat(4_000)), &scope, &catalog);
            learn(&plans, &format!("SELECT 1 WHERE 1 = 1 LIMIT {nth}"), &scope, &catalog);
            assert!(plans.bytes() <= 2 * 40 * PLAN_BYTES, "{} bytes after {nth}", plans.bytes());
        }
        assert!(plans.bytes() > 0);
    }

    #[test]
    fn a_shape_is_forgotten_with_its_catalog_and_never_known_in_another_scope() {
        let plans = Plans::new(100);
        let scopes = Scopes::default();
        let scope = |name: &str| scopes.scoped(named(name));
        let (text, mut lifted) = ("SELECT 1 WHERE 2 = 3", Lifted::default());
        assert!(lifted.read(text.as_bytes()));
        let catalog = Catalog { version: CatalogVersion(1), ..Catalog::default() };
        plans.learn(text, &lifted, &scope("a"), &catalog, &Rules::default());
        let known = |scope: &Scoped, version| {
            matches!(plans.shapes.find(scope.id, CatalogVersion(version), text.as_bytes(), &lifted), Lookup::Plan(_))
        };
        assert!(known(&scope("a"), 1));
        assert!(!known(&scope("a"), 2));
        assert!(!known(&scope("b"), 1));
        assert_eq!(scope("a").id, scope("a").id);
    }

    #[test]
    fn other_encodings_keep_every_byte_in_its_place() {
        let (text, utf8) = readable(b"select '\xe9' ");
        assert_eq!((text.as_ref(), utf8), ("select '$' ", false));
    }
}
