//! A Bind too long to be held: so much of it is read as decides where it goes, and the rest passes through as it comes.

use bytes::{Buf, BytesMut};

use super::messages::{Bound, known_part, malformed};
use crate::execute::fault::LinkFault;
use crate::execute::plain::Plain;
use crate::plan::{CursorVerb, KeySource, Plan, Target};
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::statement::Place;
use crate::wire::frame::{HEADER_BYTES, LARGEST_MESSAGE_BYTES};
use crate::wire::frontend::{BindHead, Malformed};
use crate::wire::reply::Report;

/// A Bind longer than this passes through if it can.
const STREAMED_BIND_BYTES: usize = 1024 * 1024;

/// Read before the first look: names, formats and the first parameters of most.
const FIRST_BYTES: usize = 16 * 1024;

/// Above this much unsent to the server, the client is not read.
const BACKLOG_BYTES: usize = 256 * 1024;

/// Bytes asked of the client's socket at once.
const READ_BYTES: usize = 128 * 1024;

/// Names of statements on servers are at most so much longer than the client's: a prefix and a number.
const NAME_GROWTH_BYTES: usize = 64;

impl Session {
    /// Whether a Bind of this length is for [`Session::long_bind`].
    pub(in crate::session) fn is_long_bind(&self, frame_bytes: usize) -> bool {
        frame_bytes > STREAMED_BIND_BYTES.min(self.held_bytes_max())
    }

    fn held_bytes_max(&self) -> usize {
        self.gateway.config.load().limits.held_bytes_max
    }

    /// Handles a Bind that begins in the client's inbound bytes; the message, if it had to be read whole and is still to be
    /// handled.
    pub(in crate::session) async fn long_bind(&mut self, frame_bytes: usize) -> Result<Option<BytesMut>, Failure> {
        let mut rest_bytes = frame_bytes; // not yet taken from the client's inbound bytes
        let failure = match self.bind_head(&mut rest_bytes).await {
            Ok(whole) => return Ok(whole),
            Err(failure) => failure,
        };
        match &failure {
            Failure::Link(LinkFault::Client(_) | LinkFault::Torn(_)) | Failure::Fatal(_) => {}
            Failure::Statement(_) | Failure::Told | Failure::Link(LinkFault::Server { .. }) => {
                self.skip_frame(rest_bytes).await?;
            }
        }
        self.conclude_extended(Err(failure)).await?;
        Ok(None)
    }

    async fn bind_head(&mut self, rest_bytes: &mut usize) -> Result<Option<BytesMut>, Failure> {
        let frame_bytes = *rest_bytes;
        if !self.read_head(frame_bytes).await? {
            return self.read_whole(frame_bytes).await.map(Some);
        }
        let inbound = &mut self.link.client.inbound;
        let mut message = inbound.split_to(inbound.len().min(frame_bytes));
        *rest_bytes = frame_bytes - message.len();
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        let head = BindHead::read(body, frame_bytes - HEADER_BYTES).map_err(malformed)?;
        let mut bind = head.ok_or_else(|| malformed(Malformed::Short))?.bind;
        (bind.portal, bind.statement) = (known_part(bind.portal), known_part(bind.statement));
        match self.bind_message(&bind).await? {
            Bound::Done if *rest_bytes == 0 => {}
            Bound::Done => {
                let Place::One { shard, replica } = self.portal_place(bind.portal)? else {
                    // Nobody has a use for it.
                    self.skip_frame(std::mem::take(rest_bytes)).await?;
                    return Ok(None);
                };
                let at = self.portal_server(shard, Some(replica), bind.portal)?;
                self.pass_rest(at, rest_bytes).await?;
            }
            Bound::WholeNeeded => {
                let ahead = self.link.client.inbound.split();
                message.unsplit(ahead);
                self.link.client.inbound = message;
                *rest_bytes = frame_bytes;
                return self.read_whole(frame_bytes).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Reads until the parameters that decide are here; false when all of the message is needed.
    async fn read_head(&mut self, frame_bytes: usize) -> Result<bool, Failure> {
        let held_bytes_max = self.held_bytes_max();
        let mut wanted_bytes = FIRST_BYTES;
        let mut deciding = None;
        loop {
            self.read_up_to(wanted_bytes.min(frame_bytes)).await?;
            let here_bytes = self.link.client.inbound.len().min(frame_bytes);
            let body = self.link.client.inbound.get(HEADER_BYTES..here_bytes).unwrap_or_default();
            let head = BindHead::read(body, frame_bytes - HEADER_BYTES).map_err(malformed)?;
            wanted_bytes = match (&head, deciding) {
                (None, _) => here_bytes + 1,
                (Some(head), None) => {
                    let statement: Box<[u8]> = known_part(head.bind.statement).into();
                    if !statement.is_empty() && frame_bytes > LARGEST_MESSAGE_BYTES - NAME_GROWTH_BYTES {
                        return Err(too_long(frame_bytes, LARGEST_MESSAGE_BYTES - NAME_GROWTH_BYTES));
                    }
                    let Some(count) = self.deciding(&statement).await? else { return Ok(false) };
                    deciding = Some(count);
                    continue;
                }
                (Some(head), Some(count)) if head.has(count) => return Ok(true),
                (Some(head), Some(_)) => head.wanted_bytes + HEADER_BYTES,
            };
            if here_bytes == frame_bytes {
                return Err(malformed(Malformed::Short));
            }
            if wanted_bytes > held_bytes_max.max(FIRST_BYTES) {
                return Err(too_long(frame_bytes, held_bytes_max));
            }
            // Small parameters are not read one by one.
            wanted_bytes = wanted_bytes.max(held_bytes_max.min(2 * here_bytes));
        }
    }

    /// How many of its first parameters decide where a statement runs; `None` when it is nothing that can pass through.
    async fn deciding(&mut self, statement: &[u8]) -> Result<Option<usize>, Failure> {
        self.settle_parse(Some(statement)).await?;
        let prepared = self.current(statement).await?;
        Ok(prepared.plan().and_then(deciding_parameters))
    }

    async fn read_whole(&mut self, frame_bytes: usize) -> Result<BytesMut, Failure> {
        let held_bytes_max = self.held_bytes_max();
        if frame_bytes > held_bytes_max {
            return Err(too_long(frame_bytes, held_bytes_max));
        }
        self.read_up_to(frame_bytes).await?;
        Ok(self.link.client.inbound.split_to(frame_bytes))
    }

    async fn read_up_to(&mut self, count: usize) -> Result<(), Failure> {
        let client = &mut self.link.client;
        while client.inbound.len() < count {
            client.flush().await?;
            client.inbound.reserve(count - client.inbound.len());
            if client.fill().await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(())
    }

    /// Passes on what follows a Bind's head.
    ///
    /// # Cancel safety
    /// Not cancel safe: the server is then in the middle of a message, and is closed when the link is dropped.
    async fn pass_rest(&mut self, at: usize, rest_bytes: &mut usize) -> Result<(), Failure> {
        let mut plain = Plain { aliases: self.pipeline.held.clone(), ..Plain::default() };
        let passed = self.pass_bytes(at, rest_bytes, &mut plain).await;
        self.note(&plain);
        if let Err(fault) = passed {
            self.link.servers[at].server.mark_broken();
            return Err(fault.into());
        }
        if plain.error.is_none() {
            return Ok(());
        }
        self.pass_on_hidden_error(&plain)?;
        Err(Failure::Told)
    }

    async fn pass_bytes(&mut self, at: usize, rest_bytes: &mut usize, plain: &mut Plain) -> Result<(), LinkFault> {
        while *rest_bytes > 0 {
            let inbound = &mut self.link.client.inbound;
            let outbound = &mut self.link.servers[at].server.outbound;
            if outbound.len() < BACKLOG_BYTES && !inbound.is_empty() {
                let count = inbound.len().min(*rest_bytes);
                outbound.extend_from_slice(&inbound[..count]);
                inbound.advance(count);
                *rest_bytes -= count;
            } else {
                // What is full would be made twice as large, and one read fills it.
                if inbound.is_empty() {
                    inbound.reserve(READ_BYTES);
                }
                self.link.turn().await?;
            }
            self.link.pump_all(plain)?;
        }
        Ok(())
    }
}

/// See [`Session::deciding`].
fn deciding_parameters(plan: &Plan) -> Option<usize> {
    let route = match plan {
        Plan::Rows(route) | Plan::Cursor(CursorVerb::Declare { route, .. }) => route,
        Plan::Cursor(CursorVerb::Fetch { .. } | CursorVerb::Close(_)) | Plan::SettingQuery(_) | Plan::Refuse(_) => {
            return Some(0);
        }
        Plan::Empty
        | Plan::CopyIn(_)
        | Plan::Everywhere(_)
        | Plan::Transaction(_)
        | Plan::Setting(_)
        | Plan::Discard(_)
        | Plan::Prepared(_) => return None,
    };
    match &route.target {
        Target::Any | Target::Home | Target::Unknown => Some(0),
        // Its text changes.
        Target::Computed(_) | Target::Moved(_) | Target::Fetched(_) => None,
        // One shard if there is only one.
        Target::Scatter | Target::Replicated { .. } => Some(0),
        Target::Gather(_) => None,
        Target::Keyed(keyed) => {
            let counts = keyed.pins.iter().flat_map(|pin| &pin.sources).map(|source| match source {
                KeySource::Constant(_) | KeySource::Null | KeySource::Literal(_) => 0,
                KeySource::Parameter { index, .. } | KeySource::ParameterArray { index, .. } => index + 1,
            });
            Some(counts.max().unwrap_or(0))
        }
    }
}

fn too_long(frame_bytes: usize, bytes_max: usize) -> Failure {
    let text =
        format!("message of {frame_bytes} bytes cannot be held until its shard is known (held_bytes_max: {bytes_max})");
    Report::error("54000", text)
        .with_detail(
            "A longer one passes through if it runs on one shard and the parameters that say which come first.",
        )
        .with_hint("Make the key the first parameter ($1), or raise held_bytes_max in [limits].")
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::catalog::KeyType;
    use crate::plan::{Access, Keyed, NullKey, Output, Pin, Route, Several};

    fn keyed(sources: Vec<KeySource>) -> Plan {
        let pin = Pin { relation: "t".to_owned(), key_type: KeyType::Integer, sources, null: NullKey::Nothing };
        let keyed = Keyed { pins: vec![pin], touches_home: false, several: Several::Scatter, utf8: true };
        Plan::Rows(Route { access: Access::Read, target: Target::Keyed(keyed), output: Output::Rows })
    }

    #[test]
    fn the_last_key_parameter_decides_how_much_is_needed() {
        let parameter = |index| KeySource::Parameter { index, type_oid: None };
        assert_eq!(deciding_parameters(&keyed(vec![parameter(2), parameter(0)])), Some(3));
        assert_eq!(deciding_parameters(&keyed(vec![KeySource::ParameterArray { index: 0, type_oid: None }])), Some(1));
        assert_eq!(deciding_parameters(&keyed(vec![KeySource::Null])), Some(0));
        assert_eq!(deciding_parameters(&keyed(Vec::new())), Some(0));
    }

    #[test]
    fn what_the_gateway_carries_out_itself_is_held() {
        assert_eq!(deciding_parameters(&Plan::Empty), None);
    }
}
