//! What became of a transaction over several shards: asked, and if nobody has decided decided, on its decision shard.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// A commit that is under way on the decision shard is waited for this long; then somebody asks again.
const DECISION_WAIT: Duration = Duration::from_secs(2);

/// What became of it, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was committed.
    Committed,
    /// It was not, and never will be.
    Aborted,
    /// The decision shard is deciding this moment: ask again.
    UnderWay,
}

/// Decides that a transaction is aborted unless it has been decided.
///
/// The primary key does it: an INSERT waits for a decision in flight and loses to it, and beats one that has not begun.
///
/// # Errors
/// When a statement fails. Nothing is known then.
pub async fn decide(client: &Client, transaction: &str) -> Result<Decision, tokio_postgres::Error> {
    let settings = format!("SET synchronous_commit = on; SET lock_timeout = {}", DECISION_WAIT.as_millis());
    client.batch_execute(&settings).await?;
    let insert = "INSERT INTO pgbraid.decision (txn, committed) VALUES ($1, false) ON CONFLICT (txn) DO NOTHING";
    match client.execute(insert, &[&transaction]).await {
        Ok(_) => {}
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => return Ok(Decision::UnderWay),
        Err(error) => return Err(error),
    }
    let row = client.query_opt("SELECT committed FROM pgbraid.decision WHERE txn = $1", &[&transaction]).await?;
    Ok(match row.map(|row| row.try_get(0)).transpose()? {
        Some(true) => Decision::Committed,
        Some(false) => Decision::Aborted,
        // Cleaned up this moment: by one who knows that it is over.
        None => Decision::UnderWay,
    })
}
