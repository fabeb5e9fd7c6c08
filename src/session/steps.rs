//! A statement of several steps, one behind the other on several servers, is ended from outside as one statement.
//!
//! A cancel request that comes between two steps finds no server at work: it is repeated while the statement goes on. And `statement_timeout`,
//! which each server counts for its own steps, is counted for all of them here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cancel::CancelSlot;
use super::failure::Failure;
use super::gather::described::Wire;
use super::life::Session;
use crate::execute::stopped::Why;
use crate::pool::settings::Settings;

/// `statement_timeout` under some settings, as a server has told it.
#[derive(Debug)]
pub struct Timeout {
    settings: Arc<Settings>,
    after: Option<Duration>,
}

/// Such a statement, under way until this is dropped.
pub(super) struct Steps {
    slot: Arc<CancelSlot>,
    number: u64,
    /// Dropping it ends the wait for the timeout.
    _until: Option<oneshot::Sender<()>>,
}

impl Session {
    /// A statement of several steps begins.
    pub(super) async fn begin_steps(&mut self, wire: Wire) -> Result<Steps, Failure> {
        let begun = Instant::now();
        let after = self.statement_timeout(wire).await?;
        let slot = self.cancel.clone();
        let number = slot.begin_steps();
        let until = after.and_then(|after| begun.checked_add(after)).map(|deadline| {
            let (until, over) = oneshot::channel();
            let slot = slot.clone();
            tokio::spawn(async move {
                if tokio::time::timeout_at(deadline, over).await.is_err() {
                    slot.stop_steps(number, Some(Why::Timeout)).await;
                }
            });
            until
        });
        Ok(Steps { slot, number, _until: until })
    }

    /// `statement_timeout` in force; a server is asked when settings have changed.
    async fn statement_timeout(&mut self, wire: Wire) -> Result<Option<Duration>, Failure> {
        let settings = self.current_settings().clone();
        if let Some(known) = self.timeout.as_ref().filter(|known| Arc::ptr_eq(&known.settings, &settings)) {
            return Ok(known.after);
        }
        let at = self.enlist_to_ask().await?;
        let text = "SELECT pg_catalog.current_setting('statement_timeout')";
        let value = self.one_value(at, text, &[], wire).await?;
        let after = duration(&String::from_utf8_lossy(&value));
        if wire == Wire::Simple && self.transaction.block().is_none() {
            // Shards are enlisted in their order, so that two such statements do not wait for each other.
            self.give_back().await;
        }
        self.timeout = Some(Timeout { settings, after });
        Ok(after)
    }
}

impl Steps {
    /// The statement is over; returns when no cancel is under way that could hit what comes next.
    pub async fn end(&self) {
        self.slot.end_steps(self.number);
        self.slot.settled().await;
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.slot.end_steps(self.number);
    }
}

/// A time as PostgreSQL shows one of milliseconds; `None` for none. *Source*: guc.c, convert_int_from_base_unit.
fn duration(shown: &str) -> Option<Duration> {
    let digits = shown.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = shown.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(milliseconds))).filter(|after| !after.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_postgresql_shows_them() {
        let found = ["0", "150ms", "2s", "5min", "1h", "24d", "", "-1", "5 years"].map(duration);
        let seconds = [None, None, Some(2), Some(300), Some(3600), Some(24 * 86_400), None, None, None];
        let mut expected = seconds.map(|seconds| seconds.map(Duration::from_secs));
        expected[1] = Some(Duration::from_millis(150));
        assert_eq!(found, expected);
    }
}
