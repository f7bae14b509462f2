//! `miaofs umount`: unmounts, and returns when the daemon has really ended.
//!
//! Everything acknowledged is safe on this machine's disk already; only `--flush` waits for the server.

use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::control;
use super::mounting::mountinfo;
use super::mounting::mountpoint;
use super::mounting::unmount::{UnmountMode, unmount};
use super::state::state_dir::StateDir;
use super::sync;
use super::terminal::error::Error;
use super::terminal::output;

/// Longest wait for a daemon to end after it was unmounted.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Arguments of `umount`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the drive is mounted
    directory: PathBuf,
    /// First wait until everything is on the server
    #[arg(long, env = "MIAOFS_FLUSH", value_parser = clap::builder::FalseyValueParser::new())]
    flush: bool,
    /// With --flush: give up after this many seconds, and stay mounted
    #[arg(long, value_name = "SECONDS", env = "MIAOFS_TIMEOUT", requires = "flush")]
    timeout: Option<u64>,
    /// Take the mount away now, even in use; the daemon ends when the last program closes its files
    #[arg(long, short = 'z', env = "MIAOFS_LAZY", value_parser = clap::builder::FalseyValueParser::new())]
    lazy: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let path = mountinfo::real_path(&args.directory)?;
    let mounts = mountinfo::mounts()?;
    if !mountinfo::at(&mounts, &path).is_some_and(mountinfo::Mounted::is_ours) {
        return Err(Error::NotMounted(path));
    }
    if mountpoint::is_dead(&path) {
        unmount(&path, UnmountMode::Lazy)?;
        output::line(format_args!("took away {}, whose daemon had been killed", path.display()));
        return Ok(());
    }
    let state = mountpoint::state_of(&path);
    if args.flush {
        let state = state.as_ref().ok_or_else(|| Error::NotMounted(path.clone()))?;
        sync::wait(state, None, sync::Limits::seconds(args.timeout))?;
    }
    let daemon = state.as_ref().and_then(|state| process_of(state).ok());
    if args.lazy {
        return unmount(&path, UnmountMode::Lazy);
    }
    unmount(&path, UnmountMode::Normal)?;
    match daemon {
        Some(daemon) => wait_for_end(&daemon),
        None => Ok(()),
    }
}

/// The process of a state directory's daemon, as something that can be waited for.
fn process_of(state: &StateDir) -> Result<OwnedFd, Error> {
    let status = control::client::status(state)?;
    let pid = i32::try_from(status.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::ControlAnswer(state.path().to_owned()))?;
    pidfd_open(pid, PidfdFlags::empty())
        .map_err(|error| Error::System { action: "watch the daemon", source: error.into() })
}

/// A process's descriptor becomes readable when the process has ended and its locks are free.
fn wait_for_end(process: &OwnedFd) -> Result<(), Error> {
    let limit = Timespec { tv_sec: END_LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    match poll(&mut watched, Some(&limit)) {
        Ok(0) => Err(Error::TimedOut {
            what: "unmounted, but the daemon has not ended".into(),
            seconds: END_LIMIT.as_secs(),
        }),
        Ok(_) => Ok(()),
        Err(error) => Err(Error::System { action: "wait for the daemon", source: error.into() }),
    }
}
