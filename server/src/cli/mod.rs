//! The commands of `miaofs-server`, one file each; knows how to talk to a person and what to open.

mod serve;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::backend::Backends;
use crate::config::Config;

/// The miaofs server: accounts, drives, uploads, downloads and transfer.
#[derive(Debug, Parser)]
#[command(name = "miaofs-server", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What a person can ask for.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API until SIGTERM or ctrl-c.
    Serve(Box<serve::Args>),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// Whatever the command cannot do, for a person to read.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(args) => args.run(),
        }
    }
}

/// Runs a command that waits, with its log on stderr.
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn open(config: &Config) -> anyhow::Result<Backends> {
    let data = || format!("cannot open the data in {}", config.settings.data.display());
    Backends::open(&config.settings).await.with_context(data)
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MIAOFS_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info,sqlx=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
