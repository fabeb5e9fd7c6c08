//! UPDATE of the sharding key: rows are taken from their shards, and put where their new keys say, in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use shardmap::ShardId;

use super::fetched::Given;
use super::returned::Returned;
use crate::execute::copy_key::{CopyEncoding, FieldFormat, KeyDecode, key_of};
use crate::execute::scatter::Scatter;
use crate::plan::{Access, Arguments, Move, Output, Route, Target, literal};
use crate::pool::expect::{Audience, Step};
use crate::session::ask::Values;
use crate::session::failure::Failure;
use crate::session::life::{Ended, Session};
use crate::session::plans::compiled::Compiled;
use crate::session::statement::{BoundArguments, NoArguments, Place};
use crate::txn::pause::{Point, pause};
use crate::wire::copy::{Field, JoinFormat};
use crate::wire::frontend::{Bind, Execute};
use crate::wire::reply::{self, Report};

/// How a text goes to the servers: as a simple query, or with the parameters of a Bind of these types.
#[derive(Clone, Copy)]
enum Sent<'a> {
    Query,
    Bound(&'a Bind<'a>, &'a [u32]),
}

impl Session {
    /// An UPDATE that may move rows, in the simple protocol.
    pub(in crate::session) async fn move_rows(&mut self, text: &[u8], route: &Route) -> Result<Ended, Failure> {
        if route.output != Output::Rows {
            return Box::pin(self.explain_simple(text, route)).await;
        }
        if let Target::Fetched(_) | Target::Computed(_) = &route.target {
            return Box::pin(self.fetched_simple(text, route)).await;
        }
        let moving = move_of(route)?;
        // PostgreSQL's own errors first: types, columns, rights.
        self.probe(text, &[]).await?;
        self.give_back_if_idle().await;
        let own = self.begin_own_block();
        let end = self.take_and_put(moving, &NoArguments, Sent::Query, &mut Returned::Client).await?;
        self.settle(own, &end, true).await
    }

    /// Binds an UPDATE that may move rows: the statement itself is bound on one shard, which describes it, and never executed.
    pub(in crate::session) async fn bind_moving(&mut self, route: &Route, bind: &Bind<'_>) -> Result<Place, Failure> {
        if route.output != Output::Rows || matches!(route.target, Target::Fetched(_) | Target::Computed(_)) {
            return Box::pin(self.bind_fetched(bind)).await;
        }
        let moving = move_of(route)?;
        let prepared = self.current(bind.statement).await?;
        let types = self.types_of(bind, &prepared).await?;
        let arguments = BoundArguments::new(bind, Some(&types));
        let shards = self.sources(moving, &arguments)?;
        let first = shards.first().copied().unwrap_or(self.default_shard);
        let at = self.enlist_for(first, Access::Write).await?;
        self.bind_on(at, (bind, None)).await
    }

    /// Executes what [`Session::bind_moving`] bound.
    pub(in crate::session) async fn execute_moving(
        &mut self,
        bound: &[u8],
        compiled: &Arc<Compiled>,
        route: &Route,
        execute: &Execute<'_>,
    ) -> Result<(), Failure> {
        if route.output != Output::Rows {
            let bind = Bind::read(bound).map_err(crate::session::extended::messages::malformed)?;
            return Box::pin(self.explain_bound(&bind, compiled, route, execute)).await;
        }
        if let Target::Fetched(_) | Target::Computed(_) = &route.target {
            return Box::pin(self.execute_fetched(bound, compiled, route, execute)).await;
        }
        let moving = move_of(route)?;
        self.drain().await?;
        let bind = Bind::read(bound).map_err(crate::session::extended::messages::malformed)?;
        let types = self.types_bound(&bind, compiled).await?;
        // All it does is one transaction, which its Sync ends.
        for shard in self.all_shards() {
            self.note_write(shard).await?;
        }
        // What that has sent to servers is answered before others are waited for.
        self.drain().await?;
        let arguments = BoundArguments::new(&bind, Some(&types));
        let mut returned = Returned::of(execute);
        let end = self.take_and_put(moving, &arguments, Sent::Bound(&bind, &types), &mut returned).await?;
        self.conclude_returned(end, returned, execute);
        Ok(())
    }

    /// The same of a statement that has come to be one that moves rows.
    pub(super) async fn run_moved(
        &mut self,
        route: &Route,
        given: Given<'_>,
        returned: &mut Returned,
    ) -> Result<BytesMut, Failure> {
        let moving = move_of(route)?;
        match given {
            Given::Nothing => self.take_and_put(moving, &NoArguments, Sent::Query, returned).await,
            Given::Bound(bind, types) => {
                let arguments = BoundArguments::new(bind, Some(types));
                self.take_and_put(moving, &arguments, Sent::Bound(bind, types), returned).await
            }
        }
    }

    pub(super) fn sources(&self, moving: &Move, arguments: &dyn Arguments) -> Result<Vec<ShardId>, Failure> {
        let route = Route { access: Access::Write, target: (*moving.from).clone(), output: Output::Rows };
        self.destination(&route, arguments)?.shards(self.default_shard).ok_or_else(unmovable)
    }

    /// Takes the rows and puts them; what ends the answer is returned.
    async fn take_and_put(
        &mut self,
        moving: &Move,
        arguments: &dyn Arguments,
        sent: Sent<'_>,
        returned: &mut Returned,
    ) -> Result<BytesMut, Failure> {
        let shards = self.sources(moving, arguments)?;
        let parts = self.take(moving, &shards, sent).await?;
        self.put(moving, parts, &shards, (sent, returned)).await
    }

    /// The same; the rows that it returns are the gateway's, as text, and it is told how many are changed.
    pub(super) async fn moved_rows(&mut self, route: &Route, given: Given<'_>) -> Result<(Vec<Values>, u64), Failure> {
        let moving = move_of(route)?;
        let (shards, sent) = match given {
            Given::Nothing => (self.sources(moving, &NoArguments)?, Sent::Query),
            Given::Bound(bind, types) => {
                (self.sources(moving, &BoundArguments::new(bind, Some(types)))?, Sent::Bound(bind, types))
            }
        };
        let parts = self.take(moving, &shards, sent).await?;
        let targets: Vec<ShardId> = parts.iter().map(|(shard, _)| *shard).collect();
        let places = self.enlist_many(&targets, Access::Write).await?;
        for (at, (_, text)) in places.iter().zip(&parts) {
            self.send_part(*at, text, sent, true);
        }
        self.harvest_counted(too_much).await
    }

    /// Takes the rows from these shards; returns what puts them, for each shard that gets some.
    async fn take(
        &mut self,
        moving: &Move,
        shards: &[ShardId],
        sent: Sent<'_>,
    ) -> Result<Vec<(ShardId, String)>, Failure> {
        self.check_movable()?;
        let places = self.enlist_many(shards, Access::Write).await?;
        for at in &places {
            self.send_part(*at, &moving.take, sent, true);
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

    /// Rows travel as text, which must come back as what it was.
    pub(super) fn check_movable(&self) -> Result<(), Failure> {
        let digits = self.current_settings().text_of("extra_float_digits").unwrap_or_default();
        if digits.trim_matches('\'').trim().starts_with('-') || digits.trim_matches('\'').trim() == "0" {
            return Err(Report::error("0A000", "rows cannot be moved with extra_float_digits below 1")
                .with_hint("RESET extra_float_digits.")
                .into());
        }
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
            KeyDecode::Null => Err(Report::error(
                "23502",
                format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    moving.column, moving.relation
                ),
            )
            .with_detail("It is the sharding key, which says on which shard a row lives.")
            .into()),
            KeyDecode::Invalid => Ok(self.default_shard),
            KeyDecode::Unreadable => Err(unmovable()),
        }
    }

    async fn put(
        &mut self,
        moving: &Move,
        mut parts: Vec<(ShardId, String)>,
        shards: &[ShardId],
        (sent, returned): (Sent<'_>, &mut Returned),
    ) -> Result<BytesMut, Failure> {
        if parts.is_empty() {
            // The columns of RETURNING are to be described all the same.
            let shard = shards.first().copied().unwrap_or(self.default_shard);
            parts.push((shard, format!("{}{}{}", moving.put, moving.nothing, moving.returning)));
        }
        let targets: Vec<ShardId> = parts.iter().map(|(shard, _)| *shard).collect();
        let places = self.enlist_many(&targets, Access::Write).await?;
        for (at, (_, text)) in places.iter().zip(&parts) {
            self.send_part(*at, text, sent, false);
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

    /// `taken`: its rows are the gateway's, as text; else the client's, in its formats.
    fn send_part(&mut self, at: usize, text: &str, sent: Sent<'_>, taken: bool) {
        let audience = Audience::Joiner;
        match sent {
            Sent::Query => self.link.servers[at].server.send_query(text.as_bytes(), audience),
            Sent::Bound(bind, types) => {
                let portal: &[u8] = b"pgbraid_moving";
                let server = self.send_part_as(at, portal, text.as_bytes(), types, bind, !taken);
                reply::execute(&mut server.outbound, portal, 0);
                server.expects.push(Step::Execute, audience);
                reply::named(&mut server.outbound, b'C', b'P', portal);
                server.expects.push(Step::Close, Audience::Gateway);
                server.send_flush();
            }
        }
    }
}

fn row_text(row: &Values) -> String {
    let values: Vec<String> =
        row.iter().map(|value| value.as_ref().map_or_else(|| "NULL".to_owned(), |value| literal(value))).collect();
    format!("({})", values.join(", "))
}

fn move_of(route: &Route) -> Result<&Move, Failure> {
    match &route.target {
        Target::Moved(moving) => Ok(moving),
        _ => Err(unmovable()),
    }
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
