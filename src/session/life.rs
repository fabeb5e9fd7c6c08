//! A session: its state, and the loop that reads messages and hands them on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use shardmap::ShardId;
use tokio::sync::watch;

use super::accept::Client;
use super::cancel::CancelSlot;
use super::failure::{Failure, protocol_violation};
use super::gateway::{Gateway, Role};
use super::plans::{Compiled, Scope};
use super::statement::Names;
use crate::catalog::{CatalogHandle, CatalogVersion, Oid};
use crate::config::User;
use crate::counters::Tally;
use crate::execute::client::ClientIo;
use crate::execute::fault::LinkFault;
use crate::execute::link::Link;
use crate::execute::relay::{Parameter, Plain};
use crate::plan::SettingName;
use crate::pool::expect::StatementId;
use crate::pool::pools::ServerPool;
use crate::pool::settings::Settings;
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
    /// Where statements go that any shard can answer.
    pub(super) default_shard: ShardId,
    pub(super) pools: HashMap<(ShardId, Role), ServerPool>,
    draining: watch::Receiver<bool>,
    scope: Option<(CatalogVersion, Arc<Settings>, Arc<Scope>)>,
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
    pub parsed: Vec<(Box<[u8]>, StatementId)>,
    /// Settings that queries have set since, and where.
    pub sets: Vec<(ShardId, Vec<SettingName>)>,
    /// See [`Plain::longer_by`].
    pub longer_by: usize,
    /// Statements used since, by their names.
    pub held: Vec<(StatementId, Box<[u8]>)>,
    /// Statements whose descriptions the client waits for, in order.
    pub describing: VecDeque<Box<[u8]>>,
}

/// Parameters the client has been told, as far as the gateway must know them.
#[derive(Debug)]
pub(super) struct Reported {
    /// What the client has been told last.
    pub values: HashMap<String, String>,
    /// What it is to be told before ReadyForQuery.
    pub pending: BTreeMap<String, String>,
    /// `client_encoding` is UTF8 or SQL_ASCII.
    pub utf8: bool,
    /// `standard_conforming_strings` is on: backslashes in literals are what they seem to the planner.
    pub conforming_strings: bool,
}

impl Session {
    /// A session for a client that has been let in.
    pub fn new(client: Client, gateway: Arc<Gateway>, catalog: Arc<CatalogHandle>, cancel: Arc<CancelSlot>) -> Self {
        let shards = gateway.shards().max(1);
        let default_shard = ShardId(u16::try_from(gateway.next_turn() % shards).unwrap_or(0));
        Session {
            link: Link { client: ClientIo::new(client.stream, client.read_ahead), servers: Vec::new() },
            user: client.user,
            database: client.database,
            transaction: Transaction::default(),
            settings: Arc::new(Settings::from_startup(&client.settings)),
            names: Names::default(),
            pipeline: Pipeline::default(),
            merges: Vec::new(),
            default_shard,
            pools: HashMap::new(),
            draining: gateway.draining.subscribe(),
            scope: None,
            reported: Reported {
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
    pub async fn end(mut self) {
        self.gateway.cancels.unregister(self.cancel.process_id);
        self.release().await;
    }

    async fn talk(&mut self) -> Result<(), Failure> {
        self.welcome().await?;
        while let Some(message) = self.next_message().await? {
            let tag = message[0];
            self.note_message(tag);
            if !self.dispatch(message).await? {
                break;
            }
            self.note_handled(tag);
        }
        Ok(())
    }

    /// The next whole message; `None` when the client has left or the session is to end.
    async fn next_message(&mut self) -> Result<Option<BytesMut>, Failure> {
        loop {
            let rest = std::mem::take(&mut self.discard_bytes);
            if rest > 0 {
                self.link.client.flush().await?;
                self.skip_frame(rest).await?;
            }
            let inbound = &mut self.link.client.inbound;
            if let Some(header) = Header::read(inbound).map_err(|_| lost_sync())? {
                if header.tag == b'd' {
                    // Left over from a COPY that failed. Source: postgres.c, "Accept but ignore these messages".
                    self.skip_frame(header.frame_bytes).await?;
                    continue;
                }
                if !self.check_length(header).await? {
                    continue;
                }
                if header.tag == b'B' && self.is_long_bind(header.frame_bytes) {
                    match self.long_bind(header.frame_bytes).await? {
                        Some(message) => return Ok(Some(message)),
                        None => continue,
                    }
                }
                let inbound = &mut self.link.client.inbound;
                if inbound.len() >= header.frame_bytes {
                    return Ok(Some(inbound.split_to(header.frame_bytes)));
                }
                inbound.reserve(header.frame_bytes - inbound.len());
            }
            self.tally.flush();
            self.link.client.flush().await?;
            let idle = self.transaction.block().is_none() && self.link.is_drained() && self.link.servers.is_empty();
            tokio::select! {
                biased;
                count = self.link.client.fill() => if count? == 0 { return Ok(None) },
                _ = self.draining.wait_for(|draining| *draining), if idle => {
                    // Source: postgres.c, ProcessInterrupts, ProcDiePending.
                    let report = Report::fatal("57P01", "terminating connection due to administrator command");
                    return Err(Failure::Fatal(Box::new(report)));
                }
            }
        }
    }

    /// Refuses messages that are too long to be held, before they are read.
    ///
    /// Whether the message is to be read.
    async fn check_length(&mut self, header: Header) -> Result<bool, Failure> {
        if header.frame_bytes > LARGEST_MESSAGE_BYTES {
            return Err(lost_sync());
        }
        let small = header.frame_bytes <= SMALL_MESSAGE_BYTES;
        let limits = &self.gateway.config.load().limits;
        let (max, name) = match header.tag {
            b'Q' | b'P' | b'B' | b'F' | b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'c' | b'f' if small => {
                return Ok(true);
            }
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
        self.pipeline = Pipeline::default();
        match result {
            Ok(Ended::Ready) => {}
            Ok(Ended::NotReady) => {
                self.release_if_idle().await;
                self.ready();
            }
            Err(failure) => {
                self.fail(failure).await?;
                self.end_implicit_block().await?;
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
            self.end_all_held().await;
        }
        self.give_back().await;
        self.names.portals.clear();
        self.names.cursors.clear();
    }

    /// Compiles a text in the session's scope.
    pub(super) fn compile(&mut self, text: &[u8], types: &[Oid]) -> Arc<Compiled> {
        let own_pid = asks_for_own_pid(text).then(|| format!("SELECT {} AS pg_backend_pid", self.cancel.process_id));
        let text = own_pid.as_deref().map_or(text, str::as_bytes);
        let catalog = self.catalog.current();
        let settings = self.current_settings().clone();
        let scope = match &self.scope {
            Some((version, of, scope)) if *version == catalog.version && Arc::ptr_eq(of, &settings) => scope.clone(),
            _ => {
                let utf8 = self.reported.utf8;
                let scope = Scope::new(&self.database, &self.user.server_user, &catalog, &settings, utf8);
                let scope = Arc::new(scope);
                self.scope = Some((catalog.version, settings, scope.clone()));
                scope
            }
        };
        self.gateway.plans.compile(text, types, &scope, &catalog, &self.gateway.rules.load())
    }

    /// The settings in force: the block's or the session's.
    pub(super) fn current_settings(&self) -> &Arc<Settings> {
        self.transaction.block().map_or(&self.settings, |block| block.log.effective())
    }

    /// Sends ReadyForQuery, and before it what has changed of the parameters. *Source*: postgres.c, ReportChangedGUCOptions.
    pub(super) fn ready(&mut self) {
        let out = &mut self.link.client.outbound;
        for (name, value) in std::mem::take(&mut self.reported.pending) {
            if self.reported.values.get(&name) != Some(&value) {
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
                prepared.described.clone_from(columns);
            }
        }
        for Parameter { name, value, told } in &plain.parameters {
            if *told {
                self.reported.values.insert(name.clone(), value.clone());
                self.reported.pending.remove(name);
            } else {
                self.reported.pending.insert(name.clone(), value.clone());
            }
            match name.as_str() {
                "client_encoding" => {
                    self.reported.utf8 = matches!(value.as_str(), "UTF8" | "SQL_ASCII");
                    self.scope = None;
                }
                "standard_conforming_strings" => self.reported.conforming_strings = value == "on",
                _ => {}
            }
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

/// The client's bytes cannot be cut into messages any more: it is not told, as PostgreSQL does not. *Source*: pqcomm.c,
/// pq_getmessage, COMMERROR.
fn lost_sync() -> Failure {
    Failure::Link(LinkFault::Client(std::io::ErrorKind::InvalidData.into()))
}

/// `SELECT pg_backend_pid()` and nothing else: drivers compare the answer with the process id they were told at start.
fn asks_for_own_pid(text: &[u8]) -> bool {
    const LONGEST: usize = 64;
    if text.len() > LONGEST || !text.trim_ascii_end().ends_with(b")") && !text.trim_ascii_end().ends_with(b";") {
        return false;
    }
    let words: Vec<u8> = text.iter().filter(|byte| !byte.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect();
    matches!(
        words.strip_suffix(b";").unwrap_or(&words),
        b"selectpg_backend_pid()" | b"selectpg_catalog.pg_backend_pid()"
    )
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
