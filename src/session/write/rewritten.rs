//! Statements whose text is changed before it runs: values computed first, rows of INSERT ... VALUES parted between shards.

use std::sync::Arc;

use shardmap::ShardId;

use super::stepwise::RowFormats;
use crate::execute::interleave::Interleave;
use crate::execute::plain::Plain;
use crate::execute::relay::HELD_FRAME_BYTES;
use crate::plan::{Access, Computed, Destination, Keyed, Plan, Planned, Route, Several, Split, Target, Values, oid};
use crate::pool::expect::{Audience, Step};
use crate::session::extended::messages::check_named_parameters;
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::life::{Ended, Session};
use crate::session::plans::compiled::Compiled;
use crate::session::statement::{BoundArguments, NoArguments, Place, Prepared};
use crate::sql::tokens;
use crate::wire::embedded::FIRST_NORMAL_OID;
use crate::wire::frontend::Bind;
use crate::wire::reply::{self, Report};

/// Values may be computed so often before a statement runs: keys first, then the time.
const ROUNDS_MAX: usize = 3;

/// Where values are computed in the extended protocol; the client's unnamed portal stays.
const PORTAL: &[u8] = b"pgbraid_values";

/// A statement as it is to run.
pub(super) struct Runnable {
    pub(super) text: Vec<u8>,
    pub(super) route: Route,
    pub(super) destination: Destination,
}

/// By row of a statement, the shard that stores it.
pub type RowOrder = Arc<[ShardId]>;

impl Session {
    /// INSERT ... VALUES whose rows belong to several shards, in the simple protocol.
    pub(in crate::session) async fn split(
        &mut self,
        text: &[u8],
        route: &Route,
        order: &[ShardId],
    ) -> Result<Ended, Failure> {
        let split = split_of(route)?;
        let shards = distinct(order);
        let own = self.begin_own_block();
        let places = self.enlist_many(&shards, Access::Write).await?;
        for (shard, at) in shards.iter().zip(&places) {
            let text = split.text(text, |row| order.get(row) == Some(shard));
            self.link.servers[*at].server.send_query(&text, Audience::Joiner);
        }
        let mut joiner = Interleave::new(self.servers_of(order), self.link.servers.len());
        self.relay_in_block(&mut joiner).await?;
        let mut end = bytes::BytesMut::new();
        joiner.finish(&mut end);
        self.settle(own, &end, !joiner.failed()).await
    }

    /// For each row, its shard's place in the link.
    pub(in crate::session) fn servers_of(&self, order: &[ShardId]) -> Vec<usize> {
        let place = |shard: &ShardId| {
            let server = |enlisted: &crate::execute::link::Enlisted| enlisted.shard == *shard && !enlisted.replica;
            self.link.servers.iter().position(server).unwrap_or(usize::MAX)
        };
        order.iter().map(place).collect()
    }

    /// A statement in the simple protocol that needs values computed first.
    pub(in crate::session) async fn compute(
        &mut self,
        text: &[u8],
        route: &Route,
        alone: bool,
    ) -> Result<Ended, Failure> {
        let (mut text, mut route) = (text.to_vec(), route.clone());
        for _ in 0..ROUNDS_MAX {
            let computed = computed_of(&route)?;
            // PostgreSQL's own errors first: types, columns, rights.
            self.probe(&text, &[]).await?;
            let at = self.computing(computed).await?;
            if computed.values == Values::Remembered && computed.edits.is_empty() {
                return self.forward_query(at, &text, alone).await;
            }
            self.check_computed(computed, at, Wire::Simple).await?;
            let mut values = Vec::new();
            for (query, count) in computed.queries() {
                self.link.servers[at].server.send_query(query.as_bytes(), Audience::Gateway);
                values.extend(self.row_of_values(count).await?);
            }
            values.extend(self.own_value(computed.values, at, Wire::Simple).await?);
            self.give_back_if_idle().await;
            text = computed.apply(&text, &values);
            let compiled = self.compiled(&text, &[]).await?;
            route = planned_route(&compiled)?.clone();
            if self.destination(&route, &NoArguments)? != Destination::Compute {
                return Box::pin(self.rows(&text, &route, &NoArguments, alone)).await;
            }
        }
        Err(computed_in_vain())
    }

    /// The server that computes: the home shard's if numbers are drawn, which are the cluster's.
    pub(super) async fn computing(&mut self, computed: &Computed) -> Result<usize, Failure> {
        if !self.reported.utf8 {
            return Err(Report::error("0A000", "a value that is computed first needs client_encoding UTF8")
                .with_hint("SET client_encoding TO 'UTF8', or give constants.")
                .into());
        }
        if computed.values == Values::Remembered {
            return Box::pin(self.drew(computed)).await;
        }
        if computed.draws {
            let home = self.gateway.home();
            // Not noted as a write: a number that was drawn stays so whatever becomes of the transaction.
            return self.enlist(home, Access::Write).await;
        }
        self.enlist_any(Access::Read).await
    }

    /// Values come as text, which must say all of them.
    pub(super) async fn check_computed(&mut self, computed: &Computed, at: usize, wire: Wire) -> Result<(), Failure> {
        if computed.values == Values::Computed && computed.may_be_rounded() {
            Box::pin(self.check_digits(at, wire)).await?;
        }
        Ok(())
    }

    /// What was asked of a server outside a block is done: it does not take part in what follows, where shards are enlisted in
    /// their order, so that two such statements do not wait for each other.
    pub(in crate::session) async fn give_back_if_idle(&mut self) {
        if self.transaction.block().is_none() {
            self.give_back().await;
        }
    }

    /// A row of so many values that have been asked for.
    async fn row_of_values(&mut self, count: usize) -> Result<Vec<Option<String>>, Failure> {
        let mut plain = Plain { keep_row: true, ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        self.note(&plain);
        self.pass_on_hidden_error(&plain)?;
        if plain.error.is_some() {
            return Err(Failure::Told);
        }
        if plain.row.len() != count {
            // One that is longer is not held.
            let text =
                format!("values that are computed before they are stored have more than {HELD_FRAME_BYTES} bytes");
            return Err(Report::error("54000", text).with_hint("Give them as constants or parameters.").into());
        }
        Ok(plain.row)
    }

    // The extended protocol

    /// Binds a statement whose text must change first.
    pub(in crate::session) async fn bind_rewritten(
        &mut self,
        (route, destination): (&Route, Destination),
        bind: &Bind<'_>,
        prepared: &Prepared,
    ) -> Result<Place, Failure> {
        self.settle_parse(None).await?;
        self.drain().await?;
        check_named_parameters(bind, &prepared.compiled)?;
        let types = self.types_of(bind, prepared).await?;
        let Runnable { text, route, destination } =
            self.compute_bound(route, destination, bind, prepared, &types).await?;
        let every = match destination {
            Destination::All { takes_turn } => Some(takes_turn),
            _ => None,
        };
        let single = matches!(destination, Destination::One(_) | Destination::Any);
        let (shards, order) = match destination {
            Destination::Split(order) => (distinct(&order), Some(order)),
            Destination::All { .. } => (self.all_shards(), None),
            Destination::Gather(_) | Destination::Stepwise => return Err(computed_and_merged()),
            other => (other.shards(self.default_shard).ok_or_else(undecided)?, None),
        };
        let split = match &order {
            Some(_) => Some(split_of(&route)?),
            None => None,
        };
        if every.is_some() {
            self.note_write_everywhere().await?;
        }
        let places = self.enlist_many(&shards, route.access).await?;
        for (nth, (shard, at)) in shards.iter().zip(&places).enumerate() {
            let own =
                split.zip(order.as_ref()).map(|(split, order)| split.text(&text, |row| order.get(row) == Some(shard)));
            self.send_text_bind(*at, own.as_deref().unwrap_or(&text), &types, bind, nth == 0);
        }
        if let Some(takes_turn) = every {
            return Ok(Place::Every { shards, takes_turn });
        }
        Ok(match shards.first() {
            Some(shard) if single => {
                let server = places.first().and_then(|at| self.link.servers.get(*at));
                Place::One { shard: *shard, replica: server.is_some_and(|found| found.replica) }
            }
            Some(_) | None => Place::Many { shards, order: order.map(Into::into) },
        })
    }

    pub(super) fn all_shards(&self) -> Vec<ShardId> {
        self.gateway.each_shard().collect()
    }

    /// The types of a statement's parameters, before anything of it is cut out.
    pub(super) async fn types_of(&mut self, bind: &Bind<'_>, prepared: &Prepared) -> Result<Vec<u32>, Failure> {
        let declared = &prepared.compiled.types;
        let count = bind.count();
        if (0..count).all(|at| declared.get(at).is_some_and(|oid| *oid != 0)) {
            return Ok(declared.to_vec());
        }
        let resolved = match &prepared.resolved_types {
            Some(types) => types.clone(),
            None => {
                let types = self.ask_types(bind.statement, &prepared.compiled).await?;
                self.drain().await?;
                types
            }
        };
        let of = |(at, resolved): (usize, &u32)| match declared.get(at) {
            Some(declared) if *declared != 0 => *declared,
            _ if *resolved >= FIRST_NORMAL_OID => 0,
            _ => *resolved,
        };
        Ok(resolved.iter().enumerate().map(of).collect())
    }

    /// The statement with all values computed that must be, and where it then runs.
    async fn compute_bound(
        &mut self,
        route: &Route,
        destination: Destination,
        bind: &Bind<'_>,
        prepared: &Prepared,
        types: &[u32],
    ) -> Result<Runnable, Failure> {
        let mut done = Runnable { text: prepared.compiled.text.to_vec(), route: route.clone(), destination };
        for _ in 0..ROUNDS_MAX {
            if done.destination != Destination::Compute {
                return Ok(done);
            }
            let computed = computed_of(&done.route)?;
            let at = self.computing(computed).await?;
            self.engage(at).await?;
            if computed.values == Values::Remembered && computed.edits.is_empty() {
                done.destination =
                    self.link.servers.get(at).map_or(Destination::Any, |found| Destination::One(found.shard));
                return Ok(done);
            }
            self.check_computed(computed, at, Wire::Extended).await?;
            let mut values = Vec::new();
            for (query, count) in computed.queries() {
                let server =
                    self.send_text_as(at, PORTAL, query.as_bytes(), types, bind, (Audience::Gateway, RowFormats::Text));
                reply::execute(&mut server.outbound, PORTAL, 0);
                server.expects.push(Step::Execute, Audience::Gateway);
                reply::named(&mut server.outbound, b'C', b'P', PORTAL);
                server.expects.push(Step::Close, Audience::Gateway);
                server.send_flush();
                values.extend(self.row_of_values(count).await?);
            }
            values.extend(self.own_value(computed.values, at, Wire::Extended).await?);
            let text = computed.apply(&done.text, &values);
            let compiled = self.compiled(&text, types).await?;
            let route = planned_route(&compiled)?.clone();
            let arguments = BoundArguments::new(bind, Some(types));
            let destination = self.destination(&route, &arguments)?;
            done = Runnable { text, route, destination };
        }
        if done.destination == Destination::Compute { Err(computed_in_vain()) } else { Ok(done) }
    }

    /// Parses a text under no name and binds it to the client's portal.
    fn send_text_bind(&mut self, at: usize, text: &[u8], types: &[u32], bind: &Bind<'_>, forward: bool) {
        let audience = if forward { Audience::Client } else { Audience::Gateway };
        self.send_text_as(at, bind.portal, text, types, bind, (audience, RowFormats::Bound));
    }

    /// Parses a text under no name and binds it. The values of parameters that it does not use are left out.
    pub(super) fn send_text_as(
        &mut self,
        at: usize,
        portal: &[u8],
        text: &[u8],
        types: &[u32],
        bind: &Bind<'_>,
        (audience, formats): (Audience, RowFormats),
    ) -> &mut crate::pool::server::Server {
        let used = std::str::from_utf8(text).map(tokens::parameters).unwrap_or_default();
        let mut is_used = vec![false; bind.count()];
        for index in used {
            if let Some(slot) = is_used.get_mut(index) {
                *slot = true;
            }
        }
        // What is not used has some type.
        let of = |(index, used): (usize, &bool)| if *used { types.get(index).copied().unwrap_or(0) } else { oid::TEXT };
        let types: Vec<u32> = is_used.iter().enumerate().map(of).collect();
        let keeps = |index: usize| is_used.get(index).copied().unwrap_or(false);
        let rest = bind.with_values(keeps, formats == RowFormats::Bound);
        let enlisted = &mut self.link.servers[at];
        enlisted.needs_sync = true;
        let server: &mut crate::pool::server::Server = &mut enlisted.server;
        reply::parse(&mut server.outbound, b"", text, &server.oids.declared(&types));
        let parsing = if audience == Audience::Client { Audience::ClientIfError } else { audience };
        server.expects.push(Step::Parse(None), parsing);
        server.unnamed = None;
        reply::bind(&mut server.outbound, portal, b"", &rest, 0);
        server.expects.push(Step::Bind, audience);
        server
    }
}

/// Each shard once, in order.
pub(super) fn distinct(order: &[ShardId]) -> Vec<ShardId> {
    let mut shards = order.to_vec();
    shards.sort_unstable();
    shards.dedup();
    shards
}

pub(super) fn split_of(route: &Route) -> Result<&Split, Failure> {
    match &route.target {
        Target::Keyed(Keyed { several: Several::Split(split), .. }) => Ok(split),
        _ => Err(undecided()),
    }
}

pub(super) fn computed_of(route: &Route) -> Result<&Computed, Failure> {
    match &route.target {
        Target::Computed(computed) => Ok(computed),
        _ => Err(undecided()),
    }
}

pub(super) fn planned_route(compiled: &Compiled) -> Result<&Route, Failure> {
    match compiled.statements.as_deref() {
        Some([Planned { plan: Plan::Rows(route), .. }]) => Ok(route),
        Some([Planned { plan: Plan::Refuse(refusal), .. }]) => Err(refusal.clone().into()),
        _ => Err(undecided()),
    }
}

fn computed_and_merged() -> Failure {
    Report::error("0A000", "a statement with a value that is computed first, over several shards, is not supported in the extended protocol")
        .with_hint("Ask for the value first, and give it as a parameter.")
        .into()
}

/// What a value comes to is written as a constant that must be computed again.
pub(super) fn computed_in_vain() -> Failure {
    Report::error("0A000", "a value with a word like 'now' or 'today' in it, of a type that may read that as the time, is not supported here")
        .with_hint("Give it as a parameter, or store it in columns of types that have no dates.")
        .into()
}

pub(super) fn undecided() -> Failure {
    Report::error("XX000", "where the statement runs could not be decided")
        .with_hint("Give constants for the values, and report the statement.")
        .into()
}
