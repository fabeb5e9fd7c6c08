//! The end of a block: COMMIT on its servers, one or several.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::execute::fault::ServerFault;
use crate::execute::link::Enlisted;
use crate::execute::plain::Plain;
use crate::execute::relay::{Frame, Handling, Joiner};
use crate::pool::expect::{Audience, Step};
use crate::pool::settings::Settings;
use crate::session::failure::Failure;
use crate::session::gather::portal::{HeldName, Kept};
use crate::session::life::Session;
use crate::topology;
use crate::txn::commits::{Active, on_server};
use crate::txn::install;
use crate::txn::pause::{Point, pause};
use crate::txn::protocol::{self, Failed, Roles, Verdict};
use crate::txn::resolve::{self, Decision};
use crate::txn::state::Block;
use crate::wire::fields;
use crate::wire::reply::Report;

/// A decision whose COMMIT was cut off is asked for this long, while the client waits. Rows that say committed are kept longer:
/// `recovery::COMMIT_KEPT`.
const RESOLVE_MAX: Duration = Duration::from_secs(20);

/// Between two questions to a decision shard that does not answer.
const RESOLVE_INTERVAL: Duration = Duration::from_millis(200);

impl Session {
    /// Commits the block on all its servers and ends it: on one that wrote by COMMIT, on several by two phases.
    ///
    /// # Errors
    /// Nothing is committed; or, if the message says so, whether it is could not be found out in time.
    pub(in crate::session) async fn commit_block(&mut self) -> Result<(), Failure> {
        let with_hold: Vec<HeldName> =
            self.merges.iter().filter(|held| held.kept == Kept::Hold).map(|held| held.name.clone()).collect();
        let held = if self.merges.is_empty() { Ok(()) } else { Box::pin(self.keep_held_cursors()).await };
        let Some(block) = self.transaction.end() else { return held };
        if held.is_ok() {
            self.doubt_settings(block.log.settings());
        }
        let may_have = |enlisted: &&Enlisted| block.writes.include(enlisted.shard) && !enlisted.replica;
        let result = match self.link.servers.iter().filter(may_have).count() {
            _ if held.is_err() => held,
            0 | 1 => self.commit_one(&block).await,
            _ => Box::pin(self.commit_several(&block)).await,
        };
        match &result {
            Ok(()) => {
                self.adopt_committed(block.log.settings());
                // What was set before the block in its pipeline is committed with it.
                self.pipeline.settings_before = None;
                self.keep_reported();
            }
            Err(_) => {
                for name in &with_hold {
                    // One that does not roll back is closed.
                    let _ = Box::pin(self.end_held(name)).await;
                }
                Box::pin(self.roll_back_open()).await?;
            }
        }
        self.names.portals.clear();
        self.names.cursors.clear();
        if block.changed_catalog {
            Box::pin(self.refresh_catalog()).await;
        }
        if block.changed_logins {
            self.gateway.pools.load().renew();
        }
        self.release().await;
        if self.link.client.gone {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        result
    }

    /// Readers first, whose errors (40001) mean that what was read and written does not fit together; then the one that wrote.
    async fn commit_one(&mut self, block: &Block) -> Result<(), Failure> {
        let mut writer = None;
        let mut readers = false;
        for (at, enlisted) in self.link.servers.iter_mut().enumerate() {
            if block.writes.include(enlisted.shard) && !enlisted.replica {
                writer = Some(at);
            } else {
                enlisted.server.send_query(b"COMMIT", Audience::Gateway);
                readers = true;
            }
        }
        if readers {
            self.confirm_commit().await?;
        }
        if let Some(at) = writer {
            self.link.servers[at].server.send_query(b"COMMIT", Audience::Gateway);
            self.confirm_commit().await?;
        }
        Ok(())
    }

    async fn confirm_commit(&mut self) -> Result<(), Failure> {
        let plain = Plain { show_side_effects: true, ..Plain::default() };
        let mut commit = Commit { plain, rolled_back: false };
        self.link.relay(&mut commit).await?;
        self.note(&commit.plain);
        self.pass_on_hidden_error(&commit.plain)?;
        match commit.rolled_back {
            // The server's transaction had failed without the gateway's knowing.
            true => Err(Report::error("40000", "the transaction was rolled back by a shard").into()),
            false => Ok(()),
        }
    }

    async fn commit_several(&mut self, block: &Block) -> Result<(), Failure> {
        let may_have = |enlisted: &Enlisted| block.writes.include(enlisted.shard) && !enlisted.replica;
        let candidates: Vec<usize> =
            (0..self.link.servers.len()).filter(|at| may_have(&self.link.servers[*at])).collect();
        pause(Point::Asking).await;
        let known = candidates.iter().all(|at| self.link.servers[*at].server.wrote);
        let mut wrote = if known { candidates.clone() } else { self.ask_who_wrote(may_have).await? };
        let readers = 0..self.link.servers.len();
        // Those that cannot have written have committed when the others were asked.
        let rest: Vec<usize> = readers.filter(|at| !wrote.contains(at) && (known || candidates.contains(at))).collect();
        if wrote.len() < 2 {
            for round in [rest, wrote] {
                round.iter().for_each(|at| self.link.servers[*at].server.send_query(b"COMMIT", Audience::Gateway));
                self.confirm_commit().await?;
            }
            return Ok(());
        }
        let mut roles = Roles { decision: wrote.remove(0), prepare: wrote, rest };
        let decision_shard = self.gateway.shard_name(self.link.servers[roles.decision].shard);
        if self.gateway.commits.is_forgotten(&self.database) {
            self.check_commits(self.gateway.each_shard().filter(|shard| block.writes.include(*shard))).await?;
        }
        let Some(active) = self.gateway.commits.begin(&self.database, decision_shard) else {
            return Err(Report::error("XX000", "a commit on several shards was not prepared for").into());
        };
        metrics::counter!("pgbraid_several_shards_commits_total").increment(1);
        let result = self.commit_as_one(block, &active, &mut roles).await;
        drop(active);
        if result.is_err() || !self.is_sound(&roles) {
            self.gateway.commits.leave();
        }
        result
    }

    /// Which of those that may have written did.
    async fn ask_who_wrote(&mut self, may_have: impl Fn(&Enlisted) -> bool) -> Result<Vec<usize>, Failure> {
        let (plain, wrote) = protocol::ask(&mut self.link, may_have).await;
        self.note(&plain);
        wrote.map_err(|failed| self.failure(failed))
    }

    async fn commit_as_one(&mut self, block: &Block, active: &Active, roles: &mut Roles) -> Result<(), Failure> {
        let (plain, prepared) = protocol::prepare(&mut self.link, active, roles, block.log.settings()).await;
        self.note(&plain);
        prepared.map_err(|failed| self.failure(failed))?;
        // From here on nothing of the client's may stop it.
        self.cancel.clear().await;
        let (plain, verdict) = protocol::decide(&mut self.link, active, roles).await;
        self.note(&plain);
        match verdict {
            Verdict::Committed => {}
            Verdict::Aborted(failed) => return Err(self.failure(failed)),
            Verdict::Unknown(cause) => {
                let shard = &active.name().decision_shard;
                match self.resolve(active, roles).await {
                    Decision::Committed => {}
                    Decision::Aborted => {
                        protocol::abort(&mut self.link, active, roles, &roles.prepare).await;
                        return Err(rolled_back(shard, &cause).into());
                    }
                    Decision::UnderWay => {
                        protocol::leave(&mut self.link, roles).await;
                        return Err(Report::error(
                            "08007",
                            format!("connection to shard \"{shard}\" was lost while it committed: {cause}"),
                        )
                        .with_detail("Whether the transaction is committed is decided as soon as the shard can be reached; it will be on all shards or on none.")
                        .with_hint("Look whether it is before you repeat it.")
                        .into());
                    }
                }
            }
        }
        if !protocol::finish(&mut self.link, active, roles).await {
            tracing::warn!(transaction = %active.name(), "committed; a shard that was lost will follow by recovery");
            self.gateway.commits.leave();
        }
        Ok(())
    }

    /// What became of a commit whose decision shard was lost.
    async fn resolve(&self, active: &Active, roles: &Roles) -> Decision {
        let shard = self.link.servers[roles.decision].shard;
        let deadline = tokio::time::Instant::now() + RESOLVE_MAX;
        let asking = async {
            loop {
                let config = self.gateway.config.load_full();
                let Some(entry) = config.shards.get(usize::from(shard.0)) else { return Decision::UnderWay };
                let database = on_server(&config, &entry.primary, &self.database);
                if let Ok(client) = topology::connect(&entry.primary, database).await {
                    match resolve::decide(&client, &active.name().transaction).await {
                        Ok(Decision::UnderWay) | Err(_) => {}
                        Ok(decision) => return decision,
                    }
                }
                tokio::time::sleep(RESOLVE_INTERVAL).await;
            }
        };
        tokio::time::timeout_at(deadline, asking).await.unwrap_or(Decision::UnderWay)
    }

    /// No server of a commit was lost.
    fn is_sound(&self, roles: &Roles) -> bool {
        roles.prepare.iter().all(|at| !self.link.servers[*at].server.is_broken())
    }

    /// What the client is told of a transaction that was rolled back.
    fn failure(&mut self, failed: Failed) -> Failure {
        match failed {
            // Dropped and made again, beside this gateway.
            Failed::Error(body) if install::is_gone(&body) => {
                self.gateway.commits.forget(&self.database);
                let text = format!("database \"{}\" has lost the schema pgbraid", self.database);
                Report::error("40001", text).with_hint("Nothing of the transaction is kept: repeat it.").into()
            }
            Failed::Error(body) => self.tell_error(&body),
            Failed::Lost(shard, cause) => {
                metrics::counter!("pgbraid_servers_lost_total").increment(1);
                let name = self.gateway.shard_name(shard);
                tracing::warn!(shard = name, %cause, "server lost during a commit");
                rolled_back(&name, &cause).into()
            }
            Failed::Own(report) => Failure::Statement(report),
        }
    }

    /// Servers that commit keep what was SET in the block, also if the block does not commit as a whole.
    fn doubt_settings(&mut self, settings: &Arc<Settings>) {
        for enlisted in self.link.servers.iter_mut().filter(|enlisted| enlisted.begun) {
            enlisted.server.unsettled |= !Arc::ptr_eq(&enlisted.server.settings, settings);
        }
    }

    /// The session's settings have become these, on its servers too.
    fn adopt_committed(&mut self, settings: &Arc<Settings>) {
        let changed = |before: &Arc<Settings>| !Arc::ptr_eq(before, settings);
        if changed(&self.settings) {
            self.settings = settings.clone();
        }
        for enlisted in &mut self.link.servers {
            if enlisted.begun {
                enlisted.server.unsettled = false;
                if changed(&enlisted.server.settings) {
                    enlisted.server.settings = settings.clone();
                }
            }
        }
    }
}

/// Answers to COMMIT.
struct Commit {
    plain: Plain,
    /// One was ROLLBACK. *Source*: xact.c, EndTransactionBlock: so it is for a transaction that has failed.
    rolled_back: bool,
}

impl Joiner for Commit {
    fn admits(&self, server: usize, expected: Option<Step>) -> bool {
        self.plain.admits(server, expected)
    }

    fn frame(&mut self, frame: Frame<'_>, client: &mut BytesMut) -> Handling {
        self.rolled_back |= frame.tag == b'C' && fields::tag(frame.body) == b"ROLLBACK";
        self.plain.frame(frame, client)
    }
}

fn rolled_back(shard: &str, cause: &ServerFault) -> Report {
    let text =
        format!("connection to shard \"{shard}\" was lost during the commit, so it was rolled back on all: {cause}");
    Report::error("08006", text).with_hint("Nothing of the transaction is kept: repeat it.")
}
