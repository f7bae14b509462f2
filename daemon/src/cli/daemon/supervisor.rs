//! The supervisor: keeps the session with the kernel while a daemon dies and the next one takes over.
//!
//! As long as anybody has the session's descriptor open, the kernel keeps the mount, and requests wait. So programs with open
//! files, working directories and mappings, and bind mounts and containers, go on as if nothing had been. The supervisor does
//! nothing else, so that there is little for which it could die.

use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::background;
use super::handover;
use super::watchdog;
use crate::cli::control::handler::HANDED_OVER;
use crate::cli::mounting::plan::MountPlan;
use crate::cli::terminal::error::Error;
use crate::fuse::Inherited;

/// Shortest life of a daemon that counts as one; so many that live shorter in a row are no use.
const LIFE_MIN: Duration = Duration::from_secs(1);
const SHORT_LIVES_MAX: u32 = 30;
/// Short lives that one counts as which ended with an error of its own.
const REFUSAL: u32 = 10;
/// Pause before the next daemon for each short life in a row after the first, and the longest.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Runs daemons until one ends in order, or none can.
pub(crate) fn run(plan: &MountPlan) -> Result<(), Error> {
    let failed = |source| Error::System { action: "supervise the daemon", source };
    // Asked for now: once another program has taken its place, this one's has no name any more.
    let program = env::current_exe().map_err(failed)?;
    let mut session: Option<Inherited> = None;
    let mut short_lives = 0;
    loop {
        let began = Instant::now();
        let status = run_one((&program, plan), &mut session).map_err(failed)?;
        let Some(kept) = &session else { return ended(status) };
        if status.success() || !is_mounted(kept) {
            return ended(status);
        }
        // One that says by its exit code that it cannot serve is seldom helped by another try.
        let weight = match status.code() {
            None | Some(HANDED_OVER) => 1,
            Some(_) => REFUSAL,
        };
        short_lives = if began.elapsed() < LIFE_MIN { short_lives + weight } else { 0 };
        if short_lives > SHORT_LIVES_MAX {
            tracing::error!(%status, "the daemon dies again and again: the mount is given up");
            return ended(status);
        }
        match status.code() {
            Some(HANDED_OVER) => tracing::info!("the program that is installed now takes over"),
            _ => tracing::warn!(%status, "the daemon died: the next one takes over"),
        }
        std::thread::sleep((PAUSE * short_lives.saturating_sub(1)).min(PAUSE_MAX));
    }
}

/// Runs one daemon to its end.
fn run_one(
    (program, plan): (&Path, &MountPlan),
    session: &mut Option<Inherited>,
) -> io::Result<ExitStatus> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut child = start((program, plan), &theirs, session.as_ref())?;
    drop(theirs);
    let is_successor = session.is_some();
    if !is_successor {
        *session = handover::receive(&ours)?;
    }
    let daemon = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    // One that has told its session serves already.
    let _watched = session.as_ref().and_then(|_| {
        let began = (!is_successor).then(Instant::now);
        watchdog::watch(&plan.state, daemon, began)
    });
    child.wait()
}

fn start(
    (program, plan): (&Path, &MountPlan),
    socket: &OwnedFd,
    session: Option<&Inherited>,
) -> io::Result<Child> {
    let mut command = background::daemon_command(program, plan);
    command.env(handover::SOCKET, socket.as_raw_fd().to_string());
    leave_open(socket)?;
    if let Some(Inherited { device, record }) = session {
        command.env(handover::DEVICE, device.as_raw_fd().to_string());
        command.env(handover::RECORD, serde_json::to_string(record)?);
        leave_open(device)?;
    }
    command.spawn()
}

/// Has children of this process inherit a descriptor.
fn leave_open(descriptor: &impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfd(descriptor, FdFlags::empty())?)
}

/// True if the kernel has the mount still.
fn is_mounted(session: &Inherited) -> bool {
    let mut polled = [PollFd::new(&session.device, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok() && !polled[0].revents().contains(PollFlags::ERR)
}

fn ended(status: ExitStatus) -> Result<(), Error> {
    if status.success() {
        return Ok(());
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    std::process::exit(code.unwrap_or(1))
}
