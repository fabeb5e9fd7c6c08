//! SQL PREPARE and EXECUTE as the text of a Parse, as drivers send them that know no other protocol. Bind of an EXECUTE is a Bind of the statement that it
//! names, with its arguments: what is described, fetched in portions or gathered then, is that statement.

use std::sync::Arc;

use super::messages::{Bound, check_parameters, malformed};
use crate::plan::PreparedVerb;
use crate::pool::expect::{Audience, Step};
use crate::pool::server::Server;
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::parameters::Parameters;
use crate::session::plans::compiled::Compiled;
use crate::session::prepared::check_executes_no_other;
use crate::wire::frontend::Bind;
use crate::wire::reply::{self, Report};

impl Session {
    /// Bind of an EXECUTE of a statement that there is, with so many arguments; `tail`: as they are written, in parentheses.
    pub(super) async fn bind_executed(
        &mut self,
        bind: &Bind<'_>,
        name: &str,
        (given, tail): (usize, &[u8]),
    ) -> Result<Bound, Failure> {
        if bind.more_bytes > 0 {
            return Ok(Bound::WholeNeeded);
        }
        check_parameters(bind, 0)?;
        let named = self.current(name.as_bytes()).await?;
        check_executes_no_other(&named)?;
        let types = match &named.resolved_types {
            Some(types) => types.clone(),
            None => self.ask_types(name.as_bytes(), &named.compiled).await?,
        };
        if given != types.len() {
            // Source: prepare.c, EvaluateParams.
            let text = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!("Expected {} parameters but got {given}.", types.len());
            return Err(Report::error("42601", text).with_detail(detail).into());
        }
        let mut values = Vec::new();
        if given > 0 {
            self.settle_for_sql().await?;
            values = self.computed_arguments((name, &named.compiled), tail).await?;
        }
        let rest = Parameters::texts(values).bind_rest(&bind.result_formats());
        let body = [bind.portal, b"\0", name.as_bytes(), b"\0", &rest].concat();
        Box::pin(self.bind_message(&Bind::read(&body).map_err(malformed)?)).await
    }

    /// Execute of a PREPARE.
    pub(super) async fn execute_prepare(&mut self, script: &Arc<Compiled>, verb: &PreparedVerb) -> Result<(), Failure> {
        self.settle_for_sql().await?;
        self.prepared_verb(script, verb, false).await.map(|_| ())
    }

    /// Describe of an EXECUTE: it has no parameters, and the columns of the statement that it names. Whether there is one.
    pub(super) async fn describe_executed(&mut self, statement: &[u8], name: &str) -> Result<bool, Failure> {
        if !self.names.statements.contains_key(name.as_bytes()) {
            return Ok(false);
        }
        check_executes_no_other(&self.current(name.as_bytes()).await?)?;
        let at = self.enlist_to_ask().await?;
        self.engage(at).await?;
        let Some(held) = self.hold(at, name.as_bytes(), true) else { return Ok(false) };
        let server: &mut Server = &mut self.link.servers[at].server;
        server.unnamed = None;
        reply::parse(&mut server.outbound, b"", &[b"EXECUTE ", &held[..]].concat(), &[]);
        server.expects.push(Step::Parse(None), Audience::ClientIfError);
        reply::named(&mut server.outbound, b'D', b'S', b"");
        server.expects.push(Step::DescribeStatement, Audience::Client);
        self.describing(statement);
        Ok(true)
    }

    /// What comes now is sent in the simple protocol, which ends what the pipeline has begun.
    async fn settle_for_sql(&mut self) -> Result<(), Failure> {
        self.drain().await?;
        let unsynced =
            self.transaction.block().is_none() && self.link.servers.iter().any(|enlisted| enlisted.needs_sync);
        if unsynced && self.pipeline.writes != Default::default() {
            return Err(Report::error(
                "0A000",
                "PREPARE and EXECUTE behind a write of the same pipeline are not supported",
            )
            .with_hint("Send Sync before it, or use BEGIN.")
            .into());
        }
        self.settle_implicit().await
    }
}
