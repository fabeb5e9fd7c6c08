//! WITH: queries in force by name. Each use is planned anew, as if the query stood there.

use std::sync::Arc;

use pg_query::protobuf::{CommonTableExpr, WithClause};

use super::builder::{Builder, Cte, CteQuery, Written};
use super::ir::{Body, OutputColumn, Query, Stop};
use crate::catalog::{Column, ColumnDefault, Relation, RelationKind, Stamps};
use crate::sql::{Node, names};

impl<'a> Builder<'a> {
    /// Puts the queries of a WITH clause in force.
    pub fn with(&mut self, clause: Option<&'a WithClause>) -> Result<(), Stop> {
        let Some(clause) = clause else { return Ok(()) };
        self.ctes.push(Vec::new());
        let ctes = clause.ctes.iter().filter_map(|node| match &node.node {
            Some(Node::CommonTableExpr(cte)) => Some(cte),
            _ => None,
        });
        let ctes: Vec<_> = ctes.collect();
        if clause.recursive {
            for cte in &ctes {
                self.declare(cte, clause.recursive);
            }
        }
        for cte in ctes {
            if !clause.recursive {
                self.declare(cte, clause.recursive);
            }
            match names::inner(&cte.ctequery) {
                Some(Node::SelectStmt(_)) => {}
                Some(write) => {
                    self.returned = None;
                    self.write(write)?;
                    let written = self.written(&cte.ctename);
                    if let Some(entry) =
                        self.ctes.last_mut().and_then(|frame| frame.iter_mut().find(|entry| entry.name == cte.ctename))
                    {
                        entry.written = written;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    fn declare(&mut self, cte: &'a CommonTableExpr, recursive: bool) {
        let query = match names::inner(&cte.ctequery) {
            Some(node @ Node::SelectStmt(_)) if cte.search_clause.is_none() && cte.cycle_clause.is_none() => {
                CteQuery::Select(node)
            }
            // SEARCH and CYCLE add columns.
            Some(node @ Node::SelectStmt(_)) => CteQuery::Open(node),
            _ => CteQuery::Rows,
        };
        let columns = names::strings(&cte.aliascolnames).unwrap_or_default().into_iter().map(str::to_owned).collect();
        let depth = self.scopes.len();
        let entry = Cte { name: &cte.ctename, columns, query, used: false, recursive, depth, written: None };
        if let Some(frame) = self.ctes.last_mut() {
            frame.push(entry);
        }
    }

    /// What the write that was just planned returns, if its table is sharded: rows that live where those written live, by the
    /// same key where that is returned.
    fn written(&mut self, name: &str) -> Option<Arc<Written>> {
        let returned = self.returned.take()?;
        let write = self.writes.last()?;
        let leaf = self.leaves.get(write.target.0)?;
        let (RelationKind::Sharded { key, key_type }, (term, _)) = (&leaf.relation.kind, leaf.key?) else {
            return None;
        };
        let (key_column, key_type) = (leaf.relation.columns.get(*key)?, *key_type);
        let sources = self.written_keys(write, term);
        let renamed = self.ctes.last()?.iter().find(|entry| entry.name == name)?.columns.clone();
        let mut columns: Vec<Column> = Vec::with_capacity(returned.columns.len());
        let mut at = usize::MAX;
        for (shown, column) in &returned.columns {
            let mut made = Column {
                default: ColumnDefault::None,
                generated: false,
                always: false,
                identity: false,
                ..key_column.clone()
            };
            made.name = renamed.get(columns.len()).cloned().or_else(|| shown.clone()).unwrap_or_default();
            if *column == Some(term) {
                at = at.min(columns.len());
            } else {
                made.type_oid = column.and_then(|term| self.terms.get(term.0 as usize)).map_or(0, |info| info.type_oid);
            }
            columns.push(made);
        }
        let relation = Relation {
            schema: String::new(),
            name: name.to_owned(),
            kind: RelationKind::Sharded { key: at, key_type },
            columns,
            primary_key: Vec::new(),
            cascades: false,
            rewrites_rows: false,
            stamps: Stamps::None,
            has_heirs: false,
            is_child: false,
            family: None,
            exempt: None,
            guarded: false,
            materialized: None,
        };
        Some(Arc::new(Written { relation: Arc::new(relation), sources, open: returned.open }))
    }

    /// Takes them out of force. A query that is not used is not run, but its parameters count and its names must be legal.
    pub fn end_with(&mut self, clause: Option<&'a WithClause>) -> Result<(), Stop> {
        if clause.is_none() {
            return Ok(());
        }
        let frame = self.ctes.len().saturating_sub(1);
        for at in 0..self.ctes.last().map_or(0, Vec::len) {
            if self.ctes.last().and_then(|ctes| ctes.get(at)).is_some_and(|cte| !cte.used) {
                self.cte_query(frame, at)?;
            }
        }
        self.ctes.pop();
        Ok(())
    }

    /// The query that a name of a WITH clause stands for; `None` when its rows come from elsewhere in the statement.
    pub fn cte_query(&mut self, frame: usize, at: usize) -> Result<Option<Query>, Stop> {
        let Some(cte) = self.ctes.get_mut(frame).and_then(|ctes| ctes.get_mut(at)) else { return Ok(None) };
        cte.used = true;
        let (node, open) = match cte.query {
            CteQuery::Select(node) => (node, false),
            CteQuery::Open(node) => (node, true),
            CteQuery::Rows => return Ok(None),
        };
        let (query, depth, recursive) = (cte.query, cte.depth, cte.recursive);
        cte.query = CteQuery::Rows;
        cte.used = false;
        let scopes = self.scopes.split_off(depth.min(self.scopes.len()));
        let inner = self.ctes.split_off(frame + 1);
        let hidden = match (recursive, self.ctes.get_mut(frame)) {
            (false, Some(ctes)) => ctes.split_off(at),
            _ => Vec::new(),
        };
        let planned = self.query(node);
        self.ctes.truncate(frame + 1);
        if let Some(ctes) = self.ctes.get_mut(frame) {
            ctes.extend(hidden);
        }
        self.ctes.extend(inner);
        self.scopes.truncate(depth);
        self.scopes.extend(scopes);
        let mut planned = planned?;
        let Some(cte) = self.ctes.get_mut(frame).and_then(|ctes| ctes.get_mut(at)) else { return Ok(None) };
        let refers_to_itself = cte.used;
        cte.query = query;
        cte.used = true;
        for (column, name) in planned.columns.iter_mut().zip(&cte.columns) {
            column.name = Some(name.clone());
        }
        planned.open |= open;
        if refers_to_itself {
            return self.recursive(planned).map(Some);
        }
        Ok(Some(planned))
    }

    /// A query that refers to itself: what restricts its output does not restrict what it is made of.
    fn recursive(&mut self, query: Query) -> Result<Query, Stop> {
        let owner = self.owner()?;
        let columns =
            query.columns.iter().map(|column| OutputColumn { name: column.name.clone(), term: None }).collect();
        let open = query.open;
        let mut outer = Query::new(owner, Body::Recursive(Box::new(query)));
        outer.columns = columns;
        outer.open = open;
        Ok(outer)
    }
}
