//! The catalog as a block that ran DDL sees it: nobody else does before it commits, so its own server is asked.
//!
//! Asked once after each statement that changed something, by the first statement whose meaning may depend on it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::catalog::{self, Catalog, CatalogVersion, Oid, Relation, RelationKind, TextRow};
use crate::execute::harvest::Answer;
use crate::plan::Plan;
use crate::pool::expect::Audience;
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::plans::compiled::Compiled;
use crate::session::type_numbers::{split_words, words};
use crate::wire::fields::text_row;
use crate::wire::reply::Report;

impl Session {
    /// Whether what was compiled under this version is still true.
    pub(in crate::session) fn is_current(&self, version: CatalogVersion) -> bool {
        match self.transaction.block() {
            Some(block) if block.changed_catalog => block.seen.as_ref().is_some_and(|seen| seen.version == version),
            _ => self.catalog.load().version == version,
        }
    }

    /// What the block sees, if it has been asked for.
    pub(in crate::session) fn seen(&self) -> Option<&Arc<Catalog>> {
        self.transaction.block().and_then(|block| block.seen.as_ref())
    }

    /// Compiles a text; if it is about what the block may have changed, by what the block sees.
    ///
    /// # Errors
    /// When the block's server cannot be asked. The block has failed then.
    pub(in crate::session) async fn compile_seen(
        &mut self,
        text: &[u8],
        types: &[Oid],
    ) -> Result<Arc<Compiled>, Failure> {
        let compiled = self.compile(text, types);
        let stale = self.transaction.block().is_some_and(|block| block.changed_catalog && block.seen.is_none());
        if !stale || self.transaction.has_failed() || compiled.plan().is_some_and(is_about_the_session) {
            return Ok(compiled);
        }
        Box::pin(self.ask_catalog()).await?;
        Ok(self.compile(text, types))
    }

    /// What a text names, or may name through a view, that the block made, changed or locked: a merge server, which is outside the block, does
    /// not know it as the block does, or waits for the block.
    pub(in crate::session) fn uncommitted(&self, text: &[u8]) -> Option<String> {
        let block = self.transaction.block()?;
        if block.seen.is_none() && block.locked.is_empty() {
            return None;
        }
        let base = self.catalog.load();
        let seen = block.seen.as_ref().unwrap_or(&base);
        changed_name(&words(text), &block.locked, &base, seen).map(str::to_owned)
    }

    /// Asks the block's server on the home shard for the catalog.
    async fn ask_catalog(&mut self) -> Result<(), Failure> {
        self.drain().await?;
        let home = self.gateway.home();
        let Some(at) = self.link.position(home) else { return Ok(()) };
        self.link.servers[at].server.send_query(catalog::block_questions().as_bytes(), Audience::Gateway);
        let answers = self.answers().await?;
        let rows = |answer: &Answer| answer.iter().map(|body| TextRow(text_row(body))).collect();
        let answers = answers.answers(at).iter().map(rows).collect();
        let base = self.catalog.current();
        let (version, rules) = (self.catalog.private_version(), self.catalog.rules());
        let seen = catalog::seen_in_block(&base, version, answers, rules)
            .map_err(|error| Report::error(error.sqlstate(), error.to_string()))?;
        if let Some(block) = self.transaction.block_mut() {
            block.seen = Some(Arc::new(seen));
        }
        Ok(())
    }
}

/// A relation that a statement of these words may read and that the block has made, may have changed, or has locked by statements of those
/// words: words are compared, so that it may be one that the statement does not mean, but none is missed.
fn changed_name<'s>(
    words: &HashSet<String>,
    locked: &HashSet<String>,
    base: &Catalog,
    seen: &'s Catalog,
) -> Option<&'s str> {
    let before = |relation: &Relation| base.schemas.get(&relation.schema).and_then(|schema| schema.get(&relation.name));
    let all = |catalog: &'s Catalog| catalog.schemas.values().flat_map(HashMap::values);
    let named_in = |words: &HashSet<String>, relation: &Relation| {
        // Source: manual of PostgreSQL 15, 4.1.1: U&"..." are identifiers with escapes.
        let name = relation.name.to_lowercase();
        words.contains("u") || split_words(&name).all(|word| words.contains(word))
    };
    // A partitioned table is locked with its partitions, a parent with its children.
    let mut families: HashSet<Oid> = HashSet::new();
    if !locked.is_empty() {
        for catalog in [base, seen] {
            let relations = catalog.schemas.values().flat_map(HashMap::values);
            let named = relations.filter(|relation| named_in(locked, relation));
            families.extend(named.filter_map(|relation| relation.family));
        }
    }
    // CASCADE and DROP lock what is not named.
    let may_be_locked = |relation: &Relation| {
        relation.kind != RelationKind::System
            && !locked.is_empty()
            && (locked.contains("cascade")
                || locked.contains("drop")
                || named_in(locked, relation)
                || relation.family.is_some_and(|family| families.contains(&family)))
    };
    // What is read through a view may have changed without being named.
    let may_have_changed = |relation: &Relation| {
        matches!(relation.kind, RelationKind::View { .. })
            || before(relation).is_none_or(|before| **before != *relation)
            || may_be_locked(relation)
    };
    all(seen)
        .find(|relation| named_in(words, relation) && may_have_changed(relation))
        .map(|relation| relation.name.as_str())
}

/// It means the same whatever relations there are.
fn is_about_the_session(plan: &Plan) -> bool {
    match plan {
        Plan::Empty | Plan::Transaction(_) | Plan::Setting(_) | Plan::SettingQuery(_) | Plan::Discard(_) => true,
        Plan::Rows(_)
        | Plan::CopyIn(_)
        | Plan::Everywhere(_)
        | Plan::Prepared(_)
        | Plan::Cursor(_)
        | Plan::Refuse(_) => false,
    }
}
