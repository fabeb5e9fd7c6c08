//! Text -> plan, from the caches that all sessions share. The hot path: what is known costs no allocation and no parse.

use std::sync::Arc;

use shardmap::{ShardId, ShardMap};

use super::compiled::Compiled;
use super::scope::{Scope, Scoped};
use super::shapes::{Lookup, Placed};
use crate::catalog::{Catalog, CatalogVersion, Oid};
use crate::counters::Tally;
use crate::plan::{Access, Destination, Literals};
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::tally::kind_of;
use crate::sql::lift::Lifted;

/// A session keeps this much memory for taking texts apart between one statement and the next.
const LIFTED_KEPT_BYTES: usize = 1024;

/// What is known of a simple query's text.
pub(in crate::session) enum Found {
    /// Where it runs.
    Placed(Access, Destination),
    /// It finds one row, on this shard. The session's literals are its.
    OneRow(ShardId, Arc<Placed>),
    /// It has been planned.
    Compiled(Arc<Compiled>),
    /// Nothing.
    Unknown,
}

impl Session {
    /// Where a simple query runs, if texts like it have been planned before; else it is planned, if others may profit.
    pub(in crate::session) fn shared(&mut self, text: &[u8]) -> Result<Found, Failure> {
        let changed = self.transaction.block().is_some_and(|block| block.changed_catalog);
        // What a failed block or one with DDL accepts is decided elsewhere.
        if changed || self.transaction.has_failed() || !self.reported.conforming_strings {
            return Ok(Found::Unknown);
        }
        let readable = std::str::from_utf8(text).ok().filter(|text| self.reported.utf8 || text.is_ascii());
        let Some(readable) = readable else { return Ok(Found::Unknown) };
        let mut lifted = std::mem::take(&mut self.lifted);
        let found = if lifted.read(text) { self.shared_lifted(readable, &lifted) } else { Ok(Found::Unknown) };
        self.lifted = lifted;
        if !matches!(found, Ok(Found::OneRow(..))) {
            self.shrink_lifted();
        }
        found
    }

    /// Gives back memory that taking a long text apart took.
    pub(in crate::session) fn shrink_lifted(&mut self) {
        self.lifted.shrink(LIFTED_KEPT_BYTES);
    }

    fn shared_lifted(&mut self, text: &str, lifted: &Lifted) -> Result<Found, Failure> {
        let version = self.catalog.version();
        let recent = match self.known_scope(version) {
            Some(scope) => self.recent.find(scope.id, version, &lifted.shape),
            None => None,
        };
        // Where PostgreSQL says something of the prepared text, the block would have failed before it sees the text itself.
        let prepares = self.transaction.is_idle();
        if let Some(placed) = recent {
            let map = &**self.map.load();
            return place(map, self.gateway.home(), placed, text, lifted, prepares, &mut self.tally);
        }
        let catalog = self.catalog.clone();
        let catalog = catalog.load();
        let scope = self.scope(&catalog);
        let plans = &self.gateway.plans;
        let placed = match plans.shapes.find(scope.id, catalog.version, text.as_bytes(), lifted) {
            Lookup::Plan(placed) => placed,
            Lookup::Alone => return Ok(Found::Unknown),
            Lookup::Unknown => {
                let compiled = plans.learn(text, lifted, &scope, &catalog, &self.gateway.rules.load());
                return Ok(if compiled.is_certain() { Found::Compiled(compiled) } else { Found::Unknown });
            }
        };
        let map = &**self.map.load();
        let found = place(map, self.gateway.home(), &placed, text, lifted, prepares, &mut self.tally);
        self.recent.keep(placed);
        found
    }

    /// What names and literals mean to the session, if nothing has changed since that was last asked.
    fn known_scope(&self, version: CatalogVersion) -> Option<&Arc<Scoped>> {
        let (of, settings, scope) = self.scope.as_ref()?;
        (*of == version && Arc::ptr_eq(settings, self.current_settings())).then_some(scope)
    }

    /// What names and literals mean to the session is what they meant when this was compiled.
    pub(in crate::session) fn is_in_scope(&mut self, compiled: &Compiled) -> bool {
        if let Some(scope) = self.known_scope(compiled.version) {
            return scope.id == compiled.scope;
        }
        let catalog = self.seen().cloned().unwrap_or_else(|| self.catalog.load().clone());
        self.scope(&catalog).id == compiled.scope
    }

    /// What names and literals mean to the session now.
    fn scope(&mut self, catalog: &Catalog) -> Arc<Scoped> {
        if let Some(scope) = self.known_scope(catalog.version) {
            return scope.clone();
        }
        let settings = self.current_settings().clone();
        let scope = Scope::new(&self.database, &self.user.server_user, catalog, &settings, self.reported.utf8);
        let scope = self.gateway.scopes.scoped(scope);
        self.scope = Some((catalog.version, settings, scope.clone()));
        scope
    }

    /// Compiles a simple query's text that shares its plan with no other, unless more is to be asked before it can be.
    pub(in crate::session) fn compile_alone(&mut self, text: &[u8]) -> Option<Arc<Compiled>> {
        if self.transaction.block().is_some_and(|block| block.changed_catalog) {
            return None;
        }
        let version = self.catalog.version();
        if let Some(scope) = self.known_scope(version)
            && let Some(compiled) = self.recent.find_text(scope.id, version, text)
        {
            return Some(compiled.clone());
        }
        let compiled = self.compile(text, &[]);
        if !compiled.is_certain() {
            return None;
        }
        if *compiled.text == *text
            && !compiled.fleeting
            && let Some(scope) = self.known_scope(compiled.version).map(|scope| scope.id)
        {
            self.recent.keep_text(scope, &compiled);
        }
        Some(compiled)
    }

    /// Compiles a text in the session's scope.
    pub(in crate::session) fn compile(&mut self, text: &[u8], types: &[Oid]) -> Arc<Compiled> {
        let own_pid = asks_for_own_pid(text).then(|| format!("SELECT {} AS pg_backend_pid", self.cancel.process_id));
        let text = own_pid.as_deref().map_or(text, str::as_bytes);
        if let Some(seen) = self.seen().cloned() {
            return self.compile_by(text, types, &seen);
        }
        let catalog = self.catalog.clone();
        let catalog = catalog.load();
        self.compile_by(text, types, &catalog)
    }

    fn compile_by(&mut self, text: &[u8], types: &[Oid], catalog: &Catalog) -> Arc<Compiled> {
        let scope = self.scope(catalog);
        self.gateway.plans.compile(text, types, &scope, catalog, &self.gateway.rules.load())
    }
}

/// Where a text runs whose shape is known. `prepares`: by a prepared statement, if it finds one row.
fn place(
    map: &ShardMap,
    home: ShardId,
    placed: &Arc<Placed>,
    text: &str,
    lifted: &Lifted,
    prepares: bool,
    tally: &mut Tally,
) -> Result<Found, Failure> {
    let literals = Literals { text, literals: &lifted.literals };
    let route = &placed.shared.route;
    let Some(destination) = placed.shared.resolve(map, home, &literals) else {
        return Ok(Found::Unknown);
    };
    let destination = destination?;
    tally.query(kind_of(route, &destination));
    Ok(match destination {
        // A comment may be meant for who looks at the server.
        Destination::One(shard) if prepares && placed.bound.is_some() && !lifted.left_comments_out(text.as_bytes()) => {
            Found::OneRow(shard, placed.clone())
        }
        destination => Found::Placed(route.access, destination),
    })
}

/// `SELECT pg_backend_pid()` and nothing else: drivers compare the answer with the process id they were told at start.
fn asks_for_own_pid(text: &[u8]) -> bool {
    const LONGEST: usize = 64;
    if text.len() > LONGEST || memchr::memchr(b'(', text).is_none() {
        return false;
    }
    let words: Vec<u8> = text.iter().filter(|byte| !byte.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect();
    matches!(
        words.strip_suffix(b";").unwrap_or(&words),
        b"selectpg_backend_pid()" | b"selectpg_catalog.pg_backend_pid()"
    )
}
