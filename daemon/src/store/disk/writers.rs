//! Others who write to a file: if anybody can, because it is open for writing or mapped, and how their next write shows.
//!
//! The kernel grants a lease for reading (fcntl(2), `F_SETLEASE`) of a file that nobody has open for writing. It is given back at
//! once.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Chooses the signal by which a lease ends; the library does not name it.
const F_SETSIG: libc::c_int = 10;

/// True if anybody can write to a file, this process as well.
///
/// # Errors
/// Those of the system; also where the file system knows no leases.
pub(crate) fn has_writers(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    // Somebody who wants to write meanwhile is told of by a signal: one that is ignored unless somebody listens.
    control(&file, F_SETSIG, libc::SIGURG)?;
    match control(&file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {
            control(&file, libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

/// Has the kernel begin to write out the pages of a file. A program that has mapped one changes the time of the file with its next
/// store to it then.
///
/// # Errors
/// Those of the system.
pub(crate) fn begin_write_out(file: &File) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: the descriptor is open, and a length of 0 is up to the end.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn control(file: &File, command: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open, and both commands take a number.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, value) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_writers_while_it_is_open_for_writing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let writer = File::create(&path).unwrap();
        assert!(has_writers(&path).unwrap());
        drop(writer);
        let _reader = File::open(&path).unwrap();
        assert!(!has_writers(&path).unwrap());
    }
}
