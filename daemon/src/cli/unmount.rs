//! Taking a mount away: as root by the system call, else through `fusermount3`.

use std::io;
use std::path::Path;
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};

use super::error::Error;

/// Whether a mount in use stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// In use, it stays, and that is an error.
    Orderly,
    /// It goes from sight now, and for good when nothing uses it.
    Lazy,
}

/// Takes the mount at this directory away.
pub(super) fn take_away(mountpoint: &Path, manner: Manner) -> Result<(), Error> {
    let result = if rustix::process::geteuid().is_root() {
        by_ourselves(mountpoint, manner)
    } else {
        by_fusermount(mountpoint, manner)
    };
    result.map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => Error::Busy(mountpoint.to_owned()),
        _ => Error::Unmount { mountpoint: mountpoint.to_owned(), source },
    })
}

fn by_ourselves(mountpoint: &Path, manner: Manner) -> io::Result<()> {
    let flags = match manner {
        Manner::Orderly => UnmountFlags::NOFOLLOW,
        Manner::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    Ok(unmount(mountpoint, flags)?)
}

fn by_fusermount(mountpoint: &Path, manner: Manner) -> io::Result<()> {
    let flags = match manner {
        Manner::Orderly => "-u",
        Manner::Lazy => "-uz",
    };
    let output = Command::new("fusermount3").arg(flags).arg("--").arg(mountpoint).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false if complaint.contains("busy") => Err(io::ErrorKind::ResourceBusy.into()),
        false => Err(io::Error::other(complaint.trim().to_owned())),
    }
}
