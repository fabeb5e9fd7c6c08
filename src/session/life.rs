//! A session: its state, and the loop that reads messages and hands them on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use shardmap::ShardId;

use super::accept::Client;
use super::cancel::CancelSlot;
use super::failure::{Failure, protocol_violation};
use super::gateway::{Gateway, Role, Welcome};
use super::kept::Name;
use super::recent::Recent;
use super::scope::Scoped;
use super::statement::Names;
use super::volley::VolleyPlan;
use crate::catalog::{CatalogHandle, CatalogVersion};
use crate::config::User;
use crate::counters::Tally;
use crate::execute::client::ClientIo;
use crate::execute::fault::LinkFault;
use crate::execute::link::Link;
use crate::execute::relay::{Parameter, Plain};
use crate::plan::SettingName;
use crate::pool::expect::StatementId;
use crate::pool::lend::ServerPool;
use crate::pool::settings::Settings;
use crate::sql::lift::Lifted;
use crate::txn::state::{BlockKind, Transaction, Writes};
use crate::wire::frame::{HEADER_BYTES, Header, LARGEST_MESSAGE_BYTES};
use crate::wire::reply::{self, Report, Status};

/// *Source*: libpq/libpq.h, PQ_SMALL_MESSAGE_LIMIT: 10,000 bytes, to which the tag is added.
const SMALL_MESSAGE_BYTES: usize = 10_001;

/// One client's session.
pub struct Session {
    pub(super) gateway: Arc<Gateway>,
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
    pub(super) merges: Vec<super::gather_portal::Held>,
    /// Under EXPLAIN ANALYZE: what is shipped.
    pub(super) measured: Option<Box<super::measure::Measured>>,
    /// Where statements go that any shard can answer.
    pub(super) default_shard: ShardId,
    pub(super) pools: Vec<((ShardId, Role), ServerPool)>,
    /// Completes when the gateway shuts down.
    drain_signal: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    drain_awaited: bool,
    pub(super) scope: Option<(CatalogVersion, Arc<Settings>, Arc<Scoped>)>,
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
    /// What its implicit transaction has written.
    pub writes: Writes,
    /// The session's settings before the first SET since, outside a block.
    pub settings_before: Option<Arc<Settings>>,
    /// Statements whose ParseComplete the client has been promised since.
    pub parsed: Vec<(Name, StatementId)>,
    /// Settings that queries have set since, and where.
    pub sets: Vec<(ShardId, Vec<SettingName>)>,
    /// See [`Plain::longer_by`].
    pub longer_by: usize,
    /// Statements used since, by their names.
    pub held: Vec<(StatementId, Arc<[u8]>)>,
    /// Statements whose descriptions the client waits for, in order.
    pub describing: VecDeque<Name>,
}

impl Pipeline {
    /// Begins anew, with the memory it has.
    pub fn clear(&mut self) {
        let Pipeline { skipping, writes, settings_before, parsed, sets, longer_by, held, describing } = self;
        (*skipping, *writes, *settings_before, *longer_by) = (false, Writes::Nothing, None, 0);
        parsed.clear();
        sets.clear();
        held.clear();
        describing.clear();
    }
}

/// Parameters the client has been told, as far as the gateway must know them.
#[derive(Debug)]
pub(super) struct Reported {
    /// What the client was told when it connected.
    pub at_start: Option<Arc<Welcome>>,
    /// What it has been told since.
    pub values: HashMap<String, String>,
    /// What it is to be told before ReadyForQuery.
    pub pending: BTreeMap<String, String>,
    /// `client_encoding` is UTF8 or SQL_ASCII.
    pub utf8: bool,
    /// `standard_conforming_strings` is on: backslashes in literals are what they seem to the planner.
    pub conforming_strings: bool,
}

impl Reported {
    /// What a parameter is now, if the client has heard or will hear of it.
    pub fn now(&self, name: &str) -> Option<&String> {
        self.pending.get(name).or_else(|| self.value(name))
    }

    /// What the client has been told last.
    fn value(&self, name: &str) -> Option<&String> {
        let first = || self.at_start.as_ref()?.parameters.iter().find(|(known, _)| known == name);
        self.values.get(name).or_else(|| first().map(|(_, value)| value))
    }
}

impl Session {
    /// A session for a client that has been let in.
    pub fn new(client: Client, gateway: Arc<Gateway>, catalog: Arc<CatalogHandle>, cancel: Arc<CancelSlot>) -> Self {
        let shards = gateway.shards().max(1);
        let default_shard = ShardId(u16::try_from(gateway.next_turn() % shards).unwrap_or(0));
        let mut io = ClientIo::new(client.stream, client.read_ahead);
        io.deadlocked = cancel.deadlocked.clone();
        Session {
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
            recent: Recent::default(),
            lifted: Lifted::default(),
            reported: Reported {
                at_start: None,
                values: HashMap::new(),
                pending: BTreeMap::new(),
                utf8: true,
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
        // Most clients are idle most of the time: only those that are not have memory for what handles messages.
        while Box::pin(self.work()).await? {
            if poll_fn(|cx| self.poll_more(cx)).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Handles messages until the client is idle; whether the session goes on.
    async fn work(&mut self) -> Result<bool, Failure> {
        loop {
            let message = match self.next_message().await? {
                Next::Message(message) => message,
                Next::Volley(planned) => {
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

    /// The next whole message, or volley of them.
    async fn next_message(&mut self) -> Result<Next, Failure> {
        loop {
            let rest = std::mem::take(&mut self.discard_bytes);
            if rest > 0 {
                self.link.client.flush().await?;
                self.skip_frame(rest).await?;
            }
            let inbound = &mut self.link.client.inbound;
            if let Some(header) = Header::read(inbound).map_err(|_| lost_sync())? {
                if matches!(header.tag, b'P' | b'B')
                    && let Some(planned) = self.plan_volley()
                {
                    return Ok(Next::Volley(planned));
                }
                if !is_small(header) || (header.tag == b'B' && self.is_long_bind(header.frame_bytes)) {
                    match Box::pin(self.unusual(header)).await? {
                        Unusual::Wanted => {}
                        Unusual::Whole(message) => return Ok(Next::Message(message)),
                        Unusual::Skipped => continue,
                    }
                }
                let inbound = &mut self.link.client.inbound;
                match inbound.len().cmp(&header.frame_bytes) {
                    // The rule, and cheaper: two halves of one buffer would have to be counted.
                    std::cmp::Ordering::Equal => return Ok(Next::Message(std::mem::take(inbound))),
                    std::cmp::Ordering::Greater => {
                        return Ok(Next::Message(inbound.split_to(header.frame_bytes)));
                    }
                    std::cmp::Ordering::Less => {}
                }
                inbound.reserve(header.frame_bytes - inbound.len());
            }
            self.link.client.flush().await?;
            self.note_bytes();
            if self.link.client.inbound.is_empty() && self.link.servers.is_empty() && self.transaction.block().is_none()
            {
                return Ok(Next::Idle);
            }
            if poll_fn(|cx| self.poll_more(cx)).await? == 0 {
                return Ok(Next::End);
            }
        }
    }

    /// Waits for bytes of the client; between transactions also for the end of the gateway.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Failure>> {
        if let Poll::Ready(count) = self.link.client.poll_fill(cx) {
            return Poll::Ready(Ok(count?));
        }
        // Asked once, it wakes this task whenever it comes: the lock in it, which all clients share, is not taken again.
        if !std::mem::replace(&mut self.drain_awaited, true) {
            let _ = self.drain_signal.as_mut().poll(cx);
        }
        let idle = self.transaction.block().is_none() && self.link.is_drained() && self.link.servers.is_empty();
        if idle && *self.gateway.draining.borrow() {
            // Source: postgres.c, ProcessInterrupts, ProcDiePending.
            let report = Report::fatal("57P01", "terminating connection due to administrator command");
            return Poll::Ready(Err(Failure::Fatal(Box::new(report))));
        }
        Poll::Pending
    }

    /// A message that is not short, or not one of those that may come at any time.
    async fn unusual(&mut self, header: Header) -> Result<Unusual, Failure> {
        if header.tag == b'd' {
            // Left over from a COPY that failed. Source: postgres.c, "Accept but ignore these messages".
            self.skip_frame(header.frame_bytes).await?;
            return Ok(Unusual::Skipped);
        }
        if !self.check_length(header).await? {
            return Ok(Unusual::Skipped);
        }
        if header.tag == b'B' && self.is_long_bind(header.frame_bytes) {
            return Ok(self.long_bind(header.frame_bytes).await?.map_or(Unusual::Skipped, Unusual::Whole));
        }
        Ok(Unusual::Wanted)
    }

    /// Refuses messages that are too long to be held, before they are read.
    ///
    /// Whether the message is to be read.
    async fn check_length(&mut self, header: Header) -> Result<bool, Failure> {
        if header.frame_bytes > LARGEST_MESSAGE_BYTES {
            return Err(lost_sync());
        }
        let limits = &self.gateway.config.load().limits;
        let (max, name) = match header.tag {
            b'Q' | b'P' | b'F' | b'B' if self.pipeline.skipping => {
                self.skip_frame(header.frame_bytes).await?;
                return Ok(false);
            }
            b'B' => return Ok(true), // see long_bind
            b'Q' | b'P' | b'F' => (limits.statement_bytes_max, "statement_bytes_max"),
            b'f' => (limits.held_bytes_max, "held_bytes_max"),
            b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'c' => return Err(protocol_violation("invalid message length")),
            // Source: postgres.c, SocketBackend.
            other => return Err(protocol_violation(format!("invalid frontend message type {other}"))),
        };
        if header.frame_bytes <= max {
            return Ok(true);
        }
        self.skip_frame(header.frame_bytes).await?;
        let report = Report::error("54000", format!("message of {} bytes exceeds {name} ({max})", header.frame_bytes))
            .with_hint(format!("Raise {name} in [limits], or send the data with COPY."));
        match header.tag {
            b'Q' => self.conclude(Err(report.into())).await?,
            _ => self.conclude_extended(Err(report.into())).await?,
        }
        Ok(false)
    }

    pub(super) async fn skip_frame(&mut self, frame_bytes: usize) -> Result<(), Failure> {
        let mut rest = frame_bytes;
        loop {
            let inbound = &mut self.link.client.inbound;
            let count = rest.min(inbound.len());
            drop(inbound.split_to(count));
            rest -= count;
            if rest == 0 {
                return Ok(());
            }
            if self.link.client.fill().await? == 0 {
                return Err(Failure::Link(LinkFault::Client(std::io::ErrorKind::UnexpectedEof.into())));
            }
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
            b'Q' => {
                let result = self.query(body).await;
                self.conclude(result).await?;
            }
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => {
                let result = self.extended(tag, body).await;
                self.conclude_extended(result).await?;
            }
            b'S' if body.is_empty() => self.sync().await?,
            b'S' => {
                let malformed = super::extended::malformed(crate::wire::frontend::Malformed::Long);
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
            Ok(Ended::Ready) => {}
            Ok(Ended::NotReady) => {
                self.release_if_idle().await;
                self.ready();
            }
            Err(failure) => {
                self.fail(failure).await?;
                Box::pin(self.end_implicit_block()).await?;
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

    /// The settings in force: the block's or the session's.
    pub(super) fn current_settings(&self) -> &Arc<Settings> {
        self.transaction.block().map_or(&self.settings, |block| block.log.effective())
    }

    /// Sends ReadyForQuery, and before it what has changed of the parameters. *Source*: postgres.c, ReportChangedGUCOptions.
    pub(super) fn ready(&mut self) {
        let out = &mut self.link.client.outbound;
        for (name, value) in std::mem::take(&mut self.reported.pending) {
            if self.reported.value(&name) != Some(&value) {
                reply::parameter_status(out, &name, &value);
                self.reported.values.insert(name, value);
            }
        }
        reply::ready(out, self.transaction.status());
    }

    /// Takes note of what servers said.
    pub(super) fn note(&mut self, plain: &Plain) {
        plain.error.iter().for_each(|sqlstate| self.count_error(sqlstate));
        for columns in &plain.described {
            let name = self.pipeline.describing.pop_front().unwrap_or_default();
            if let Some(prepared) = self.names.statements.get_mut(&name) {
                prepared.described = columns.as_deref().map(Arc::from);
            }
        }
        for Parameter { name, value, told } in &plain.parameters {
            if *told {
                self.reported.values.insert(name.clone(), value.clone());
                self.reported.pending.remove(name);
            } else {
                self.reported.pending.insert(name.clone(), value.clone());
            }
            self.note_parameter(name, value);
        }
    }

    /// A few parameters change what a text means to the planner.
    pub(super) fn note_parameter(&mut self, name: &str, value: &str) {
        match name {
            "client_encoding" => {
                self.reported.utf8 = matches!(value, "UTF8" | "SQL_ASCII");
                self.scope = None;
            }
            "standard_conforming_strings" => self.reported.conforming_strings = value == "on",
            _ => {}
        }
    }

    /// An implicit block (several statements in one Query) ends with the message, whatever happened.
    pub(super) async fn end_implicit_block(&mut self) -> Result<(), Failure> {
        if self.transaction.block().is_some_and(|block| block.kind == BlockKind::Implicit) {
            self.rollback_servers().await?;
        }
        Ok(())
    }
}

/// What is to be handled next.
enum Next {
    /// A message.
    Message(BytesMut),
    /// Several at the start of the client's bytes.
    Volley(VolleyPlan),
    /// Nothing has come, and the client holds no server.
    Idle,
    /// Nothing: the client has left.
    End,
}

/// What becomes of an unusual message.
enum Unusual {
    /// It is to be read and handled as any other.
    Wanted,
    /// It has been read.
    Whole(BytesMut),
    /// It has been handled, or is not wanted.
    Skipped,
}

/// A message that is read and handled without further ado.
fn is_small(header: Header) -> bool {
    header.frame_bytes <= SMALL_MESSAGE_BYTES
        && matches!(header.tag, b'Q' | b'P' | b'B' | b'F' | b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'c' | b'f')
}

/// The client's bytes cannot be cut into messages any more: it is not told, as PostgreSQL does not. *Source*: pqcomm.c,
/// pq_getmessage, COMMERROR.
fn lost_sync() -> Failure {
    Failure::Link(LinkFault::Client(std::io::ErrorKind::InvalidData.into()))
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
