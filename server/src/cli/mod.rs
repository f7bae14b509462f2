//! The commands of `miaofs-server`, one file each; knows how to talk to a person and what to open.

mod backup;
mod bandwidth;
mod descriptors;
mod doctor;
mod fsck;
mod gc;
mod invitations;
mod memory;
mod migrate;
mod migrate_db;
mod output;
mod restore;
mod rotate_key;
mod runtime;
mod serve;
mod size;
mod transfer;
mod user;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The miaofs server: accounts, drives, uploads, downloads and transfer.
#[derive(Debug, Parser)]
#[command(name = "miaofs-server", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API until SIGTERM or ctrl-c.
    Serve(Box<serve::Args>),
    /// Copy the database and all stored bytes into a directory, while the server runs; again: only what is new.
    Backup(Box<backup::Args>),
    /// Say whether configuration, permissions, disks, database, tracker, queue and stores are fit to serve; exit 0 or 1.
    Doctor(Box<doctor::Args>),
    /// Check everything that the server keeps; exit 0: nothing is wrong, 1: it is mended, 4: something is left.
    Fsck(Box<fsck::Args>),
    /// Collect contents that nothing names, as a server does by itself.
    Gc(Box<gc::Args>),
    /// Move all stored content from one store to another, while the server runs.
    Migrate(Box<migrate::Args>),
    /// Bring the database to this program's version.
    MigrateDb(Box<migrate_db::Args>),
    /// Make a server's data of a backup. Devices then send what it lacks by themselves.
    Restore(Box<restore::Args>),
    /// Replace the key of tokens, without anybody signing in again: add, switch, drop.
    RotateKey(Box<rotate_key::Args>),
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
            Command::Doctor(args) => return args.run(),
            Command::Serve(args) => args.run(),
            Command::Backup(args) => args.run(),
            Command::Gc(args) => args.run(),
            Command::Migrate(args) => args.run(),
            Command::MigrateDb(args) => args.run(),
            Command::Restore(args) => args.run(),
            Command::RotateKey(args) => args.run(),
            Command::Transfer(args) => args.run(),
            Command::User(args) => args.run(),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}
