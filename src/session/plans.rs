//! Compiled statements, shared by all clients: text -> plans, made once and bounded in number.
//!
//! What a plan depends on is in its key (database, search path, declared types, whether literals are UTF-8) or checked at
//! each use (catalog version). The map and parameter values are looked at when the plan is resolved, so they may change.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use super::described::Described;
use crate::catalog::{Catalog, CatalogVersion, Oid, Rules};
use crate::plan::{self, Gather, Plan, Planned, Target};
use crate::pool::expect::StatementId;
use crate::pool::settings::{SearchPath, Settings};

/// Texts longer than this are compiled each time: they hold data rather than a statement that comes again.
const CACHED_TEXT_BYTES: usize = 64 * 1024;

/// What the meaning of names and literals depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The database.
    pub database: String,
    /// Schemas in which names are looked up.
    pub search_path: Vec<String>,
    /// Literals are UTF-8.
    pub utf8: bool,
}

impl Scope {
    /// Of a session.
    pub fn new(database: &str, user: &str, catalog: &Catalog, settings: &Settings, utf8: bool) -> Self {
        let default = || catalog.search_paths.get(user).or_else(|| catalog.search_paths.get("")).map(String::as_str);
        let names = match settings.search_path() {
            Some(SearchPath::Schemas(schemas)) => schemas.to_vec(),
            Some(SearchPath::Text(text)) => schemas(text),
            None => schemas(default().unwrap_or("\"$user\", public")),
        };
        let search_path = names.into_iter().map(|name| if name == "$user" { user.to_owned() } else { name }).collect();
        Scope { database: database.to_owned(), search_path, utf8 }
    }
}

/// The identifiers in a list such as `"$user", public`. *Source*: varlena.c, SplitIdentifierString: unquoted ones are
/// folded to lower case, doubled quotes stand for one.
pub fn schemas(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut name = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            while let Some(end) = rest.find('"') {
                name.push_str(&rest[..end]);
                rest = &rest[end + 1..];
                let Some(again) = rest.strip_prefix('"') else { break };
                name.push('"');
                rest = again;
            }
            rest = rest.find(',').map_or("", |comma| &rest[comma + 1..]);
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            name = rest[..end].trim_end().to_lowercase();
            rest = rest.get(end + 1..).unwrap_or("");
        }
        if !name.is_empty() {
            names.push(name);
        }
        rest = rest.trim_start();
    }
    names
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
    /// The catalog it was made under.
    pub version: CatalogVersion,
    /// Its statements; `None` when it is not SQL: PostgreSQL shall say what is wrong with it.
    pub statements: Option<Vec<Planned>>,
}

impl Compiled {
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
    scope: Arc<Scope>,
    types: Box<[Oid]>,
    text: Box<[u8]>,
}

#[derive(Hash)]
struct KeyRef<'a> {
    scope: &'a Arc<Scope>,
    types: &'a [Oid],
    text: &'a [u8],
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.text == &*key.text
            && self.types == &*key.types
            && (Arc::ptr_eq(self.scope, &key.scope) || *self.scope == key.scope)
    }
}

/// The cache.
#[derive(Debug)]
pub struct Plans {
    cache: Cache<Key, Arc<Compiled>>,
    /// By the address of the plan, which each entry keeps alive.
    described: Cache<usize, Arc<Described>>,
    last: AtomicU64,
}

impl Plans {
    /// Keeps `plans_max` compiled texts.
    pub fn new(plans_max: usize) -> Self {
        Plans { cache: Cache::new(plans_max), described: Cache::new(plans_max), last: AtomicU64::new(0) }
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

    /// The compiled text, from the cache if it is still true.
    pub fn compile(
        &self,
        text: &[u8],
        types: &[Oid],
        scope: &Arc<Scope>,
        catalog: &Catalog,
        rules: &Rules,
    ) -> Arc<Compiled> {
        let key = KeyRef { scope, types, text };
        if let Some(found) = self.cache.get(&key).filter(|found| found.version == catalog.version) {
            return found;
        }
        let compiled = Arc::new(self.compile_anew(text, types, scope, catalog, rules));
        if text.len() <= CACHED_TEXT_BYTES {
            self.cache.insert(Key { scope: scope.clone(), types: types.into(), text: text.into() }, compiled.clone());
        }
        compiled
    }

    fn compile_anew(&self, text: &[u8], types: &[Oid], scope: &Scope, catalog: &Catalog, rules: &Rules) -> Compiled {
        let (readable, utf8) = readable(text);
        let context = plan::Context {
            catalog,
            rules,
            search_path: &scope.search_path,
            declared_types: types,
            utf8: scope.utf8 && utf8,
        };
        let statements = plan::compile(&readable, &context).ok();
        let id = self.next_id();
        Compiled { id, text: text.into(), types: types.into(), version: catalog.version, statements }
    }
}

/// The text as UTF-8 with every byte in its place, and whether it was UTF-8. Bytes of other encodings become `$`, which no
/// key or known name contains, so that nothing is proved from them.
fn readable(text: &[u8]) -> (std::borrow::Cow<'_, str>, bool) {
    match std::str::from_utf8(text) {
        Ok(text) => (text.into(), true),
        Err(_) => {
            let ascii = text.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '$' });
            (ascii.collect::<String>().into(), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_paths_are_split_as_postgresql_does() {
        assert_eq!(schemas(r#""$user", public"#), ["$user", "public"]);
        assert_eq!(schemas(r#"A, "B,""c" ,d"#), ["a", "B,\"c", "d"]);
        assert_eq!(schemas(r#""""#), Vec::<String>::new());
    }

    #[test]
    fn other_encodings_keep_every_byte_in_its_place() {
        let (text, utf8) = readable(b"select '\xe9' ");
        assert_eq!((text.as_ref(), utf8), ("select '$' ", false));
    }
}
