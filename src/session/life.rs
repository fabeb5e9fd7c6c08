//! A session: its state, and the loop that reads messages and hands them on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use shardmap::{ShardId, ShardMap};

use super::accept::Client;
use super::cancel::CancelSlot;
use super::failure::Failure;
use super::fast_path::{Left, Sent};
use super::gateway::{Gateway, Seen};
use super::kept::Weigh;
use super::multiplexed::{Pooled, Sharing};
use super::next_message::Next;
use super::plans::recent::Recent;
use super::plans::scope::Scoped;
use super::reported::Reported;
use super::statement::{Names, Prepared, Renamed};
use crate::catalog::{CatalogHandle, CatalogVersion};
use crate::config::{Config, User};
use crate::counters::Tally;
use crate::execute::client::ClientIo;
use crate::execute::fault::LinkFault;
use crate::execute::link::Link;
use crate::pool::expect::StatementId;
use crate::pool::settings::Settings;
use crate::sql::lift::Lifted;
use crate::txn::state::{BlockKind, Transaction, Writes};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::name::Name;
use crate::wire::reply::{Report, Status};

/// One client's session.
pub struct Session {
    pub(super) gateway: Arc<Gateway>,
    pub(super) config: Seen<Config>,
    pub(super) map: Seen<ShardMap>,
    pub(super) link: Link,
    pub(super) user: Arc<User>,
    pub(super) database: String,
    pub(super) catalog: Arc<CatalogHandle>,
    pub(super) transaction: Transaction,
    /// Outside a block: the session's settings. Inside: see the block's log.
    pub(super) settings: Arc<Settings>,
    pub(super) names: Names,
    pub(super) pipeline: Pipeline,
    pub(super) cancel: Arc<CancelSlot>,
    /// Merge servers that hold cursors and portals.
    pub(super) merges: Vec<super::gather::portal::Held>,
    /// Under EXPLAIN ANALYZE: what is shipped.
    pub(super) measured: Option<Box<super::gather::measure::Measured>>,
    /// Where statements go that any shard can answer.
    pub(super) default_shard: ShardId,
    pub(super) pools: Vec<Pooled>,
    /// Completes when the gateway shuts down.
    pub(super) drain_signal: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    pub(super) drain_awaited: bool,
    pub(super) scope: Option<(CatalogVersion, Arc<Settings>, Arc<Scoped>)>,
    /// See [`super::steps`].
    pub(super) timeout: Option<super::steps::Timeout>,
    /// What the fast path has sent, and not yet heard of.
    pub(super) sent: Option<Sent>,
    /// Its reads on servers that it shares with others.
    pub(super) sharing: Sharing,
    /// Plans at hand.
    pub(super) recent: Recent,
    /// Memory for taking texts apart.
    pub(super) lifted: Lifted,
    pub(super) reported: Reported,
    /// Rest of a CopyData frame in whose middle a COPY has ended: it is not to be taken for messages.
    pub(super) discard_bytes: usize,
    pub(super) tally: Tally,
    /// Since when the transaction that is open runs.
    pub(super) busy_since: Option<std::time::Instant>,
}

/// Extended-protocol messages since the last Sync.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// An error was reported: everything is skipped until Sync. *Source*: manual, "Extended Query".
    pub skipping: bool,
    /// It has executed something in the transaction that is under way.
    pub executed: bool,
    /// What its implicit transaction has written.
    pub writes: Writes,
    /// The session's settings before the first SET since, outside a block.
    pub settings_before: Option<Arc<Settings>>,
    /// What names of statements were before messages whose answers may still not come, in the messages' order.
    pub renamed: Vec<Renamed>,
    /// What these keep, about.
    pub renamed_bytes: usize,
    /// See [`Plain::longer_by`].
    pub longer_by: usize,
    /// Statements used since, by their names.
    pub held: Vec<(StatementId, Name)>,
    /// Statements whose descriptions the client waits for, in order.
    pub describing: VecDeque<Name>,
}

impl Pipeline {
    /// A message gives a name, which meant `before`, another meaning.
    pub fn rename(&mut self, name: Name, before: Option<Prepared>) {
        self.renamed_bytes += before.as_ref().map_or(0, Weigh::bytes);
        self.renamed.push(Renamed { name, before });
    }

    /// Begins anew, with the memory it has.
    pub fn clear(&mut self) {
        let Pipeline {
            skipping,
            executed,
            writes,
            settings_before,
            renamed,
            renamed_bytes,
            longer_by,
            held,
            describing,
        } = self;
        (*skipping, *executed, *writes, *settings_before) = (false, false, Writes::Nothing, None);
        (*renamed_bytes, *longer_by) = (0, 0);
        renamed.clear();
        held.clear();
        describing.clear();
    }

    /// No message of it has come.
    pub fn is_clear(&self) -> bool {
        let Pipeline {
            skipping,
            executed,
            writes,
            settings_before,
            renamed,
            renamed_bytes: _,
            longer_by: _,
            held,
            describing,
        } = self;
        let lists = renamed.is_empty() && held.is_empty() && describing.is_empty();
        !skipping && !executed && lists && *writes == Writes::Nothing && settings_before.is_none()
    }
}

impl Session {
    /// A session for a client that has been let in.
    pub fn new(client: Client, gateway: Arc<Gateway>, catalog: Arc<CatalogHandle>, cancel: Arc<CancelSlot>) -> Self {
        let default_shard = gateway.next_shard();
        let mut io = ClientIo::new(client.stream, client.read_ahead);
        io.stopped = cancel.stopped.clone();
        Session {
            config: Seen::new(gateway.config.clone()),
            map: Seen::new(gateway.map.clone()),
            link: Link { client: io, servers: Vec::new(), catalog: Some(catalog.clone()) },
            user: client.user,
            database: client.database,
            transaction: Transaction::default(),
            settings: Arc::new(Settings::from_startup(&client.settings)),
            names: Names::default(),
            pipeline: Pipeline::default(),
            merges: Vec::new(),
            measured: None,
            default_shard,
            pools: Vec::new(),
            drain_signal: {
                let mut draining = gateway.draining.subscribe();
                Box::pin(async move { drop(draining.wait_for(|draining| *draining).await) })
            },
            drain_awaited: false,
            scope: None,
            timeout: None,
            sent: None,
            sharing: Sharing::default(),
            recent: Recent::default(),
            lifted: Lifted::default(),
            reported: Reported {
                at_start: None,
                values: HashMap::new(),
                pending: BTreeMap::new(),
                utf8: true,
                unheard: false,
                undo: Vec::new(),
                conforming_strings: true,
            },
            tally: Tally::new(gateway.counters.clone()),
            busy_since: None,
            gateway,
            discard_bytes: 0,
            catalog,
            cancel,
        }
    }

    /// Serves the client until it leaves, breaks the protocol, or the gateway shuts down.
    pub async fn run(&mut self) -> Result<(), Failure> {
        let result = self.talk().await;
        if let Err(Failure::Fatal(report)) = &result {
            report.write(&mut self.link.client.outbound);
            self.count_error(report.sqlstate.as_bytes());
            self.link.client.flush().await?;
        }
        result
    }

    /// Gives back what the session holds, when no cancel request is under way any more.
    pub async fn end(&mut self) {
        self.note_bytes();
        self.gateway.cancels.unregister(self.cancel.process_id);
        self.release().await;
    }

    async fn talk(&mut self) -> Result<(), Failure> {
        Box::pin(self.welcome()).await?;
        // Most clients are idle most of the time, and what most send is carried out by the fast path: only the others have memory for
        // what handles messages.
        loop {
            let left = poll_fn(|cx| self.poll_fast(cx)).await?;
            if matches!(left, Left::Nothing) || !Box::pin(self.work(left)).await? {
                return Ok(());
            }
        }
    }

    /// Does what the fast path has left, and handles messages until the client is idle; whether the session goes on.
    async fn work(&mut self, left: Left) -> Result<bool, Failure> {
        let mut looked = matches!(left, Left::Message);
        self.take_over(left).await?;
        loop {
            let message = match self.next_message(std::mem::take(&mut looked)).await? {
                Next::Message(message) => message,
                Next::Volley(planned) => {
                    self.note_message(b'B');
                    self.volley(planned).await?;
                    continue;
                }
                Next::Idle => return Ok(true),
                Next::End => return Ok(false),
            };
            let tag = message[0];
            self.note_message(tag);
            if !self.dispatch(message).await? {
                return Ok(false);
            }
            self.note_handled(tag);
        }
    }

    /// Handles one message; whether the session goes on.
    async fn dispatch(&mut self, message: BytesMut) -> Result<bool, Failure> {
        let tag = message[0];
        let body = &message[HEADER_BYTES..];
        if self.pipeline.skipping && !matches!(tag, b'S' | b'X') {
            return Ok(true);
        }
        match tag {
            // Behind a pipeline without Sync its answers come first; behind an error of it the Query is skipped.
            b'Q' => match self.settle_all().await {
                Ok(()) => {
                    let result = self.query(body).await;
                    self.conclude(result).await?;
                }
                earlier => Box::pin(self.conclude_extended(earlier)).await?,
            },
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => {
                let result = self.extended(tag, body).await;
                self.conclude_extended(result).await?;
            }
            b'S' if body.is_empty() => self.sync().await?,
            b'S' => {
                let malformed = super::extended::messages::malformed(crate::wire::frontend::Malformed::Long);
                self.conclude(Err(malformed)).await?;
            }
            b'F' => {
                let report = Report::error("0A000", "the function call protocol is not supported")
                    .with_hint("Call the function in a SELECT.");
                self.conclude(Err(report.into())).await?;
            }
            b'X' => return Ok(false),
            // CopyDone and CopyFail, left over from a COPY that failed.
            _ => {}
        }
        Ok(true)
    }

    /// Ends a simple query that has not ended with a server's ReadyForQuery: error if any, and ReadyForQuery.
    pub(super) async fn conclude(&mut self, result: Result<Ended, Failure>) -> Result<(), Failure> {
        self.pipeline.clear();
        match result {
            Ok(Ended::Ready) => self.keep_reported(),
            Ok(Ended::NotReady) => {
                self.keep_reported();
                self.release_if_idle().await;
                self.ready();
            }
            Err(failure) => {
                self.fail(failure).await?;
                Box::pin(self.end_implicit_block()).await?;
                if self.transaction.is_idle() {
                    self.undo_reported(0);
                }
                self.keep_reported();
                self.release_if_idle().await;
                self.ready();
            }
        }
        self.link.client.flush().await?;
        Ok(())
    }

    /// Tells the client of a failure and leaves the transaction as PostgreSQL would. Errors are those that end the session.
    pub(super) async fn fail(&mut self, failure: Failure) -> Result<(), Failure> {
        let report = match failure {
            Failure::Statement(report) => Some(*report),
            Failure::Told => None,
            Failure::Link(LinkFault::Server { shard, cause }) => {
                tracing::warn!(shard = self.gateway.shard_name(shard), %cause, "server lost");
                metrics::counter!("pgbraid_servers_lost_total").increment(1);
                Some(cause.report(&self.gateway.shard_name(shard)))
            }
            failure @ (Failure::Link(LinkFault::Client(_) | LinkFault::Torn(_)) | Failure::Fatal(_)) => {
                return Err(failure);
            }
        };
        if let Some(report) = report {
            self.count_error(report.sqlstate.as_bytes());
            report.write(&mut self.link.client.outbound);
        }
        // Servers in the middle of an answer cannot be talked to any more.
        let before = self.link.servers.len();
        self.link.servers.retain(|enlisted| !enlisted.server.is_broken() && enlisted.server.expects.is_empty());
        self.transaction.fail();
        if let Some(block) = self.transaction.block_mut() {
            block.lost_server |= self.link.servers.len() < before;
        }
        Ok(())
    }

    /// Gives servers back when no transaction holds them.
    pub(super) async fn release_if_idle(&mut self) {
        if self.transaction.block().is_none() {
            self.release().await;
        }
    }

    /// Gives all servers back, but keeps the names of portals: those of the gateway's own outlive them in a pipeline.
    pub(super) async fn give_back(&mut self) {
        if !self.link.servers.is_empty() {
            self.cancel.clear().await;
            self.link.servers.clear();
        }
    }

    /// Gives all servers back, and forgets what lived on them.
    pub(super) async fn release(&mut self) {
        if !self.merges.is_empty() {
            Box::pin(self.end_all_held()).await;
        }
        self.give_back().await;
        self.names.portals.clear();
        self.names.cursors.clear();
    }

    /// [`Session::release_if_idle`] without waiting; `false` if something would be waited for, and then it can be called.
    pub(super) fn release_if_idle_now(&mut self) -> bool {
        if self.transaction.block().is_some() {
            return true;
        }
        if !self.merges.is_empty() || !self.cancel.clear_now() {
            return false;
        }
        self.link.servers.clear();
        self.names.portals.clear();
        self.names.cursors.clear();
        true
    }

    /// The settings in force: the block's or the session's.
    pub(super) fn current_settings(&self) -> &Arc<Settings> {
        self.transaction.block().map_or(&self.settings, |block| block.log.effective())
    }

    /// An implicit block (several statements in one Query) ends with the message, whatever happened.
    pub(super) async fn end_implicit_block(&mut self) -> Result<(), Failure> {
        if self.transaction.block().is_some_and(|block| block.kind == BlockKind::Implicit) {
            self.rollback_servers().await?;
        }
        Ok(())
    }
}

/// How a simple query's answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With a server's ReadyForQuery, forwarded.
    Ready,
    /// ReadyForQuery is still to be sent.
    NotReady,
}

/// The status a block has after a server said so.
pub(super) fn follow(transaction: &mut Transaction, status: Status) {
    if status == Status::Failed {
        transaction.fail();
    }
}
