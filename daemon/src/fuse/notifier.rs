//! The process that tells the kernel what changed.
//!
//! The kernel takes locks for a notification that a request in progress may hold: of a page that is being read, of a directory
//! in which a name is being made. Nothing interrupts it while it waits for them, so a daemon that is killed meanwhile cannot end
//! before the request is answered, which only the next daemon could do, and that one waits for the state directory and its
//! database. So another process tells the kernel, which has nothing but the session's descriptor and a socket. It ends with its
//! daemon, or as soon as the kernel lets it. If nobody is left who could start the next daemon, it ends the session, which the
//! kernel would keep as long as this process has its descriptor.
//!
//! Over the socket go packets, one for each notification: forth its number and what changed, back its number once it is done.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::UnmountFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, send, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::store::{Ino, Invalidation};

/// Name under which the program is this process.
const NAME: &str = "miaofs-notifier";
/// This program, also when another one has been installed in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Threads that tell: so many may wait before another notification has to.
const THREADS: usize = 8;
/// Pause between looks for whether they have ended, once the daemon has.
const STEP: Duration = Duration::from_millis(100);
/// Bytes of a packet at the most: those of a name are numbers in JSON.
const PACKET_MAX: usize = 4096;

/// Files that tell of sessions, and end them.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// Codes of notifications (`enum fuse_notify_code` of the kernel).
const INVALIDATE_INODE: i32 = 2;
const INVALIDATE_ENTRY: i32 = 3;
const DELETE: i32 = 6;
/// Bytes of the header of each.
const HEADER: usize = 16;
/// Offset that leaves the pages alone and invalidates attributes only.
pub(super) const ATTRIBUTES_ONLY: i64 = -1;

#[derive(Debug, Serialize, Deserialize)]
struct Packet {
    number: u64,
    what: Invalidation,
}

/// The session that a process tells of.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Where it is mounted.
    pub(super) mountpoint: PathBuf,
    /// Process that starts the next daemon when this one dies, if there is one.
    pub(super) keeper: Option<u32>,
}

/// The process, to its daemon.
#[derive(Debug)]
pub(super) struct NotifierProcess {
    socket: OwnedFd,
    child: Child,
}

impl NotifierProcess {
    /// Starts one for a session.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn start(device: BorrowedFd<'_>, told: &Told) -> io::Result<Self> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (socket, its_socket) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        let mut command = Command::new(THIS_PROGRAM);
        command.arg0(NAME).arg(&told.mountpoint);
        let daemon = std::process::id();
        command.args([daemon].into_iter().chain(told.keeper).map(|process| process.to_string()));
        command.stdin(its_socket).stdout(device.try_clone_to_owned()?);
        // A terminal's Ctrl-C is for the daemon, which has something to tell until it ends.
        command.stderr(Stdio::null()).process_group(0);
        Ok(Self { socket, child: command.spawn()? })
    }

    /// Has the kernel told. Waits while it has not taken what was sent before.
    ///
    /// # Errors
    /// When the process has ended.
    pub(super) fn send(&self, number: u64, what: &Invalidation) -> io::Result<()> {
        let packet = serde_json::to_vec(&Packet { number, what: what.clone() })?;
        send(&self.socket, &packet, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for the number of a notification that is done; none when the process has ended.
    pub(super) fn next_done(&self) -> Option<u64> {
        let mut number = [0; 8];
        match receive(self.socket.as_fd(), &mut number) {
            8 => Some(u64::from_ne_bytes(number)),
            _ => None,
        }
    }

    /// Gives it up; it ends by itself.
    pub(super) fn reap(mut self) {
        let waiting = thread::Builder::new().name("reaper".to_owned());
        let _leaves_a_zombie = waiting.spawn(move || {
            drop(self.socket);
            let _status = self.child.wait();
        });
    }
}

/// Runs as this process if the program was started for that.
pub(crate) fn run_if_called(arguments: &[OsString]) -> Option<ExitCode> {
    let [name, mountpoint, processes @ ..] = arguments else { return None };
    if name != NAME {
        return None;
    }
    // Who ends all processes of a mount gently means the daemon, with which this one ends.
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        // SAFETY: nothing of this process runs in a handler of a signal, before or after.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let _unnamed = fs::write("/proc/self/comm", NAME);
    let process = |at: usize| Process::of(processes.get(at)?.to_str()?.parse().ok()?);
    // A daemon that has gone already is none: the parent is another process then.
    serve(Path::new(mountpoint), process(0), process(1));
    Some(ExitCode::SUCCESS)
}

/// A process that may end.
struct Process(OwnedFd);

impl Process {
    /// The process of a number, if there is one.
    fn of(number: u32) -> Option<Self> {
        let number = Pid::from_raw(number.cast_signed())?;
        pidfd_open(number, PidfdFlags::empty()).ok().map(Self)
    }

    /// Waits until it has ended, for so long at the most, or for ever; true if it has.
    fn ends_within(&self, limit: Option<Duration>) -> bool {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut polled, limit.as_ref()).is_ok_and(|ended| ended > 0)
    }
}

/// Tells the kernel what the daemon says, until that has ended and nothing is left to be told.
fn serve(mountpoint: &Path, daemon: Option<Process>, keeper: Option<Process>) {
    let (busy, ended) = mpsc::channel::<()>();
    for _ in 0..THREADS {
        let busy = busy.clone();
        thread::spawn(move || {
            tell_all(io::stdin().as_fd(), io::stdout().as_fd());
            drop(busy);
        });
    }
    drop(busy);
    // A signal may end the wait before.
    while daemon.as_ref().is_some_and(|it| !it.ends_within(None)) {}
    while ended.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
        if keeper.as_ref().is_none_or(|it| it.ends_within(Some(Duration::ZERO))) {
            end_session(mountpoint);
        }
    }
}

/// Has the kernel answer all requests of a session with an error: by its file for whoever has mounted it, else as root.
fn end_session(mountpoint: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let file =
        connection(&mounts, mountpoint).map(|number| format!("{CONNECTIONS}/{number}/abort"));
    if file.is_none_or(|file| fs::write(file, "1").is_err()) {
        let _busy_or_forbidden = rustix::mount::unmount(mountpoint, UnmountFlags::FORCE);
    }
}

/// Number of the connection of the last mount at a path, by the lines of proc_pid_mountinfo(5).
fn connection<'m>(mounts: &'m str, mountpoint: &Path) -> Option<&'m str> {
    let path = escaped(mountpoint.as_os_str());
    let mount = |line: &'m str| {
        let mut fields = line.split(' ').skip(2);
        let (device, place) = (fields.next()?, fields.nth(1)?);
        (place == path).then(|| device.split_once(':')).flatten()
    };
    mounts.lines().rev().find_map(mount).map(|(_, number)| number)
}

/// A path as it stands in the list of mounts.
fn escaped(path: &OsStr) -> String {
    let byte = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        other => vec![*other],
    };
    String::from_utf8_lossy(&path.as_bytes().iter().flat_map(byte).collect::<Vec<_>>()).into_owned()
}

/// Tells the kernel what comes over the socket until that is closed.
fn tell_all(socket: BorrowedFd<'_>, device: BorrowedFd<'_>) {
    let mut packet = vec![0; PACKET_MAX];
    loop {
        let length = receive(socket, &mut packet);
        let Ok(Packet { number, what }) = serde_json::from_slice(&packet[..length]) else { return };
        // The session is over, or the kernel knows no such node: then it has nothing of it.
        let _refused = tell(device, &what);
        if send(socket, &number.to_ne_bytes(), SendFlags::NOSIGNAL).is_err() {
            return;
        }
    }
}

/// Receives one packet; its length, and 0 when there will be none.
fn receive(socket: BorrowedFd<'_>, packet: &mut [u8]) -> usize {
    loop {
        match recv(socket, &mut *packet, RecvFlags::empty()) {
            Ok((length, _)) => return length,
            Err(rustix::io::Errno::INTR) => {}
            Err(_ended) => return 0,
        }
    }
}

fn tell(device: BorrowedFd<'_>, what: &Invalidation) -> io::Result<()> {
    match what {
        Invalidation::Attributes(ino) => notify(device, &inode(*ino, ATTRIBUTES_ONLY)),
        Invalidation::Content(ino) | Invalidation::Everything(ino) => {
            notify(device, &inode(*ino, 0))
        }
        Invalidation::Entry { parent, name } => {
            notify(device, &entry(*parent, name))?;
            forget_listing(device, *parent)
        }
        Invalidation::Deleted { parent, child, name } => {
            let deleted = notify(device, &deletion(*parent, *child, name));
            forget_listing(device, *parent)?;
            notify(device, &inode(*child, ATTRIBUTES_ONLY))?;
            // A directory that the kernel holds children of cannot be deleted under it; it forgets the name then.
            deleted.or_else(|_refused| notify(device, &entry(*parent, name)))
        }
    }
}

/// A directory's cached listing is its pages; invalidating an entry that the kernel has not cached would leave them.
fn forget_listing(device: BorrowedFd<'_>, directory: Ino) -> io::Result<()> {
    notify(device, &inode(directory, 0))
}

/// Sends a notification. What the kernel does not know is told.
fn notify(device: BorrowedFd<'_>, notification: &[u8]) -> io::Result<()> {
    match rustix::io::write(device, notification) {
        Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `struct fuse_notify_inval_inode_out`: all pages from an offset on.
fn inode(ino: Ino, offset: i64) -> Vec<u8> {
    let body = [ino.0.to_ne_bytes(), offset.to_ne_bytes(), 0_i64.to_ne_bytes()];
    message(INVALIDATE_INODE, &[body.as_flattened()])
}

/// `struct fuse_notify_inval_entry_out`, and the name.
fn entry(parent: Ino, name: &[u8]) -> Vec<u8> {
    let length = (name.len() as u32).to_ne_bytes();
    message(INVALIDATE_ENTRY, &[&parent.0.to_ne_bytes(), &length, &[0; 4], name, &[0]])
}

/// `struct fuse_notify_delete_out`, and the name.
fn deletion(parent: Ino, child: Ino, name: &[u8]) -> Vec<u8> {
    let (parent, child) = (parent.0.to_ne_bytes(), child.0.to_ne_bytes());
    let length = (name.len() as u32).to_ne_bytes();
    message(DELETE, &[&parent, &child, &length, &[0; 4], name, &[0]])
}

/// `struct fuse_out_header` of a notification, and what follows it.
fn message(code: i32, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = (HEADER + body.len()) as u32;
    [&length.to_ne_bytes()[..], &code.to_ne_bytes(), &[0; 8], &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_have_the_kernels_layout() {
        let message = entry(Ino(7), b"name");
        assert_eq!(message.len(), 16 + 16 + 5);
        assert_eq!(message[..8], [[37, 0, 0, 0], [3, 0, 0, 0]].concat());
        assert_eq!(message[16..32], [[7, 0, 0, 0], [0; 4], [4, 0, 0, 0], [0; 4]].concat());
        assert_eq!(message[32..], *b"name\0");
        assert_eq!(deletion(Ino(7), Ino(8), b"name").len(), 16 + 24 + 5);
        assert_eq!(inode(Ino(7), -1)[24..32], [255; 8]);
    }

    #[test]
    fn the_connection_of_a_mount_is_found_by_its_path() {
        let mounts = "40 27 0:39 / /a/one rw - fuse.miaofs x rw\n\
                      41 27 0:41 / /a/one\\040more rw - fuse.miaofs x rw\n\
                      42 27 0:42 / /a/one rw - fuse.miaofs x rw\n";
        assert_eq!(connection(mounts, Path::new("/a/one")), Some("42"));
        assert_eq!(connection(mounts, Path::new("/a/one more")), Some("41"));
        assert_eq!(connection(mounts, Path::new("/a")), None);
    }

    #[test]
    fn the_longest_name_fits_into_a_packet() {
        let what = Invalidation::Deleted {
            parent: Ino(u64::MAX),
            child: Ino(u64::MAX),
            name: vec![255; 255],
        };
        let packet = serde_json::to_vec(&Packet { number: u64::MAX, what }).unwrap();
        assert!(packet.len() <= PACKET_MAX, "{}", packet.len());
    }
}
