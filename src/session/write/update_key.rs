//! UPDATE of the sharding key: rows are taken from their shards, and put where their new keys say, in one transaction.

use std::collections::BTreeMap;

use bytes::BytesMut;
use shardmap::ShardId;

use super::insert_select::null_in;
use super::returned::Returned;
use super::stepwise::{Given, RowFormats};
use crate::execute::copy_key::{CopyEncoding, FieldFormat, KeyDecode, key_of};
use crate::execute::scatter::Scatter;
use crate::plan::{Access, Move, Output, Route, literal};
use crate::session::ask::Values;
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::life::{Ended, Session};
use crate::txn::pause::{Point, pause};
use crate::wire::copy::{Field, JoinFormat};
use crate::wire::reply::Report;

impl Session {
    /// An UPDATE that may move rows, in the simple protocol.
    pub(super) async fn move_rows(&mut self, text: &[u8], moving: &Move) -> Result<Ended, Failure> {
        // PostgreSQL's own errors first: types, columns, rights.
        self.probe(text, &[]).await?;
        self.give_back_if_idle().await;
        let own = self.begin_own_block();
        let end = self.take_and_put(moving, Given::Nothing, &mut Returned::Client).await?;
        self.settle(own, &end, true).await
    }

    /// The shards that the rows are on.
    pub(super) fn sources(&self, moving: &Move, given: Given<'_>) -> Result<Vec<ShardId>, Failure> {
        let route = Route { access: Access::Write, target: (*moving.from).clone(), output: Output::Rows };
        self.destination(&route, &*given.arguments())?.shards(self.default_shard).ok_or_else(unmovable)
    }

    /// Takes the rows and puts them; what ends the answer is returned.
    pub(super) async fn take_and_put(
        &mut self,
        moving: &Move,
        given: Given<'_>,
        returned: &mut Returned,
    ) -> Result<BytesMut, Failure> {
        let shards = self.sources(moving, given)?;
        let parts = self.take(moving, &shards, given).await?;
        self.put(moving, parts, &shards, (given, returned)).await
    }

    /// The same; the rows that it returns are the gateway's, as text, and it is told how many are changed.
    pub(super) async fn moved_rows(&mut self, moving: &Move, given: Given<'_>) -> Result<(Vec<Values>, u64), Failure> {
        let shards = self.sources(moving, given)?;
        let parts = self.take(moving, &shards, given).await?;
        let targets: Vec<ShardId> = parts.iter().map(|(shard, _)| *shard).collect();
        let places = self.enlist_many(&targets, Access::Write).await?;
        for (at, (_, text)) in places.iter().zip(&parts) {
            self.send_step(*at, text.as_bytes(), given, RowFormats::Text);
        }
        let (rows, changed) = self.harvest_counted(too_much).await?;
        Ok((rows, changed.iter().sum()))
    }

    /// Takes the rows from these shards; returns what puts them, for each shard that gets some.
    async fn take(
        &mut self,
        moving: &Move,
        shards: &[ShardId],
        given: Given<'_>,
    ) -> Result<Vec<(ShardId, String)>, Failure> {
        let places = self.enlist_many(shards, Access::Write).await?;
        self.check_movable(places.first().copied().unwrap_or(0), given).await?;
        // The steps need other rights than the statement does.
        if let Some(at) = places.first() {
            self.send_step(*at, moving.allowed.as_bytes(), given, RowFormats::Text);
            self.harvest(too_much).await?;
        }
        for at in &places {
            self.send_step(*at, moving.take.as_bytes(), given, RowFormats::Text);
        }
        let mut by_shard: BTreeMap<ShardId, Vec<String>> = BTreeMap::new();
        for row in self.harvest(too_much).await? {
            by_shard.entry(self.shard_of_row(moving, &row)?).or_default().push(row_text(&row));
        }
        pause(Point::Moving).await;
        let part = |(shard, rows): (ShardId, Vec<String>)| {
            (shard, format!("{}VALUES {}{}", moving.put, rows.join(", "), moving.returning))
        };
        Ok(by_shard.into_iter().map(part).collect())
    }

    /// Rows travel as text, which must come back as what it was. How numbers are printed is for a server to say: a role or a database may have
    /// a default.
    pub(super) async fn check_movable(&mut self, at: usize, given: Given<'_>) -> Result<(), Failure> {
        self.check_digits(at, given.wire()).await?;
        // Other styles abbreviate time zones, and an abbreviation may be read as another zone's. Source: manual, 8.5.3.
        if self.reported.now("DateStyle").is_some_and(|style| !style.starts_with("ISO")) {
            return Err(Report::error("0A000", "rows cannot be moved with a DateStyle other than ISO")
                .with_hint("SET DateStyle TO ISO.")
                .into());
        }
        if !self.reported.utf8 {
            return Err(Report::error("0A000", "rows cannot be moved with a client_encoding other than UTF8")
                .with_hint("SET client_encoding TO 'UTF8'.")
                .into());
        }
        Ok(())
    }

    /// The same of floating-point numbers only. *Source*: manual of PostgreSQL 15, extra_float_digits.
    pub(super) async fn check_digits(&mut self, at: usize, wire: Wire) -> Result<(), Failure> {
        const ALL: &str = "SELECT pg_catalog.current_setting('extra_float_digits')::int4 > 0";
        if self.one_value(at, ALL, &[], wire).await? == b"t" {
            return Ok(());
        }
        Err(Report::error("0A000", "floating-point numbers cannot be passed on with extra_float_digits below 1")
            .with_hint("SET extra_float_digits TO 1 before the statement.")
            .into())
    }

    fn shard_of_row(&self, moving: &Move, row: &Values) -> Result<ShardId, Failure> {
        let field = match row.get(moving.key) {
            Some(Some(text)) => Field::Value(text.as_bytes()),
            Some(None) | None => Field::Null,
        };
        match key_of(field, moving.key_type, FieldFormat::Text, CopyEncoding::Utf8) {
            KeyDecode::Key(key) => Ok(self.gateway.map.load().shard_of(key.bucket())),
            // Source: execMain.c, ExecConstraints.
            // The shard refuses it, in PostgreSQL's words.
            KeyDecode::Null if moving.key_not_null => Ok(self.default_shard),
            KeyDecode::Null => Err(null_in(moving.column.clone()).into()),
            KeyDecode::Invalid => Ok(self.default_shard),
            KeyDecode::Unreadable => Err(unmovable()),
        }
    }

    async fn put(
        &mut self,
        moving: &Move,
        mut parts: Vec<(ShardId, String)>,
        shards: &[ShardId],
        (given, returned): (Given<'_>, &mut Returned),
    ) -> Result<BytesMut, Failure> {
        if parts.is_empty() {
            // The columns of RETURNING are to be described all the same.
            let shard = shards.first().copied().unwrap_or(self.default_shard);
            parts.push((shard, format!("{}{}{}", moving.put, moving.nothing, moving.returning)));
        }
        let targets: Vec<ShardId> = parts.iter().map(|(shard, _)| *shard).collect();
        let places = self.enlist_many(&targets, Access::Write).await?;
        for (at, (_, text)) in places.iter().zip(&parts) {
            self.send_step(*at, text.as_bytes(), given, RowFormats::Bound);
        }
        let leader = places.first().copied().unwrap_or(0);
        let scatter = Scatter::new(leader, self.link.servers.len(), JoinFormat::Rows);
        let mut scatter = self.relay_returned(scatter, returned).await?;
        scatter.call_it("UPDATE");
        let mut end = BytesMut::new();
        scatter.finish(&mut end);
        if scatter.failed() {
            self.link.client.outbound.extend_from_slice(&end);
            return Err(Failure::Told);
        }
        Ok(end)
    }
}

fn row_text(row: &Values) -> String {
    let values: Vec<String> =
        row.iter().map(|value| value.as_ref().map_or_else(|| "NULL".to_owned(), |value| literal(value))).collect();
    format!("({})", values.join(", "))
}

fn too_much(bytes_max: usize) -> Report {
    Report::error("53200", format!("the rows to be moved exceed held_bytes_max ({bytes_max})"))
        .with_hint("Move fewer rows in one statement, or raise held_bytes_max in [limits].")
}

fn unmovable() -> Failure {
    Report::error("XX000", "where the rows are to be moved could not be decided")
        .with_hint("DELETE the rows and INSERT them with the new key, and report the statement.")
        .into()
}
