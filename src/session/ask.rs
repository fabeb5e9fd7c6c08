//! What the gateway asks servers for its own use: rows that are taken in, as text, or one value. The client hears of errors only.

use super::failure::Failure;
use super::gather::described::Wire;
use super::gather::run::without_traces;
use super::life::Session;
use crate::execute::harvest::Harvest;
use crate::execute::plain::renamed;
use crate::pool::expect::Audience;
use crate::wire::fields::{row, text_row};
use crate::wire::reply::Report;

/// One row's values, as text; `None` is NULL.
pub(super) type Values = Vec<Option<String>>;

/// Has values come as text that is read back as it was, whatever the session's settings. *Source*: manual, 8.5.2, 20.11.2.
pub(super) const EXACT: &str =
    "SET LOCAL extra_float_digits = 1; SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres'";

impl Session {
    /// Takes in all rows that servers of the link return for what they have been sent. `too_much`: what is said if they are more than
    /// so many bytes.
    pub(super) async fn harvest(&mut self, too_much: fn(usize) -> Report) -> Result<Vec<Values>, Failure> {
        self.harvest_counted(too_much).await.map(|(rows, _)| rows)
    }

    /// The same, with what the statements' tags count, by server.
    pub(super) async fn harvest_counted(
        &mut self,
        too_much: fn(usize) -> Report,
    ) -> Result<(Vec<Values>, Vec<u64>), Failure> {
        let bytes_max = self.gateway.config.load().limits.held_bytes_max;
        let mut harvest = Harvest::new(bytes_max);
        self.relay_in_block(&mut harvest).await?;
        if let Some(body) = &harvest.error {
            return Err(self.tell_error(&without_traces(body)));
        }
        if harvest.overflow {
            return Err(too_much(bytes_max).into());
        }
        Ok((harvest.rows().map(text_row).collect(), harvest.into_changed()))
    }

    /// Takes in what servers of the link answer to questions of the gateway's own, which are few rows.
    pub(super) async fn answers(&mut self) -> Result<Harvest, Failure> {
        let mut harvest = Harvest::new(usize::MAX);
        self.relay_in_block(&mut harvest).await?;
        if let Some(body) = &harvest.error {
            let body = renamed(&without_traces(body), &self.pipeline.held);
            return Err(self.tell_error(&body));
        }
        if harvest.overflow {
            return Err(
                Report::error("54000", "what a shard says of itself has a row that is too long to be read").into()
            );
        }
        Ok(harvest)
    }

    /// The first value of a query's row on a server; `rest` of its Bind says in which format, and what the parameters are.
    pub(super) async fn value_of(
        &mut self,
        at: usize,
        (text, types, rest): (&[u8], &[u32], &[u8]),
        wire: Wire,
    ) -> Result<Vec<u8>, Failure> {
        let enlisted = &mut self.link.servers[at];
        enlisted.server.send_bound(text, types, rest, Audience::Gateway);
        wire.end_messages(enlisted);
        let answers = self.answers().await?;
        let first = answers.answers(at).last().and_then(|rows| rows.first());
        Ok(first.and_then(|body| row(body).next().flatten()).unwrap_or_default().to_vec())
    }

    /// The one value that a query of one row gives on a server, as text; parameters are NULL.
    pub(super) async fn one_value(
        &mut self,
        at: usize,
        text: &str,
        types: &[u32],
        wire: Wire,
    ) -> Result<Vec<u8>, Failure> {
        // No formats; so many NULLs; results as text.
        let count = u16::try_from(types.len()).unwrap_or(u16::MAX);
        let mut rest = [&[0, 0][..], &count.to_be_bytes()].concat();
        types.iter().for_each(|_| rest.extend_from_slice(&(-1i32).to_be_bytes()));
        rest.extend_from_slice(&[0, 0]);
        self.value_of(at, (text.as_bytes(), types, &rest), wire).await
    }
}
