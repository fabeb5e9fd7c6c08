//! Cursors on merge servers in the extended protocol: DECLARE is bound as a query that is gathered and declared at Execute; FETCH, MOVE
//! and CLOSE are carried out on the merge server at Execute; Describe, Execute and Close know such a cursor by its name, as they
//! know portals. The simple protocol's is `cursor`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::OwnedSemaphorePermit;

use super::cursor::texts;
use super::portal::{Held, HeldName, Kept};
use crate::execute::hoard::Hoard;
use crate::execute::merge::{Fetched, Merge};
use crate::execute::plain::Plain;
use crate::plan::{CursorVerb, Destination, Gather, Plan};
use crate::pool::expect::{Audience, Step};
use crate::pool::server::Server;
use crate::session::extended::messages::{BIND_COMPLETE, check_parameters, no_portal};
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::gather::run::Gathering;
use crate::session::life::Session;
use crate::session::parameters::Parameters;
use crate::session::statement::{Place, Prepared, Undelivered};
use crate::wire::frame;
use crate::wire::frontend::{Bind, Execute};
use crate::wire::reply::{self, Report, Status};
use crate::wire::row_description::Columns;

/// A cursor whose merge server is in use.
struct Used {
    name: HeldName,
    savepoints: usize,
    kept: Kept,
    columns: Columns,
    permit: OwnedSemaphorePermit,
}

impl Session {
    /// Bind of a statement about a cursor that a merge server has, or is to have; `None` for another.
    pub(in crate::session) async fn bind_held_cursor(
        &mut self,
        verb: &CursorVerb,
        declared: Option<&Destination>,
        bind: &Bind<'_>,
        prepared: &Prepared,
    ) -> Result<Option<Place>, Failure> {
        match (verb, declared) {
            (CursorVerb::Declare { .. }, Some(Destination::Gather(gather))) => {
                self.bind_declare(gather, bind, prepared).await.map(Some)
            }
            (CursorVerb::Declare { .. }, _) => Ok(None),
            (CursorVerb::Close(None), _) => {
                self.settle_parse(None).await?;
                check_parameters(bind, 0)?;
                self.say(BIND_COMPLETE);
                Ok(Some(Place::Local))
            }
            (CursorVerb::Fetch { name } | CursorVerb::Close(Some(name)), _) => {
                if self.held_position(&HeldName::Cursor(name.clone())).is_none() {
                    return Ok(None);
                }
                self.settle_parse(None).await?;
                check_parameters(bind, 0)?;
                self.say(BIND_COMPLETE);
                Ok(Some(Place::Fetch(bind.result_formats().into())))
            }
        }
    }

    async fn bind_declare(
        &mut self,
        gather: &Arc<Gather>,
        bind: &Bind<'_>,
        prepared: &Prepared,
    ) -> Result<Place, Failure> {
        self.settle_parse(None).await?;
        self.drain().await?;
        let (query, ..) = texts(&prepared.compiled.text, &gather.merge).ok_or_else(undeclared)?;
        let described = self.described(query.as_bytes(), &prepared.compiled.types, gather, Wire::Extended).await?;
        check_parameters(bind, described.parameter_types.len())?;
        self.say(BIND_COMPLETE);
        Ok(Place::Gather(Arc::new(Gathering {
            described,
            parameters: Parameters::of(bind),
            result_formats: Vec::new(),
        })))
    }

    /// Execute of a DECLARE.
    pub(in crate::session) async fn execute_declare(
        &mut self,
        text: &[u8],
        verb: (&str, bool),
        gathering: &Gathering,
    ) -> Result<(), Failure> {
        if verb.1 {
            // A cursor WITH HOLD is there when the pipeline that declares it has come to its end.
            self.begin_behind_pipeline();
        }
        self.drain().await?;
        self.check_declare(verb, Wire::Extended).await?;
        if verb.1 {
            // WITH HOLD outside a block: it outlives the pipeline only if this commits.
            self.begin_here().await?;
        }
        self.declare_gathered(text, verb, gathering, Wire::Extended).await
    }

    /// Execute of FETCH, MOVE or CLOSE.
    pub(in crate::session) async fn execute_fetch(
        &mut self,
        text: &[u8],
        verb: &CursorVerb,
        formats: &[i16],
        execute: &Execute<'_>,
    ) -> Result<(), Failure> {
        self.drain().await?;
        if self.deliver_kept(execute)? {
            return Ok(());
        }
        let (CursorVerb::Fetch { name } | CursorVerb::Close(Some(name))) = verb else { return Err(no_portal(b"")) };
        let held = HeldName::Cursor(name.clone());
        let at = self.held_position(&held).ok_or_else(|| no_cursor(name))?;
        if matches!(verb, CursorVerb::Close(_)) {
            self.end_held(&held).await?;
            reply::complete(&mut self.link.client.outbound, "CLOSE CURSOR");
            return Ok(());
        }
        let used = self.use_held(at)?;
        let server = self.held_server();
        reply::parse(&mut server.outbound, b"", text, &[]);
        server.expects.push(Step::Parse(None), Audience::Gateway);
        let rest = Parameters::default().bind_rest(formats);
        reply::bind(&mut server.outbound, b"", b"", &rest, 0);
        server.expects.push(Step::Bind, Audience::Gateway);
        reply::execute(&mut server.outbound, b"", 0);
        server.expects.push(Step::Execute, Audience::Joiner);
        server.unnamed = None;
        server.send_sync(Audience::Gateway);
        let bytes_max = self.gateway.config.load().limits.held_bytes_max;
        let merge = Merge::new(self.link.servers.len() - 1, used.columns.clone(), false);
        if execute.rows_max <= 0 {
            let mut joiner = merge;
            let relayed = self.link.relay(&mut joiner).await;
            self.park(used).await;
            relayed?;
            let tag = self.conclude_merge(joiner)?.unwrap_or_default();
            reply::complete(&mut self.link.client.outbound, &String::from_utf8_lossy(&tag));
            let kept = Undelivered::new(VecDeque::new(), completed(&tag), true);
            self.names.portals.change(execute.portal, |portal| portal.kept = Some(kept));
            return Ok(());
        }
        let mut hoard = Hoard::new(merge, bytes_max);
        let relayed = self.link.relay(&mut hoard).await;
        self.park(used).await;
        relayed?;
        if hoard.overflow {
            return Err(Report::error("53200", format!("the rows fetched exceed held_bytes_max ({bytes_max})"))
                .with_hint("Fetch fewer at once, or raise held_bytes_max in [limits].")
                .into());
        }
        let Hoard { inner, rows, .. } = hoard;
        let tag = self.conclude_merge(inner)?.unwrap_or_default();
        let returns = !rows.is_empty();
        self.deliver(Undelivered::new(rows, completed(&tag), returns), execute)
    }

    /// CLOSE ALL.
    pub(in crate::session) async fn execute_close_all(&mut self) -> Result<(), Failure> {
        if self.wrote_outside_block() {
            self.begin_behind_pipeline();
        }
        self.settle_implicit().await?;
        self.close_all("CLOSE ALL").await
    }

    /// Whether a merge server can tell what a statement returns; then it does.
    pub(in crate::session) async fn describe_fetch(
        &mut self,
        text: &[u8],
        plan: Option<&Plan>,
    ) -> Result<bool, Failure> {
        let Some(Plan::Cursor(CursorVerb::Fetch { name })) = plan else { return Ok(false) };
        let Some(at) = self.held_position(&HeldName::Cursor(name.clone())) else { return Ok(false) };
        self.settle_parse(None).await?;
        self.drain().await?;
        self.describe_on_held(at, |server| {
            reply::parse(&mut server.outbound, b"", text, &[]);
            server.expects.push(Step::Parse(None), Audience::Gateway);
            reply::named(&mut server.outbound, b'D', b'S', b"");
            server.expects.push(Step::DescribeStatement, Audience::Client);
        })
        .await?;
        Ok(true)
    }

    /// Describe of the portal of a FETCH, MOVE or CLOSE.
    pub(in crate::session) async fn describe_fetch_portal(
        &mut self,
        portal: &[u8],
        formats: &[i16],
    ) -> Result<(), Failure> {
        self.drain().await?;
        let compiled = self.names.portals.get(portal).map(|portal| portal.compiled.clone());
        let plan = compiled.as_ref().and_then(|compiled| compiled.plan());
        let (Some(compiled), Some(Plan::Cursor(CursorVerb::Fetch { name }))) = (&compiled, plan) else {
            self.say(crate::session::extended::describing::NO_DATA);
            return Ok(());
        };
        let at = self.held_position(&HeldName::Cursor(name.clone())).ok_or_else(|| no_cursor(name))?;
        let rest = Parameters::default().bind_rest(formats);
        self.describe_on_held(at, |server| {
            reply::parse(&mut server.outbound, b"", &compiled.text, &[]);
            server.expects.push(Step::Parse(None), Audience::Gateway);
            reply::bind(&mut server.outbound, b"", b"", &rest, 0);
            server.expects.push(Step::Bind, Audience::Gateway);
            reply::named(&mut server.outbound, b'D', b'P', b"");
            server.expects.push(Step::DescribePortal, Audience::Client);
        })
        .await
    }

    /// Describe of a cursor as a portal.
    pub(in crate::session) async fn describe_cursor(&mut self, name: &[u8]) -> Result<(), Failure> {
        self.drain().await?;
        let at = self.held_cursor(name).ok_or_else(|| no_portal(name))?;
        self.describe_on_held(at, |server| {
            reply::named(&mut server.outbound, b'D', b'P', name);
            server.expects.push(Step::DescribePortal, Audience::Client);
        })
        .await
    }

    /// Execute of a cursor as a portal.
    pub(in crate::session) async fn execute_cursor(&mut self, execute: &Execute<'_>) -> Result<(), Failure> {
        self.drain().await?;
        let at = self.held_cursor(execute.portal).ok_or_else(|| no_portal(execute.portal))?;
        let used = self.use_held(at)?;
        let server = self.held_server();
        reply::execute(&mut server.outbound, execute.portal, execute.rows_max);
        server.expects.push(Step::Execute, Audience::Joiner);
        server.send_sync(Audience::Gateway);
        let mut joiner = Merge::new(self.link.servers.len() - 1, used.columns.clone(), false);
        let relayed = self.link.relay(&mut joiner).await;
        self.park(used).await;
        relayed?;
        match self.conclude_merge(joiner)? {
            Some(tag) => reply::complete(&mut self.link.client.outbound, &String::from_utf8_lossy(&tag)),
            None => reply::bare(&mut self.link.client.outbound, b's'),
        }
        Ok(())
    }

    /// The cursor of this name that a merge server has.
    pub(in crate::session) fn held_cursor(&self, name: &[u8]) -> Option<usize> {
        self.held_position(&HeldName::Cursor(std::str::from_utf8(name).ok()?.to_owned()))
    }

    /// Has a cursor's server describe something; the columns are those that the client knows of the query.
    async fn describe_on_held(&mut self, at: usize, send: impl FnOnce(&mut Server)) -> Result<(), Failure> {
        let used = self.use_held(at)?;
        let server = self.held_server();
        send(server);
        server.unnamed = None;
        server.send_sync(Audience::Gateway);
        let mut fetched = Fetched { plain: Plain::default(), columns: used.columns.clone() };
        let relayed = self.link.relay(&mut fetched).await;
        self.park(used).await;
        relayed?;
        self.pass_on_hidden_error(&fetched.plain)?;
        if fetched.plain.error.is_some() { Err(Failure::Told) } else { Ok(()) }
    }

    /// Takes a cursor's server into the link, as its last.
    fn use_held(&mut self, at: usize) -> Result<Used, Failure> {
        self.check_held(at)?;
        let Held { name, server, savepoints, kept, columns, permit } = self.merges.remove(at);
        if kept == Kept::Session {
            self.cancel.add(server.server.cancel_key());
        }
        self.link.servers.push(server);
        Ok(Used { name, savepoints, kept, columns, permit })
    }

    /// A cursor that has failed cannot be used again. *Source*: portalmem.c, MarkPortalFailed and MarkPortalActive.
    pub(in crate::session) fn check_held(&self, at: usize) -> Result<(), Failure> {
        let held = self.merges.get(at).ok_or_else(|| no_portal(b""))?;
        match (&held.name, held.server.server.expects.status) {
            (HeldName::Cursor(name), Status::Failed) => {
                Err(Report::error("55000", format!("portal \"{name}\" cannot be run")).into())
            }
            _ => Ok(()),
        }
    }

    /// The server of [`Session::use_held`].
    fn held_server(&mut self) -> &mut Server {
        let at = self.link.servers.len() - 1;
        &mut self.link.servers[at].server
    }

    /// Puts it back, unless it is in the middle of an answer: then it is told to stop, and closed.
    async fn park(&mut self, used: Used) {
        let Some(server) = self.link.servers.pop() else { return };
        let Used { name, savepoints, kept, columns, permit } = used;
        let stops = server.server.is_broken() || !server.server.expects.is_empty();
        if kept == Kept::Session || stops {
            self.cancel.remove(&server.server.cancel_key()).await;
        }
        if stops {
            return;
        }
        self.merges.push(Held { name, server, savepoints, kept, columns, permit });
    }
}

/// *Source*: portalcmds.c, PerformPortalFetch.
fn no_cursor(name: &str) -> Failure {
    Report::error("34000", format!("cursor \"{name}\" does not exist")).into()
}

pub(in crate::session) fn undeclared() -> Failure {
    Report::error("0A000", "this cursor over several shards is not supported").into()
}

/// A CommandComplete.
fn completed(tag: &[u8]) -> BytesMut {
    let mut end = BytesMut::new();
    frame::write(&mut end, b'C', |to| {
        to.extend_from_slice(tag);
        to.extend_from_slice(&[0]);
    });
    end
}
