//! What PostgreSQL will refuse, as far as the gateway knows: a server is shown it, so that the client gets PostgreSQL's own error.

use std::sync::Arc;

use super::failure::Failure;
use super::life::Session;
use super::plans::compiled::Compiled;
use crate::execute::copy_in::copy_fail;
use crate::execute::plain::Plain;
use crate::execute::relay::RelayEnd;
use crate::plan::Access;
use crate::pool::expect::{Audience, Step};
use crate::pool::server::Server;
use crate::wire::reply::{self, Report};

impl Session {
    /// Compiles a text, with the catalog read anew if that may help.
    pub(super) async fn known(&mut self, text: &[u8], types: &[u32]) -> Result<Arc<Compiled>, Failure> {
        let compiled = self.compile_seen(text, types).await?;
        if compiled.is_certain() {
            return Ok(compiled);
        }
        // The schema may have been changed behind the gateway's back a moment ago.
        if compiled.statements.is_some() && self.catalog.refresh().await.is_ok() {
            return Ok(self.compile(text, types));
        }
        Ok(compiled)
    }

    /// Compiles a text; what is not SQL, or names what the catalog does not know, is shown to a server, which says so.
    pub(super) async fn compiled(&mut self, text: &[u8], types: &[u32]) -> Result<Arc<Compiled>, Failure> {
        let compiled = self.known(text, types).await?;
        if compiled.is_certain() {
            return Ok(compiled);
        }
        self.probe(text, types).await?;
        Err(not_understood().into())
    }

    /// A statement that PostgreSQL will refuse, as far as the gateway knows: a server parses it; if that does not show the
    /// error, because the statement is one that is analysed when it runs, it runs in a transaction that is rolled back.
    pub(super) async fn unresolved(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.probe(text, &[]).await?;
        self.begin_own_block();
        let at = self.enlist_any(Access::Write).await?;
        self.link.servers[at].server.send_query(text, Audience::Gateway);
        let mut plain = Plain::default();
        while let RelayEnd::CopyIn(waiting) = self.link.relay(&mut plain).await? {
            copy_fail(&mut self.link.servers[waiting].server.outbound, "not understood by the gateway");
        }
        self.pass_on_hidden_error(&plain)?;
        Err(not_understood().into())
    }

    /// Has a server parse a text, without running it, so that the client gets PostgreSQL's own error for it.
    pub(super) async fn probe(&mut self, text: &[u8], types: &[u32]) -> Result<(), Failure> {
        let at = self.enlist_any(Access::ReadPrimary).await?;
        self.probe_on(at, text, types).await
    }

    /// As `probe`, on a server that is enlisted.
    pub(super) async fn probe_on(&mut self, at: usize, text: &[u8], types: &[u32]) -> Result<(), Failure> {
        let in_pipeline = self.link.servers[at].needs_sync;
        let server: &mut Server = &mut self.link.servers[at].server;
        reply::parse(&mut server.outbound, b"", text, &server.oids.declared(types));
        server.expects.push(Step::Parse(None), Audience::Gateway);
        server.unnamed = None;
        if in_pipeline {
            // Sync would commit what the pipeline has done so far.
            server.send_flush();
        } else {
            server.send_sync(Audience::Gateway);
        }
        let mut plain = Plain::default();
        self.link.relay(&mut plain).await?;
        self.pass_on_hidden_error(&plain)
    }

    /// Sends the client an error that came in answer to something it did not send itself.
    pub(super) fn pass_on_hidden_error(&mut self, plain: &Plain) -> Result<(), Failure> {
        let Some(body) = &plain.hidden_error else { return Ok(()) };
        if plain.told_error {
            return Err(Failure::Told);
        }
        Err(self.tell_error(body))
    }
}

/// What the gateway can say of a statement that it could not analyse and PostgreSQL takes.
pub(super) fn not_understood() -> Report {
    Report::error("0A000", "the gateway does not understand the statement, so it cannot be routed")
        .with_hint("Check the statement against the manual of PostgreSQL; if it is right, report it.")
}
