//! SQL-level PREPARE, EXECUTE and DEALLOCATE: the client's names, the servers' statements.

use std::sync::Arc;

use super::extended::messages::{changed_result, no_statement};
use super::failure::Failure;
use super::gather::described::Wire;
use super::life::{Ended, Session};
use super::own_statements::made_now;
use super::plans::compiled::Compiled;
use super::statement::{Origin, Prepared, TextArguments};
use crate::catalog::Oid;
use crate::execute::plain::Plain;
use crate::plan::{Access, Destination, Plan, PreparedVerb, literal, relative_time};
use crate::pool::expect::{Audience, Step};
use crate::pool::server::{Server, statement_name};
use crate::wire::embedded::FIRST_NORMAL_OID;
use crate::wire::reply::{self, Report};

impl Session {
    /// Runs one of the three in the simple protocol.
    pub(super) async fn prepared_verb(
        &mut self,
        script: &Arc<Compiled>,
        verb: &PreparedVerb,
        alone: bool,
    ) -> Result<Ended, Failure> {
        match verb {
            PreparedVerb::Prepare { name, types, whole, body, .. } => {
                let place = |range| super::script::padded(&script.text, range, script.count()).into_owned();
                let types = self.declared_types(types, || place(whole)).await?;
                self.prepare_sql(name, &types, &place(body), &script.text).await?;
            }
            PreparedVerb::Execute { name, arguments, tail } => {
                let (before, tail) = (tail.start, script.text.get(tail.clone()).unwrap_or_default().to_vec());
                return self.execute_sql(name, arguments, (before, &tail), alone).await;
            }
            PreparedVerb::Within { name, arguments, tail, head, rest } => {
                let part = |range: &std::ops::Range<usize>| script.text.get(range.clone()).unwrap_or_default();
                let around = (part(head), part(rest));
                return Box::pin(self.execute_within(name, (arguments, part(tail)), around, alone)).await;
            }
            PreparedVerb::Deallocate(_) => self.deallocate(verb)?,
        }
        Ok(Ended::NotReady)
    }

    /// The numbers of the types that a PREPARE declares.
    async fn declared_types(
        &mut self,
        types: &[Result<Oid, String>],
        whole: impl Fn() -> Vec<u8>,
    ) -> Result<Vec<Oid>, Failure> {
        let written: Vec<String> = types.iter().filter_map(|known| Some(literal(known.as_ref().err()?))).collect();
        if written.is_empty() {
            return Ok(types.iter().flatten().copied().collect());
        }
        let asked = format!(
            "SELECT pg_catalog.array_to_string(ARRAY[pg_catalog.to_regtype({})]::pg_catalog.oid[], ',', '0')",
            written.join("), pg_catalog.to_regtype(")
        );
        let at = self.enlist_any(Access::ReadPrimary).await?;
        let mut oids = self.asked_types(at, types, &asked).await?;
        let home = self.gateway.home();
        if oids.iter().any(|oid| *oid >= FIRST_NORMAL_OID) && self.link.servers[at].shard != home {
            // Clients know the home shard's numbers of users' types.
            let at = self.enlist(home, Access::ReadPrimary).await?;
            oids = self.asked_types(at, types, &asked).await?;
        }
        self.give_back_if_idle().await;
        if oids.contains(&0) {
            // A server says that there is no such type, and where.
            Box::pin(self.unresolved(&whole())).await?;
        }
        self.check_declared(&whole(), &oids).await?;
        Ok(oids)
    }

    /// Types as one server numbers those that have been asked for; 0 for those it does not know.
    async fn asked_types(
        &mut self,
        at: usize,
        types: &[Result<Oid, String>],
        asked: &str,
    ) -> Result<Vec<Oid>, Failure> {
        let answer = self.one_value(at, asked, &[], Wire::Simple).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let mut oids = answer.split(',').map(|oid| oid.parse().unwrap_or(0));
        let oid = |known: &Result<Oid, String>| known.as_ref().map_or_else(|_| oids.next().unwrap_or(0), |oid| *oid);
        Ok(types.iter().map(oid).collect())
    }

    async fn prepare_sql(&mut self, name: &str, types: &[Oid], body: &[u8], source: &[u8]) -> Result<(), Failure> {
        self.check_statement_room(name.as_bytes(), body)?;
        let compiled = self.compiled(body, types).await?;
        let at = self.enlist_to_ask().await?;
        let described = self.columns_of(at, &compiled).await?;
        if self.names.statements.contains_key(name.as_bytes()) {
            // Source: prepare.c, PrepareQuery.
            return Err(Report::error("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        let prepared = Prepared {
            compiled,
            origin: Origin::Sql,
            resolved_types: None,
            described,
            made: made_now(name.as_bytes()),
            source: Some(source.into()),
        };
        if let Some(Plan::Refuse(refusal)) = prepared.plan() {
            return Err(refusal.clone().into());
        }
        self.names.statements.insert(name.as_bytes().into(), prepared);
        reply::complete(&mut self.link.client.outbound, "PREPARE");
        Ok(())
    }

    /// Makes sure a server holds a statement, and that it takes it.
    pub(super) async fn hold_sql(&mut self, at: usize, compiled: &Compiled) -> Result<(), Failure> {
        let server: &mut Server = &mut self.link.servers[at].server;
        if server.prepare(compiled.id, &compiled.text, &compiled.types, Audience::Gateway) {
            server.infer(&statement_name(compiled.id), compiled.id, compiled.inferred.as_ref());
            server.send_sync(Audience::Gateway);
            let mut plain = Plain::default();
            self.relay_in_block(&mut plain).await?;
            self.pass_on_hidden_error(&plain)?;
        }
        Ok(())
    }

    /// What a statement returns, as a server that holds it says.
    async fn columns_of(&mut self, at: usize, compiled: &Compiled) -> Result<Option<Arc<[u8]>>, Failure> {
        self.hold_sql(at, compiled).await?;
        let server: &mut Server = &mut self.link.servers[at].server;
        reply::named(&mut server.outbound, b'D', b'S', &statement_name(compiled.id));
        server.expects.push(Step::DescribeStatement, Audience::Gateway);
        server.send_sync(Audience::Gateway);
        let mut plain = Plain::default();
        self.relay_in_block(&mut plain).await?;
        self.pass_on_hidden_error(&plain)?;
        Ok(plain.row_description.as_deref().map(Arc::from))
    }

    /// A statement to be executed, compiled anew if the catalog has changed since, or what its names and literals mean; refused if it returns
    /// other columns by now. *Source*: plancache.c, RevalidateCachedQuery.
    pub(super) async fn revalidated(&mut self, name: &[u8]) -> Result<Prepared, Failure> {
        let Some(before) = self.names.statements.copy(name) else { return Err(no_statement(name)) };
        if self.is_current(before.compiled.version) && self.is_in_scope(&before.compiled) {
            return Ok(before);
        }
        let types = self.types_to_keep(name, &before).await?;
        let compiled = self.compiled(&before.compiled.text, &types).await?;
        let prepared = Prepared { compiled, ..before };
        if prepared.described.is_some() {
            let at = self.enlist_to_ask().await?;
            let columns = self.columns_of(at, &prepared.compiled).await?;
            self.give_back_if_idle().await;
            if columns != prepared.described {
                return Err(changed_result());
            }
        }
        Ok(prepared)
    }

    async fn execute_sql(
        &mut self,
        name: &str,
        arguments: &[Result<Option<String>, ()>],
        (before, tail): (usize, &[u8]),
        alone: bool,
    ) -> Result<Ended, Failure> {
        let prepared = self.revalidated(name.as_bytes()).await?;
        check_executes_no_other(&prepared)?;
        let Some(Plan::Rows(route)) = prepared.plan() else {
            return Err(Report::error("0A000", "EXECUTE of this kind of statement is not supported")
                .with_hint("Run the statement itself.")
                .into());
        };
        let mut arguments = arguments.to_vec();
        let mut tail = tail.to_vec();
        if arguments.iter().any(Result::is_err) {
            // Where it runs may depend on them.
            let values = self.computed_arguments((name, &prepared.compiled), &tail).await?;
            tail = super::execute_sql::constants(&values).into_bytes();
            arguments = values.into_iter().map(Ok).collect();
        }
        let (tail, arguments) = (&tail[..], &arguments[..]);
        let values = TextArguments { values: arguments, types: &prepared.compiled.types };
        let destination = self.destination(route, &values)?;
        self.count_rows(route, &destination);
        let head = format!("EXECUTE {}", statement_name(prepared.compiled.id));
        // Errors count characters from the start of what was sent.
        let longer_by = if tail.is_empty() { 0 } else { head.len().saturating_sub(before) };
        let at = match destination {
            Destination::Many(shards)
                if route.access != Access::Write || (self.transaction.block().is_some() && !has_moment(arguments)) =>
            {
                for at in self.enlist_many(&shards, route.access).await? {
                    self.hold_sql(at, &prepared.compiled).await?;
                }
                let text = [head.as_bytes(), tail].concat();
                self.pipeline.longer_by = longer_by;
                self.pipeline.held.push((prepared.compiled.id, name.as_bytes().into()));
                return Box::pin(self.scatter(&text, &shards, route.access, route.output)).await;
            }
            Destination::Any => self.enlist_anywhere(&prepared.compiled.text, route.access).await?,
            Destination::One(shard) => self.enlist_for(shard, route.access).await?,
            Destination::Gather(gather) => {
                return self.execute_sql_gather(&gather, (name, &prepared.compiled), arguments).await;
            }
            Destination::Many(_)
            | Destination::All { .. }
            | Destination::Split(_)
            | Destination::Compute
            | Destination::Stepwise
            | Destination::NeedsParameterTypes => {
                let values = arguments.iter().map(|value| value.clone().unwrap_or_default()).collect::<Vec<_>>();
                return Box::pin(self.execute_with((name, &prepared.compiled), &values, alone)).await;
            }
        };
        self.hold_sql(at, &prepared.compiled).await?;
        self.pipeline.longer_by = longer_by;
        let text = [head.as_bytes(), tail].concat();
        self.pipeline.held.push((prepared.compiled.id, name.as_bytes().into()));
        self.forward_query(at, &text, alone).await
    }

    /// DEALLOCATE. Servers keep the statement: others may use it.
    pub(super) fn deallocate(&mut self, verb: &PreparedVerb) -> Result<(), Failure> {
        match verb {
            PreparedVerb::Deallocate(Some(name)) => {
                if self.names.statements.remove(name.as_bytes()).is_none() {
                    return Err(no_statement(name.as_bytes()));
                }
                reply::complete(&mut self.link.client.outbound, "DEALLOCATE");
            }
            PreparedVerb::Deallocate(None) => {
                self.names.forget_named_statements();
                reply::complete(&mut self.link.client.outbound, "DEALLOCATE ALL");
            }
            PreparedVerb::Execute { name, .. } | PreparedVerb::Within { name, .. }
                if !self.names.statements.contains_key(name.as_bytes()) =>
            {
                return Err(no_statement(name.as_bytes()));
            }
            // EXECUTE comes here only if the statement has been made since its Bind.
            PreparedVerb::Prepare { .. } | PreparedVerb::Execute { .. } | PreparedVerb::Within { .. } => {
                return Err(Report::error(
                    "0A000",
                    "EXECUTE within another statement is not supported in a Parse message",
                )
                .with_hint("Send it as a simple query.")
                .into());
            }
        }
        Ok(())
    }
}

/// Whether an argument may be read as the current time, of which each shard has its own: what it is read as is then the planner's to judge.
fn has_moment(arguments: &[Result<Option<String>, ()>]) -> bool {
    arguments.iter().flatten().flatten().any(|text| relative_time(text))
}

/// A statement that an EXECUTE names is no EXECUTE itself: such names may lead to each other without end.
pub(super) fn check_executes_no_other(named: &Prepared) -> Result<(), Failure> {
    match named.plan() {
        Some(Plan::Prepared(PreparedVerb::Execute { .. } | PreparedVerb::Within { .. })) => {
            Err(Report::error("0A000", "EXECUTE of a statement that is an EXECUTE itself is not supported")
                .with_hint("EXECUTE the statement that it names.")
                .into())
        }
        _ => Ok(()),
    }
}
