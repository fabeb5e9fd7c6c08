//! Writes that need rows of other shards than those they change: the rows are fetched, put into the text as constants, and the statement
//! that this makes is planned anew. All of it is one transaction. In READ COMMITTED each part sees what is committed when it begins, as
//! several statements would; in REPEATABLE READ all see one snapshot.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;

use super::planned_anew::part_text;
use super::returned::Returned;
use super::stepwise::{Given, RowFormats};
use super::turn::first_then_others;
use crate::execute::chorus::drifted;
use crate::plan::{
    Access, Chunk, Destination, FETCHED_ALIAS, Fetched, Gather, Route, Target, literal, quoted, rows_text,
};
use crate::pool::expect::Audience;
use crate::session::ask::{EXACT, Values};
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::gather::run::{Gathering, Run};
use crate::session::life::{Ended, Session};
use crate::wire::embedded::FIRST_NORMAL_OID;
use crate::wire::fields::{tag, tag_rows, text_row};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::reply::{self, Report};
use crate::wire::row_description::Columns;

/// Rows within rows at the most: WITH queries that write and themselves need rows.
const ROUNDS_MAX: usize = 6;

/// What was fetched.
#[derive(Default)]
struct Rows {
    /// By column, the array of its values.
    arrays: Vec<String>,
    /// How each column is shown.
    shown: Vec<String>,
    /// The type of the first column, and its value if there is one row at the most.
    value: Option<(String, Option<String>)>,
    /// Rows that were changed.
    changed: u64,
}

impl Rows {
    fn query(&self) -> String {
        rows_text(&self.arrays, &self.shown)
    }

    fn value(&self) -> String {
        match &self.value {
            Some((type_name, Some(value))) => format!("({}::{type_name})", literal(value)),
            Some((type_name, None)) => format!("(NULL::{type_name})"),
            // PostgreSQL says that there are too many.
            None => self.query(),
        }
    }
}

impl Session {
    /// Such a statement in the simple protocol.
    pub(super) async fn fetched_simple(&mut self, text: &[u8], route: &Route) -> Result<Ended, Failure> {
        // PostgreSQL's own errors first: types, columns, rights.
        let at = self.enlist_any(Access::ReadPrimary).await?;
        let columns = self.ask_of(at, &[text], &[], Wire::Simple).await?.pop().and_then(|(_, columns)| columns);
        self.give_back_if_idle().await;
        let own = self.begin_own_block();
        let answer = (columns.map(Columns::new), &mut Returned::Client);
        let end = Box::pin(self.fetch_and_run(text, route, Given::Nothing, answer)).await?;
        self.settle(own, &end, true).await
    }

    /// All of such a statement; what ends its answer is returned.
    pub(super) async fn fetch_and_run(
        &mut self,
        text: &[u8],
        route: &Route,
        given: Given<'_>,
        answer: (Option<Columns>, &mut Returned),
    ) -> Result<BytesMut, Failure> {
        let (text, before, part_of) = match &route.target {
            Target::Fetched(fetched) => {
                let (text, before) = Box::pin(self.fetch(fetched, given, ROUNDS_MAX)).await?;
                (text, before, fetched.part_of)
            }
            // It is planned anew, with values that are computed first.
            _ => (String::from_utf8_lossy(text).into_owned(), 0, None),
        };
        let runnable = Box::pin(self.plan_anew(text, given, ROUNDS_MAX)).await?;
        let end = Box::pin(self.run_planned_anew(runnable, given, answer)).await?;
        let Some(words) = part_of else { return Ok(end) };
        let mut whole = BytesMut::new();
        reply::complete(&mut whole, &format!("{words} {}", before + changed(&end)));
        Ok(whole)
    }

    /// Fetches what is to be fetched, and gives the statement's text with it.
    pub(super) async fn fetch(
        &mut self,
        fetched: &Fetched,
        given: Given<'_>,
        rounds: usize,
    ) -> Result<(String, u64), Failure> {
        if !self.reported.utf8 {
            return Err(Report::error("0A000", "a write that needs rows of other shards needs client_encoding UTF8")
                .with_hint("SET client_encoding TO 'UTF8'.")
                .into());
        }
        // In their order, so that two such statements do not wait for each other.
        for shard in self.all_shards() {
            self.enlist(shard, Access::Write).await?;
        }
        let mut found: Vec<Rows> = fetched.sources.iter().map(|_| Rows::default()).collect();
        let mut bytes = 0;
        for writes in [false, true] {
            for (at, source) in
                fetched.sources.iter().enumerate().filter(|(_, source)| source.gather.is_none() == writes)
            {
                let text = filled(&source.text, &found);
                let rows = match &source.gather {
                    Some(gather) => self.fetch_query(text.as_bytes(), gather, given).await?,
                    None => Box::pin(self.fetch_write(text, given, !source.columns.is_empty(), rounds)).await?,
                };
                bytes += rows.arrays.iter().map(String::len).sum::<usize>();
                self.check_fetched(bytes)?;
                if let Some(slot) = found.get_mut(at) {
                    *slot = rows;
                }
            }
        }
        Ok((filled(&fetched.text, &found), found.iter().map(|rows| rows.changed).sum()))
    }

    fn check_fetched(&self, bytes: usize) -> Result<(), Failure> {
        let bytes_max = self.gateway.config.load().limits.held_bytes_max;
        if bytes <= bytes_max { Ok(()) } else { Err(too_much(bytes_max).into()) }
    }

    /// The rows of a query.
    async fn fetch_query(&mut self, text: &[u8], gather: &Arc<Gather>, given: Given<'_>) -> Result<Rows, Failure> {
        let described = self.described(text, given.types(), gather, Wire::Simple).await?;
        let names: Vec<String> = described.columns.named().into_iter().map(|(name, _, _)| name).collect();
        let list: Vec<_> = (1..=names.len()).map(|at| format!("c{at}")).collect();
        let gathering = Gathering { described, parameters: given.parameters(), result_formats: Vec::new() };
        let statement =
            format!("CREATE TEMPORARY TABLE pgbraid_rows ({}) ON COMMIT DROP AS {}", list.join(", "), gather.merge);
        let run =
            Run { wire: Wire::Simple, tells_columns: false, rows_max: 0, statement: Some(&statement), keeps: false };
        let merged = self.run_gather(&gathering, run).await?;
        let Some(server) = merged.held else {
            return Err(Report::error("XX000", "the rows that were fetched are lost").into());
        };
        let key = server.server.cancel_key();
        self.link.servers.push(server);
        let at = self.link.servers.len().saturating_sub(1);
        let arrays: Vec<_> = list
            .iter()
            .map(|name| format!(", coalesce(pg_catalog.array_agg({name}::pg_catalog.text), '{{}}')::pg_catalog.text"))
            .collect();
        let query = format!(
            "{EXACT}; SELECT pg_catalog.count(*){}, pg_catalog.min(c1::pg_catalog.text) FROM pg_temp.pgbraid_rows; \
             SELECT pg_catalog.format_type(a.atttypid, a.atttypmod), CASE WHEN a.attcollation <> t.typcollation THEN \
             pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(o.collname) END FROM pg_catalog.pg_attribute a \
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid LEFT JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation \
             LEFT JOIN pg_catalog.pg_namespace n ON n.oid = o.collnamespace \
             WHERE a.attrelid = 'pg_temp.pgbraid_rows'::pg_catalog.regclass AND a.attnum > 0 ORDER BY a.attnum",
            arrays.concat()
        );
        self.link.servers[at].server.send_query(query.as_bytes(), Audience::Gateway);
        let harvested = self.harvest(too_much).await;
        self.drop_merge(&key).await?;
        let mut answer = harvested?.into_iter();
        let values = answer.next().unwrap_or_default();
        let types: Vec<(String, Option<String>)> = answer
            .map(|row| {
                let mut row = row.into_iter();
                (row.next().flatten().unwrap_or_default(), row.next().flatten())
            })
            .collect();
        let mut values = values.into_iter();
        let few = matches!(values.next().flatten().as_deref(), Some("0" | "1"));
        let mut rows = Rows::default();
        for (name, (type_name, collation)) in names.iter().zip(&types) {
            let collation = collation.as_ref().map(|name| format!(" COLLATE {name}")).unwrap_or_default();
            rows.show(name, &format!("{type_name}{collation}"));
            let array = values.next().flatten().unwrap_or_else(|| "{}".to_owned());
            rows.arrays.push(format!("{}::pg_catalog.text[]", literal(&array)));
        }
        if few && names.len() == 1 {
            rows.value = types.first().map(|(type_name, _)| (type_name.clone(), values.next().flatten()));
        }
        Ok(rows)
    }

    /// Runs a statement that writes; gives the rows that it returns.
    async fn fetch_write(
        &mut self,
        text: String,
        given: Given<'_>,
        returns: bool,
        rounds: usize,
    ) -> Result<Rows, Failure> {
        let runnable = Box::pin(self.plan_anew(text, given, rounds)).await?;
        let mut rows = Rows::default();
        match &runnable.destination {
            Destination::Gather(gather) if gather.put().is_some() && !returns => {
                let end = Box::pin(self.run_planned_anew(runnable, given, (None, &mut Returned::Client))).await?;
                rows.changed = changed(&end);
                return Ok(rows);
            }
            Destination::Gather(gather) if gather.put().is_none() => {
                return self.fetch_query(&runnable.text, gather, given).await;
            }
            _ => {}
        }
        if returns {
            if runnable.route.access == Access::Write {
                let at = self.enlist_any(Access::Write).await?;
                self.check_movable(at, given).await?;
            }
            self.show_columns(&runnable.text, given, &mut rows).await?;
        }
        if let Destination::Gather(gather) = &runnable.destination
            && let Some(put) = gather.put()
        {
            let described = self.described(&runnable.text, given.types(), gather, Wire::Simple).await?;
            let gathering = Gathering { described, parameters: given.parameters(), result_formats: Vec::new() };
            let mut returned = Returned::Kept(VecDeque::new());
            let end = self.put_rows(&gathering, put, false, &mut returned).await?;
            rows.changed = changed(&end);
            if let Returned::Kept(kept) = &returned {
                let kept: Vec<Values> = kept.iter().map(|row| text_row(row)).collect();
                rows.take(&kept);
            }
            return Ok(rows);
        }
        if let Destination::All { takes_turn } = &runnable.destination {
            self.write_everywhere(&runnable.text, *takes_turn, given, &mut rows).await?;
            return Ok(rows);
        }
        if let (Destination::Stepwise, Target::Moved(moving)) = (&runnable.destination, &runnable.route.target) {
            let (moved, changed) = self.moved_rows(moving, given).await?;
            rows.changed = changed;
            rows.take(&moved);
            return Ok(rows);
        }
        let (shards, split) = self.shards_of(&runnable)?;
        let places = self.enlist_many(&shards, runnable.route.access).await?;
        for (shard, at) in shards.iter().zip(&places) {
            let own = part_text(&runnable, &split, *shard)?;
            self.send_step(*at, &own, given, RowFormats::Text);
        }
        let (harvested, changed) = self.harvest_counted(too_much).await?;
        rows.changed = if runnable.route.access == Access::Write { changed.iter().sum() } else { 0 };
        rows.take(&harvested);
        Ok(rows)
    }

    /// Runs a write of a reference table on every shard. Its rows are the first one's: they are the same on all.
    async fn write_everywhere(
        &mut self,
        text: &[u8],
        takes_turn: bool,
        given: Given<'_>,
        rows: &mut Rows,
    ) -> Result<(), Failure> {
        self.enlist_all().await?;
        self.note_write_everywhere().await?;
        for part in first_then_others(self.link.servers.len()) {
            for at in part.clone().filter(|_| takes_turn) {
                self.send_turn(at);
            }
            // What that answers is no row of the write's.
            self.harvest(too_much).await?;
            for at in part.clone() {
                self.send_step(at, text, given, RowFormats::Text);
            }
            let (harvested, changed) = self.harvest_counted(too_much).await?;
            let mut changed = part.clone().map(|at| changed.get(at).copied().unwrap_or(0));
            if part.start == 0 {
                rows.changed = changed.sum();
                rows.take(&harvested);
            } else if changed.any(|changed| changed != rows.changed) {
                return Err(drifted().into());
            }
        }
        Ok(())
    }

    /// Has a server say which columns a statement returns.
    async fn show_columns(&mut self, text: &[u8], given: Given<'_>, rows: &mut Rows) -> Result<(), Failure> {
        let at = self.enlist_any(Access::Write).await?;
        let mut answers = self.ask_of(at, &[text], given.types(), Wire::Simple).await?;
        let columns = answers.pop().and_then(|(_, columns)| columns).unwrap_or_default();
        let columns = Columns::new(columns).named();
        if let Some((name, _, _)) = columns.iter().find(|(_, oid, _)| *oid >= FIRST_NORMAL_OID) {
            return Err(Report::error(
                "0A000",
                format!("column \"{name}\" that a WITH query returns from several shards has a type of the user's own"),
            )
            .with_hint("Cast it to text in RETURNING.")
            .into());
        }
        let list: Vec<_> =
            columns.iter().map(|(_, oid, modifier)| format!("pg_catalog.format_type({oid}, {modifier})")).collect();
        let query = format!("SELECT {}", list.join(", "));
        self.link.servers[at].server.send_query(query.as_bytes(), Audience::Gateway);
        let types = self.harvest(too_much).await?.into_iter().next().unwrap_or_default();
        for ((name, _, _), type_name) in columns.iter().zip(types) {
            rows.show(name, &type_name.unwrap_or_default());
        }
        Ok(())
    }
}

impl Rows {
    /// Its rows, of the columns that are shown.
    fn take(&mut self, harvested: &[Values]) {
        for at in 0..self.shown.len() {
            let values = harvested.iter().map(|row| row.get(at).and_then(|value| value.as_deref()));
            self.arrays.push(format!("{}::pg_catalog.text[]", literal(&array_text(values))));
        }
    }

    fn show(&mut self, name: &str, type_name: &str) {
        let at = self.shown.len() + 1;
        self.shown.push(format!("{FETCHED_ALIAS}.c{at}::{type_name} AS {}", quoted(name)));
    }
}

/// What a CommandComplete counts.
fn changed(end: &[u8]) -> u64 {
    tag_rows(tag(end.get(HEADER_BYTES..).unwrap_or_default())).1.unwrap_or(0)
}

fn filled(chunks: &[Chunk], found: &[Rows]) -> String {
    let rows = |at: usize| found.get(at).map(Rows::query).unwrap_or_default();
    Fetched::fill(chunks, rows, |at| found.get(at).map(Rows::value).unwrap_or_default())
}

/// An array of texts. *Source*: manual of PostgreSQL 15, 8.15.6.
fn array_text<'v>(values: impl Iterator<Item = Option<&'v str>>) -> String {
    let element = |value: Option<&str>| match value {
        Some(value) => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        None => "NULL".to_owned(),
    };
    format!("{{{}}}", values.map(element).collect::<Vec<_>>().join(","))
}

pub(super) fn too_much(bytes_max: usize) -> Report {
    Report::error(
        "53200",
        format!("the rows that the statement needs of other shards exceed held_bytes_max ({bytes_max})"),
    )
    .with_hint("Write fewer rows in one statement, restrict what it reads, or raise held_bytes_max in [limits].")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_arrays_are_quoted() {
        let values = [Some("a\"b\\"), None, Some(""), Some("NULL")];
        assert_eq!(array_text(values.into_iter()), r#"{"a\"b\\",NULL,"","NULL"}"#);
    }
}
