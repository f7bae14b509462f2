//! Unmounting: as root by the system call, else through `fusermount3`.

use std::io;
use std::path::Path;
use std::process::Command;

use rustix::mount::UnmountFlags;

use crate::cli::terminal::error::Error;

/// Effect on a mount that programs still use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnmountMode {
    /// In use, it stays, and that is an error.
    Normal,
    /// The mount leaves the tree of files now, and ends when nothing uses it (`MNT_DETACH`).
    Lazy,
}

/// Unmounts what is mounted at this directory.
pub(crate) fn unmount(mountpoint: &Path, mode: UnmountMode) -> Result<(), Error> {
    let result = if rustix::process::geteuid().is_root() {
        by_system_call(mountpoint, mode)
    } else {
        by_fusermount(mountpoint, mode)
    };
    result.map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => Error::Busy(mountpoint.to_owned()),
        _ => Error::Unmount { mountpoint: mountpoint.to_owned(), source },
    })
}

fn by_system_call(mountpoint: &Path, mode: UnmountMode) -> io::Result<()> {
    let flags = match mode {
        UnmountMode::Normal => UnmountFlags::NOFOLLOW,
        UnmountMode::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    Ok(rustix::mount::unmount(mountpoint, flags)?)
}

fn by_fusermount(mountpoint: &Path, mode: UnmountMode) -> io::Result<()> {
    let flags = match mode {
        UnmountMode::Normal => "-u",
        UnmountMode::Lazy => "-uz",
    };
    let output = Command::new("fusermount3").arg(flags).arg("--").arg(mountpoint).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false if complaint.contains("busy") => Err(io::ErrorKind::ResourceBusy.into()),
        false => Err(io::Error::other(complaint.trim().to_owned())),
    }
}
