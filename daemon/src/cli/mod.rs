//! The commands a person types: what they take, what they print, how they end.
//!
//! One file a command. What they share stands in wings, lowest first: `terminal`, `state`, `mounting`, `control` (the
//! socket over which commands talk to the running daemon), `diagnosis` and `daemon` (what `miaofs mount` becomes). Called as
//! `mount.miaofs` or `mount.fuse.miaofs`, the program is a helper of mount(8).

mod account;
mod completions;
mod config;
mod control;
mod daemon;
mod devices;
mod diagnosis;
mod doctor;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod login;
mod logout;
mod mount;
mod mount_helper;
mod mounting;
mod passwd;
mod signup;
mod state;
mod status;
mod sync;
mod terminal;
mod token;
mod umount;
mod upgrade;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use state::state_dir::StateDir;
use terminal::error::{Error, Exit, report_error};
use terminal::logging::{self, Level};

use crate::fuse;

const AFTER_HELP: &str = "\
Every option can be given in the environment as well; an option beats the environment, the
environment beats config.toml in the state directory.

Exit codes:
    0  done
    1  it could not be done
    2  the command line, an option or a setting is wrong
    3  no daemon, no mount
    4  not signed in, or the sign-in was refused
    5  the server cannot be reached
    6  the mount point cannot be used
    7  the mount or the state directory is in use
  124  the time given was not enough";

/// A cloud drive that you mount
#[derive(Debug, Parser)]
#[command(name = "miaofs", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where this device keeps its account, its changes and its cache
    #[arg(long, global = true, value_name = "DIR", env = "MIAOFS_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Log to stderr, of a daemon in the background to daemon.log: error, warn, info, debug, trace, or a
    /// filter such as info,miaofs::fuse=debug, which shows each request of the kernel
    #[arg(long, global = true, value_name = "FILTER", env = "MIAOFS_LOG")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an account on a server and sign this device in
    Signup(signup::Args),
    /// Sign this device in to an account
    Login(login::Args),
    /// End this device's session; its local files stay
    Logout,
    /// Change the password of the account; all other devices are signed out
    Passwd(passwd::Args),
    /// List the devices that are signed in, or sign one out
    Devices(devices::Args),
    /// Close the account
    Account(account::Args),
    /// Mount the drive; returns when it is usable
    Mount(mount::Args),
    /// Unmount the drive; returns when the daemon has ended
    Umount(umount::Args),
    /// Have the program that is installed now take over from the running daemon; programs that use the mount go on
    Upgrade,
    /// Show what is not on the server yet, how fast it goes, what is wrong
    Status(status::Args),
    /// Return when everything is on the server
    Sync(sync::Args),
    /// Find out what is wrong and what to do, also when the mount hangs or the daemon is dead
    Doctor(doctor::Args),
    /// Show and change settings
    Config(config::Args),
    /// Make, list and revoke tokens that reach a part of the drive, for scripts and programs
    Token(token::Args),
    /// Print a shell's completion script
    Completions(completions::Args),
}

impl Command {
    fn level(&self) -> Level {
        match self {
            Self::Mount(args) if args.stays() => Level::Daemon,
            _ => Level::Command,
        }
    }
}

/// Runs the program as its command line says.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    if arguments.first().is_some_and(|name| mount_helper::is_called_as(name)) {
        return mount_helper::run(&arguments);
    }
    if let Some(exit) = fuse::run_notifier_if_called(&arguments) {
        return exit;
    }
    let cli = Cli::parse_from(arguments);
    logging::start(cli.log.as_deref(), cli.command.level());
    match dispatch(&cli) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => exit.into(),
        Err(error) => report_error(&error),
    }
}

/// Runs a command; one that has said all itself answers its exit code.
fn dispatch(cli: &Cli) -> Result<Option<Exit>, Error> {
    let state = StateDir::choose(cli.state_dir.as_deref())?;
    let done = match &cli.command {
        Command::Doctor(args) => return doctor::run(args, &state),
        Command::Mount(args) => return mount::run(args, &state, cli.log.as_deref()),
        Command::Signup(args) => signup::run(args, &state),
        Command::Login(args) => login::run(args, &state),
        Command::Logout => logout::run(&state),
        Command::Passwd(args) => passwd::run(args, &state),
        Command::Devices(args) => devices::run(args, &state),
        Command::Account(args) => account::run(args, &state),
        Command::Umount(args) => umount::run(args),
        Command::Upgrade => upgrade::run(&state),
        Command::Status(args) => status::run(args, &state),
        Command::Sync(args) => sync::run(args, &state),
        Command::Config(args) => config::run(args, &state),
        Command::Token(args) => token::run(args, &state),
        Command::Completions(args) => {
            completions::run(args, Cli::command());
            Ok(())
        }
    };
    done.map(|()| None)
}
