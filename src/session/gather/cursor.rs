//! SQL cursors over gathers: declared on the merge server, which is kept until the cursor ends.

use std::sync::Arc;

use super::cursor_extended::undeclared;
use super::described::Wire;
use super::output::{only, print};
use super::portal::{Held, HeldName, Kept};
use super::run::{Gathering, Run, without_traces};
use crate::execute::merge::Fetched;
use crate::execute::plain::Plain;
use crate::execute::ship::Silence;
use crate::plan::{CursorVerb, Gather};
use crate::pool::expect::Audience;
use crate::session::failure::Failure;
use crate::session::life::{Ended, Session};
use crate::session::parameters::Parameters;
use crate::session::transaction::verbs::needs_block;
use crate::sql::{Node, ast};
use crate::wire::reply;

impl Session {
    /// DECLARE.
    pub(in crate::session) async fn declare_gather(
        &mut self,
        text: &[u8],
        (name, hold): (&str, bool),
        gather: &Arc<Gather>,
    ) -> Result<Ended, Failure> {
        self.check_declare((name, hold), Wire::Simple).await?;
        let (query, ..) = texts(text, &gather.merge).ok_or_else(undeclared)?;
        let described = self.described(query.as_bytes(), &[], gather, Wire::Simple).await?;
        let gathering = Gathering { described, parameters: Parameters::default(), result_formats: Vec::new() };
        self.declare_gathered(text, (name, hold), &gathering, Wire::Simple).await?;
        Ok(Ended::NotReady)
    }

    /// Whether a cursor of this name may be declared now; WITH HOLD or not.
    pub(super) async fn check_declare(&mut self, (name, hold): (&str, bool), wire: Wire) -> Result<(), Failure> {
        if self.transaction.block().is_none() && !hold {
            // Source: portalcmds.c, PerformCursorOpen.
            return Err(needs_block("DECLARE CURSOR"));
        }
        self.check_cursor_name(name, None, wire).await
    }

    /// DECLARE, with what is needed at hand.
    pub(super) async fn declare_gathered(
        &mut self,
        text: &[u8],
        (name, hold): (&str, bool),
        gathering: &Gathering,
        wire: Wire,
    ) -> Result<(), Failure> {
        let (_, declare, formats) = texts(text, &gathering.described.gather.merge).ok_or_else(undeclared)?;
        let permit = self.held_permit()?;
        let held = HeldName::Cursor(name.to_owned());
        let columns = gathering.described.columns.in_formats(formats);
        let run = Run { wire, tells_columns: false, rows_max: 0, statement: Some(&declare), keeps: false };
        let merged = self.run_gather(gathering, run).await?;
        if let Some(server) = merged.held {
            let savepoints = self.savepoints();
            let kept = if hold { Kept::Hold } else { Kept::Block };
            self.merges.push(Held { name: held, server, savepoints, kept, columns, permit });
            if self.transaction.block().is_none() {
                self.keep_held_cursors().await?;
            }
        }
        reply::complete(&mut self.link.client.outbound, "DECLARE CURSOR");
        Ok(())
    }

    /// FETCH, MOVE or CLOSE of a cursor that a merge server has; `None` when none has it.
    pub(in crate::session) async fn held_cursor_verb(
        &mut self,
        text: &[u8],
        verb: &CursorVerb,
    ) -> Result<Option<Ended>, Failure> {
        let (CursorVerb::Fetch { name } | CursorVerb::Close(Some(name))) = verb else { return Ok(None) };
        let name = HeldName::Cursor(name.clone());
        let Some(at) = self.held_position(&name) else { return Ok(None) };
        if matches!(verb, CursorVerb::Close(_)) {
            self.end_held(&name).await?;
            reply::complete(&mut self.link.client.outbound, "CLOSE CURSOR");
            return Ok(Some(Ended::NotReady));
        }
        self.check_held(at)?;
        self.fetch_gather(at, text).await.map(Some)
    }

    /// CLOSE ALL.
    pub(in crate::session) async fn end_held_cursors(&mut self) {
        let cursors = self.merges.iter().map(|held| held.name.clone());
        let cursors: Vec<HeldName> = cursors.filter(|name| matches!(name, HeldName::Cursor(_))).collect();
        for name in cursors {
            // One that does not roll back is closed.
            let _ = self.end_held(&name).await;
        }
    }

    /// Before the block commits: cursors WITH HOLD read all their rows, so that they outlive it. *Source*: portalmem.c,
    /// PreCommit_Portals.
    pub(in crate::session) async fn keep_held_cursors(&mut self) -> Result<(), Failure> {
        while let Some(at) = self.merges.iter().position(|held| held.kept == Kept::Hold) {
            let Held { name, mut server, savepoints, columns, permit, .. } = self.merges.remove(at);
            let mut others = std::mem::take(&mut self.link.servers);
            // What the block has SET stays as well, and the cursor until the connection ends.
            server.server.unsettled = true;
            server.server.send_query(b"COMMIT", Audience::Gateway);
            self.link.servers.push(server);
            let mut silence = Silence::default();
            let relayed = self.link.relay(&mut silence).await;
            let server = self.link.servers.pop();
            self.link.servers.append(&mut others);
            relayed?;
            if let Some(body) = silence.error {
                let body = without_traces(&body);
                return Err(self.tell_error(&body));
            }
            if let Some(server) = server {
                self.cancel.remove(&server.server.cancel_key()).await;
                self.merges.push(Held { name, server, savepoints, kept: Kept::Session, columns, permit });
            }
        }
        Ok(())
    }

    async fn fetch_gather(&mut self, at: usize, text: &[u8]) -> Result<Ended, Failure> {
        let Held { name, server, savepoints, kept, columns, permit } = self.merges.remove(at);
        if kept == Kept::Session {
            self.cancel.add(server.server.cancel_key());
        }
        self.link.servers.push(server);
        let merge = self.link.servers.len() - 1;
        self.link.servers[merge].server.send_query(text, Audience::Client);
        let plain = Plain { hide_ready: true, ..Plain::default() };
        let mut fetched = Fetched { plain, columns: columns.clone() };
        let relayed = self.link.relay(&mut fetched).await;
        let plain = fetched.plain;
        let server = self.link.servers.pop();
        relayed?;
        if let Some(server) = server {
            if kept == Kept::Session {
                self.cancel.remove(&server.server.cancel_key()).await;
            }
            self.merges.push(Held { name, server, savepoints, kept, columns, permit });
        }
        self.note(&plain);
        if plain.error.is_some() { Err(Failure::Told) } else { Ok(Ended::NotReady) }
    }
}

/// CURSOR_OPT_BINARY of parsenodes.h.
const BINARY: i32 = 1;

/// CURSOR_OPT_INSENSITIVE and CURSOR_OPT_ASENSITIVE. The latter, alone, is what cursors are without it; it is not printed.
const INSENSITIVE: i32 = 8;
const ASENSITIVE: i32 = 16;

/// The query of a DECLARE, the DECLARE with another query in its place, and its rows' formats as a Bind would say them.
pub(super) fn texts(text: &[u8], merge: &str) -> Option<(String, String, &'static [i16])> {
    let mut declare = only(std::str::from_utf8(text).ok()?)?;
    let merge = only(merge)?;
    let Some(Node::DeclareCursorStmt(statement)) = declare.stmt.as_mut()?.node.as_mut() else { return None };
    let query = statement.query.take()?;
    statement.query = merge.stmt;
    if statement.options & INSENSITIVE == 0 {
        statement.options &= !ASENSITIVE;
    }
    let formats: &[i16] = if statement.options & BINARY == 0 { &[] } else { &[1] };
    let query = print(ast::RawStmt { stmt: Some(query), ..ast::RawStmt::default() })?;
    Some((query, print(declare)?, formats))
}
