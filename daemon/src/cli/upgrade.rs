//! `miaofs upgrade`: has the program that is installed now take over from the running daemon, while programs use the mount.

use std::time::{Duration, Instant};

use super::control::client;
use super::control::{DaemonStatus, Request};
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;

/// Longest wait for the next daemon,
const LIMIT: Duration = Duration::from_secs(60);
/// and the pause between two looks.
const STEP: Duration = Duration::from_millis(50);

/// Runs the command.
pub(super) fn run(state: &StateDir) -> Result<(), Error> {
    let before = client::status(state)?;
    let mut connection = client::ask(state, &Request::HandOver)?;
    connection.receive(Some(Instant::now() + LIMIT))?;
    let after = next_daemon(state, &before)?;
    let (mountpoint, version) = (after.mountpoint.display(), after.version);
    output::line(format_args!("{mountpoint}: version {version} took over (process {})", after.pid));
    Ok(())
}

/// Waits for another daemon that answers.
fn next_daemon(state: &StateDir, before: &DaemonStatus) -> Result<DaemonStatus, Error> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match client::status(state) {
            Ok(status) if status.pid != before.pid => return Ok(status),
            Ok(_) | Err(_) if Instant::now() < deadline => std::thread::sleep(STEP),
            Ok(_) => {
                return Err(Error::TimedOut {
                    what: format!("process {} still serves the mount", before.pid),
                    seconds: LIMIT.as_secs(),
                });
            }
            Err(error) => return Err(error),
        }
    }
}
