//! One connection to a Postgres, with what the gateway must remember of it between messages.

use std::ops::Deref;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Instant;

use bytes::BytesMut;

use super::connect::{self, Connected, Target};
use super::expect::{Audience, Expectations, Inferred, StatementId, Step};
use super::held::Held;
use super::renumber::Renumber;
use super::settings::Settings;
use crate::net::ServerStream;
use crate::wire::reply::{self, Status};

/// A server, as the data path uses it.
#[derive(Debug)]
pub struct Server {
    /// The socket.
    pub stream: ServerStream,
    /// Bytes read and not yet handled.
    pub inbound: BytesMut,
    /// Bytes to be written.
    pub outbound: BytesMut,
    /// TLS holds bytes that the socket has not taken.
    pub unflushed: bool,
    /// What is owed for the messages sent.
    pub expects: Expectations,
    /// What its numbers of users' types are on the home shard.
    pub oids: Renumber,
    /// Rest of a frame that is being forwarded (or dropped) piecemeal.
    pub partial: Option<Partial>,
    /// Length of the frame at the start of `inbound` that must be held whole; it may exceed the window.
    pub frame_bytes_wanted: usize,
    /// The settings in force on it.
    pub settings: Arc<Settings>,
    /// Something was SET on it, or is about to be, of which is not known yet whether it stays, or a cursor has outlived its
    /// transaction there: it is lent to nobody else.
    pub unsettled: bool,
    /// What its unnamed statement is, as far as known.
    pub unnamed: Option<StatementId>,
    /// Parameters it reported last.
    pub parameters: Vec<(String, String)>,
    /// By when each was used, in uses of any.
    prepared: Held,
    uses: u64,
    /// The one that was used last.
    last_prepared: Option<StatementId>,
    /// Statements that no client has prepared, by how often the server had been lent when each was used.
    beside: Held,
    /// A statement of the transaction that is open has said that it wrote rows.
    pub wrote: bool,
    /// Where it is.
    pub target: Arc<Target>,
    /// When it was connected.
    pub born: Instant,
    /// The thread whose runtime watches its socket.
    thread: ThreadId,
    /// How often it has been lent.
    pub loans: u64,
    cancel: CancelServer,
    condition: Condition,
}

/// The rest of a frame too long to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Bytes of it still to come.
    pub rest_bytes: usize,
    /// Whether the client gets them.
    pub forward: bool,
}

/// Whether a server can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Sound,
    /// Closed, lied, or in a state nobody vouches for.
    Broken,
}

impl Server {
    /// A server that has just logged in.
    pub fn new(connected: Connected, target: Arc<Target>, prepared_max: usize) -> Self {
        let (process_id, secret) = (connected.process_id, connected.secret);
        let cancel = CancelServer(Arc::new(CancelKey { target: target.clone(), process_id, secret }));
        Server {
            stream: connected.stream,
            inbound: connected.read_ahead,
            outbound: BytesMut::new(),
            unflushed: false,
            expects: Expectations::default(),
            oids: Renumber::default(),
            partial: None,
            frame_bytes_wanted: 0,
            settings: Arc::new(Settings::default()),
            unsettled: false,
            unnamed: None,
            parameters: connected.parameters,
            prepared: Held::new(prepared_max),
            uses: 0,
            last_prepared: None,
            beside: Held::new(prepared_max / 2),
            wrote: false,
            target,
            born: Instant::now(),
            thread: std::thread::current().id(),
            loans: 0,
            cancel,
            condition: Condition::Sound,
        }
    }

    /// It may be lent to another client: nothing owed, nothing unsent, outside a transaction, with the settings it is believed to have.
    pub fn is_clean(&self) -> bool {
        self.condition == Condition::Sound
            && !self.unsettled
            && self.expects.is_empty()
            && self.expects.status == Status::Idle
            && !self.expects.unsynced
            && self.outbound.is_empty()
            && self.inbound.is_empty()
            && self.partial.is_none()
    }

    /// Its socket is watched by this thread's runtime.
    pub fn is_here(&self) -> bool {
        self.thread == std::thread::current().id()
    }

    /// Has this thread's runtime watch its socket, so that no other thread has to wake whoever waits for it; whether the server
    /// can still be used. What is encrypted stays where it is, and works all the same.
    pub fn come_here(&mut self) -> bool {
        if self.is_here() {
            return true;
        }
        self.thread = std::thread::current().id();
        self.stream.rewatch().is_ok()
    }

    /// It is not to be used again.
    pub fn mark_broken(&mut self) {
        self.condition = Condition::Broken;
        self.expects.clear();
        self.outbound.clear();
        self.inbound.clear();
        self.partial = None;
    }

    /// See [`Server::mark_broken`].
    pub fn is_broken(&self) -> bool {
        self.condition == Condition::Broken
    }

    /// What a CancelRequest for it needs.
    pub fn cancel_key(&self) -> CancelServer {
        self.cancel.clone()
    }

    /// Sends a simple query.
    pub fn send_query(&mut self, text: &[u8], audience: Audience) {
        reply::query(&mut self.outbound, text);
        self.expects.push(Step::Query, audience);
        self.unnamed = None;
    }

    /// Sends a block's BEGIN, one statement, so that what is sent behind it runs in the block or not at all: if it fails, the server skips
    /// everything up to a Sync, a Query too, and the relay takes the server for lost before it gets one.
    /// *Source*: postgres.c, ignore_till_sync.
    pub fn send_begin(&mut self, text: &[u8]) {
        reply::parse(&mut self.outbound, b"", text, &[]);
        reply::bind(&mut self.outbound, b"", b"", &[0; 6], 0);
        reply::execute(&mut self.outbound, b"", 0);
        self.expects.push(Step::Begin, Audience::Gateway);
        self.unnamed = None;
    }

    /// Sends a statement of the gateway's own without parameters in the extended protocol, which leaves an implicit transaction
    /// that is under way open.
    pub fn send_extended(&mut self, text: &[u8]) {
        // No formats, no parameters, no result formats.
        self.send_bound(text, &[], &[0; 6], Audience::Gateway);
    }

    /// Sends Parse, Bind and Execute of a text. The portal is not the client's unnamed one, which may still have rows. `types`: of
    /// parameters, as clients number them; `rest`: of Bind, behind its names; `audience`: of Execute's answer.
    pub fn send_bound(&mut self, text: &[u8], types: &[u32], rest: &[u8], audience: Audience) {
        reply::parse(&mut self.outbound, b"", text, &self.oids.declared(types));
        self.expects.push(Step::Parse(None), Audience::Gateway);
        reply::bind(&mut self.outbound, ASIDE_PORTAL, b"", rest, 0);
        self.expects.push(Step::Bind, Audience::Gateway);
        reply::execute(&mut self.outbound, ASIDE_PORTAL, 0);
        self.expects.push(Step::Execute, audience);
        reply::named(&mut self.outbound, b'C', b'P', ASIDE_PORTAL);
        self.expects.push(Step::Close, Audience::Gateway);
        self.unnamed = None;
    }

    /// Sends Sync.
    pub fn send_sync(&mut self, audience: Audience) {
        crate::wire::frame::write(&mut self.outbound, b'S', |_| {});
        self.expects.push(Step::Sync, audience);
    }

    /// Sends Flush, so that everything owed so far comes without Sync.
    pub fn send_flush(&mut self) {
        crate::wire::frame::write(&mut self.outbound, b'H', |_| {});
    }

    /// Brings it to a session's settings; its answer is hidden. Outside transactions only. Returns whether anything was sent.
    pub fn adopt(&mut self, settings: &Arc<Settings>) -> bool {
        if self.agrees(settings) {
            return false;
        }
        for script in settings.scripts_from(&self.settings) {
            self.send_query(script.as_bytes(), Audience::Gateway);
        }
        self.settings = settings.clone();
        true
    }

    /// Whether it has a session's settings already.
    pub fn agrees(&mut self, settings: &Arc<Settings>) -> bool {
        if Arc::ptr_eq(&self.settings, settings) {
            return true;
        }
        let same = *self.settings == **settings;
        if same {
            self.settings = settings.clone();
        }
        same
    }

    /// Makes sure it holds this statement under its server-side name, sending Parse (and Close of the least recently used
    /// one) when it does not. Returns whether Parse was sent.
    pub fn prepare(&mut self, statement: StatementId, text: &[u8], types: &[u32], audience: Audience) -> bool {
        self.settle_prepared();
        // Nothing need be looked up for the one that was used last.
        if self.last_prepared == Some(statement) {
            return false;
        }
        self.last_prepared = Some(statement);
        self.uses += 1;
        if self.prepared.touch(statement, self.uses) {
            return false;
        }
        if let Some((evicted, _)) = self.prepared.in_the_way() {
            self.prepared.remove(evicted);
            self.close(evicted);
        }
        self.prepared.add(statement, self.uses);
        self.parse(statement, text, types, audience);
        true
    }

    /// Whether it holds this statement under its server-side name, which is used now.
    pub fn holds(&mut self, statement: StatementId) -> bool {
        self.settle_prepared();
        if self.last_prepared == Some(statement) {
            return true;
        }
        self.uses += 1;
        let held = self.prepared.touch(statement, self.uses);
        if held {
            self.last_prepared = Some(statement);
        }
        held
    }

    /// Whether it holds this statement as its unnamed one.
    pub fn holds_unnamed(&self, statement: StatementId) -> bool {
        self.unnamed == Some(statement) && !self.expects.unnamed_lost
    }

    /// Whether it holds this statement of [`Server::prepare_beside`], which is used now.
    pub fn holds_beside(&mut self, statement: StatementId) -> bool {
        self.settle_prepared();
        let now = self.loans;
        self.beside.touch(statement, now)
    }

    /// Makes sure it holds a statement that no client has prepared. These have places of their own, and make room only when
    /// they have long not been used: texts that come one after the other are not worth a Parse. Returns whether it will hold it.
    pub fn prepare_beside(&mut self, statement: StatementId, text: &[u8], types: &[u32]) -> bool {
        self.settle_prepared();
        let now = self.loans;
        if self.beside.touch(statement, now) {
            return true;
        }
        if let Some((oldest, used)) = self.beside.in_the_way() {
            if now - used <= UNUSED_LOANS {
                return false;
            }
            self.forget_beside(oldest);
        }
        self.beside.add(statement, now);
        self.parse(statement, text, types, Audience::Gateway);
        true
    }

    /// Has it give up a statement of [`Server::prepare_beside`], if it holds it.
    pub fn forget_beside(&mut self, statement: StatementId) {
        self.settle_prepared();
        if self.beside.remove(statement) {
            self.close(statement);
        }
    }

    fn parse(&mut self, statement: StatementId, text: &[u8], types: &[u32], audience: Audience) {
        let types = self.oids.declared(types);
        reply::parse(&mut self.outbound, &statement_name(statement), text, &types);
        self.expects.push(Step::Parse(Some(statement)), audience);
    }

    fn close(&mut self, statement: StatementId) {
        reply::named(&mut self.outbound, b'C', b'S', &statement_name(statement));
        self.expects.push(Step::Evict(statement), Audience::Gateway);
    }

    /// What an error has left of Parse and Close.
    fn settle_prepared(&mut self) {
        if self.expects.unparsed.is_empty() && self.expects.unevicted.is_empty() {
            return;
        }
        self.last_prepared = None;
        for id in std::mem::take(&mut self.expects.unparsed) {
            self.prepared.remove(id);
            self.beside.remove(id);
        }
        for id in std::mem::take(&mut self.expects.unevicted) {
            self.prepared.add(id, self.uses);
        }
    }

    /// Has it say which types it has inferred for a statement that it has just been given under this name, unless that is known.
    pub fn infer(&mut self, name: &[u8], statement: StatementId, inferred: Option<&Inferred>) {
        if let Some(inferred) = inferred.filter(|inferred| inferred.get().is_none()) {
            reply::named(&mut self.outbound, b'D', b'S', name);
            self.expects.push_infer(statement, inferred.clone());
        }
    }
}

/// A statement that no client has prepared makes room for another when it has not been used for so many loans of its server.
const UNUSED_LOANS: u64 = 10_000;

/// Of statements of the gateway's own.
const ASIDE_PORTAL: &[u8] = b"pgbraid_aside";

/// What the names of statements on servers begin with.
pub const STATEMENT_PREFIX: &[u8] = b"pgbraid_";

/// Prefix and the digits of the largest number.
const NAME_BYTES: usize = STATEMENT_PREFIX.len() + 20;

/// A name under which servers hold a statement, made without allocating.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatementName {
    bytes: [u8; NAME_BYTES],
    length: usize,
}

impl Deref for StatementName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl std::fmt::Display for StatementName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self))
    }
}

/// The name under which servers hold a statement.
pub fn statement_name(statement: StatementId) -> StatementName {
    let mut digits = itoa::Buffer::new();
    let mut name = StatementName::default();
    for part in [STATEMENT_PREFIX, digits.format(statement.0).as_bytes()] {
        let end = name.length + part.len();
        if let Some(place) = name.bytes.get_mut(name.length..end) {
            place.copy_from_slice(part);
            name.length = end;
        }
    }
    name
}

/// What a CancelRequest needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CancelServer(Arc<CancelKey>);

#[derive(Debug)]
struct CancelKey {
    target: Arc<Target>,
    process_id: i32,
    secret: bytes::Bytes,
}

impl CancelServer {
    /// Both mean the same session of the same server.
    pub fn is(&self, other: &CancelServer) -> bool {
        (self.0.process_id, &self.0.secret) == (other.0.process_id, &other.0.secret)
            && self.0.target.address == other.0.target.address
    }

    /// Where it is.
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// The process that serves it there.
    pub fn process_id(&self) -> i32 {
        self.0.process_id
    }

    /// Asks the server to stop what it is doing; returns when the request has been taken.
    pub async fn cancel(&self) {
        let CancelKey { target, process_id, secret } = &*self.0;
        if let Err(error) = connect::cancel(target, *process_id, secret).await {
            tracing::debug!(%error, host = target.address.host, "cancel request failed");
        }
    }
}
