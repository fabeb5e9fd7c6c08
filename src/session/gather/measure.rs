//! What EXPLAIN ANALYZE adds to the shards' plans: how many rows and bytes each shard sends, and how long that takes. Of a gather it is what was
//! shipped; what goes from the shards to the client is run a second time for it, its rows being counted and dropped.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::BytesMut;

use super::explain::Explain;
use super::ship::PART_PORTAL;
use crate::catalog::Oid;
use crate::execute::explain::ExplainMany;
use crate::execute::link::Enlisted;
use crate::execute::relay::{Frame, Handling, Joiner};
use crate::execute::ship::{Sent, Shipment};
use crate::pool::expect::{Audience, Step};
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::gather::run::{Gathering, without_traces};
use crate::session::life::Session;
use crate::session::parameters::Parameters;
use crate::wire::{frame, reply};

/// By part and shard.
#[derive(Debug, Default)]
pub struct Measured {
    sent: BTreeMap<(usize, String), Sent>,
}

impl Measured {
    /// What this shard sent of this part.
    pub(in crate::session) fn sent(&self, part: usize, shard: &str) -> Sent {
        self.sent.get(&(part, shard.to_owned())).copied().unwrap_or_default()
    }
}

impl Sent {
    /// As names and values of a plan; `timing`: with the time.
    pub(in crate::session) fn in_plan(self, timing: bool) -> Vec<(&'static str, String)> {
        let mut of =
            vec![("Shipped Rows", self.shipped.rows.to_string()), ("Shipped Bytes", self.shipped.bytes.to_string())];
        if timing {
            of.push(("Shipping Time", format!("{:.3}", self.took.as_secs_f64() * 1000.0)));
        }
        of
    }
}

impl Session {
    /// Notes what a shipment came to, whose lots are these parts.
    pub(in crate::session) fn note_sent(&mut self, parts: &[usize], shipment: &Shipment) {
        let Some(measured) = &mut self.measured else { return };
        for ((lot, server), sent) in shipment.senders() {
            if let (Some(part), Some(enlisted)) = (parts.get(*lot), self.link.servers.get(*server)) {
                measured.sent.insert((*part, self.gateway.shard_name(enlisted.shard)), *sent);
            }
        }
    }

    /// Runs a part on one of its servers and drops its rows.
    pub(in crate::session) async fn count_part(
        &mut self,
        at: usize,
        text: &str,
        gathering: &Gathering,
        wire: Wire,
    ) -> Result<Sent, Failure> {
        let mut count = Count::new(self.link.servers.len());
        self.send_part_text(at, text, gathering, wire);
        self.relay_in_block(&mut count).await?;
        self.counted(count).map(|sent| sent.get(at).copied().unwrap_or_default())
    }

    /// Of an EXPLAIN ANALYZE: runs its query on these servers, by Bind with such parameters of these types, and drops its rows.
    pub(in crate::session) async fn count_scattered(
        &mut self,
        text: &[u8],
        bound: Option<(&Parameters, &[Oid])>,
        servers: &[usize],
        explain: &mut ExplainMany,
    ) -> Result<(), Failure> {
        let Some(of) = Explain::of(text).filter(|of| of.analyze && explain.went_well()) else { return Ok(()) };
        let Some(query) = of.query() else { return Ok(()) };
        for at in servers {
            let enlisted = &mut self.link.servers[*at];
            match bound {
                None => enlisted.server.send_query(query.as_bytes(), Audience::Joiner),
                Some((parameters, types)) => {
                    send_counted(enlisted, query.as_bytes(), types, &parameters.bind_rest(&[]))
                }
            }
        }
        let mut count = Count::new(self.link.servers.len());
        self.relay_in_block(&mut count).await?;
        let sent = self.counted(count)?;
        let of_server = |at: &usize| sent.get(*at).copied().unwrap_or_default().in_plan(of.timing);
        explain.sent = servers.iter().map(of_server).collect();
        Ok(())
    }

    fn counted(&mut self, count: Count) -> Result<Vec<Sent>, Failure> {
        let Some(body) = count.error else { return Ok(count.sent) };
        let body = without_traces(&body);
        frame::write(&mut self.link.client.outbound, b'E', |out| out.extend_from_slice(&body));
        Err(Failure::Told)
    }
}

/// Sends what is to be counted. The portal is not the client's own, which may still have rows.
fn send_counted(enlisted: &mut Enlisted, query: &[u8], types: &[Oid], rest: &[u8]) {
    let server = &mut enlisted.server;
    server.unnamed = None;
    let types = server.oids.declared(types);
    reply::parse(&mut server.outbound, b"", query, &types);
    server.expects.push(Step::Parse(None), Audience::Gateway);
    reply::bind(&mut server.outbound, PART_PORTAL, b"", rest, 0);
    server.expects.push(Step::Bind, Audience::Gateway);
    reply::execute(&mut server.outbound, PART_PORTAL, 0);
    server.expects.push(Step::Execute, Audience::Joiner);
    reply::named(&mut server.outbound, b'C', b'P', PART_PORTAL);
    server.expects.push(Step::Close, Audience::Gateway);
    Wire::Extended.end_messages(enlisted);
}

/// Counts rows and lets nothing through.
#[derive(Debug)]
struct Count {
    started: Instant,
    /// By server.
    sent: Vec<Sent>,
    error: Option<Vec<u8>>,
    cancelled: bool,
}

impl Count {
    fn new(servers: usize) -> Count {
        Count { started: Instant::now(), sent: vec![Sent::default(); servers], error: None, cancelled: false }
    }
}

impl Joiner for Count {
    fn admits(&self, _: usize, _: Option<Step>) -> bool {
        true
    }

    fn frame(&mut self, frame: Frame<'_>, _: &mut BytesMut) -> Handling {
        let sent = self.sent.get_mut(frame.server);
        match (frame.tag, sent) {
            (b'E', _) => {
                self.error.get_or_insert_with(|| frame.body.to_vec());
            }
            // A row that is not held comes without its body.
            (b'D', Some(sent)) => {
                sent.shipped.rows += 1;
                sent.shipped.bytes += frame.body.len() as u64;
            }
            (b'C', Some(sent)) => sent.took = self.started.elapsed(),
            _ => {}
        }
        Handling::Drop
    }

    fn cancels(&mut self) -> bool {
        self.error.is_some() && !std::mem::replace(&mut self.cancelled, true)
    }
}
