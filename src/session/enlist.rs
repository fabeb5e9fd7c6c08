//! Brings servers into a client's transaction, and says hello with what the first one reports.

use std::ops::Range;
use std::sync::Arc;

use shardmap::ShardId;

use super::failure::Failure;
use super::gateway::{Role, Welcome, WelcomeKey};
use super::life::Session;
use super::multiplexed::Pooled;
use crate::config::Reads;
use crate::execute::link::Enlisted;
use crate::execute::multiplex::Multiplexer;
use crate::execute::plain::Plain;
use crate::plan::{Access, Destination, Route, Target, check_setting};
use crate::pool::expect::Audience;
use crate::pool::lend::{Lent, ServerPool};
use crate::pool::pools::CheckoutError;
use crate::txn::state::{Transaction, Writes};
use crate::wire::reply::{self, Report, Status};

/// How far a server has come with the block's BEGIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// It had begun.
    Before,
    /// It does with the statement that is sent to it next.
    WithStatement,
    /// It is to be heard of first.
    Unheard,
}

impl Session {
    /// Answers a client that has just been let in: parameters as its servers spell them, cancel key, ready.
    ///
    /// # Errors
    /// No shard can be reached, or none accepts the client's start-up settings: the client is told and the session ends.
    pub(super) async fn welcome(&mut self) -> Result<(), Failure> {
        for (name, value) in self.settings.startup() {
            if let Err(refusal) = check_setting(&name.to_ascii_lowercase(), Some(value)) {
                let mut report = Report::fatal(refusal.sqlstate, refusal.reason);
                report.hint = refusal.hint;
                return Err(Failure::Fatal(Box::new(report)));
            }
        }
        let welcome = match self.shared_welcome().await {
            Ok(welcome) => welcome,
            Err(Failure::Statement(mut report)) => {
                report.severity = reply::Severity::Fatal;
                return Err(Failure::Fatal(report));
            }
            Err(failure) => return Err(failure),
        };
        self.settings = welcome.settings.clone();
        for (name, value) in &welcome.parameters {
            self.note_parameter(name, value);
            reply::parameter_status(&mut self.link.client.outbound, name, value);
        }
        self.reported.at_start = Some(welcome);
        let out = &mut self.link.client.outbound;
        reply::key_data(out, self.cancel.process_id, self.cancel.secret());
        reply::ready(out, Status::Idle);
        self.link.client.flush().await?;
        Ok(())
    }

    /// What a server reports to a client with these start-up settings: asked once per user, database and settings, so that
    /// a crowd of clients can connect while all servers are busy.
    async fn shared_welcome(&mut self) -> Result<Arc<Welcome>, Failure> {
        let key = WelcomeKey {
            catalog: self.catalog.current().version,
            user: self.user.server_user.clone(),
            database: self.database.clone(),
            settings: self.settings.clone(),
        };
        if let Some(welcome) = self.gateway.welcomes.get(&key) {
            return Ok(welcome);
        }
        // What a standby reports (in_hot_standby) is not true of where the client's writes go.
        let at = match self.enlist_any(Access::ReadPrimary).await {
            Err(Failure::Statement(_)) if self.user.reads != Reads::Primary => self.enlist_any(Access::Read).await?,
            at => at?,
        };
        let server = &self.link.servers[at].server;
        let parameters = server.parameters.clone().into();
        self.release().await;
        let welcome = Arc::new(Welcome { parameters, settings: self.settings.clone() });
        self.gateway.welcomes.insert(key, welcome.clone());
        Ok(welcome)
    }

    /// Where a statement runs, given its arguments.
    pub(super) fn destination(
        &self,
        route: &Route,
        arguments: &dyn crate::plan::Arguments,
    ) -> Result<Destination, Failure> {
        if !self.reported.conforming_strings && !matches!(route.target, Target::Any) {
            return Err(Report::error("0A000", "standard_conforming_strings = off is not supported")
                .with_hint("SET standard_conforming_strings = on, and write E'...' where backslashes are escapes.")
                .into());
        }
        if matches!(route.target, Target::Unknown) {
            return Err(Report::error("XX000", "a statement that was not resolved cannot be routed").into());
        }
        let map = self.gateway.map.load();
        let home = self.gateway.home();
        Ok(route.resolve(&**map, home, arguments)?)
    }

    /// The place of a shard's server in the link, enlisting one if needed, with the block's log replayed on it.
    ///
    /// # Cancel safety
    /// Cancel safe: a server is in the link or back in its pool.
    pub(super) async fn enlist(&mut self, shard: ShardId, access: Access) -> Result<usize, Failure> {
        let (at, begins) = self.enlist_only(shard, access).await?;
        if begins == Begins::Unheard {
            Box::pin(self.confirm(at..at + 1)).await?;
        }
        Ok(at)
    }

    /// The same for several shards, which begin at the same time.
    pub(super) async fn enlist_each(
        &mut self,
        shards: impl Iterator<Item = ShardId> + Clone,
        access: Access,
    ) -> Result<Vec<usize>, Failure> {
        let (mut unheard, mut begun) = (false, 0);
        for shard in shards.clone() {
            let (_, begins) = self.enlist_only(shard, access).await?;
            unheard |= begins == Begins::Unheard;
            begun += usize::from(begins != Begins::Before);
        }
        // Where one does not begin, the others are not to have written.
        if unheard || (access == Access::Write && begun > 1 && self.transaction.block().is_some()) {
            let last = self.link.servers.len();
            Box::pin(self.confirm(last - begun.min(last)..last)).await?;
        }
        // Those that enlist later may take the places of others that had only been asked something.
        let places = shards.filter_map(|shard| self.enlisted_at(shard, access));
        Ok(places.collect())
    }

    /// The place of a shard's server in the link, if it is fit for that.
    fn enlisted_at(&self, shard: ShardId, access: Access) -> Option<usize> {
        let reads_only = access == Access::Read && self.may_use_replica();
        self.link.servers.iter().position(|enlisted| {
            enlisted.shard == shard && (!enlisted.replica || reads_only) && !enlisted.server.is_broken()
        })
    }

    async fn enlist_only(&mut self, shard: ShardId, access: Access) -> Result<(usize, Begins), Failure> {
        self.take_snapshot().await?;
        let reads_only = access == Access::Read && self.may_use_replica();
        if let Some(at) = self.enlisted_at(shard, access) {
            return Ok((self.join(at).await?, Begins::Before));
        }
        if self.link.servers.iter().any(|enlisted| enlisted.only_asked) {
            Box::pin(self.let_go_asked()).await?;
        }
        if !self.link.servers.is_empty() {
            self.check_second_shard()?;
        }
        let role = if reads_only { self.gateway.reader(shard, &self.user) } else { Role::Primary };
        let (server, role) = match self.checkout(shard, role).await {
            Err(_) if role != Role::Primary && self.user.reads == Reads::PreferReplica => {
                (self.checkout(shard, Role::Primary).await?, Role::Primary)
            }
            server => (server?, role),
        };
        Ok(self.take_in(shard, server, role, access))
    }

    /// Enlists a server that has been lent.
    fn take_in(&mut self, shard: ShardId, mut server: Lent, role: Role, access: Access) -> (usize, Begins) {
        self.cancel.add(server.cancel_key());
        server.oids.begin(self.catalog.version(), || self.catalog.oids(shard));
        // A BEGIN fails only when it is cancelled or takes too long, so it travels with the statement, which does not run then, unless
        // others' work would be lost. Settings can fail, and the statement must not run without them.
        let another = access == Access::Write && self.link.servers.iter().any(|enlisted| enlisted.begun);
        let (settings, replay) = match self.transaction.block() {
            Some(block) => (block.log.settings_before(), Some(&block.log)),
            None => (&self.settings, None),
        };
        let mut wait = server.adopt(settings);
        let own_numbers = replay.is_some() && role == Role::Primary && self.gateway.forget_numbers(&mut server);
        if let Some(log) = replay {
            // A standby does not take every BEGIN.
            wait |= !log.is_only_begin() || role != Role::Primary || another;
            match wait {
                true => server.send_query(log.replay().as_bytes(), Audience::Gateway),
                false => server.send_begin(log.replay().as_bytes()),
            }
        }
        let begun = replay.is_some();
        let replica = role != Role::Primary;
        let enlisted = Enlisted { shard, server, begun, needs_sync: false, replica, only_asked: false, own_numbers };
        self.link.servers.push(enlisted);
        (self.link.servers.len() - 1, if wait { Begins::Unheard } else { Begins::WithStatement })
    }

    /// [`Session::enlist_for`] without waiting; `None` if something would be waited for, and then it can be called.
    pub(super) fn enlist_for_now(&mut self, shard: ShardId, access: Access) -> Option<usize> {
        if access == Access::Write && !self.note_write_now(shard) {
            return None;
        }
        self.note_touched(shard, access).ok()?;
        self.enlist_now(shard, access)
    }

    /// [`Session::enlist_any`] without waiting; `None` if something would be waited for, and then it can be called.
    pub(super) fn enlist_any_now(&mut self, access: Access) -> Option<usize> {
        match self.any_enlisted() {
            Some(at) => self.join_now(at),
            None => self.enlist_now(self.default_shard, access),
        }
    }

    /// A server that can answer what any shard can.
    fn any_enlisted(&self) -> Option<usize> {
        self.link.servers.iter().position(|enlisted| !enlisted.server.is_broken() && !enlisted.replica)
    }

    /// A server that has begun the block.
    fn join_now(&mut self, at: usize) -> Option<usize> {
        let enlisted = self.link.servers.get_mut(at)?;
        if !enlisted.begun || enlisted.server.expects.status == Status::Idle {
            return None;
        }
        enlisted.only_asked = false;
        enlisted.server.oids.follow(self.catalog.version(), || self.catalog.oids(enlisted.shard));
        Some(at)
    }

    /// A server that has begun the block, or the first one: one that is idle and has the session's settings, and has nothing to be told
    /// of the block but its BEGIN.
    fn enlist_now(&mut self, shard: ShardId, access: Access) -> Option<usize> {
        if let Some(at) = self.enlisted_at(shard, access) {
            return self.join_now(at);
        }
        if !self.link.servers.is_empty() || self.wants_snapshot() {
            return None;
        }
        let reads_only = access == Access::Read && self.may_use_replica();
        let role = if reads_only { self.gateway.reader_now(shard, &self.user) } else { Role::Primary };
        let settings = match self.transaction.block() {
            None => &self.settings,
            Some(block) if block.log.is_only_begin() && role == Role::Primary => block.log.settings_before(),
            Some(_) => return None,
        };
        let mut server = self.idle_server(shard, role)?;
        if !server.agrees(settings) {
            return None;
        }
        self.gateway.end_turn(role);
        Some(self.take_in(shard, server, role, access).0)
    }

    /// Takes a server into the block that was enlisted before it began: by a pipeline that had no Sync yet, whose implicit
    /// transaction ends here as a Query message ends it.
    pub(super) async fn join(&mut self, at: usize) -> Result<usize, Failure> {
        if let Some(enlisted) = self.link.servers.get_mut(at) {
            enlisted.only_asked = false;
            enlisted.server.oids.follow(self.catalog.version(), || self.catalog.oids(enlisted.shard));
        }
        let (Some(block), Some(enlisted)) = (self.transaction.block(), self.link.servers.get_mut(at)) else {
            return Ok(at);
        };
        if enlisted.begun {
            let server = &mut enlisted.server;
            if enlisted.needs_sync || !server.expects.is_empty() || server.expects.status != Status::Idle {
                return Ok(at);
            }
            // Its BEGIN was cancelled: what is sent to it would be a transaction of its own.
            server.mark_broken();
            let text = format!("shard \"{}\" has no part in this transaction", self.gateway.shard_name(enlisted.shard));
            return Err(Report::error("40001", text)
                .with_hint("Its BEGIN was cancelled. Run the transaction again.")
                .into());
        }
        enlisted.begun = true;
        if std::mem::take(&mut enlisted.needs_sync) {
            enlisted.server.send_sync(Audience::Gateway);
        }
        enlisted.own_numbers = !enlisted.replica && self.gateway.forget_numbers(&mut enlisted.server);
        if block.log.is_only_begin() && !enlisted.replica {
            enlisted.server.send_begin(block.log.replay().as_bytes());
            return Ok(at);
        }
        enlisted.server.send_query(block.log.replay().as_bytes(), Audience::Gateway);
        Box::pin(self.confirm(at..at + 1)).await?;
        Ok(at)
    }

    /// Waits until servers have begun, and have taken the session's settings.
    pub(super) async fn confirm(&mut self, places: Range<usize>) -> Result<(), Failure> {
        for enlisted in &mut self.link.servers[..places.start] {
            if !enlisted.server.expects.is_empty() {
                enlisted.server.send_flush();
            }
        }
        // The others' answers are the client's.
        let mut plain = Plain { aliases: std::mem::take(&mut self.pipeline.held), ..Plain::default() };
        self.relay_in_block(&mut plain).await?;
        self.note(&plain);
        let Some(body) = plain.hidden_error else {
            return if plain.error.is_none() { Ok(()) } else { Err(Failure::Told) };
        };
        self.link.servers[places].iter_mut().for_each(|enlisted| enlisted.server.mark_broken());
        if plain.told_error {
            return Err(Failure::Told);
        }
        let text =
            |code| String::from_utf8_lossy(crate::wire::fields::field(&body, code).unwrap_or_default()).into_owned();
        Err(Report::error(&text(b'C'), text(b'M')).into())
    }

    /// A server for a statement that any shard can answer: one that is enlisted, else the session's own; when that shard is
    /// down, another, which then is the session's own.
    pub(super) async fn enlist_any(&mut self, access: Access) -> Result<usize, Failure> {
        self.take_snapshot().await?;
        if let Some(at) = self.any_enlisted() {
            return self.join(at).await;
        }
        let mut last = None;
        for _ in self.gateway.each_shard() {
            match self.enlist(self.default_shard, access).await {
                Err(Failure::Statement(report)) if report.sqlstate.starts_with("08") => {
                    last = Some(Failure::Statement(report));
                }
                result => return result,
            }
            self.default_shard = self.gateway.shard_after(self.default_shard);
        }
        Err(last.unwrap_or_else(|| Report::error("08001", "no shard is configured").into()))
    }

    /// Replicas serve reads outside blocks and in blocks that are READ ONLY.
    pub(super) fn may_use_replica(&self) -> bool {
        match &self.transaction {
            Transaction::Idle => self.pipeline.writes == Writes::Nothing,
            Transaction::Open(block) | Transaction::Failed(block) => block.read_only,
        }
    }

    /// Waits for a server. A cancel request, or the client's leaving, ends the wait.
    pub(super) async fn checkout(&mut self, shard: ShardId, role: Role) -> Result<Lent, Failure> {
        match self.idle_server(shard, role) {
            Some(server) => Ok(server),
            None => Box::pin(self.wait_for_server(shard, role)).await,
        }
    }

    /// A server that is idle, of a pool that the session has used before.
    fn idle_server(&self, shard: ShardId, role: Role) -> Option<Lent> {
        let Pooled { pool, .. } = self.pools.iter().find(|pooled| pooled.of == (shard, role))?;
        let server = pool.idle()?;
        self.gateway.note_up(pool.address());
        Some(server)
    }

    fn pool(&mut self, shard: ShardId, role: Role) -> Result<ServerPool, Failure> {
        let known = self.pools.iter().find(|pooled| pooled.of == (shard, role));
        if let Some(Pooled { pool, .. }) = known.filter(|pooled| !pooled.pool.is_closed()) {
            return Ok(pool.clone());
        }
        let pool = self
            .gateway
            .pool(shard, role, &self.user, &self.database)
            .map_err(|error| self.checkout_failure(shard, &error))?;
        self.pools.retain(|pooled| pooled.of != (shard, role));
        self.pools.push(Pooled { of: (shard, role), lines: Multiplexer::of(&pool), pool: pool.clone() });
        Ok(pool)
    }

    async fn wait_for_server(&mut self, shard: ShardId, role: Role) -> Result<Lent, Failure> {
        let pool = self.pool(shard, role)?;
        let slot = self.cancel.clone();
        // Without an idle server there is a wait: for a client to give one back, or for one to be connected.
        let asked = (pool.status().available == 0).then(std::time::Instant::now);
        let lent = pool.get();
        tokio::pin!(lent);
        loop {
            tokio::select! {
                biased;
                lent = &mut lent => {
                    asked.iter().for_each(|asked| self.tally.wait(asked.elapsed()));
                    self.gateway.note_checkout(&pool, &lent);
                    if matches!(lent, Err(CheckoutError::Closed)) && !self.gateway.drains() {
                        // The configuration was reloaded: the client waits on in the new pool.
                        return Box::pin(self.wait_for_server(shard, role)).await;
                    }
                    return lent.map_err(|error| self.checkout_failure(shard, &error));
                }
                () = slot.cancelled() => {
                    return Err(Report::error("57014", slot.stopped.message()).into());
                }
                count = self.link.client.fill(), if self.link.client.inbound.len() < crate::execute::link::CLIENT_READ_AHEAD_BYTES => {
                    if count? == 0 {
                        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                    }
                }
            }
        }
    }

    fn checkout_failure(&self, shard: ShardId, error: &CheckoutError) -> Failure {
        let name = self.gateway.shard_name(shard);
        metrics::counter!("pgbraid_checkout_failures_total").increment(1);
        match error {
            CheckoutError::Busy(_) => Report::error("53300", format!("shard \"{name}\": {error}"))
                .with_hint("Raise pool_max of the user, or [pool] wait_timeout.")
                .into(),
            CheckoutError::Connect(connect) => {
                Report::error(connect.sqlstate(), format!("shard \"{name}\": {connect}")).into()
            }
            CheckoutError::NoReplica => Report::error("08001", format!("shard \"{name}\" has no replica"))
                .with_hint("Give the user reads = \"prefer-replica\", or the shard replicas.")
                .into(),
            CheckoutError::Tls(_) => Report::error("08001", format!("shard \"{name}\": {error}")).into(),
            CheckoutError::Closed => Report::error("57P01", format!("shard \"{name}\": {error}")).into(),
        }
    }
}
