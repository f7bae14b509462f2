//! The lock that keeps a second daemon off a state directory.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::store::error::{Error, while_doing};

/// A held lock; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a state directory.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("lock"))
            .map_err(while_doing("opening the lock file"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked(dir.to_owned())),
            Err(error) => Err(while_doing("locking the state directory")(error.into())),
        }
    }
}
