//! `miaofs sync`: returns when everything, or everything of a path, is on the server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::control::client::{self, Received};
use super::control::{Deletions, Request, Response};
use super::mounting::mounted_path::MountedPath;
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::progress::Progress;

/// Arguments of `sync`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this file, or this directory and all in it
    path: Option<PathBuf>,
    /// Give up after this many seconds, with exit code 124; the daemon goes on
    #[arg(long, value_name = "SECONDS", env = "MIAOFS_TIMEOUT")]
    timeout: Option<u64>,
    /// Let the many deletions go to the server that wait for this permission
    #[arg(long, env = "MIAOFS_ALLOW_DELETIONS", value_parser = clap::builder::FalseyValueParser::new())]
    allow_deletions: bool,
}

/// Limits of a wait for the server, in time and in deletions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    seconds: Option<u64>,
    deletions: Deletions,
}

impl Limits {
    /// At most so many seconds; deletions that wait for permission go on waiting.
    pub(super) fn seconds(seconds: Option<u64>) -> Self {
        Self { seconds, deletions: Deletions::Ask }
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<(), Error> {
    let deletions = if args.allow_deletions { Deletions::Allow } else { Deletions::Ask };
    let limits = Limits { seconds: args.timeout, deletions };
    match args.path.as_deref().map(MountedPath::find).transpose()? {
        None => wait(state, None, limits),
        Some(MountedPath { state, ino, .. }) => wait(&state, ino, limits),
    }
}

/// Waits until what is dirty now, of the whole drive or of one node and all below it, is on the server.
pub(super) fn wait(state: &StateDir, ino: Option<u64>, limits: Limits) -> Result<(), Error> {
    // A limit beyond the end of time is none.
    let deadline =
        limits.seconds.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let request = Request::Flush { ino, deletions: limits.deletions };
    let mut connection = client::ask(state, &request)?;
    let mut progress = Progress::on_a_terminal();
    loop {
        match connection.receive(deadline)? {
            Received::Answer(Response::Progress(status)) => progress.show(&status),
            Received::Answer(Response::Done) => return Ok(()),
            Received::Answer(_) => return Err(connection.unexpected_answer()),
            Received::Nothing => {
                return Err(Error::TimedOut {
                    what: "not everything is on the server".into(),
                    seconds: limits.seconds.unwrap_or_default(),
                });
            }
        }
    }
}
