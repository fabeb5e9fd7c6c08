//! INSERT ... SELECT whose rows go to other shards than those they are read from.
//!
//! The shards that store them are enlisted first, then the query is gathered, and the merge server INSERTs what it gives into a temporary table
//! with the target's columns: values are cast as INSERT casts them, defaults that must be the same for all are computed there, and all reading is
//! done before the first row is stored. From there rows go to their shards by COPY; where INSERT says more (ON CONFLICT, RETURNING),
//! as VALUES of one INSERT on each shard.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::BytesMut;
use shardmap::ShardId;

use super::returned::Returned;
use crate::execute::copy_in::{CopyAnswers, CopyIn, Router, copy_fail};
use crate::execute::copy_key::{CopyEncoding, FieldFormat, KeyDecode, key_of};
use crate::execute::interleave::Interleave;
use crate::execute::put::PutError;
use crate::plan::{CopyFormat, CopyTarget, NOW_SETTING, Put, Store, literal};
use crate::pool::expect::Audience;
use crate::pool::server::{CancelServer, Server};
use crate::session::ask::{EXACT, Values};
use crate::session::failure::Failure;
use crate::session::gather::run::{Gathering, Run, without_traces};
use crate::session::life::{Ended, Session};
use crate::txn::pause::{Point, pause};
use crate::wire::copy::{Field, Splitter};
use crate::wire::frontend::Execute;
use crate::wire::reply::{self, ColumnName, Report};

use crate::session::gather::described::Wire;

/// The merge server's table of the rows to be stored.
const TABLE: &str = "pg_temp.pgbraid_put";

/// A query with the columns of the rows to be stored.
pub(in crate::session) fn stored_columns(put: &Put) -> String {
    format!("SELECT {} FROM {}", all_columns(put), put.table)
}

impl Session {
    /// Such a statement in the simple protocol.
    pub(in crate::session) async fn put_simple(&mut self, gathering: &Gathering, put: &Put) -> Result<Ended, Failure> {
        let own = self.begin_own_block();
        let end = self.put_rows(gathering, put, true, &mut Returned::Client).await?;
        self.settle(own, &end, true).await
    }

    /// The same in the extended protocol: all it does is one transaction, which its Sync ends.
    pub(in crate::session) async fn execute_put(
        &mut self,
        execute: &Execute<'_>,
        gathering: &Gathering,
        put: &Put,
    ) -> Result<(), Failure> {
        self.drain().await?;
        self.begin_behind_pipeline();
        // What that has sent to servers is answered before others are waited for.
        self.drain().await?;
        let mut returned = Returned::of(execute);
        let end = self.put_rows(gathering, put, false, &mut returned).await?;
        self.conclude_returned(end, returned, execute)
    }

    /// Reads and stores the rows; what ends the answer is returned.
    pub(super) async fn put_rows(
        &mut self,
        gathering: &Gathering,
        put: &Put,
        tells: bool,
        returned: &mut Returned,
    ) -> Result<BytesMut, Failure> {
        let text = format!("INSERT INTO {TABLE} ({}) {}", put.columns.join(", "), gathering.described.gather.merge);
        let (parts, key) = self.stage_rows(gathering, put, &text).await?;
        let columns = all_columns(put);
        if put.insert.is_none() {
            let rows = self.copy_rows(put, &columns, parts).await;
            self.drop_merge(&key).await?;
            let mut end = BytesMut::new();
            reply::complete(&mut end, &format!("INSERT 0 {}", rows?));
            return Ok(end);
        }
        let rows = self.harvest_rows(&columns).await;
        self.drop_merge(&key).await?;
        self.insert_rows(gathering, put, &rows?, (tells, returned)).await
    }

    /// Puts the rows into a table that has just been made; returns how many.
    pub(super) async fn fill_table(&mut self, gathering: &Gathering, put: &Put) -> Result<u64, Failure> {
        let columns = all_columns(put);
        let merge = &gathering.described.gather.merge;
        let text = format!("CREATE TEMPORARY TABLE pgbraid_put ({columns}) ON COMMIT DROP AS {merge}");
        let (parts, key) = self.stage_rows(gathering, put, &text).await?;
        let rows = self.copy_rows(put, &columns, parts).await;
        self.drop_merge(&key).await?;
        rows
    }

    /// Has the merge server hold the rows, by this statement of its; it becomes the link's last server, behind so many shards that are
    /// to store them.
    async fn stage_rows(
        &mut self,
        gathering: &Gathering,
        put: &Put,
        text: &str,
    ) -> Result<(usize, CancelServer), Failure> {
        self.check_puttable(put)?;
        let target = match &put.store {
            Store::Sharded { key, key_type, .. } => CopyTarget::Sharded { field: *key, key_type: *key_type },
            Store::Reference => CopyTarget::Reference,
            Store::Home => CopyTarget::Home,
        };
        let parts = self.gather_servers(&target).await?;
        let run = Run { wire: Wire::Simple, tells_columns: false, rows_max: 0, statement: Some(text), keeps: false };
        let merged = self.run_gather(gathering, run).await?;
        let Some(server) = merged.held else {
            return Err(Report::error("XX000", "the rows to be stored were lost").into());
        };
        let key = server.server.cancel_key();
        self.link.servers.push(server);
        pause(Point::Putting).await;
        Ok((parts, key))
    }

    /// Rows travel as text.
    fn check_puttable(&self, put: &Put) -> Result<(), Failure> {
        if self.transaction.block().is_some_and(|block| block.read_only) {
            // Source: utility.c, PreventCommandIfReadOnly.
            return Err(Report::error("25006", "cannot execute INSERT in a read-only transaction").into());
        }
        if !self.reported.utf8 && (put.insert.is_some() || matches!(put.store, Store::Sharded { .. })) {
            return Err(Report::error("0A000", "INSERT ... SELECT over several shards needs client_encoding UTF8")
                .with_hint("SET client_encoding TO 'UTF8'.")
                .into());
        }
        Ok(())
    }

    /// Makes the table of the rows to be stored on the merge server.
    pub(in crate::session) fn make_put_table(&mut self, gathering: &Gathering, put: &Put, rest: &[u8], at: usize) {
        let server: &mut Server = &mut self.link.servers[at].server;
        if let Some(now) = gathering.described.gather.now_parameter {
            let text = format!(
                "SELECT pg_catalog.set_config('{NOW_SETTING}', pg_catalog.to_char(${now}::pg_catalog.timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00', true)"
            );
            server.send_bound(text.as_bytes(), &gathering.described.types, rest, Audience::Gateway);
        }
        let Gathering { described, .. } = gathering;
        let definition = described.definitions.as_ref().and_then(|of| of.get(described.gather.parts.len()));
        let mut text = match definition {
            Some(columns) => format!("CREATE TEMPORARY TABLE pgbraid_put ({columns}) ON COMMIT DROP"),
            None => {
                format!("CREATE TEMPORARY TABLE pgbraid_put ON COMMIT DROP AS {} WITH NO DATA", stored_columns(put))
            }
        };
        for (column, default) in &put.defaults {
            let _ = write!(text, "; ALTER TABLE {TABLE} ALTER COLUMN {column} SET DEFAULT {default}");
        }
        server.send_query(text.as_bytes(), Audience::Gateway);
    }

    /// Stores the rows by COPY; returns how many were. The merge server is the link's last, the shards are its first.
    async fn copy_rows(&mut self, put: &Put, columns: &str, parts: usize) -> Result<u64, Failure> {
        let merge = self.link.servers.len().saturating_sub(1);
        let format = CopyFormat::Text { delimiter: b'\t', null: b"\\N".to_vec(), header: false };
        let router = match &put.store {
            Store::Reference | Store::Home => Router::Same,
            Store::Sharded { key, key_type, .. } => Router::ByKey {
                splitter: Box::new(Splitter::new(&format, *key, self.gateway.config.load().limits.held_bytes_max)),
                key_type: *key_type,
                format: FieldFormat::Text,
                map: self.gateway.map.load_full(),
            },
        };
        let mut answers = CopyAnswers::new(parts, put.store != Store::Reference);
        let mut copy = CopyIn::new(router, put.relation.clone(), parts);
        let into = format!("COPY {} ({columns}) FROM STDIN", put.table);
        self.start_copy(into.as_bytes(), &mut answers, parts).await?;
        pause(Point::Copying).await;
        let mut failed = None;
        if !answers.failed() {
            if let Some(response) = &answers.response {
                copy.expect_columns(response);
            }
            let out = format!("{EXACT}; COPY (SELECT {columns} FROM {TABLE}) TO STDOUT");
            self.link.servers[merge].server.send_query(out.as_bytes(), Audience::Gateway);
            failed = self.link.put(merge, parts, &mut copy, &mut answers).await?;
            if failed.is_none() && !answers.failed() {
                failed = copy.finish(&mut self.link.servers[..parts]).err().map(PutError::Row);
            }
        }
        let own = failed.is_some();
        for at in (0..parts).filter(|at| answers.waits(*at)) {
            let out = &mut self.link.servers[at].server.outbound;
            match own || answers.failed() {
                false => reply::bare(out, b'c'),
                true => copy_fail(out, "another shard failed"),
            }
        }
        if !self.link.servers[merge].server.expects.is_empty() {
            // In the middle of its answer: it is cancelled and closed.
            self.link.servers.truncate(merge);
        }
        self.relay_in_block(&mut answers).await?;
        match (failed, answers.errors.into_iter().next()) {
            (Some(PutError::Row(report)), _) => Err(without_place(put, *report).into()),
            (Some(PutError::Merge(body)), _) | (None, Some((_, body))) => {
                let body = without_traces(&body);
                Err(self.tell_error(&body))
            }
            (None, None) => Ok(answers.rows),
        }
    }

    /// Takes the rows in. The merge server is the link's last.
    async fn harvest_rows(&mut self, columns: &str) -> Result<Vec<Values>, Failure> {
        let Some(merge) = self.link.servers.last_mut() else { return Ok(Vec::new()) };
        let text = format!("{EXACT}; SELECT {columns} FROM {TABLE}");
        merge.server.send_query(text.as_bytes(), Audience::Gateway);
        self.harvest(too_much).await
    }

    /// Stores the rows by one INSERT on each shard.
    async fn insert_rows(
        &mut self,
        gathering: &Gathering,
        put: &Put,
        rows: &[Values],
        (tells, returned): (bool, &mut Returned),
    ) -> Result<BytesMut, Failure> {
        let mut order: Vec<ShardId> = Vec::with_capacity(rows.len());
        for row in rows {
            order.push(self.shard_of_put(put, row)?);
        }
        let mut by_shard: BTreeMap<ShardId, Vec<&Values>> = BTreeMap::new();
        order.iter().zip(rows).for_each(|(shard, row)| by_shard.entry(*shard).or_default().push(row));
        if by_shard.is_empty() {
            // The columns of RETURNING are described all the same.
            let shard = if put.store == Store::Home { self.home() } else { self.default_shard };
            by_shard.insert(shard, Vec::new());
        }
        let columns = (tells && put.returns).then(|| gathering.described.columns.in_formats(&[]));
        let mut end = BytesMut::new();
        let failed = if put.store == Store::Reference {
            let all: Vec<&Values> = rows.iter().collect();
            let text = insert_text(put, &all);
            let send = |session: &mut Session, at| session.send_insert(gathering, &text, at);
            self.answer_everywhere(true, send, (columns, returned), &mut end).await?
        } else {
            for (shard, rows) in &by_shard {
                let Some(at) = self.link.position(*shard) else { return Err(Failure::Told) };
                self.send_insert(gathering, &insert_text(put, rows), at);
            }
            let servers = match order.as_slice() {
                [] => by_shard.keys().filter_map(|shard| self.link.position(*shard)).collect(),
                order => self.servers_of(order),
            };
            let joiner = Interleave::new(servers, self.link.servers.len());
            self.answer_joined(joiner, (columns, returned), |joiner| {
                joiner.finish(&mut end);
                joiner.failed()
            })
            .await?
        };
        self.ended(end, failed)
    }

    fn home(&self) -> ShardId {
        self.gateway.home()
    }

    fn shard_of_put(&self, put: &Put, row: &Values) -> Result<ShardId, Failure> {
        let (key, key_type) = match &put.store {
            Store::Sharded { key, key_type, .. } => (*key, *key_type),
            Store::Home => return Ok(self.home()),
            Store::Reference => return Ok(self.default_shard),
        };
        let field = match row.get(key) {
            Some(Some(text)) => Field::Value(text.as_bytes()),
            Some(None) | None => Field::Null,
        };
        match key_of(field, key_type, FieldFormat::Text, CopyEncoding::Utf8) {
            KeyDecode::Key(key) => Ok(self.gateway.map.load().shard_of(key.bucket())),
            KeyDecode::Null => Err(without_key(put).into()),
            KeyDecode::Invalid | KeyDecode::Unreadable => Ok(self.default_shard),
        }
    }

    fn send_insert(&mut self, gathering: &Gathering, text: &str, at: usize) {
        let rest = gathering.parameters.bind_rest(&gathering.result_formats);
        let server: &mut Server = &mut self.link.servers[at].server;
        server.send_bound(text.as_bytes(), &gathering.described.parameter_types, &rest, Audience::Joiner);
        server.send_sync(Audience::Gateway);
    }
}

fn all_columns(put: &Put) -> String {
    let defaults = put.defaults.iter().map(|(column, _)| column);
    put.columns.iter().chain(defaults).map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn insert_text(put: &Put, rows: &[&Values]) -> String {
    let (head, tail) = put.insert.as_ref().map_or(("", ""), |(head, tail)| (head, tail));
    if rows.is_empty() {
        return format!("{head}SELECT {} FROM {} WHERE false{tail}", all_columns(put), put.table);
    }
    let value = |value: &Option<String>| value.as_ref().map_or_else(|| "NULL".to_owned(), |value| literal(value));
    let row = |row: &&Values| format!("({})", row.iter().map(value).collect::<Vec<_>>().join(", "));
    format!("{head}VALUES {}{tail}", rows.iter().map(row).collect::<Vec<_>>().join(", "))
}

fn too_much(bytes_max: usize) -> Report {
    Report::error("53200", format!("the rows to be stored exceed held_bytes_max ({bytes_max})")).with_hint(
        "Leave ON CONFLICT and RETURNING out, store fewer rows in one statement, or raise held_bytes_max in [limits].",
    )
}

/// *Source*: execMain.c, ExecConstraints.
pub fn null_in(of: ColumnName) -> Report {
    let text =
        format!("null value in column \"{}\" of relation \"{}\" violates not-null constraint", of.column, of.table);
    Report::error("23502", text)
        .with_detail("It is the sharding key, which says on which shard a row lives.")
        .with_column(of)
}

fn without_key(put: &Put) -> Report {
    let of = match &put.store {
        Store::Sharded { column, .. } => column.clone(),
        Store::Reference | Store::Home => ColumnName { table: put.relation.clone(), ..ColumnName::default() },
    };
    null_in(of)
}

/// What a COPY says of a row that has no shard, in the words of INSERT.
fn without_place(put: &Put, mut report: Report) -> Report {
    if report.sqlstate == "23502" {
        return without_key(put);
    }
    report.context = None;
    report
}
