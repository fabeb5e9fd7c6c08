//! Fills the demo's database through the gateway, as any client would: DDL, COPY, DDL, ANALYZE.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::SinkExt;
use indicatif::{ProgressBar, ProgressStyle};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls};

use super::sample::{self, Sample, Table};

/// Blocks made ahead of the network, so that making rows and storing them overlap.
const BLOCKS_AHEAD: usize = 8;

/// What was being done when loading failed.
#[derive(Debug, Error)]
#[error("{step}: {}", cause(source))]
pub struct LoadError {
    step: String,
    source: tokio_postgres::Error,
}

/// The server's own message, where there is one: `Display` of the driver's error says only "db error".
fn cause(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

impl LoadError {
    fn at(step: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> LoadError {
        let step = step.into();
        move |source| LoadError { step, source }
    }
}

/// Creates the tables and loads the sample. Returns the number of rows.
///
/// # Errors
/// The gateway or a shard refused something.
///
/// # Cancel safety
/// Dropping the future closes the connections; what has been stored stays.
pub async fn load(url: &str, sample: Sample) -> Result<u64, LoadError> {
    let client = &connect(url).await?;
    client.batch_execute(sample::SCHEMA).await.map_err(LoadError::at("creating the tables"))?;
    let sample = Arc::new(sample);
    let progress = Progress::new(Table::ALL.iter().map(|table| sample.row_count(*table)).sum());
    for table in Table::ALL {
        progress.bar.set_message(format!("loading {}", table.name()));
        let rows = copy(client, &sample, table, &progress).await?;
        progress.note(&format!("{}: {rows} rows", table.name()));
    }
    progress.say("checking keys, building indexes");
    // One statement at a time: each is its own transaction, and no two large ones share memory.
    for statement in sample::CONSTRAINTS.split_inclusive(";\n") {
        client.batch_execute(statement).await.map_err(LoadError::at("adding keys and indexes"))?;
    }
    progress.say("gathering statistics");
    let names: Vec<&str> = Table::ALL.iter().map(|table| table.name()).collect();
    let analyze = format!("analyze {}", names.join(", "));
    client.batch_execute(&analyze).await.map_err(LoadError::at("gathering statistics"))?;
    Ok(progress.finish())
}

/// Connects as the application.
async fn connect(url: &str) -> Result<Client, LoadError> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(LoadError::at("connecting"))?;
    // Ends by itself when the client is dropped; its errors reach the client's calls too.
    tokio::spawn(connection);
    Ok(client)
}

/// Loads one table with one COPY.
async fn copy(client: &Client, sample: &Arc<Sample>, table: Table, progress: &Progress) -> Result<u64, LoadError> {
    let failed = || LoadError::at(format!("loading {}", table.name()));
    let statement = format!("copy {} from stdin", table.name());
    let sink = client.copy_in::<_, Bytes>(&statement).await.map_err(failed())?;
    let mut sink = pin!(sink);
    let mut blocks = blocks_ahead(sample, table);
    while let Some((block, rows)) = blocks.recv().await {
        sink.send(block).await.map_err(failed())?;
        progress.bar.inc(rows);
    }
    sink.finish().await.map_err(failed())
}

/// Makes a table's blocks on another thread; it stops when the receiver is dropped.
fn blocks_ahead(sample: &Arc<Sample>, table: Table) -> mpsc::Receiver<(Bytes, u64)> {
    let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
    let sample = Arc::clone(sample);
    tokio::task::spawn_blocking(move || {
        for block in sample.blocks(table) {
            let rows = memchr::memchr_iter(b'\n', &block).count() as u64;
            if sender.blocking_send((Bytes::from(block), rows)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A bar on a terminal, a line per table elsewhere; on standard error.
struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    fn new(rows: u64) -> Progress {
        let bar = ProgressBar::new(rows);
        let template = "{msg:32} [{bar:30}] {human_pos}/{human_len} rows {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Progress { bar, started: Instant::now() }
    }

    /// What is being done now.
    fn say(&self, message: &str) {
        self.bar.set_message(message.to_owned());
        self.note(message);
    }

    /// A line where there is no bar.
    fn note(&self, message: &str) {
        if self.bar.is_hidden() {
            eprintln!("[{:5.1} s] {message}", self.started.elapsed().as_secs_f32());
        }
    }

    /// Clears the bar; returns the rows loaded.
    fn finish(self) -> u64 {
        self.bar.finish_and_clear();
        self.bar.position()
    }
}
