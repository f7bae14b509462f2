//! The session with the kernel on its way between the daemon and the supervisor that keeps it.
//!
//! The daemon sends it once over a socket that it inherits, when the drive is mounted: the descriptor, and what the kernel
//! said when the session began as JSON. A successor inherits both, the latter in its environment.

use std::env;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::fuse::{Inherited, SessionRecord};

/// Variables of the environment: the number of the socket; for a successor that of the session's descriptor, and what
/// the kernel said.
pub(super) const SOCKET: &str = "MIAOFS_SUPERVISOR_SOCKET";
pub(super) const DEVICE: &str = "MIAOFS_SESSION_DEVICE";
pub(super) const RECORD: &str = "MIAOFS_SESSION_RECORD";
/// Bytes of a record at the most.
const RECORD_MAX: usize = 1024;

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

/// The socket to the supervisor, if there is one.
pub(super) fn supervisor() -> Option<OwnedFd> {
    inherited_descriptor(SOCKET)
}

/// The session that a daemon before this one had, if this one is to go on with it.
pub(super) fn inherited() -> Option<Inherited> {
    let record = serde_json::from_str(&env::var(RECORD).ok()?).ok()?;
    Some(Inherited { device: inherited_descriptor(DEVICE)?, record })
}

/// Tells the supervisor the session.
pub(super) fn send(
    supervisor: &OwnedFd,
    (device, record): (BorrowedFd<'_>, SessionRecord),
) -> io::Result<()> {
    let text = serde_json::to_vec(&record)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let devices = [device];
    ancillary.push(SendAncillaryMessage::ScmRights(&devices));
    sendmsg(supervisor, &[IoSlice::new(&text)], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Waits for the session that a daemon tells; none when it ends without one.
pub(super) fn receive(daemon: &impl AsFd) -> io::Result<Option<Inherited>> {
    let mut text = [0; RECORD_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut text)];
    let received = recvmsg(daemon, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut devices = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let Some(device) = devices.next() else { return Ok(None) };
    let record = serde_json::from_slice(&text[..received.bytes])?;
    Ok(Some(Inherited { device, record }))
}
