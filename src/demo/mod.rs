//! `pgbraid demo`: real shards of its own, the gateway before them, a retailer's data in them; all gone at the end.
//!
//! For trying pgbraid out, and what tests and benchmarks run on. The gateway itself is started by a function that `main`
//! passes in, so that the demo runs what `serve` runs. Human output goes to standard error; standard output has the one
//! `ready` line that programs wait for.

pub mod config;
pub mod load;
pub mod postgres;
pub mod sample;
pub mod shards;

mod guide;

use std::error::Error;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use clap::Args;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use postgres::{APP, DATABASE, Directory, Host};
use sample::Sample;
use shards::{Shards, Size};

/// A gateway that does not stop in so long is left behind: the process ends anyway.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Options of `pgbraid demo`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Shards to start
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: u16,
    /// Replicas of each shard
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=8))]
    pub replicas: u16,
    /// Port for clients on 127.0.0.1; 0 finds a free one
    #[arg(long, default_value_t = 6432)]
    pub port: u16,
    /// Port for metrics and health; 0 finds a free one
    #[arg(long, default_value_t = 9432)]
    pub http_port: u16,
    /// Where to keep everything while it runs: a new or an empty directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Load no sample data
    #[arg(long)]
    pub empty: bool,
    /// Settings to add to the generated configuration, such as the tables' keys
    #[arg(long, value_name = "EXTRA.toml")]
    pub config: Option<PathBuf>,
    /// Keep an initialised data directory here, for a faster start the next time (used by the tests)
    #[arg(long, value_name = "DIR", hide = true)]
    pub template: Option<PathBuf>,
}

/// A gateway that serves.
pub struct Running {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Metrics and health.
    pub http_address: Option<SocketAddr>,
    /// Stops it when awaited.
    pub stop: Pin<Box<dyn Future<Output = ()>>>,
}

/// Why a gateway did not start; `main` knows, the demo only shows it.
pub type StartError = Box<dyn Error + Send + Sync>;

/// Why there is no demo.
#[derive(Debug, Error)]
pub enum DemoError {
    /// Somebody listens there.
    #[error("port {port} on 127.0.0.1 cannot be used ({source}); choose another one with {option}")]
    Port {
        /// Which.
        port: u16,
        /// Which option.
        option: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The servers.
    #[error(transparent)]
    Postgres(#[from] postgres::PostgresError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::DemoConfigError),
    /// The gateway.
    #[error("the gateway did not start: {0}")]
    Gateway(StartError),
    /// The sample data.
    #[error(transparent)]
    Load(#[from] load::LoadError),
    /// The system does not deliver signals.
    #[error("listening for signals: {0}")]
    Signals(io::Error),
}

/// Runs a demo until SIGINT or SIGTERM. `serve` is given the path of the generated configuration, installs what `init`
/// installs, and starts what `serve` starts.
///
/// # Errors
/// It could not be set up; whatever had been started has been stopped and removed.
pub async fn run<S>(options: &Options, serve: S) -> Result<(), DemoError>
where
    S: AsyncFnOnce(&Path) -> Result<Running, StartError>,
{
    let mut stop = StopSignals::listen().map_err(DemoError::Signals)?;
    check_ports(options)?;
    let extra = options.config.as_deref().map(config::extra).transpose()?;
    // Dropped in the opposite order: first the servers, at last the directory.
    let directory = Directory::take(options.dir.as_deref())?;
    let host = Host::find()?;
    let prepared = tokio::select! {
        prepared = prepare(options, extra.as_ref(), &directory, &host, serve) => prepared?,
        () = stop.next() => {
            eprintln!("stopping");
            return Ok(());
        }
    };
    let Demo { shards, gateway, guide } = prepared;
    announce(gateway.address);
    eprint!("{guide}");
    stop.next().await;
    eprintln!("stopping");
    tokio::select! {
        () = gateway.stop => (),
        () = stop.next() => (),
        () = tokio::time::sleep(STOP_TIMEOUT) => (),
    }
    drop(shards);
    Ok(())
}

/// A demo that is ready.
struct Demo {
    shards: Shards,
    gateway: Running,
    guide: String,
}

/// Everything up to the `ready` line.
async fn prepare<S>(
    options: &Options,
    extra: Option<&toml::Table>,
    directory: &Directory,
    host: &Host,
    serve: S,
) -> Result<Demo, DemoError>
where
    S: AsyncFnOnce(&Path) -> Result<Running, StartError>,
{
    let started = Instant::now();
    let size = Size { shards: options.shards, replicas: options.replicas };
    eprintln!("starting {} in {}", size, directory.path().display());
    let shards = Shards::start(host, directory.path(), options.template.as_deref(), size).await?;
    let facts = config::Facts { port: options.port, http_port: options.http_port, sample: !options.empty, extra };
    let config = config::write(directory.path(), &shards, &facts)?;
    let gateway = serve(&config).await.map_err(DemoError::Gateway)?;
    let url = url(gateway.address);
    let mut guide = guide::empty(&url, &config);
    if !options.empty {
        let rows = load::load(&url, Sample::shop()).await?;
        guide = guide::shop(&url, &config, rows, started.elapsed());
    }
    Ok(Demo { shards, gateway, guide })
}

/// How the application connects.
fn url(address: SocketAddr) -> String {
    format!("postgres://{APP}:{APP}@{address}/{DATABASE}")
}

/// Prints the line that programs wait for. If nobody reads it, nobody waits for it.
fn announce(address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "ready {}", url(address)).and_then(|()| stdout.flush());
}

/// Finds out before anything is started that a port is taken.
fn check_ports(options: &Options) -> Result<(), DemoError> {
    for (port, option) in [(options.port, "--port"), (options.http_port, "--http-port")] {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        bound.map_err(|source| DemoError::Port { port, option, source })?;
    }
    Ok(())
}

/// SIGINT and SIGTERM.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<StopSignals> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(StopSignals { interrupt, terminate })
    }

    /// Waits for the next of them. Cancel safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}
