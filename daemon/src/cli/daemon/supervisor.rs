//! The supervisor: keeps the session with the kernel while a daemon dies and the next one takes over.
//!
//! As long as anybody has the session's descriptor open, the kernel keeps the mount, and requests wait. So programs with open
//! files, working directories and mappings, and bind mounts and containers, go on as if nothing had been. The supervisor does
//! nothing else but hand signals to the daemon and say how that stands, so that there is little for which it could die.

use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::background;
use super::handover::{self, Message};
use super::readiness::{ReadinessSink, StartupReport};
use super::service_manager;
use super::signals::{EndSignal, Signals};
use super::watchdog;
use crate::cli::control::handler::HANDED_OVER;
use crate::cli::mounting::mountinfo;
use crate::cli::mounting::plan::MountPlan;
use crate::cli::mounting::unmount::{UnmountMode, unmount};
use crate::cli::terminal::error::{Error, Report};
use crate::fuse::Inherited;

/// Shortest life of a daemon that counts as one; so many that live shorter in a row are no use.
const LIFE_MIN: Duration = Duration::from_secs(1);
const SHORT_LIVES_MAX: u32 = 30;
/// Short lives that one counts as which ended with an error of its own.
const REFUSAL: u32 = 10;
/// Pause before the next daemon for each short life in a row after the first, and the longest.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Runs daemons until one ends in order, none can, or a signal asks for the end.
pub(crate) fn run(plan: &MountPlan, sink: ReadinessSink) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(async { Supervisor::new(plan, sink)?.run().await })
}

fn failed(source: io::Error) -> Error {
    Error::System { action: "supervise the daemon", source }
}

struct Supervisor<'a> {
    program: PathBuf,
    plan: &'a MountPlan,
    sink: ReadinessSink,
    signals: Signals,
    /// Kept from when the first daemon has told it.
    session: Option<Inherited>,
    /// True once it has been said that the mount is usable.
    announced: bool,
    /// Reason why the first daemon could not mount.
    refusal: Option<Report>,
    /// A signal has asked for the end: no other daemon is started.
    asked: bool,
}

impl<'a> Supervisor<'a> {
    fn new(plan: &'a MountPlan, sink: ReadinessSink) -> Result<Self, Error> {
        Ok(Self {
            // Asked for now: once another program has taken its place, this one's has no name any more.
            program: env::current_exe().map_err(failed)?,
            plan,
            sink,
            signals: Signals::listen()?,
            session: None,
            announced: false,
            refusal: None,
            asked: false,
        })
    }

    async fn run(mut self) -> Result<(), Error> {
        let mut short_lives = 0;
        loop {
            let began = Instant::now();
            let end = self.run_one().await;
            let in_order = end.as_ref().is_ok_and(ExitStatus::success);
            if in_order || !self.session.as_ref().is_some_and(is_mounted) {
                return self.end_as(end);
            }
            short_lives = if began.elapsed() < LIFE_MIN { short_lives + weight(&end) } else { 0 };
            if !self.asked && short_lives <= SHORT_LIVES_MAX {
                tell_of_successor(&end);
                self.pause((PAUSE * short_lives.saturating_sub(1)).min(PAUSE_MAX)).await;
            }
            if self.asked {
                return self.end_alone(end);
            }
            if short_lives > SHORT_LIVES_MAX {
                tracing::error!("the daemon dies again and again: the mount is given up");
                return self.end_as(end);
            }
        }
    }

    /// Runs one daemon to its end.
    async fn run_one(&mut self) -> io::Result<ExitStatus> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut child = self.start(&theirs)?;
        drop(theirs);
        if let Err(error) = self.attend(&child, ours).await {
            // One that cannot be attended to must not serve beside the next one.
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
        child.wait()
    }

    fn start(&self, socket: &OwnedFd) -> io::Result<Child> {
        let mut command = background::daemon_command(&self.program, self.plan);
        command.env_remove(service_manager::VARIABLE);
        command.env(handover::SOCKET, socket.as_raw_fd().to_string());
        leave_open(socket)?;
        if let Some(Inherited { device, record }) = &self.session {
            command.env(handover::DEVICE, device.as_raw_fd().to_string());
            command.env(handover::RECORD, serde_json::to_string(record)?);
            leave_open(device)?;
        }
        command.spawn()
    }

    /// Listens to a daemon and hands signals to it until it has ended.
    async fn attend(&mut self, child: &Child, socket: OwnedFd) -> io::Result<()> {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let ended = until_readable(process.try_clone()?)?;
        let socket = until_readable(socket)?;
        let mut is_open = true;
        let mut watched = None;
        let is_successor = self.session.is_some();
        if is_successor {
            watched = watchdog::watch(&self.plan.state, process.try_clone()?, None);
        }
        loop {
            tokio::select! {
                biased;
                message = socket.async_io(Interest::READABLE, handover::receive), if is_open => {
                    is_open = self.hear(message);
                    // One that has told its session serves already.
                    if !is_successor && watched.is_none() && self.session.is_some() {
                        let process = process.try_clone()?;
                        watched = watchdog::watch(&self.plan.state, process, Some(Instant::now()));
                    }
                }
                signal = self.signals.next() => {
                    tracing::debug!("{signal}: handed to the daemon");
                    self.asked = true;
                    // It may have ended by itself just now.
                    let _ended = signal.hand_on(&process);
                }
                ended = ended.readable() => {
                    let _ready = ended?;
                    // Its last words may still be unread.
                    while is_open {
                        is_open = self.hear(handover::receive(socket.get_ref()));
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Takes in what a daemon says; false if nothing more will come.
    fn hear(&mut self, message: io::Result<Option<(Message, Option<OwnedFd>)>>) -> bool {
        let (message, device) = match message {
            Ok(Some(message)) => message,
            Ok(None) => return false,
            Err(error) if is_nonsense(&error) => {
                tracing::debug!(%error, "the daemon speaks another version's language");
                return true;
            }
            Err(_nothing_to_read) => return false,
        };
        match message {
            Message::Session(record) if self.session.is_none() => {
                self.session = device.map(|device| Inherited { device, record });
            }
            // A successor tells what is known.
            Message::Session(_) => {}
            Message::Startup(StartupReport::Ready(ready)) if !self.announced => {
                self.announced = true;
                self.sink.ready(&ready);
                service_manager::ready();
            }
            Message::Startup(StartupReport::Ready(_)) => {}
            Message::Startup(StartupReport::Failed(report)) => self.refusal = Some(report),
            Message::Ending => service_manager::stopping(),
        }
        true
    }

    /// Waits before the next daemon, unless a signal asks for the end.
    async fn pause(&mut self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            signal = self.signals.next() => {
                tracing::debug!("{signal}: no other daemon is started");
                self.asked = true;
            }
        }
    }

    /// Ends as the last daemon did.
    fn end_as(self, end: io::Result<ExitStatus>) -> Result<(), Error> {
        let status = end.map_err(failed)?;
        if let Some(report) = self.refusal {
            return Err(Error::Reported(report));
        }
        if status.success() || status.code() == Some(HANDED_OVER) {
            return Ok(());
        }
        let signal = status.signal();
        if self.asked
            && let Some(signal) = signal.and_then(EndSignal::of)
        {
            signal.end();
        }
        let code = status.code().or_else(|| signal.map(|signal| 128 + signal));
        std::process::exit(code.unwrap_or(1))
    }

    /// Takes the mount away: the last daemon has not, as it died, or did not listen yet. What it had acknowledged is in the
    /// store.
    fn end_alone(self, end: io::Result<ExitStatus>) -> Result<(), Error> {
        tracing::info!("unmounting for a daemon that has died");
        service_manager::stopping();
        let mountpoint = &self.plan.mountpoint;
        if mountinfo::at(&mountinfo::mounts()?, mountpoint).is_some_and(|it| it.is_ours()) {
            unmount(mountpoint, UnmountMode::Lazy)?;
        }
        match &end {
            Ok(status) if status.code().is_some() => self.end_as(end),
            _ => Ok(()),
        }
    }
}

/// Short lives that one counts as. One that says by its exit code that it cannot serve is seldom helped by another try.
fn weight(end: &io::Result<ExitStatus>) -> u32 {
    match end.as_ref().map(ExitStatus::code) {
        Ok(None | Some(HANDED_OVER)) | Err(_) => 1,
        Ok(Some(_)) => REFUSAL,
    }
}

fn tell_of_successor(end: &io::Result<ExitStatus>) {
    match end {
        Ok(status) if status.code() == Some(HANDED_OVER) => {
            tracing::info!("the program that is installed now takes over");
        }
        Ok(status) => tracing::warn!(%status, "the daemon died: the next one takes over"),
        Err(error) => tracing::warn!(%error, "the daemon cannot be started: another try"),
    }
}

/// Something that can be waited for until there is something to read.
fn until_readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is open, and the same one, until it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(registered?)
}

/// True if something was received, and not understood.
fn is_nonsense(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
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
