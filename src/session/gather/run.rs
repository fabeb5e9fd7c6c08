//! Runs a query whose parts are read from shards and finished on a merge server.
//!
//! The merge server is an extra connection to a shard, from pools of their own, with a transaction of its own that is rolled back in the
//! end: its temporary tables leave nothing behind, not even a flush. It is taken last and given back before any other server is waited for,
//! and held over the end of a statement (cursors, suspended portals) only within a bound, so that no clients can wait for each other in a circle.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use shardmap::ShardId;

use super::described::{Described, Wire};
use super::inline;
use super::ship::Shipping;
use crate::execute::fault::LinkFault;
use crate::execute::hoard::Hoard;
use crate::execute::link::Enlisted;
use crate::execute::merge::Merge;
use crate::execute::ship::{ShipError, Silence};
use crate::plan::{Access, Destination, Gather, Output, Part, Route, Sink};
use crate::pool::expect::{Audience, Step};
use crate::pool::server::{CancelServer, Server};
use crate::session::failure::Failure;
use crate::session::gateway::Role;
use crate::session::life::{Ended, Session};
use crate::session::parameters::Parameters;
use crate::session::statement::BoundArguments;
use crate::session::steps::Steps;
use crate::session::transaction::snapshot_reads::Moment;
use crate::wire::frame;
use crate::wire::frontend::Bind;
use crate::wire::reply::{self, Report, Status};

/// The merge query's portal.
pub(super) const PORTAL: &[u8] = b"pgbraid_merge";

/// What a Bind says without parameters, of results in binary. *Source*: manual of PostgreSQL 15, 55.7.
pub(super) const BINARY_RESULTS: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 1];

/// A gather with its parameters.
#[derive(Debug)]
pub struct Gathering {
    /// The plan and what servers said of it.
    pub described: Arc<Described>,
    /// The client's parameters.
    pub parameters: Parameters,
    /// Formats of the columns.
    pub result_formats: Vec<i16>,
}

/// How the merge query is run.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Run<'a> {
    /// How the client asked.
    pub wire: Wire,
    /// The client is told the columns.
    pub tells_columns: bool,
    /// Rows at the most, 0 for all.
    pub rows_max: i32,
    /// Instead of a portal of the merge query's: a statement with it, such as DECLARE.
    pub statement: Option<&'a str>,
    /// Its rows are kept, not passed on.
    pub keeps: bool,
}

/// How it ended.
#[derive(Debug)]
pub(in crate::session) struct Merged {
    /// CommandComplete's tag; `None` when there may be more rows.
    pub tag: Option<Vec<u8>>,
    /// The merge server, when it has more to say.
    pub held: Option<Enlisted>,
    /// The rows, if they are kept.
    pub kept: VecDeque<Box<[u8]>>,
}

impl Session {
    /// Answers a Query by way of a merge server.
    pub(in crate::session) async fn gather_simple(
        &mut self,
        text: &[u8],
        gather: &Arc<Gather>,
        output: Output,
    ) -> Result<Ended, Failure> {
        if let (Some(make), Output::Rows) = (gather.make(), output) {
            return Box::pin(self.make_simple(gather, make)).await;
        }
        if output.is_copy() {
            return self.gather_copy(text, gather).await;
        }
        let described = self.described(text, &[], gather, Wire::Simple).await?;
        let gathering = Gathering { described, parameters: Parameters::default(), result_formats: Vec::new() };
        if output.is_explain() {
            let answer = Box::pin(self.gather_explain(text, &gathering, Wire::Simple)).await?;
            let columns = gathering.described.columns.in_formats(&[]);
            frame::write(&mut self.link.client.outbound, b'T', |to| to.extend_from_slice(columns.body()));
            self.link.client.outbound.extend_from_slice(&answer);
            return Ok(Ended::NotReady);
        }
        self.gather_query(&gathering).await
    }

    /// The same with what is needed at hand.
    pub(super) async fn gather_query(&mut self, gathering: &Gathering) -> Result<Ended, Failure> {
        if let Some(put) = gathering.described.gather.put() {
            return Box::pin(self.put_simple(gathering, put)).await;
        }
        let run = Run { wire: Wire::Simple, tells_columns: true, rows_max: 0, statement: None, keeps: false };
        let merged = self.run_gather(gathering, run).await?;
        if let Some(tag) = merged.tag {
            reply::complete(&mut self.link.client.outbound, &String::from_utf8_lossy(&tag));
        }
        Ok(Ended::NotReady)
    }

    /// Reads the parts and runs the merge query; its rows go to the client, what ends them does not.
    pub(in crate::session) async fn run_gather(
        &mut self,
        gathering: &Gathering,
        run: Run<'_>,
    ) -> Result<Merged, Failure> {
        let steps = Box::pin(self.begin_steps(run.wire)).await?;
        let result = self.run_steps(gathering, run, &steps).await;
        steps.end().await;
        result
    }

    async fn run_steps(&mut self, gathering: &Gathering, run: Run<'_>, steps: &Steps) -> Result<Merged, Failure> {
        let plan = &gathering.described.gather;
        if plan.sink == Sink::Asker
            && matches!(self.moment(Access::Read)?, Moment::Usual)
            && let Some(tag) = Box::pin(self.run_ordered(gathering, run)).await?
        {
            return Ok(Merged { tag: Some(tag), held: None, kept: VecDeque::new() });
        }
        let places = self.part_places(gathering, &gathering.described.gather.parts)?;
        let held = match self.moment(Access::Read)? {
            Moment::Held => Some(Box::pin(self.hold_commits_off()).await?),
            Moment::Usual | Moment::Own(_) => None,
        };
        let places = self.enlist_parts(&places).await?;
        let draws = plan.put().is_some_and(|put| put.draws);
        if plan.sink != Sink::Asker {
            // Defaults may be drawn on the merge server.
            self.note_drawn_elsewhere();
        }
        let merge = self.lend_merge(draws).await?;
        let key = merge.server.cancel_key();
        self.cancel.add(merge.server.cancel_key());
        self.link.servers.push(merge);
        let mut result = self.run_linked(gathering, run, &places).await;
        if let Some(held) = held
            && result.is_ok()
            && let Err(failure) = Box::pin(self.confirm_held(held)).await
        {
            result = Err(failure);
        }
        let ended = match &result {
            Ok((tag, _)) => tag.is_some() && run.statement.is_none(),
            Err(_) => true,
        };
        if ended {
            steps.end().await;
            self.drop_merge(&key).await?;
        }
        let (tag, kept) = result?;
        Ok(Merged { tag, held: if ended { None } else { self.link.servers.pop() }, kept })
    }

    /// Ends the transaction of a merge server and gives it back. Where one server is in the middle of an answer, as after a failure, it
    /// would be waited for, and one that waits for COPY data for ever: then the merge server is closed instead.
    pub(in crate::session) async fn drop_merge(&mut self, key: &CancelServer) -> Result<(), Failure> {
        let mut result = Ok(());
        if let Some(at) = self.link.servers.iter().position(|enlisted| enlisted.server.cancel_key().is(key)) {
            let drained = self.link.is_drained();
            let server: &mut Server = &mut self.link.servers[at].server;
            if drained && !server.is_broken() && server.expects.status != Status::Idle {
                server.send_query(b"ROLLBACK", Audience::Gateway);
                result = self.link.relay(&mut Silence::default()).await.map(drop);
            }
            self.link.servers.remove(at);
        }
        self.cancel.remove(key).await;
        match result {
            // A server that is lost has rolled back by itself.
            Ok(_) | Err(LinkFault::Server { .. }) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// On which shards each of these parts runs.
    pub(super) fn part_places(
        &self,
        gathering: &Gathering,
        parts: &[Part],
    ) -> Result<Vec<Vec<Option<ShardId>>>, Failure> {
        let rest = gathering.parameters.bind_rest(&[]);
        // A portal and a statement without names.
        let body = [&b"\0\0"[..], &rest].concat();
        let bind = Bind::read(&body).map_err(crate::session::extended::messages::malformed)?;
        let types = &gathering.described.types;
        let arguments = BoundArguments::new(&bind, Some(types));
        let place = |part: &Part| {
            let route = Route { access: Access::Read, target: part.target.clone(), output: Output::Rows };
            let destination = self.destination(&route, &arguments)?;
            if destination == Destination::Any {
                return Ok(vec![None]);
            }
            let shards = destination.shards(self.default_shard);
            let shards = shards.ok_or_else(|| Report::error("XX000", "a part of the query has no place"))?;
            Ok(shards.into_iter().map(Some).collect())
        };
        parts.iter().map(place).collect()
    }

    /// Enlists the shards of all parts in their order; returns the servers of each part.
    pub(super) async fn enlist_parts(&mut self, places: &[Vec<Option<ShardId>>]) -> Result<Vec<Vec<usize>>, Failure> {
        let shards: std::collections::BTreeSet<ShardId> = places.iter().flatten().copied().flatten().collect();
        let mut servers = BTreeMap::new();
        for shard in shards {
            self.note_touched(shard, Access::Read)?;
            servers.insert(shard, self.enlist(shard, Access::Read).await?);
        }
        let any = match servers.values().next() {
            Some(at) => *at,
            None if places.is_empty() => 0,
            None => self.enlist_any(Access::Read).await?,
        };
        let at = |shard: &Option<ShardId>| shard.and_then(|shard| servers.get(&shard).copied()).unwrap_or(any);
        Ok(places.iter().map(|shards| shards.iter().map(at).collect()).collect())
    }

    /// A merge server: the next shard's whose turn it is and that answers; `home`: the home shard's.
    async fn lend_merge(&mut self, home_only: bool) -> Result<Enlisted, Failure> {
        // Numbers of types inside binary values are those that clients know on the home shard only.
        let differ = home_only || self.catalog.load().numbers_differ();
        let (mut shard, tried) =
            if differ { (self.gateway.home(), 1) } else { (self.gateway.next_shard(), self.gateway.shards()) };
        let mut last = None;
        for _ in 0..tried {
            match self.checkout(shard, Role::Merge).await {
                Ok(server) => {
                    return Ok(Enlisted {
                        shard,
                        server,
                        begun: true,
                        needs_sync: false,
                        replica: false,
                        only_asked: false,
                        own_numbers: false,
                    });
                }
                Err(Failure::Statement(report)) if report.sqlstate.starts_with("08") => {
                    last = Some(Failure::Statement(report));
                    shard = self.gateway.shard_after(shard);
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(last.unwrap_or_else(|| Report::error("08001", "no shard is configured").into()))
    }

    /// All of it, with the merge server as the link's last.
    async fn run_linked(
        &mut self,
        gathering: &Gathering,
        run: Run<'_>,
        places: &[Vec<usize>],
    ) -> Result<(Option<Vec<u8>>, VecDeque<Box<[u8]>>), Failure> {
        let merge = self.link.servers.len().saturating_sub(1);
        self.begin_merge(merge).await?;
        let mut parameters = gathering.parameters.clone();
        if gathering.described.gather.now_parameter.is_some() {
            let now = self.transaction_start(merge, Wire::Simple).await?;
            parameters.push_binary(now);
        }
        parameters.reserve(gathering.described.gather.values.len());
        let inline = inline::of(gathering, &run);
        if inline.is_none() {
            self.make_tables(gathering, &parameters, merge);
        }
        if let Some(put) = gathering.described.gather.put() {
            self.make_put_table(gathering, put, &parameters.bind_rest(&[]), merge);
        }
        let bytes_max = self.gateway.config.load().limits.shipped_bytes_max as u64;
        let shipping = Shipping { gathering, wire: run.wire, places, merge, bytes_max };
        match inline {
            Some(inline) => self.inline_parts(shipping, inline, &mut parameters).await?,
            None => self.ship_parts(shipping, &mut parameters).await?,
        }
        self.merge_rows(gathering, &parameters, run, merge).await
    }

    /// Begins the merge server's own transaction, with the settings that are in force.
    async fn begin_merge(&mut self, at: usize) -> Result<(), Failure> {
        let (settings, sets) = match self.transaction.block() {
            Some(block) => (block.log.settings_before().clone(), block.log.settings_replay()),
            None => (self.settings.clone(), Vec::new()),
        };
        // Temporary tables cannot be made in a READ ONLY transaction.
        let begin = [&["BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"], &sets[..]].concat().join("\n;");
        let server: &mut Server = &mut self.link.servers[at].server;
        let mut wait = server.adopt(&settings);
        wait |= !sets.is_empty();
        server.send_query(begin.as_bytes(), Audience::Gateway);
        if wait { self.confirm(at..at + 1).await } else { Ok(()) }
    }

    /// The start of the client's transaction, as the first of its servers tells it; outside a block, that of this server's.
    pub(super) async fn transaction_start(&mut self, other: usize, wire: Wire) -> Result<Vec<u8>, Failure> {
        let in_block = self.transaction.block().is_some();
        let first = self.link.servers.iter().position(|enlisted| enlisted.begun);
        let at = first.filter(|_| in_block).unwrap_or(other);
        let now = self.value_of(at, (b"SELECT pg_catalog.now()", &[], BINARY_RESULTS), wire).await?;
        if now.is_empty() {
            return Err(Report::error("XX000", "a server did not tell the time").into());
        }
        Ok(now)
    }

    fn make_tables(&mut self, gathering: &Gathering, parameters: &Parameters, at: usize) {
        let (rest, no_parameters) = (parameters.bind_rest(&[]), Parameters::default().bind_rest(&[]));
        let server: &mut Server = &mut self.link.servers[at].server;
        let definitions = gathering.described.definitions.as_deref().unwrap_or_default();
        for (at, part) in gathering.described.gather.parts.iter().enumerate() {
            let (text, rest) = match definitions.get(at) {
                Some(columns) => {
                    (format!("CREATE TEMPORARY TABLE {} ({columns}) ON COMMIT DROP", part.name), &no_parameters)
                }
                None => {
                    let Part { name, text, .. } = part;
                    (format!("CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS ({text}) WITH NO DATA"), &rest)
                }
            };
            let types = if definitions.is_empty() { &gathering.described.types[..] } else { &[] };
            server.send_bound(text.as_bytes(), types, rest, Audience::Gateway);
        }
        server.send_sync(Audience::Gateway);
    }

    /// Runs the merge query over what has been shipped.
    async fn merge_rows(
        &mut self,
        gathering: &Gathering,
        parameters: &Parameters,
        run: Run<'_>,
        merge: usize,
    ) -> Result<(Option<Vec<u8>>, VecDeque<Box<[u8]>>), Failure> {
        let (text, types) = match inline::of(gathering, &run) {
            Some(inline) => (inline.text.as_str(), &inline.types),
            None => (run.statement.unwrap_or(&gathering.described.gather.merge), &gathering.described.types),
        };
        let rest = parameters.bind_rest(&gathering.result_formats);
        let portal = if run.rows_max > 0 { PORTAL } else { b"" };
        let server: &mut Server = &mut self.link.servers[merge].server;
        let types = server.oids.declared(types);
        reply::parse(&mut server.outbound, b"", text.as_bytes(), &types);
        server.expects.push(Step::Parse(None), Audience::Gateway);
        reply::bind(&mut server.outbound, portal, b"", &rest, 0);
        server.expects.push(Step::Bind, Audience::Gateway);
        if run.statement.is_none() {
            reply::named(&mut server.outbound, b'D', b'P', portal);
            server.expects.push(Step::DescribePortal, Audience::Joiner);
        }
        reply::execute(&mut server.outbound, portal, run.rows_max);
        server.expects.push(Step::Execute, Audience::Joiner);
        server.unnamed = None;
        server.send_sync(Audience::Gateway);
        if run.rows_max == 0 && run.statement.is_none() {
            server.send_query(b"ROLLBACK", Audience::Gateway);
        }
        let columns = gathering.described.columns.in_formats(&gathering.result_formats);
        let mut joiner = Merge::new(merge, columns, run.tells_columns);
        joiner.captured = run.statement.filter(|text| text.starts_with("EXPLAIN")).map(|_| Vec::new());
        if !run.keeps {
            self.link.relay(&mut joiner).await?;
            return Ok((self.conclude_merge(joiner)?, VecDeque::new()));
        }
        let bytes_max = self.gateway.config.load().limits.held_bytes_max;
        let mut hoard = Hoard::new(joiner, bytes_max);
        self.link.relay(&mut hoard).await?;
        if hoard.overflow {
            return Err(too_many_returned(bytes_max).into());
        }
        Ok((self.conclude_merge(hoard.inner)?, hoard.rows))
    }

    /// What a run of the merge query came to (of an EXPLAIN, what it says); errors are told.
    pub(super) fn conclude_merge(&mut self, joiner: Merge) -> Result<Option<Vec<u8>>, Failure> {
        if joiner.differs {
            return Err(Report::error("XX000", "the merged columns are not those of the statement")
                .with_hint("Please report the statement.")
                .into());
        }
        if let Some(body) = joiner.error {
            return Err(self.tell_ship_error(ShipError::Server(body), 0));
        }
        if let Some(captured) = joiner.captured {
            return Ok(Some(captured));
        }
        Ok(if joiner.suspended { None } else { Some(joiner.tag.unwrap_or_default()) })
    }

    pub(super) fn tell_ship_error(&mut self, error: ShipError, bytes_max: u64) -> Failure {
        match error {
            ShipError::Server(body) => self.tell_error(&without_traces(&body)),
            ShipError::TooMuch => Report::error(
                "54000",
                format!("the query ships more than shipped_bytes_max ({bytes_max}) from its shards"),
            )
            .with_hint("Restrict it by conditions or a key, or raise shipped_bytes_max in [limits].")
            .into(),
        }
    }
}

/// More rows than may be kept for Executes with a row limit.
pub(in crate::session) fn too_many_returned(bytes_max: usize) -> Report {
    Report::error("53200", format!("the rows returned exceed held_bytes_max ({bytes_max})"))
        .with_hint("Fetch them without a row limit, or raise held_bytes_max in [limits].")
}

/// An ErrorResponse's body without what tells of texts that are not the client's: positions, and contexts that name temporary tables.
pub(in crate::session) fn without_traces(body: &[u8]) -> BytesMut {
    let mut kept = BytesMut::with_capacity(body.len());
    for (code, value) in crate::wire::fields::fields(body) {
        let of_copy = code == b'W' && value.starts_with(b"COPY ");
        if matches!(code, b'P' | b'p' | b'q') || of_copy {
            continue;
        }
        kept.extend_from_slice(&[code]);
        match value.strip_prefix(OWN_PORTAL.as_bytes()) {
            Some(rest) if code == b'W' => {
                kept.extend_from_slice(b"unnamed portal");
                kept.extend_from_slice(rest);
            }
            _ => kept.extend_from_slice(value),
        }
        kept.extend_from_slice(&[0]);
    }
    kept.extend_from_slice(&[0]);
    kept
}

/// How the context of an error in a parameter begins. *Source*: postgres.c, bind_param_error_callback.
const OWN_PORTAL: &str = "portal \"pgbraid_part\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_contexts_of_copies_do_not_reach_the_client() {
        let body = b"SERROR\0C22012\0Mdivision by zero\0P7\0WCOPY part1, line 1\0\0";
        assert_eq!(&without_traces(body)[..], b"SERROR\0C22012\0Mdivision by zero\0\0");
        let body = b"C22P02\0Wportal \"pgbraid_part\" parameter $1 = '...'\0\0";
        assert_eq!(&without_traces(body)[..], b"C22P02\0Wunnamed portal parameter $1 = '...'\0\0");
    }
}
