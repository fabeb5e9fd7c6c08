//! Execute: runs a portal, wherever it is.

use shardmap::ShardId;

use super::extended::no_portal;
use super::failure::{Failure, protocol_violation};
use super::life::Session;
use super::simple::rows_of;
use super::statement::{Place, Prepared};
use crate::execute::chorus::Chorus;
use crate::execute::scatter::Scatter;
use crate::plan::{Output, Plan};
use crate::pool::expect::Step;
use crate::wire::frontend::Execute;
use crate::wire::reply::{self, Report};

impl Session {
    /// Handles an Execute message.
    pub(super) async fn execute(&mut self, body: &[u8]) -> Result<(), Failure> {
        let execute = Execute::read(body).map_err(|malformed| protocol_violation(malformed.to_string()))?;
        let portal = self.names.portals.get(execute.portal).ok_or_else(|| no_portal(execute.portal))?;
        let prepared = portal.prepared.clone();
        let plan = prepared.plan().unwrap_or(&Plan::Empty);
        self.check_not_failed(plan)?;
        match portal.place.clone() {
            Place::One { shard, replica } => {
                let at = self.portal_server(shard, Some(replica), execute.portal)?;
                self.engage(at).await?;
                self.send_execute(at, &execute, true);
                self.note_cursor(plan, shard);
            }
            Place::Many(shards) => self.execute_many(&shards, &execute, plan).await?,
            Place::Every(shards) => self.execute_every(&shards, &execute).await?,
            Place::Local => {
                self.drain().await?;
                self.execute_local(&prepared, plan).await?;
            }
        }
        Ok(())
    }

    fn send_execute(&mut self, at: usize, execute: &Execute<'_>, forward: bool) {
        let enlisted = &mut self.link.servers[at];
        enlisted.needs_sync = true;
        reply::execute(&mut enlisted.server.outbound, execute.portal, execute.rows_max);
        enlisted.server.expects.push(Step::Execute, forward);
    }

    async fn execute_many(&mut self, shards: &[ShardId], execute: &Execute<'_>, plan: &Plan) -> Result<(), Failure> {
        if execute.rows_max > 0 {
            return Err(Report::error("0A000", "fetching a part of the rows of several shards is not supported yet")
                .with_hint("Set the driver's fetch size to 0, or restrict the statement to one key.")
                .into());
        }
        self.drain().await?;
        let servers = self.send_to_all(shards, execute)?;
        let output = match plan {
            Plan::Rows(route) => route.output,
            _ => Output::Rows,
        };
        let leader = servers.first().copied().unwrap_or(0);
        let mut scatter = Scatter::new(leader, self.link.servers.len(), rows_of(output));
        self.relay_in_block(&mut scatter).await?;
        scatter.finish(&mut self.link.client.outbound);
        if scatter.failed() { Err(Failure::Told) } else { Ok(()) }
    }

    async fn execute_every(&mut self, shards: &[ShardId], execute: &Execute<'_>) -> Result<(), Failure> {
        self.drain().await?;
        let servers = self.send_to_all(shards, execute)?;
        let mut chorus = Chorus::new(servers.first().copied().unwrap_or(0));
        self.relay_in_block(&mut chorus).await?;
        if chorus.finish(&mut self.link.client.outbound) { Ok(()) } else { Err(Failure::Told) }
    }

    fn send_to_all(&mut self, shards: &[ShardId], execute: &Execute<'_>) -> Result<Vec<usize>, Failure> {
        let mut servers = Vec::with_capacity(shards.len());
        for shard in shards {
            let at = self.portal_server(*shard, None, execute.portal)?;
            self.send_execute(at, execute, false);
            self.link.servers[at].server.send_flush();
            servers.push(at);
        }
        Ok(servers)
    }

    /// What the gateway carries out itself. Statements before it in the same pipeline share its implicit transaction only if
    /// they are in a block.
    async fn execute_local(&mut self, prepared: &Prepared, plan: &Plan) -> Result<(), Failure> {
        let text = &prepared.compiled.text;
        let unsynced =
            self.transaction.block().is_none() && self.link.servers.iter().any(|enlisted| enlisted.needs_sync);
        match plan {
            Plan::Everywhere(_) | Plan::CopyIn(_) if unsynced && self.pipeline.writes != Default::default() => {
                return Err(Report::error(
                    "0A000",
                    "DDL and COPY behind a write of the same pipeline are not supported",
                )
                .with_hint("Send Sync before it, or use BEGIN.")
                .into());
            }
            _ => {}
        }
        match plan {
            Plan::Empty => reply::empty_query(&mut self.link.client.outbound),
            Plan::Everywhere(everywhere) => {
                self.settle_implicit().await?;
                self.everywhere(text, everywhere).await?;
            }
            Plan::CopyIn(copy) => {
                self.settle_implicit().await?;
                self.copy_in(text, copy).await?;
            }
            Plan::Transaction(verb) => {
                self.settle_implicit().await?;
                self.transaction_verb(text, verb).await?;
            }
            Plan::Setting(verb) => {
                self.settle_implicit().await?;
                self.setting(text, verb).await?;
            }
            Plan::Discard(verb) => {
                self.settle_implicit().await?;
                self.discard(*verb, text).await?;
            }
            Plan::Prepared(verb) => self.deallocate(verb)?,
            Plan::Refuse(refusal) => return Err(refusal.clone().into()),
            Plan::Rows(_) | Plan::Cursor(_) | Plan::Unresolved => return Err(no_portal(b"")),
        }
        Ok(())
    }

    /// Ends the implicit transaction that earlier messages of the pipeline have begun on servers outside a block: what comes
    /// now is sent in the simple protocol, which does the same.
    async fn settle_implicit(&mut self) -> Result<(), Failure> {
        for enlisted in self.link.servers.iter_mut().filter(|enlisted| enlisted.needs_sync) {
            enlisted.needs_sync = false;
            enlisted.server.send_sync(false);
        }
        let mut plain = crate::execute::relay::Plain::default();
        self.relay_in_block(&mut plain).await?;
        self.pass_on_hidden_error(&plain)?;
        if self.transaction.block().is_none() {
            self.release().await;
        }
        Ok(())
    }
}
