//! The commands of `miaofs-server`, one file each; knows how to talk to a person and what to open.

mod allowance;
mod fsck;
mod gc;
mod migrate;
mod migrate_db;
mod output;
mod serve;
mod size;
mod transfer;
mod user;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::backend::Backends;
use crate::config::{Config, Flags};
use crate::service::Policy;

/// The miaofs server: accounts, drives, uploads, downloads and transfer.
#[derive(Debug, Parser)]
#[command(name = "miaofs-server", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What a person can ask for.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API until SIGTERM or ctrl-c.
    Serve(Box<serve::Args>),
    /// Check everything that the server keeps; exit 0: nothing is wrong, 1: it is mended, 4: something is left.
    Fsck(Box<fsck::Args>),
    /// Collect contents that nothing names, as a server does by itself.
    Gc(Box<gc::Args>),
    /// Move all stored content from one store to another, while the server runs.
    Migrate(Box<migrate::Args>),
    /// Bring the database to this program's version.
    MigrateDb(Box<migrate_db::Args>),
    /// List what moves to the stores, and let begin anew what failed for good.
    Transfer(Box<transfer::Args>),
    /// List accounts and change what they may.
    User(Box<user::Args>),
}

impl Cli {
    /// Reads the command line. One that cannot be understood ends the process, after saying why.
    pub(crate) fn from_arguments() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Self::try_parse_from(&arguments).unwrap_or_else(|error| {
            // Whoever closed the screen is told by the exit code.
            let _nobody_reads = error.print();
            let is_fsck = arguments.get(1).is_some_and(|command| command == "fsck");
            let is_usage = error.use_stderr();
            let code = if is_usage && is_fsck { fsck::USAGE.into() } else { error.exit_code() };
            std::process::exit(code)
        })
    }

    /// Does what was asked for.
    ///
    /// # Errors
    /// Whatever the command cannot do, for a person to read.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let done = match self.command {
            Command::Fsck(args) => return Ok(args.run()),
            Command::Serve(args) => args.run(),
            Command::Gc(args) => args.run(),
            Command::Migrate(args) => args.run(),
            Command::MigrateDb(args) => args.run(),
            Command::Transfer(args) => args.run(),
            Command::User(args) => args.run(),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

/// Runs a command that waits, with its log on stderr: what is at least of this level.
fn block_on<T>(level: &str, command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    log_to_stderr(level);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Runs a command on the backends of a server that may be running beside.
fn beside_server<T, W: Future<Output = anyhow::Result<T>>>(
    flags: &Flags,
    work: impl FnOnce(Backends, Policy) -> W,
) -> anyhow::Result<T> {
    let Config { settings, policy } = Config::load(flags)?;
    block_on("warn", async move {
        let backends = Backends::open_shared(&settings)
            .await
            .with_context(|| format!("cannot open the data in {}", settings.data.display()))?;
        let done = work(backends.clone(), policy).await;
        backends.close().await;
        done
    })
}

fn log_to_stderr(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MIAOFS_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new(format!("{level},sqlx=warn")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
