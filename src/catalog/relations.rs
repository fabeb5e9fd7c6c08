//! Relations as the rows of a shard's catalogs have them, put together. What only all of them say together is concluded here: partitions follow
//! their root, keys of a nondeterministic collation cannot be hashed, triggers, rules and actions of foreign keys reach other tables. By which
//! column a table is sharded, if by any, `rules` decides. `load` hands in the rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::elsewhere::Elsewhere;
use super::load::LoadError;
use super::rows::TextRow;
use super::{Column, ColumnDefault, Oid, Relation, RelationKind, Rules, Stamps};

/// Relations half read, by `pg_class.oid`.
#[derive(Default)]
pub(super) struct Relations {
    relations: HashMap<Oid, Raw>,
    /// `pg_inherits`: partitions and legacy inheritance alike.
    parents: HashMap<Oid, Vec<Oid>>,
    /// Rows of `questions::CASCADES`.
    cascades: Vec<(Oid, Oid)>,
}

/// A relation as the catalogs have it.
struct Raw {
    schema: String,
    name: String,
    relkind: char,
    definition: Option<String>,
    /// Of a view with its owner's rights.
    owner: Option<String>,
    rewrites_rows: bool,
    /// Of its triggers that touch nothing but the row: their bodies; of those in C, how they are called; of those built in, nothing.
    stamps: Vec<String>,
    /// Not all of these are built into PostgreSQL.
    stamps_freely: bool,
    columns: Vec<Column>,
    primary_key: Vec<String>,
    /// Names of columns in whose collation different texts can be equal.
    nondeterministic: Vec<String>,
}

impl Raw {
    /// The definition of a materialized view that the gateway refreshes: it reads what that has gathered.
    fn materialized(&self) -> Option<&str> {
        self.definition.as_deref().filter(|text| self.relkind == 'm' && text.contains("pgbraid.refreshed()"))
    }

    /// What its own triggers make of it.
    fn stamps(&self) -> Stamps {
        match (self.stamps.is_empty(), self.stamps_freely) {
            (true, _) => Stamps::None,
            (false, false) => Stamps::Alike,
            (false, true) => Stamps::Freely,
        }
    }

    /// A trigger names the column that says where the row lives; it may change it.
    fn may_stamp_key(&self, kind: Option<&RelationKind>) -> bool {
        let Some(RelationKind::Sharded { key, .. }) = kind else { return false };
        let name = self.columns.get(*key).map(|column| column.name.to_lowercase()).unwrap_or_default();
        let plain = !name.is_empty() && name.chars().all(is_word);
        let names = |body: &String| body.split(|c| !is_word(c)).any(|word| word == name);
        self.stamps.iter().any(|body| !body.is_empty() && (!plain || names(body)))
    }
}

impl Relations {
    /// A row of `questions::RELATIONS`.
    pub(super) fn add(&mut self, row: &TextRow) -> Result<(), LoadError> {
        let raw = Raw {
            schema: row.get(1)?,
            name: row.get(2)?,
            relkind: row.get(3)?,
            definition: row.get(4)?,
            rewrites_rows: row.get(5)?,
            columns: Vec::new(),
            primary_key: row.get(6)?,
            stamps: row.get(7)?,
            owner: row.get(8)?,
            stamps_freely: row.get(9)?,
            nondeterministic: Vec::new(),
        };
        self.relations.insert(row.get(0)?, raw);
        Ok(())
    }

    /// A row of `questions::INHERITANCE`.
    pub(super) fn add_parent(&mut self, row: &TextRow) -> Result<(), LoadError> {
        self.parents.entry(row.get(0)?).or_default().push(row.get(1)?);
        Ok(())
    }

    /// A row of `questions::CASCADES`.
    pub(super) fn add_cascade(&mut self, row: &TextRow) -> Result<(), LoadError> {
        self.cascades.push((row.get(0)?, row.get(1)?));
        Ok(())
    }

    /// A row of `questions::COLUMNS`.
    pub(super) fn add_column(&mut self, row: &TextRow) -> Result<(), LoadError> {
        let Some(raw) = self.relations.get_mut(&row.get::<Oid>(0)?) else { return Ok(()) };
        let generated: bool = row.get(4)?;
        let from_sequence: bool = row.get(5)?;
        let expression: Option<String> = row.get(6)?;
        let default = match expression {
            _ if generated => ColumnDefault::None,
            _ if from_sequence => ColumnDefault::Sequence,
            Some(expression) => ColumnDefault::Expression(expression),
            None => ColumnDefault::None,
        };
        let name: String = row.get(1)?;
        if !row.get::<bool>(7)? {
            raw.nondeterministic.push(name.clone());
        }
        let (type_oid, typmod) = (row.get(2)?, row.get(3)?);
        let type_name: Option<String> = row.get(8)?;
        let (draws, always, collation, bytewise) = (row.get(9)?, row.get(10)?, row.get(11)?, row.get(12)?);
        let identity = row.get(13)?;
        let type_name = type_name.unwrap_or_default();
        raw.columns.push(Column {
            name,
            type_oid,
            typmod,
            default,
            generated,
            type_name,
            draws,
            always,
            identity,
            collation,
            bytewise,
        });
        Ok(())
    }

    /// By schema and name, each with its kind.
    pub(super) fn finish(
        self,
        rules: &Rules,
        elsewhere: &Elsewhere,
    ) -> HashMap<String, HashMap<String, Arc<Relation>>> {
        let cascading = self.cascading();
        let kinds: HashMap<Oid, RelationKind> =
            self.relations.iter().map(|(oid, raw)| (*oid, self.kind(*oid, raw, rules))).collect();
        let rewriting = self.rewriting(elsewhere, &kinds);
        let stamping = self.stamping(&kinds);
        let heirs = self.heirs();
        let families = self.families();
        let mut schemas: HashMap<String, HashMap<String, Arc<Relation>>> = HashMap::new();
        for (oid, raw) in self.relations {
            let materialized = raw.materialized().map(str::to_owned);
            let Raw { schema, name, columns, primary_key, .. } = raw;
            let kind = kinds.get(&oid).cloned().unwrap_or(RelationKind::Home);
            let rewrites_rows = rewriting.contains(&oid);
            let guarded = elsewhere.guarded(oid, &kinds);
            let relation = Relation {
                schema: schema.clone(),
                name: name.clone(),
                kind,
                columns,
                primary_key,
                cascades: cascading.contains(&oid),
                rewrites_rows,
                stamps: stamping.get(&oid).copied().unwrap_or(Stamps::None),
                has_heirs: heirs.contains(&oid),
                is_child: self.parents.contains_key(&oid),
                family: families.get(&oid).copied(),
                exempt: elsewhere.exempt(oid),
                guarded,
                materialized,
            };
            schemas.entry(schema).or_default().insert(name, Arc::new(relation));
        }
        schemas
    }

    /// Relations whose rows, or those of their partitions and children, foreign keys with actions refer to.
    fn cascading(&self) -> HashSet<Oid> {
        let referenced = self.cascades.iter().map(|(referenced, _)| *referenced);
        referenced.flat_map(|oid| self.ancestors(oid).into_iter().chain([oid])).collect()
    }

    /// Relations a write to which may meet triggers or rules.
    fn rewriting(&self, elsewhere: &Elsewhere, kinds: &HashMap<Oid, RelationKind>) -> HashSet<Oid> {
        let mut rewriting = HashSet::new();
        let rewrites = |(oid, raw): &(&Oid, &Raw)| {
            raw.rewrites_rows || elsewhere.is_written(**oid) || raw.may_stamp_key(kinds.get(*oid))
        };
        let mut next: Vec<Oid> = self.relations.iter().filter(rewrites).map(|(oid, _)| *oid).collect();
        while let Some(oid) = next.pop() {
            if rewriting.insert(oid) {
                // A row inserted into the root meets the triggers of the partition it ends up in.
                next.extend(self.ancestors(oid));
                let cascading = self.cascades.iter().filter(|(_, referencing)| *referencing == oid);
                next.extend(cascading.map(|(referenced, _)| *referenced));
            }
        }
        rewriting
    }

    /// Relations a write to which may meet triggers that touch nothing but the row.
    fn stamping(&self, kinds: &HashMap<Oid, RelationKind>) -> HashMap<Oid, Stamps> {
        let mut stamping: HashMap<Oid, Stamps> = HashMap::new();
        let is_reference = |oid: &Oid| kinds.get(oid) == Some(&RelationKind::Reference);
        let mut next: Vec<(Oid, Stamps)> = self.relations.iter().map(|(oid, raw)| (*oid, raw.stamps())).collect();
        while let Some((oid, stamps)) = next.pop() {
            let known = stamping.entry(oid).or_insert(Stamps::None);
            if stamps > *known {
                *known = stamps;
                next.extend(self.ancestors(oid).into_iter().map(|ancestor| (ancestor, stamps)));
                // Rows of a reference table that an action changes are changed on every shard.
                let cascading =
                    self.cascades.iter().filter(|(_, referencing)| *referencing == oid && is_reference(&oid));
                next.extend(cascading.map(|(referenced, _)| (*referenced, stamps)));
            }
        }
        stamping
    }

    /// Relations from which others inherit; not the partitioned ones.
    fn heirs(&self) -> HashSet<Oid> {
        let partitioned = |oid: &Oid| self.relations.get(oid).is_some_and(|raw| raw.relkind == 'p');
        self.parents.values().flatten().filter(|oid| !partitioned(oid)).copied().collect()
    }

    /// Of relations that inherit from one another, partitions too: the least number among all to which this leads.
    fn families(&self) -> HashMap<Oid, Oid> {
        let mut near: HashMap<Oid, Vec<Oid>> = HashMap::new();
        for (child, parents) in &self.parents {
            for parent in parents {
                near.entry(*child).or_default().push(*parent);
                near.entry(*parent).or_default().push(*child);
            }
        }
        let mut families = HashMap::new();
        let mut firsts: Vec<Oid> = near.keys().copied().collect();
        firsts.sort_unstable();
        for first in firsts {
            let mut next = if families.contains_key(&first) { Vec::new() } else { vec![first] };
            while let Some(oid) = next.pop() {
                if families.insert(oid, first).is_none() {
                    next.extend(near.get(&oid).into_iter().flatten());
                }
            }
        }
        families
    }

    /// Where a relation's rows live.
    fn kind(&self, oid: Oid, raw: &Raw, rules: &Rules) -> RelationKind {
        if is_system(&raw.schema) {
            return RelationKind::System;
        }
        let ruled = rules.rule(&raw.schema, &raw.name).is_some();
        match raw.relkind {
            'v' => view(raw.definition.as_deref().unwrap_or_default(), raw.owner.clone()),
            'S' => RelationKind::Sequence,
            // The data of one foreign server, not of a shard: one shard's way to it suffices.
            'f' if !ruled && !self.parents.contains_key(&oid) => RelationKind::Home,
            'm' if raw.materialized().is_some() => RelationKind::Home,
            'm' if !ruled => RelationKind::Unusable {
                reason: format!(
                    "materialized view \"{}\" holds on each shard what that shard's own rows gave; if that is the home \
                     shard's rows only, say so in the configuration: [tables.{}] kind = \"home\"",
                    raw.name, raw.name
                ),
            },
            _ => self.table(oid, raw, rules),
        }
    }

    /// As [`Rules::kind`], but partitions and other children live where their root does.
    fn table(&self, oid: Oid, raw: &Raw, rules: &Rules) -> RelationKind {
        let ancestors = self.ancestors(oid);
        let roots = ancestors.iter().filter(|ancestor| !self.parents.contains_key(ancestor));
        let mut kinds: Vec<RelationKind> = roots
            .filter_map(|root| Some((*root, self.relations.get(root)?)))
            .map(|(oid, root)| match self.kind(oid, root, rules) {
                // By the same column, which may be another in number.
                RelationKind::Sharded { .. } | RelationKind::System => {
                    rules.kind(&root.schema, &root.name, &raw.columns)
                }
                kind => kind,
            })
            .collect();
        kinds.dedup();
        let kind = match kinds.as_slice() {
            [] => rules.kind(&raw.schema, &raw.name, &raw.columns),
            [kind] => kind.clone(),
            [..] => RelationKind::Unusable {
                reason: format!("table \"{}\" inherits from tables whose rows live in different places", raw.name),
            },
        };
        match &kind {
            RelationKind::Sharded { key, .. } => match raw.columns.get(*key) {
                Some(column) if raw.nondeterministic.contains(&column.name) => RelationKind::Unusable {
                    reason: format!(
                        "key column \"{}\" has a nondeterministic collation, in which texts of different hashes are equal",
                        column.name
                    ),
                },
                _ => kind,
            },
            _ => kind,
        }
    }

    /// All relations this one is a partition or child of, at any distance.
    fn ancestors(&self, oid: Oid) -> Vec<Oid> {
        let mut ancestors = Vec::new();
        let mut next = vec![oid];
        while let Some(oid) = next.pop() {
            for parent in self.parents.get(&oid).into_iter().flatten() {
                if !ancestors.contains(parent) {
                    ancestors.push(*parent);
                    next.push(*parent);
                }
            }
        }
        ancestors
    }
}

/// Schemas about which each shard answers for itself; `pgbraid` is the gateway's own.
pub(super) fn is_system(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema" | "pgbraid")
}

/// A view, its definition without the semicolon that `pg_get_viewdef` ends it with.
fn view(definition: &str, owner: Option<String>) -> RelationKind {
    RelationKind::View { definition: definition.trim().trim_end_matches(';').to_owned(), owner }
}

/// A character of an identifier without quotes. *Source*: manual of PostgreSQL 15, 4.1.1.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}
