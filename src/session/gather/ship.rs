//! Ships the parts of a gathered query to its merge server: all at once, or in stages if what has come tells what else is needed.

use std::collections::{BTreeMap, BTreeSet};

use super::described::Wire;
use super::reduce::{self as reduce, Estimate, Filter};
use super::run::{BINARY_RESULTS, Gathering};
use crate::execute::ship::{Lot, LotFormat, Shipment, Silence};
use crate::plan::{Reducer, quoted};
use crate::pool::expect::{Audience, Step};
use crate::pool::server::Server;
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::parameters::Parameters;
use crate::wire::fields::row;
use crate::wire::reply::{self, Report};

/// A part's portal.
pub(super) const PART_PORTAL: &[u8] = b"pgbraid_part";

/// A temporary table with fewer rows than this is as well planned without statistics.
const ANALYZED_ROWS_MIN: u64 = 10_000;

/// One into which the merge query looks again and again has an index from so many rows.
const INDEXED_ROWS_MIN: u64 = if cfg!(debug_assertions) { 2 } else { 200 };

/// Servers in a transaction of the gateway's, with how many parts they are still to send.
pub(super) type Owing = BTreeMap<usize, usize>;

/// What has been shipped.
struct Shipped {
    /// Of each part.
    rows: Vec<u64>,
    /// Bytes that may come.
    left: u64,
}

/// What is shipped, how and whence.
#[derive(Clone, Copy)]
pub(super) struct Shipping<'a> {
    pub(super) gathering: &'a Gathering,
    pub(super) wire: Wire,
    /// By part: the servers that have rows of it.
    pub(super) places: &'a [Vec<usize>],
    /// The merge server.
    pub(super) merge: usize,
    pub(super) bytes_max: u64,
}

impl Session {
    /// Ships all parts; the merge server has their tables.
    pub(super) async fn ship_parts(
        &mut self,
        shipping: Shipping<'_>,
        parameters: &mut Parameters,
    ) -> Result<(), Failure> {
        self.check_read_back(&shipping.gathering.described.parts, shipping.merge).await?;
        let mut own = Owing::new();
        let result = self.ship_stages(shipping, parameters, &mut own).await;
        self.end_own(own).await?;
        result
    }

    /// Ends transactions of the gateway's own in which parts are left to send. After a fault servers are in the middle of an answer, the
    /// merge server perhaps of a COPY, which nobody would end: they are closed with the link's others, not waited for.
    pub(super) async fn end_own(&mut self, own: Owing) -> Result<(), Failure> {
        if !self.link.is_drained() {
            return Ok(());
        }
        let mut left = false;
        for at in own.into_keys() {
            if let Some(enlisted) = self.link.servers.get_mut(at).filter(|enlisted| !enlisted.server.is_broken()) {
                enlisted.server.send_query(b"ROLLBACK", Audience::Gateway);
                left = true;
            }
        }
        if left {
            self.link.relay(&mut Silence::default()).await?;
        }
        Ok(())
    }

    /// Has every shard begin all its parts of a wave, for one who takes their rows himself.
    pub(super) fn send_wave(&mut self, shipping: Shipping<'_>, parameters: &Parameters, wave: usize, own: &mut Owing) {
        let parts = shipping.gathering.described.gather.parts.iter().enumerate();
        let all = parts.filter(|(_, part)| part.wave == wave).map(|(at, _)| (at, Vec::new())).collect();
        self.send_parts(shipping, parameters, &all, own);
    }

    async fn ship_stages(
        &mut self,
        shipping: Shipping<'_>,
        parameters: &mut Parameters,
        own: &mut Owing,
    ) -> Result<(), Failure> {
        let gather = &shipping.gathering.described.gather;
        let mut shipped = Shipped { rows: vec![0; gather.parts.len()], left: shipping.bytes_max };
        for wave in 0..gather.waves() {
            let estimates = self.estimates(shipping, parameters, wave).await?;
            if wave == 0 {
                self.begin_own(shipping, own);
            }
            self.ship_wave(shipping, parameters, (wave, estimates), own, &mut shipped).await?;
            let values = gather.values.iter().filter(|value| value.wave == wave).map(|value| value.text.as_str());
            self.compute_values(shipping, values.collect(), wave, parameters).await?;
        }
        Ok(())
    }

    /// Computes the values of a wave and sets their parameters. `texts`: their queries.
    pub(super) async fn compute_values(
        &mut self,
        shipping: Shipping<'_>,
        texts: Vec<&str>,
        wave: usize,
        parameters: &mut Parameters,
    ) -> Result<(), Failure> {
        if texts.is_empty() {
            return Ok(());
        }
        let described = &shipping.gathering.described;
        let types = match (&described.inline, parameters.len() > described.types.len()) {
            (Some(inline), true) => &inline.types,
            _ => &described.types,
        };
        let rest = parameters.bind_rest(&[1]);
        let server: &mut Server = &mut self.link.servers[shipping.merge].server;
        for text in &texts {
            server.send_bound(text.as_bytes(), types, &rest, Audience::Gateway);
        }
        server.send_sync(Audience::Gateway);
        let answers = self.answers().await?;
        let found: Vec<_> = answers.rows_of(shipping.merge).map(|body| row(body).next().flatten()).collect();
        let values = described.gather.values.iter().filter(|value| value.wave == wave);
        if found.len() != texts.len() {
            return Err(Report::error("XX000", "a server did not tell the value of a sub-select").into());
        }
        for (value, bytes) in values.zip(found) {
            parameters.set_binary(value.parameter.saturating_sub(1), bytes.map(<[u8]>::to_vec));
        }
        Ok(())
    }

    async fn ship_wave(
        &mut self,
        shipping: Shipping<'_>,
        parameters: &Parameters,
        (wave, estimates): (usize, Vec<Estimate>),
        own: &mut Owing,
        shipped: &mut Shipped,
    ) -> Result<(), Failure> {
        let parts = &shipping.gathering.described.gather.parts;
        let Shipped { rows, left } = shipped;
        let mut stages = reduce::stages(parts, &estimates);
        for (part, (stage, reducers)) in parts.iter().zip(&mut stages) {
            if part.wave != wave {
                (*stage, *reducers) = (usize::MAX, Vec::new());
            }
        }
        let last = stages.iter().map(|(stage, _)| *stage).filter(|stage| *stage != usize::MAX).max();
        for stage in 0..=last.unwrap_or(0) {
            let mut chosen = BTreeMap::new();
            for (at, (_, reducers)) in stages.iter().enumerate().filter(|(_, (of, _))| *of == stage) {
                let few =
                    |reducer: &&Reducer| rows.get(reducer.source).is_some_and(|rows| *rows <= reduce::SOURCE_ROWS_MAX);
                chosen.insert(at, reducers.iter().filter(few).cloned().collect::<Vec<_>>());
            }
            let filters = self.filters(shipping, &chosen).await?;
            self.send_parts(shipping, parameters, &filters, own);
            let mut shipment =
                Shipment::new(shipping.merge, self.link.servers.len(), lots(shipping, filters.keys()), *left);
            self.link.ship(&mut shipment).await?;
            let sent = shipment.shipped();
            self.tally.shipped(sent.rows, sent.bytes);
            self.note_sent(&filters.keys().copied().collect::<Vec<_>>(), &shipment);
            *left = left.saturating_sub(sent.bytes);
            for (at, lot_rows) in filters.keys().zip(shipment.lots_rows()) {
                if let Some(rows) = rows.get_mut(*at) {
                    *rows = *lot_rows;
                }
            }
            if let Some(error) = shipment.error().cloned() {
                self.link.stop_shipping(&shipment).await?;
                return Err(self.tell_ship_error(error, shipping.bytes_max));
            }
        }
        Ok(())
    }

    /// How many rows each part may have, as its shards' planners think; nothing if that decides nothing.
    async fn estimates(
        &mut self,
        shipping: Shipping<'_>,
        parameters: &Parameters,
        wave: usize,
    ) -> Result<Vec<Estimate>, Failure> {
        let parts = &shipping.gathering.described.gather.parts;
        let concerned: BTreeSet<usize> = parts
            .iter()
            .enumerate()
            .filter(|(_, part)| part.wave == wave)
            .flat_map(|(at, part)| part.reducers.iter().flat_map(move |reducer| [at, reducer.source]))
            .collect();
        if concerned.is_empty() {
            return Ok(Vec::new());
        }
        let mut asked: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let rest = parameters.bind_rest(&[]);
        for at in concerned {
            let (Some(part), Some(place)) = (parts.get(at), shipping.places.get(at).and_then(|places| places.first()))
            else {
                continue;
            };
            asked.entry(*place).or_default().push(at);
            let server: &mut Server = &mut self.link.servers[*place].server;
            let text = format!("EXPLAIN {}", part.text);
            server.send_bound(text.as_bytes(), &shipping.gathering.described.types, &rest, Audience::Gateway);
        }
        for place in asked.keys() {
            shipping.wire.end_messages(&mut self.link.servers[*place]);
        }
        let answers = self.answers().await?;
        let mut found = vec![Estimate::default(); parts.len()];
        for (place, asked) in asked {
            for (at, lines) in asked.into_iter().zip(answers.answers(place)) {
                let shards = shipping.places.get(at).map_or(1, Vec::len) as u64;
                if let (Some(found), Some(line)) = (found.get_mut(at), lines.first()) {
                    *found = Estimate::read(line).times(shards);
                }
            }
        }
        Ok(found)
    }

    /// Several parts of one server shall see one snapshot; within the client's own transaction its mode decides.
    pub(super) fn begin_own(&mut self, shipping: Shipping<'_>, own: &mut Owing) {
        if shipping.wire != Wire::Simple || self.transaction.block().is_some() {
            return;
        }
        for at in shipping.places.iter().flatten() {
            *own.entry(*at).or_insert(0) += 1;
        }
        own.retain(|_, count| *count > 1);
        for at in own.keys() {
            let server: &mut Server = &mut self.link.servers[*at].server;
            server.send_query(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Audience::Gateway);
        }
    }

    /// What the merge server has of the values that parts are reduced by.
    async fn filters(
        &mut self,
        shipping: Shipping<'_>,
        chosen: &BTreeMap<usize, Vec<Reducer>>,
    ) -> Result<BTreeMap<usize, Vec<Filter>>, Failure> {
        let mut filters: BTreeMap<usize, Vec<Filter>> = chosen.keys().map(|at| (*at, Vec::new())).collect();
        let parts = &shipping.gathering.described.gather.parts;
        let mut asked: Vec<(String, Vec<(usize, &Reducer)>)> = Vec::new();
        for (at, reducer) in chosen.iter().flat_map(|(at, of)| of.iter().map(move |reducer| (*at, reducer))) {
            let same = |other: &Reducer| {
                let of = |reducer: &Reducer| (reducer.source, reducer.source_column.clone(), reducer.type_oid);
                of(other) == of(reducer)
            };
            if let Some((_, users)) = asked.iter_mut().find(|(_, users)| users.iter().any(|(_, other)| same(other))) {
                users.push((at, reducer));
            } else if let Some(source) = parts.get(reducer.source)
                && let Some(query) = reduce::values_query(asked.len(), reducer, &source.name)
            {
                asked.push((query, vec![(at, reducer)]));
            }
        }
        if asked.is_empty() {
            return Ok(filters);
        }
        let server: &mut Server = &mut self.link.servers[shipping.merge].server;
        for (query, _) in &asked {
            server.send_bound(query.as_bytes(), &[], BINARY_RESULTS, Audience::Gateway);
        }
        server.send_sync(Audience::Gateway);
        let answers = self.answers().await?;
        let Some(found) = reduce::arrays(answers.rows_of(shipping.merge)) else {
            return Err(Report::error("XX000", "a server did not tell the values of a part").into());
        };
        for (nth, (_, users)) in asked.iter().enumerate() {
            let arrays = found.get(&nth).map_or(&[][..], Vec::as_slice);
            for (at, reducer) in users {
                filters.entry(*at).or_default().extend(Filter::new(reducer, arrays));
            }
        }
        for (at, of_part) in &mut filters {
            let shards = shipping.places.get(*at).map_or(1, Vec::len);
            *of_part = reduce::affordable(std::mem::take(of_part), shards);
        }
        Ok(filters)
    }

    /// Has every shard begin its parts among these.
    fn send_parts(
        &mut self,
        shipping: Shipping<'_>,
        parameters: &Parameters,
        filters: &BTreeMap<usize, Vec<Filter>>,
        own: &mut Owing,
    ) {
        for at in 0..self.link.servers.len() {
            let mine = filters.iter().filter(|(part, _)| {
                at != shipping.merge && shipping.places.get(**part).is_some_and(|servers| servers.contains(&at))
            });
            let mut count = 0;
            for (part, filters) in mine {
                self.send_one(shipping, parameters, (at, *part), filters);
                count += 1;
            }
            if count == 0 {
                continue;
            }
            shipping.wire.end_messages(&mut self.link.servers[at]);
            let Some(left) = own.get_mut(&at) else { continue };
            *left = left.saturating_sub(count);
            if *left == 0 {
                own.remove(&at);
                self.link.servers[at].server.send_query(b"COMMIT", Audience::Gateway);
            }
        }
    }

    fn send_one(
        &mut self,
        shipping: Shipping<'_>,
        parameters: &Parameters,
        (at, part): (usize, usize),
        filters: &[Filter],
    ) {
        let described = &shipping.gathering.described;
        let (Some(known), Some(part)) = (described.parts.get(part), described.gather.parts.get(part)) else { return };
        let format = match known.format.format {
            LotFormat::Binary => 1,
            LotFormat::Text => 0,
        };
        let server: &mut Server = &mut self.link.servers[at].server;
        if filters.is_empty() {
            server.prepare(known.id, part.text.as_bytes(), &described.types, Audience::Gateway);
            let name = crate::pool::server::statement_name(known.id);
            reply::bind(&mut server.outbound, PART_PORTAL, &name, &parameters.bind_rest(&[format]), 0);
        } else {
            let mut parameters = parameters.clone();
            let mut types = described.types.clone();
            let text = reduce::reduced_text(&part.text, filters, types.len() + 1);
            for filter in filters {
                types.push(filter.type_oid);
                parameters.push_binary(filter.values.clone());
            }
            let types = server.oids.declared(&types);
            reply::parse(&mut server.outbound, b"", text.as_bytes(), &types);
            server.expects.push(Step::Parse(None), Audience::Gateway);
            server.unnamed = None;
            reply::bind(&mut server.outbound, PART_PORTAL, b"", &parameters.bind_rest(&[format]), 0);
        }
        server.expects.push(Step::Bind, Audience::Gateway);
        reply::execute(&mut server.outbound, PART_PORTAL, 0);
        server.expects.push(Step::Execute, Audience::Gateway);
        reply::named(&mut server.outbound, b'C', b'P', PART_PORTAL);
        server.expects.push(Step::Close, Audience::Gateway);
    }
}

/// One COPY for each of these parts.
fn lots<'n>(shipping: Shipping<'_>, numbers: impl Iterator<Item = &'n usize>) -> Vec<Lot> {
    let described = &shipping.gathering.described;
    let lot = |at: &usize| {
        let (part, known) = (described.gather.parts.get(*at)?, described.parts.get(*at)?);
        let format = match known.format.format {
            LotFormat::Binary => " (FORMAT binary)",
            LotFormat::Text => "",
        };
        let mut then = vec![(ANALYZED_ROWS_MIN, format!("ANALYZE pg_temp.{}", part.name))];
        for columns in &part.lookups {
            let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
            then.push((INDEXED_ROWS_MIN, format!("CREATE INDEX ON pg_temp.{} ({})", part.name, columns.join(", "))));
        }
        let copy = format!("COPY pg_temp.{} FROM STDIN{format}", part.name);
        Some(Lot { copy, then, format: known.format.format, servers: shipping.places.get(*at)?.clone() })
    };
    numbers.filter_map(lot).collect()
}
