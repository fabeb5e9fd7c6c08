//! Named points at which a commit, or what leads to it, can be stopped, for the tests that kill it there. In release builds they are nothing.

/// A step of a commit over several shards, or of a way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The client has said COMMIT; nobody has been asked whether it wrote.
    Asking,
    /// It is known who wrote; nothing is prepared.
    Preparing,
    /// All are prepared and the decision row is written; nothing is decided.
    Prepared,
    /// It is decided; the others do not know it.
    Decided,
    /// All have committed; the client does not know it.
    Finished,
    /// Something failed; what is prepared is to be rolled back.
    Aborting,
    /// Rows whose key changes are taken from their shards, and not yet where they belong.
    Moving,
    /// The merge server has the rows that are to be stored; no shard has one.
    Putting,
    /// All shards wait for a COPY's data.
    Copying,
    /// Commits on several shards are kept off, on all of them; no snapshot is taken.
    Holding,
}

/// Waits at a point while the file of its name is in the directory that `PGBRAID_PAUSE` names, and says by another that it waits.
#[cfg(debug_assertions)]
pub async fn pause(point: Point) {
    let Some(directory) = std::env::var_os("PGBRAID_PAUSE") else { return };
    let file = std::path::Path::new(&directory).join(format!("{point:?}").to_lowercase());
    let reached = file.with_extension("reached");
    while file.exists() {
        // Whoever cannot write it is not waited for by a test.
        let _ = std::fs::write(&reached, "");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub async fn pause(_: Point) {}
