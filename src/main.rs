//! The `pgbraid` command: reads the command line and calls the library.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use pgbraid::admin::{check, explain, init, serve, status};
use pgbraid::config::{self, Config};
use pgbraid::demo;

/// A gateway that makes N PostgreSQL shards look like one PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "pgbraid", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves clients until SIGTERM or SIGINT; SIGHUP reads the configuration again.
    Serve {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Checks configuration, shards, schemas and map; the exit status says whether all is well.
    Check {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Shows transactions over several shards that are prepared and not finished.
    Status {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Installs the pgbraid schema on the shards; safe to repeat.
    Init {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Starts shards of its own with a shop's data, and the gateway before them.
    Demo(demo::Options),
    /// Shows where a statement would run, and why.
    Explain {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// The statement.
        sql: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("PGBRAID_LOG").unwrap_or_else(|_| "warn,pgbraid=info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    runtime.block_on(run(cli.command))
}

async fn run(command: Command) -> ExitCode {
    match command {
        Command::Serve { config } => match run_gateway(&config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Command::Check { config } => {
            with_config(&config, async |config| {
                let report = check::check(&config).await;
                say(&format!("{report}\n"));
                if report.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            })
            .await
        }
        Command::Status { config } => {
            with_config(&config, async |config| {
                let (text, problems) = status::status(&config).await;
                say(&text);
                if problems > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            })
            .await
        }
        Command::Init { config } => {
            with_config(&config, async |config| match init::init(&config).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            })
            .await
        }
        Command::Explain { config, sql } => {
            with_config(&config, async |config| match explain::explain(&config, &sql).await {
                Ok(text) => {
                    say(&format!("{text}\n"));
                    ExitCode::SUCCESS
                }
                Err(error) => failed(&error),
            })
            .await
        }
        Command::Demo(options) => match demo::run(&options, run_for_demo).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
    }
}

async fn run_gateway(path: &Path) -> Result<(), serve::ServeError> {
    let served = serve::serve(path).await?;
    for address in served.addresses() {
        tracing::info!(%address, "serving");
    }
    served.until_signal().await
}

/// What the demo needs of a gateway: shards prepared by `init`, served as `serve` does.
async fn run_for_demo(path: &Path) -> Result<demo::Running, demo::StartError> {
    init::init(&config::load(path)?).await?;
    let served = serve::serve(path).await?;
    let address = served.addresses().first().copied().ok_or("the gateway listens nowhere")?;
    Ok(demo::Running { address, http_address: served.http_address, stop: Box::pin(served.stop()) })
}

async fn with_config(path: &Path, then: impl AsyncFnOnce(Arc<Config>) -> ExitCode) -> ExitCode {
    match config::load(path) {
        Ok(config) => then(Arc::new(config)).await,
        Err(error) => failed(&error),
    }
}

/// Writes to standard output; whoever closes it early, as `head` does, wants no more.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("pgbraid: {error}");
    ExitCode::FAILURE
}
