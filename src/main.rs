//! The `pgbraid` command: reads the command line and calls the library.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use pgbraid::admin::{check, explain, init};
use pgbraid::config::{self, Config};
use pgbraid::demo;
use pgbraid::session::start;

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
        Command::Serve { config } => match start::serve(&config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Command::Check { config } => {
            with_config(&config, async |config| match check::check(&config).await {
                Ok(report) => {
                    print!("{report}");
                    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
                }
                Err(error) => failed(&error),
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
                    println!("{text}");
                    ExitCode::SUCCESS
                }
                Err(error) => failed(&error),
            })
            .await
        }
        Command::Demo(options) => match demo::run(options, start::start_for_demo).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
    }
}

async fn with_config(path: &Path, then: impl AsyncFnOnce(Arc<Config>) -> ExitCode) -> ExitCode {
    match config::load(path) {
        Ok(config) => then(Arc::new(config)).await,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("pgbraid: {error}");
    ExitCode::FAILURE
}
