//! Writes that run step by step: rows are taken and put elsewhere ([`update_key`](super::update_key)), or fetched for the text
//! ([`fetched`](super::fetched)), or values are computed for it. What all of these share: how they come from the client, the parameters
//! of their steps, and how a step is sent.

use std::sync::Arc;

use super::returned::Returned;
use crate::catalog::Oid;
use crate::plan::{Access, Arguments, Output, Route, Target};
use crate::pool::expect::{Audience, Step};
use crate::session::extended::messages::{malformed, no_portal};
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::life::{Ended, Session};
use crate::session::parameters::Parameters;
use crate::session::plans::compiled::Compiled;
use crate::session::statement::{BoundArguments, NoArguments, Place};
use crate::sql::{self, Node};
use crate::wire::frontend::{Bind, Execute};
use crate::wire::reply;

/// The portal of a step; the client's unnamed one stays.
const PORTAL: &[u8] = b"pgbraid_step";

/// Parameters of the client's, with their types; its steps may use any of them.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    /// It came as a simple query.
    Nothing,
    Bound(&'a Bind<'a>, &'a [u32]),
}

impl Given<'_> {
    pub(super) fn types(&self) -> &[u32] {
        match self {
            Given::Nothing => &[],
            Given::Bound(_, types) => types,
        }
    }

    /// As the gateway's own questions are asked along with it: a Query would end what the messages before it have begun.
    pub(super) fn wire(&self) -> Wire {
        match self {
            Given::Nothing => Wire::Simple,
            Given::Bound(..) => Wire::Extended,
        }
    }

    pub(super) fn parameters(&self) -> Parameters {
        match self {
            Given::Nothing => Parameters::default(),
            Given::Bound(bind, _) => Parameters::of(bind),
        }
    }

    pub(super) fn arguments(&self) -> Box<dyn Arguments + '_> {
        match self {
            Given::Nothing => Box::new(NoArguments),
            Given::Bound(bind, types) => Box::new(BoundArguments::new(bind, Some(types))),
        }
    }
}

/// In which formats rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowFormats {
    /// As the client's Bind asks: they are for the client.
    Bound,
    /// Text: they are for the gateway.
    Text,
}

impl Session {
    /// Such a statement in the simple protocol.
    pub(in crate::session) async fn stepwise(&mut self, text: &[u8], route: &Route) -> Result<Ended, Failure> {
        match &route.target {
            _ if route.output != Output::Rows => Box::pin(self.explain_simple(text, route)).await,
            Target::Moved(moving) => self.move_rows(text, moving).await,
            _ => Box::pin(self.fetched_simple(text, route)).await,
        }
    }

    /// Binds such a statement: on one shard, which describes it and never executes it.
    pub(in crate::session) async fn bind_stepwise(&mut self, route: &Route, bind: &Bind<'_>) -> Result<Place, Failure> {
        let prepared = self.current(bind.statement).await?;
        let types = self.types_of(bind, &prepared).await?;
        let at = match &route.target {
            Target::Moved(moving) if route.output == Output::Rows => {
                let shards = self.sources(moving, Given::Bound(bind, &types))?;
                self.enlist_for(shards.first().copied().unwrap_or(self.default_shard), Access::Write).await?
            }
            _ => self.enlist(self.default_shard, Access::Write).await?,
        };
        self.bind_on(at, (bind, None)).await?;
        let enlisted = &self.link.servers[at];
        let (shard, replica) = (enlisted.shard, enlisted.replica);
        Ok(Place::Stepwise { shard, replica, bind: bind.whole().into(), types: types.into() })
    }

    /// Executes what [`Session::bind_stepwise`] bound.
    pub(in crate::session) async fn execute_stepwise(
        &mut self,
        (bound, types): (&[u8], &[Oid]),
        compiled: &Arc<Compiled>,
        route: &Route,
        execute: &Execute<'_>,
    ) -> Result<(), Failure> {
        let bind = Bind::read(bound).map_err(malformed)?;
        if route.output != Output::Rows {
            return Box::pin(self.explain_bound(Given::Bound(&bind, types), compiled, route, execute)).await;
        }
        self.drain().await?;
        // All it does is one transaction, which its Sync ends.
        match &route.target {
            Target::Moved(_) => {
                for shard in self.all_shards() {
                    self.note_write(shard).await?;
                }
            }
            _ => self.begin_behind_pipeline(),
        }
        // What that has sent to servers is answered before others are waited for.
        self.drain().await?;
        let given = Given::Bound(&bind, types);
        let mut returned = Returned::of(execute);
        let end = match &route.target {
            Target::Moved(moving) => self.take_and_put(moving, given, &mut returned).await?,
            _ => Box::pin(self.fetch_and_run(&compiled.text, route, given, (None, &mut returned))).await?,
        };
        self.conclude_returned(end, returned, execute)
    }

    /// Whether such a portal has columns.
    pub(in crate::session) fn stepwise_returns_rows(&self, name: &[u8]) -> bool {
        let portal = self.names.portals.get(name);
        portal.is_some_and(|portal| has_columns(&String::from_utf8_lossy(&portal.compiled.text)))
    }

    /// Describe of a portal that has run, which is bound anew for that.
    pub(in crate::session) async fn describe_stepwise(&mut self, name: &[u8], place: &Place) -> Result<(), Failure> {
        let (Place::Stepwise { bind, types, shard, replica }, Some(portal)) = (place, self.names.portals.get(name))
        else {
            return Err(no_portal(name));
        };
        let (statement, compiled) = (portal.statement.clone(), portal.compiled.clone());
        let at = self.portal_server(*shard, Some(*replica), name)?;
        self.engage(at).await?;
        let bind = Bind::read(bind).map_err(malformed)?;
        let formats = (Audience::ClientIfError, RowFormats::Bound);
        let server = self.send_text_as(at, PORTAL, &compiled.text, types, &bind, formats);
        reply::named(&mut server.outbound, b'D', b'P', PORTAL);
        server.expects.push(Step::DescribePortal, Audience::Client);
        reply::named(&mut server.outbound, b'C', b'P', PORTAL);
        server.expects.push(Step::Close, Audience::Gateway);
        self.describing(&statement);
        Ok(())
    }

    /// Sends a step; its answer is for a joiner. One without parameters is sent as a simple query, whose rows are text.
    pub(super) fn send_step(&mut self, at: usize, text: &[u8], given: Given<'_>, formats: RowFormats) {
        let (bind, types) = match given {
            Given::Nothing => return self.link.servers[at].server.send_query(text, Audience::Joiner),
            Given::Bound(bind, types) => (bind, types),
        };
        let server = self.send_text_as(at, PORTAL, text, types, bind, (Audience::Joiner, formats));
        reply::execute(&mut server.outbound, PORTAL, 0);
        server.expects.push(Step::Execute, Audience::Joiner);
        reply::named(&mut server.outbound, b'C', b'P', PORTAL);
        server.expects.push(Step::Close, Audience::Gateway);
        server.send_flush();
    }
}

fn has_columns(text: &str) -> bool {
    let Ok(script) = sql::parse(text) else { return false };
    match script.statements.first().and_then(|statement| statement.node()) {
        Some(Node::InsertStmt(insert)) => insert.returning_clause.is_some(),
        Some(Node::UpdateStmt(update)) => update.returning_clause.is_some(),
        Some(Node::DeleteStmt(delete)) => delete.returning_clause.is_some(),
        Some(Node::MergeStmt(merge)) => merge.returning_clause.is_some(),
        // A query or an EXPLAIN.
        _ => true,
    }
}
