//! A session that a daemon takes over from one that ended, while programs go on using the mount.
//!
//! Whoever started both keeps the descriptor of the session, so the kernel keeps the mount: requests wait meanwhile. The kernel
//! said what it can when the session began, and does not say it again; so that is written down ([`SessionRecord`]) and
//! repeated to the library as if the kernel did, over a socket whose place the descriptor then takes.
//!
//! Requests that the former daemon had read and not answered are sent again by the kernel (Linux 6.9), and names that it may
//! have not told the kernel of are looked up anew (Linux 6.16).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use fuser::{Config, Filesystem, KernelConfig, Request, Session};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

/// Number of the request with which a session begins.
const INIT: u32 = 26;
/// Length of a request's header, and of what follows it in that request, in bytes.
const HEADER: usize = 40;
const INIT_BODY: usize = 64;
/// Bit of the first 32 flags: more follow.
const MORE_FLAGS: u64 = 1 << 30;
/// Capability of a kernel that sends requests again.
const CAN_RESEND: u64 = 1 << 39;
/// Notification: send what is not answered again.
const RESEND: i32 = 7;
/// Notification: all names that are cached count as old.
const NEW_EPOCH: i32 = 8;

/// The kernel's side of a session, as it was told when the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    /// Version of the protocol.
    pub version: (u32, u32),
    /// Everything that the kernel can do, as bits.
    pub capabilities: u64,
    /// Bytes that it reads ahead at the most.
    pub read_ahead: u32,
}

/// A session of a daemon that ended.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// The descriptor of the session.
    pub device: OwnedFd,
    /// The kernel's side of it.
    pub record: SessionRecord,
}

impl SessionRecord {
    /// Takes down what the kernel says when a session begins.
    pub(super) fn of(config: &mut KernelConfig) -> Self {
        let version = config.kernel_abi();
        // More than any kernel reads ahead: the answer is how much this one does.
        let read_ahead = config.set_max_readahead(u32::MAX).err().unwrap_or(u32::MAX);
        let version = (version.0, version.1);
        Self { version, capabilities: config.capabilities().bits(), read_ahead }
    }

    /// True if another daemon can go on with the session: of a kernel that does not send again what was not answered,
    /// programs would wait for ever.
    pub(super) const fn can_be_taken_over(&self) -> bool {
        self.capabilities & CAN_RESEND != 0
    }

    /// The request with which a session begins, as the kernel sends it.
    pub(crate) fn request(&self) -> Vec<u8> {
        let mut request = Vec::with_capacity(HEADER + INIT_BODY);
        let flags = self.capabilities | MORE_FLAGS;
        let mut push = |word: u32| request.extend_from_slice(&word.to_ne_bytes());
        push((HEADER + INIT_BODY) as u32);
        push(INIT);
        // Any number will do for the request; then node, user, group and process, of which there are none.
        [1, 0, 0, 0, 0, 0, 0, 0].into_iter().for_each(&mut push);
        [self.version.0, self.version.1, self.read_ahead].into_iter().for_each(&mut push);
        [flags as u32, (flags >> 32) as u32].into_iter().for_each(&mut push);
        request.resize(HEADER + INIT_BODY, 0);
        request
    }
}

/// Bit of a request's number: it is sent again.
const AGAIN: u64 = 1 << 63;

/// True for a request that the kernel sends again.
pub(super) fn is_sent_again(request: &Request) -> bool {
    request.unique().0 & AGAIN != 0
}

/// The number that a request had when it was sent first.
pub(super) fn first_number(request: &Request) -> u64 {
    request.unique().0 & !AGAIN
}

/// Begins a session with a kernel that has begun it long ago.
pub(super) fn take_over<F: Filesystem>(
    file_system: F,
    inherited: &Inherited,
    config: &Config,
) -> io::Result<Session<F>> {
    let flags = SocketFlags::CLOEXEC;
    let (kernel, library) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(io::Error::from)?;
    rustix::io::write(&kernel, &inherited.record.request())?;
    let session = Session::from_fd(file_system, library, config.acl, config.clone())?;
    replace(session.as_fd(), inherited.device.as_fd())?;
    Ok(session)
}

/// Has a descriptor that somebody else owns mean what another one means.
fn replace(place: BorrowedFd<'_>, by: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open, the place stays with its owner, who closes it once as before, and closing what it
    // meant so far, a socket that nobody reads from, is what is wanted.
    let done = unsafe { libc::dup3(by.as_raw_fd(), place.as_raw_fd(), libc::O_CLOEXEC) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel look all names up anew, and send again what was not answered: before the first request is read, as that would
/// be sent again, too, while it is answered.
pub(super) fn begin_anew(device: &impl AsFd) {
    for (code, what) in [(NEW_EPOCH, "look names up anew"), (RESEND, "send requests again")] {
        if let Err(error) = notify(device, code) {
            tracing::warn!(%error, "this kernel cannot {what}");
        }
    }
}

/// Sends a notification without any content.
fn notify(device: &impl AsFd, code: i32) -> io::Result<()> {
    let mut message = [0; 16];
    message[..4].copy_from_slice(&16_u32.to_ne_bytes());
    message[4..8].copy_from_slice(&code.to_ne_bytes());
    rustix::io::write(device, &message)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_kernels_layout() {
        let record = SessionRecord { version: (7, 45), capabilities: 1 << 39 | 5, read_ahead: 9 };
        let request = record.request();
        let word = |at: usize| u32::from_ne_bytes(request[4 * at..4 * at + 4].try_into().unwrap());
        assert_eq!((request.len(), word(0), word(1)), (104, 104, 26));
        assert_eq!((word(10), word(11), word(12)), (7, 45, 9));
        assert_eq!((word(13), word(14)), (1 << 30 | 5, 1 << 7));
    }
}
