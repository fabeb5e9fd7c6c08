//! What a statement becomes when the rows that it needs stand in it: planned anew, its values computed, and run.

use std::sync::Arc;

use bytes::BytesMut;
use shardmap::ShardId;

use super::fetched::too_much;
use super::returned::Returned;
use super::rewritten::{Runnable, computed_in_vain, computed_of, distinct, planned_route, split_of, undecided};
use super::stepwise::{Given, RowFormats};
use crate::execute::interleave::Interleave;
use crate::execute::scatter::Scatter;
use crate::plan::{Destination, Gather, Route, Target};
use crate::pool::expect::Audience;
use crate::pool::server::Server;
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::gather::run::{Gathering, Run};
use crate::session::life::Session;
use crate::session::parameters::Parameters;
use crate::wire::copy::JoinFormat;
use crate::wire::frame;
use crate::wire::reply::{self, Report};
use crate::wire::row_description::Columns;

impl Session {
    /// A statement with all that must be known before it runs.
    pub(super) async fn plan_anew(
        &mut self,
        text: String,
        given: Given<'_>,
        rounds: usize,
    ) -> Result<Runnable, Failure> {
        let mut text = text;
        for round in (0..rounds).rev() {
            let compiled = self.compiled(text.as_bytes(), given.types()).await?;
            let route = planned_route(&compiled)?.clone();
            let destination = self.destination(&route, &*given.arguments())?;
            match (&destination, &route.target) {
                (Destination::Compute, _) | (Destination::Stepwise, Target::Computed(_)) => {
                    if round == 0 {
                        return Err(computed_in_vain());
                    }
                    text = self.with_values(&text, &route, given).await?
                }
                (Destination::Stepwise, Target::Fetched(fetched)) => {
                    text = Box::pin(self.fetch(fetched, given, round)).await?.0;
                }
                _ => return Ok(Runnable { text: text.into_bytes(), route, destination }),
            }
        }
        Err(undecided())
    }

    /// The statement with the values that a server must compute first.
    async fn with_values(&mut self, text: &str, route: &Route, given: Given<'_>) -> Result<String, Failure> {
        let computed = computed_of(route)?;
        let at = self.computing(computed).await?;
        self.check_computed(computed, at, given.wire()).await?;
        let mut values = Vec::new();
        for (query, _) in computed.queries() {
            self.send_step(at, query.as_bytes(), given, RowFormats::Text);
            values.extend(self.harvest(too_much).await?.into_iter().next().unwrap_or_default());
        }
        String::from_utf8(computed.apply(text.as_bytes(), &values)).map_err(|_| undecided())
    }

    pub(super) fn shards_of(&self, runnable: &Runnable) -> Result<(Vec<ShardId>, Option<Vec<ShardId>>), Failure> {
        if let Destination::Split(order) = &runnable.destination {
            return Ok((distinct(order), Some(order.clone())));
        }
        let shards = runnable.destination.shards(self.default_shard).ok_or_else(|| {
            Report::error("0A000", "this write cannot be part of a statement over several shards")
                .with_hint("Use a statement of its own, in the same transaction.")
        })?;
        Ok((shards, None))
    }

    /// Runs the client's statement as it has become; what ends its answer is returned. `columns`: as the client is to be told them.
    pub(super) async fn run_planned_anew(
        &mut self,
        runnable: Runnable,
        given: Given<'_>,
        (columns, returned): (Option<Columns>, &mut Returned),
    ) -> Result<BytesMut, Failure> {
        let mut end = BytesMut::new();
        let failed = match &runnable.destination {
            Destination::Gather(gather) => {
                return self.run_gathered(&runnable.text, gather, given, (columns, returned)).await;
            }
            Destination::Stepwise => {
                let Target::Moved(moving) = &runnable.route.target else { return Err(undecided()) };
                return self.take_and_put(moving, given, returned).await;
            }
            Destination::All { takes_turn } => {
                self.enlist_all().await?;
                self.note_write_everywhere().await?;
                let send = |session: &mut Session, at| session.send_final(at, &runnable.text, given);
                self.answer_everywhere(*takes_turn, send, (columns, returned), &mut end).await?
            }
            _ => {
                let (shards, split) = self.shards_of(&runnable)?;
                let places = self.enlist_many(&shards, runnable.route.access).await?;
                for (shard, at) in shards.iter().zip(&places) {
                    let own = part_text(&runnable, &split, *shard)?;
                    self.send_final(*at, &own, given);
                }
                let (leader, count) = (places.first().copied().unwrap_or(0), self.link.servers.len());
                match &split {
                    Some(order) => {
                        let joiner = Interleave::new(self.servers_of(order), count);
                        self.answer_joined(joiner, (columns, returned), |joiner| {
                            joiner.finish(&mut end);
                            joiner.failed()
                        })
                        .await?
                    }
                    None => {
                        let joiner = Scatter::new(leader, count, JoinFormat::Rows);
                        self.answer_joined(joiner, (columns, returned), |joiner| {
                            joiner.finish(&mut end);
                            joiner.failed()
                        })
                        .await?
                    }
                }
            }
        };
        self.ended(end, failed)
    }

    /// The same by way of a merge server.
    async fn run_gathered(
        &mut self,
        text: &[u8],
        gather: &Arc<Gather>,
        given: Given<'_>,
        (columns, returned): (Option<Columns>, &mut Returned),
    ) -> Result<BytesMut, Failure> {
        let described = self.described(text, given.types(), gather, Wire::Simple).await?;
        let (result_formats, simple) = match given {
            Given::Nothing => (Vec::new(), true),
            Given::Bound(bind, _) => (bind.result_formats(), false),
        };
        let gathering = Gathering { described, parameters: given.parameters(), result_formats };
        if let Some(put) = gather.put() {
            return self.put_rows(&gathering, put, simple, returned).await;
        }
        if let Some(columns) = columns {
            frame::write(&mut self.link.client.outbound, b'T', |to| to.extend_from_slice(columns.body()));
        }
        let run = Run {
            wire: Wire::Simple,
            tells_columns: false,
            rows_max: 0,
            statement: None,
            keeps: matches!(returned, Returned::Kept(_)),
        };
        let merged = self.run_gather(&gathering, run).await?;
        if let Returned::Kept(rows) = returned {
            rows.extend(merged.kept);
        }
        let mut end = BytesMut::new();
        reply::complete(&mut end, &String::from_utf8_lossy(&merged.tag.unwrap_or_default()));
        Ok(end)
    }

    /// Sends what is to answer the client, whose columns it has been told or will be.
    fn send_final(&mut self, at: usize, text: &[u8], given: Given<'_>) {
        match given {
            Given::Nothing => {
                let rest = Parameters::default().bind_rest(&[]);
                let server: &mut Server = &mut self.link.servers[at].server;
                server.send_bound(text, &[], &rest, Audience::Joiner);
                server.send_sync(Audience::Gateway);
            }
            Given::Bound(..) => self.send_step(at, text, given, RowFormats::Bound),
        }
    }
}

/// What one shard gets of a statement.
pub(super) fn part_text(runnable: &Runnable, split: &Option<Vec<ShardId>>, shard: ShardId) -> Result<Vec<u8>, Failure> {
    let text = &runnable.text;
    match split {
        Some(order) => Ok(split_of(&runnable.route)?.text(text, |row| order.get(row) == Some(&shard))),
        None => Ok(text.to_vec()),
    }
}
