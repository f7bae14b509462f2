//! What goes between a daemon and its supervisor: the session with the kernel, both ways, and how the daemon stands.
//!
//! The daemon inherits a socket. Over it the session goes once, when the drive is mounted: the descriptor, and what the kernel
//! said when the session began. A successor inherits both, the latter in its environment.

use std::env;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::readiness::{Readiness, StartupReport};
use crate::cli::terminal::error::Error;
use crate::fuse::{Inherited, SessionRecord};

/// Variables of the environment: the number of the socket; for a successor that of the session's descriptor, and what
/// the kernel said.
pub(super) const SOCKET: &str = "MIAOFS_SUPERVISOR_SOCKET";
pub(super) const DEVICE: &str = "MIAOFS_SESSION_DEVICE";
pub(super) const RECORD: &str = "MIAOFS_SESSION_RECORD";
/// Bytes of a message at the most.
const MESSAGE_MAX: usize = 64 << 10;

/// Message of a daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Message {
    /// The kernel's side of the session, whose descriptor comes with it.
    Session(SessionRecord),
    /// The mount is usable, or there is none.
    Startup(StartupReport),
    /// The daemon has been told to end, or its mount was taken away.
    Ending,
}

/// Takes a descriptor that the environment names; none when it names none.
fn inherited_descriptor(variable: &str) -> Option<OwnedFd> {
    let number: RawFd = env::var(variable).ok()?.parse().ok()?;
    // SAFETY: the supervisor left this descriptor open for this process alone and tells its number nowhere else; each
    // variable is read once, when the daemon begins.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    // Programs that the daemon starts have no use for it.
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC).ok()?;
    Some(descriptor)
}

/// True if this process is to go on with the session of a daemon that died.
pub(crate) fn is_successor() -> bool {
    env::var_os(RECORD).is_some()
}

/// The session that a daemon before this one had, if this one is to go on with it.
pub(super) fn inherited() -> Option<Inherited> {
    let record = serde_json::from_str(&env::var(RECORD).ok()?).ok()?;
    Some(Inherited { device: inherited_descriptor(DEVICE)?, record })
}

/// The daemon's end of the socket, if it has a supervisor.
#[derive(Debug)]
pub(crate) struct SupervisorLink {
    socket: Option<OwnedFd>,
    is_ready: AtomicBool,
}

impl SupervisorLink {
    /// Takes the socket that this process has inherited.
    pub(crate) fn inherit() -> Self {
        Self { socket: inherited_descriptor(SOCKET), is_ready: AtomicBool::new(false) }
    }

    /// True if there is a supervisor.
    pub(super) fn exists(&self) -> bool {
        self.socket.is_some()
    }

    /// Tells the session, to be kept for the next daemon.
    pub(super) fn session(
        &self,
        (device, record): (BorrowedFd<'_>, SessionRecord),
    ) -> io::Result<()> {
        self.send(&Message::Session(record), &[device])
    }

    /// Says that the mount is usable.
    pub(super) fn ready(&self, ready: Readiness) {
        self.is_ready.store(true, Ordering::Relaxed);
        self.tell(&Message::Startup(StartupReport::Ready(ready)));
    }

    /// Says that the end has begun.
    pub(super) fn ending(&self) {
        self.tell(&Message::Ending);
    }

    /// Says why there is no mount. False if nobody has heard it, or there was a mount: then it is for the log.
    pub(crate) fn failed(&self, error: &Error) -> bool {
        !self.is_ready.load(Ordering::Relaxed)
            && self.tell(&Message::Startup(StartupReport::Failed(error.report())))
    }

    fn tell(&self, message: &Message) -> bool {
        let sent = self.send(message, &[]);
        if let Err(error) = &sent {
            tracing::warn!("the supervisor has gone: {error}");
        }
        sent.is_ok()
    }

    fn send(&self, message: &Message, devices: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        let text = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !devices.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(devices));
        }
        sendmsg(socket, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// Reads a message.
pub(in crate::cli) fn read(text: &[u8]) -> serde_json::Result<Message> {
    serde_json::from_slice(text)
}

/// The next message of a daemon, and the descriptor that came with it; none when it has ended. Does not wait for one.
pub(super) fn receive(daemon: &impl AsFd) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
    let mut text = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut text)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(daemon, &mut buffers, &mut ancillary, flags)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut devices = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let device = devices.next();
    Ok(Some((read(&text[..received.bytes])?, device)))
}
