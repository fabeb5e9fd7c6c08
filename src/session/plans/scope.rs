//! What the meaning of names and literals depends on besides the catalog, with a number for each that stands for it in the
//! keys of caches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::catalog::Catalog;
use crate::pool::settings::{SearchPath, Settings};

/// Different scopes at one time: databases times search paths. One more, and all get new numbers.
const SCOPES_MAX: usize = 10_000;

/// Bytes of all scopes' texts: statements that SET something are in them as they came.
const SCOPES_BYTES_MAX: usize = 16 << 20;

/// What the meaning of names and literals depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The database.
    pub database: String,
    /// Schemas in which names are looked up.
    pub search_path: Vec<String>,
    /// The role in force, where that matters to a plan; else empty, so that users share plans.
    pub role: String,
    /// Literals are UTF-8.
    pub utf8: bool,
    /// What the session made of [`LITERAL_SETTINGS`].
    pub literals: String,
}

/// Settings that decide what a server makes of a literal, or of a constant expression, when it parses or plans a text, and which
/// it does not look at again when it runs what it has prepared: texts prepared under others are others. *Source*: the input functions
/// of PostgreSQL 15 (datetime.c, timestamp.c, cash.c, xml.c), float.c for `float8out`, bytea.c for `byteaout`, ruleutils.c for
/// `quote_identifier`, all of which are IMMUTABLE, plancache.c, which follows
/// `search_path` and roles by itself. (`array_nulls` may have one value only.)
const LITERAL_SETTINGS: [&str; 10] = [
    "timezone",
    "timezone_abbreviations",
    "datestyle",
    "intervalstyle",
    "extra_float_digits",
    "bytea_output",
    "quote_all_identifiers",
    "lc_monetary",
    "xmloption",
    "client_encoding",
];

/// What settings make of literals, in the words in which they were made.
fn literals(settings: &Settings) -> String {
    let made = LITERAL_SETTINGS.iter().filter_map(|name| Some((name, settings.text_of(name)?)));
    made.map(|(name, text)| format!("{name}={text};")).collect()
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
        let role = settings.role().unwrap_or(user);
        let search_path = names.into_iter().map(|name| if name == "$user" { role.to_owned() } else { name }).collect();
        let role = if catalog.row_security { role.to_owned() } else { String::new() };
        Scope { database: database.to_owned(), search_path, role, utf8, literals: literals(settings) }
    }

    /// What it takes, about.
    fn bytes(&self) -> usize {
        let path = self.search_path.iter().map(|name| size_of::<String>() + name.len()).sum::<usize>();
        size_of::<Scope>() + self.database.len() + path + self.role.len() + self.literals.len()
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

/// Stands for a scope in the keys of caches; never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopeId(u64);

/// A scope with its number: equal scopes have the same one.
#[derive(Debug)]
pub struct Scoped {
    /// The number.
    pub id: ScopeId,
    /// The scope.
    pub scope: Scope,
}

/// The scopes in use.
#[derive(Debug, Default)]
pub struct Scopes {
    known: std::sync::Mutex<Known>,
    last: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    scopes: HashMap<Scope, Arc<Scoped>>,
    bytes: usize,
}

impl Scopes {
    /// A scope with its number.
    pub fn scoped(&self, scope: Scope) -> Arc<Scoped> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(scoped) = known.scopes.get(&scope) {
            return scoped.clone();
        }
        // Once as key, once as value.
        let bytes = 2 * scope.bytes();
        if known.scopes.len() >= SCOPES_MAX || known.bytes + bytes > SCOPES_BYTES_MAX {
            *known = Known::default();
        }
        let id = ScopeId(self.last.fetch_add(1, Ordering::Relaxed));
        let scoped = Arc::new(Scoped { id, scope: scope.clone() });
        known.bytes += bytes;
        known.scopes.insert(scope, scoped.clone());
        scoped
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn scopes_are_bounded_by_bytes() {
        let long = |nth: usize| Scope {
            database: "shop".to_owned(),
            search_path: Vec::new(),
            role: String::new(),
            utf8: true,
            literals: format!("timezone=SET timezone /*{}*/ = 'UTC'--{nth};", "x".repeat(1_000_000)),
        };
        let scopes = Scopes::default();
        let first = scopes.scoped(long(0)).id;
        assert_eq!(first, scopes.scoped(long(0)).id);
        let others: Vec<ScopeId> = (1..20).map(|nth| scopes.scoped(long(nth)).id).collect();
        assert!(scopes.known.lock().unwrap().bytes <= SCOPES_BYTES_MAX);
        let again = scopes.scoped(long(0)).id;
        assert!(again != first && !others.contains(&again), "a number stands for one scope only");
    }

    #[test]
    fn search_paths_are_split_as_postgresql_does() {
        assert_eq!(schemas(r#""$user", public"#), ["$user", "public"]);
        assert_eq!(schemas(r#"A, "B,""c" ,d"#), ["a", "B,\"c", "d"]);
        assert_eq!(schemas(r#""""#), Vec::<String>::new());
    }
}
