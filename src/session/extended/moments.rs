//! Values of parameters that each of several shards would read as its own moment: 'now' for a timestamptz. Where they stand in a statement the
//! planner refuses them, in COPY data `execute::copy_in`.

use super::messages::check_parameters;
use crate::plan::{Access, Destination, Route, is_steady, relative_time};
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::statement::Prepared;
use crate::wire::frontend::{Bind, BoundValue};
use crate::wire::reply::Report;

impl Session {
    /// Refuses such values for a write on several shards; a server is asked for the parameters' types if a text may be one.
    pub(super) async fn check_moments(
        &mut self,
        (route, destination): (&Route, &Destination),
        bind: &Bind<'_>,
        prepared: &Prepared,
    ) -> Result<(), Failure> {
        let several = match destination {
            Destination::Many(_)
            | Destination::All { .. }
            | Destination::Split(_)
            | Destination::Compute
            | Destination::Stepwise => route.access == Access::Write,
            Destination::Any | Destination::One(_) | Destination::Gather(_) | Destination::NeedsParameterTypes => false,
        };
        if !several || !bind.parameters().any(is_moment) {
            return Ok(());
        }
        let types = match &prepared.resolved_types {
            Some(types) => types.clone(),
            None => Box::pin(self.ask_types(bind.statement, &prepared.compiled)).await?,
        };
        check_parameters(bind, types.len())?;
        let catalog = self.catalog.load();
        let mut values = bind.parameters().zip(types.iter());
        if values.any(|(value, of)| is_moment(value) && !is_steady(*of, &catalog)) {
            let text =
                "a parameter that is read as the current time, of which each shard has its own, is not supported here";
            return Err(Report::error("0A000", text).with_hint("Send the time itself.").into());
        }
        Ok(())
    }
}

/// A text with a word that may be read so.
fn is_moment(value: BoundValue<'_>) -> bool {
    match value {
        BoundValue::Text(text) => relative_time(&String::from_utf8_lossy(text)),
        BoundValue::Binary(_) | BoundValue::Null => false,
    }
}
