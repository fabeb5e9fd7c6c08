//! Gathers that need no merge server: the shards sort and limit, the gateway merges their streams.
//!
//! Whether one is such is decided anew for each run: types are known when servers have described the plan's texts, formats when the client has
//! bound it, LIMIT's parameter with its value. What is not goes by way of the merge server, see `gather`.

use std::time::Duration;

use super::described::Wire;
use super::run::{Gathering, Run};
use super::ship::PART_PORTAL;
use crate::execute::ordered::{self, OrderedError, RowKey, Wanted};
use crate::execute::ship::{ShipError, Silence};
use crate::execute::sort_key::{KeyFormat, KeyKind};
use crate::plan::{Amount, Gather, Ordered};
use crate::pool::expect::{Audience, StatementId, Step};
use crate::pool::server::{Server, statement_name};
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::parameters::Parameters;
use crate::session::statement::{Place, Portal};
use crate::wire::reply::{self, Report};
use crate::wire::row_description::{Columns, same_types, travels_in_binary};

/// Binary format's code. *Source*: manual, Bind.
const BINARY: i16 = 1;

/// Outside a transaction, shards that have so many rows more than are wanted are cancelled: reading and dropping them would take longer.
const CANCELLED_ROWS_MIN: u64 = 10_000;

/// How long shards may go on by themselves when there are rows enough.
const LINGER: Duration = Duration::from_millis(10);

/// What servers say of a plan's sorted streams.
#[derive(Debug)]
pub struct DescribedOrdered {
    /// [`Ordered::part`].
    plain: Text,
    /// [`Ordered::copies`].
    copies: Text,
    /// How each key is compared.
    kinds: Vec<KeyKind>,
    /// The rows hold no number that differs between servers.
    portable: bool,
}

/// A text with what is known of it.
#[derive(Debug)]
struct Text {
    id: StatementId,
    columns: Columns,
}

/// How one run goes.
struct Way<'a> {
    ordered: &'a Ordered,
    id: StatementId,
    text: &'a str,
    formats: Vec<i16>,
    wanted: Wanted,
}

impl Session {
    /// The texts that servers are to describe for it.
    pub(super) fn ordered_texts(gather: &Gather) -> Vec<&[u8]> {
        let texts = gather.ordered.iter().flat_map(|ordered| [&ordered.part.text, &ordered.copies]);
        texts.map(|text| text.as_bytes()).collect()
    }

    /// What follows of the descriptions of these texts; `None` if the gateway cannot reproduce the order.
    pub(super) fn describe_ordered(
        &self,
        gather: &Gather,
        client: Option<&Columns>,
        descriptions: Vec<Columns>,
    ) -> Option<DescribedOrdered> {
        let ordered = gather.ordered.as_ref()?;
        let [plain, copies] = <[Columns; 2]>::try_from(descriptions).ok()?;
        let types = plain.types();
        let kind = |key: &crate::plan::SortKey| KeyKind::of(*types.get(key.column)?, key.bytewise);
        let kinds: Vec<KeyKind> = ordered.keys.iter().map(kind).collect::<Option<_>>()?;
        let described = client.is_none_or(|client| same_types(client.body(), plain.first(ordered.columns).body()));
        let portable = types.iter().all(|oid| travels_in_binary(*oid));
        let text = |columns| Text { id: self.gateway.plans.next_id(), columns };
        described.then(|| DescribedOrdered { plain: text(plain), copies: text(copies), kinds, portable })
    }

    /// Answers without a merge server: the tag, or `None` if that cannot be done.
    pub(super) async fn run_ordered(
        &mut self,
        gathering: &Gathering,
        run: Run<'_>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let Some(way) = self.way(gathering, run) else { return Ok(None) };
        let places = self.part_places(gathering, std::slice::from_ref(&way.ordered.part))?;
        let servers = self.enlist_parts(&places).await?.into_iter().next().unwrap_or_default();
        let mut parameters = gathering.parameters.clone();
        if gathering.described.gather.now_parameter.is_some() {
            let now = self.transaction_start(servers.first().copied().unwrap_or(0), run.wire).await?;
            parameters.push_binary(now);
        }
        self.send_ordered(gathering, &way, &parameters, run.wire, &servers);
        let limited = way.ordered.limit.is_some();
        let cancellable = self.transaction.block().is_none() && (run.wire == Wire::Simple || self.holds_nothing());
        let many = way.wanted.limit.saturating_add(way.wanted.offset) >= CANCELLED_ROWS_MIN;
        let mut merged = ordered::Ordered::new(&servers, way.wanted);
        self.link.merge(&mut merged).await?;
        let enough = limited && cancellable && merged.error().is_none();
        let mut cancel = merged.error().is_some() || (enough && many && run.wire == Wire::Simple);
        let mut silence = Silence { cancel, ..Silence::default() };
        if enough && !cancel {
            // Most have come to an end by themselves.
            match tokio::time::timeout(LINGER, self.link.relay(&mut silence)).await {
                Ok(relayed) => drop(relayed?),
                Err(_) => {
                    (cancel, silence.cancel) = (true, true);
                    self.end_implicit(&servers);
                }
            }
        }
        self.link.relay(&mut silence).await?;
        match merged.error().cloned() {
            Some(OrderedError::Server(body)) => Err(self.tell_ship_error(ShipError::Server(body), 0)),
            Some(OrderedError::Columns) => {
                Err(Report::error("XX000", "the shards do not agree on the columns of the result")
                    .with_hint("Run \"pgbraid check\" to find where the schemas differ.")
                    .into())
            }
            None => match silence.error {
                Some(body) if !cancel => Err(self.tell_ship_error(ShipError::Server(body), 0)),
                _ => Ok(Some(format!("SELECT {}", merged.rows()).into_bytes())),
            },
        }
    }

    /// The sorted streams of a plan, if the session can merge them.
    pub(super) fn ordered_streams<'a>(&self, gathering: &'a Gathering) -> Option<(&'a Ordered, &'a DescribedOrdered)> {
        let described = &gathering.described;
        let ordered = described.gather.ordered.as_ref()?;
        let known = described.ordered.as_ref()?;
        // Text comes in the client's encoding, in whose order it need not be sorted.
        if ordered.keys.iter().any(|key| key.bytewise) && !self.reported.utf8 {
            return None;
        }
        (known.portable || !self.catalog.load().numbers_differ()).then_some((ordered, known))
    }

    /// How this run goes, if it can.
    fn way<'a>(&self, gathering: &'a Gathering, run: Run<'_>) -> Option<Way<'a>> {
        if run.rows_max > 0 || run.statement.is_some() || run.keeps {
            return None;
        }
        let (ordered, known) = self.ordered_streams(gathering)?;
        let asked = &gathering.result_formats;
        let format = |column: usize| if asked.len() == 1 { asked.first() } else { asked.get(column) };
        let format = |column: usize| format(column).copied().unwrap_or(0);
        let visible = |column: usize| column < ordered.columns;
        let in_place = |(key, kind): (&crate::plan::SortKey, &KeyKind)| {
            !visible(key.column) || format(key.column) == BINARY || kind.reads_text()
        };
        let copied = !ordered.keys.iter().zip(&known.kinds).all(in_place);
        let (known_text, text) =
            if copied { (&known.copies, &ordered.copies) } else { (&known.plain, &ordered.part.text) };
        let count = known_text.columns.types().len();
        let formats: Vec<i16> = (0..count).map(|at| if visible(at) { format(at) } else { BINARY }).collect();
        let row_key = |(key, kind): (&crate::plan::SortKey, &KeyKind)| {
            let column = if copied { key.copy } else { key.column };
            let binary = formats.get(column) == Some(&BINARY);
            RowKey {
                column,
                kind: *kind,
                format: if binary { KeyFormat::Binary } else { KeyFormat::Text },
                descending: key.descending,
                nulls_first: key.nulls_first,
            }
        };
        let keys = ordered.keys.iter().zip(&known.kinds).map(row_key).collect();
        let wanted = Wanted {
            keys,
            columns: ordered.columns,
            offset: rows(ordered.offset, gathering)?.unwrap_or(0),
            limit: rows(ordered.limit, gathering)?.unwrap_or(u64::MAX),
            described: known_text.columns.clone(),
            tells: run.tells_columns.then(|| gathering.described.columns.in_formats(asked)),
        };
        Some(Way { ordered, id: known_text.id, text, formats, wanted })
    }

    /// Nothing that has been done since the last Sync is lost if the shards' implicit transactions end.
    fn holds_nothing(&self) -> bool {
        let local = |portal: &Portal| matches!(portal.place.as_bound(), Place::Gather(_) | Place::Local | Place::Done);
        self.pipeline.writes == Default::default() && self.names.portals.values().all(|portal| local(portal))
    }

    /// Ends the implicit transactions on these servers, so that an error there costs nothing but the statement.
    fn end_implicit(&mut self, servers: &[usize]) {
        for at in servers {
            if let Some(enlisted) = self.link.servers.get_mut(*at).filter(|enlisted| enlisted.needs_sync) {
                enlisted.needs_sync = false;
                enlisted.server.send_sync(Audience::Gateway);
            }
        }
    }

    fn send_ordered(
        &mut self,
        gathering: &Gathering,
        way: &Way<'_>,
        parameters: &Parameters,
        wire: Wire,
        servers: &[usize],
    ) {
        let rest = parameters.bind_rest(&way.formats);
        let name = statement_name(way.id);
        for at in servers {
            let Some(enlisted) = self.link.servers.get_mut(*at) else { continue };
            let server: &mut Server = &mut enlisted.server;
            server.prepare(way.id, way.text.as_bytes(), &gathering.described.types, Audience::Gateway);
            reply::bind(&mut server.outbound, PART_PORTAL, &name, &rest, 0);
            server.expects.push(Step::Bind, Audience::Gateway);
            reply::named(&mut server.outbound, b'D', b'P', PART_PORTAL);
            server.expects.push(Step::DescribePortal, Audience::Gateway);
            reply::execute(&mut server.outbound, PART_PORTAL, 0);
            server.expects.push(Step::Execute, Audience::Gateway);
            reply::named(&mut server.outbound, b'C', b'P', PART_PORTAL);
            server.expects.push(Step::Close, Audience::Gateway);
            wire.end_messages(enlisted);
        }
    }
}

/// `Some(None)`: no such clause, or NULL. `None`: negative, or not known, so that a server says what is to be said.
fn rows(amount: Option<Amount>, gathering: &Gathering) -> Option<Option<u64>> {
    let value = match amount {
        None => return Some(None),
        Some(Amount::Rows(rows)) => Some(rows),
        Some(Amount::Parameter(index)) => {
            let oid = gathering.described.types.get(index)?;
            gathering.parameters.integer(index, *oid)?
        }
    };
    match value {
        None => Some(None),
        Some(rows) => u64::try_from(rows).ok().map(Some),
    }
}
