//! The lock on what one process must have alone: two servers on one database file would not wake each
//! other's waiters, and two on one staging disk would drop what the other is receiving.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::Error;

/// An exclusive lock of this process; released when dropped, and by the kernel when the process ends.
#[derive(Debug)]
pub(super) struct DataLock {
    _locked: File,
}

impl DataLock {
    /// Takes the lock that this file is, in a directory that exists.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it, [`Error::File`] when it cannot be made.
    pub(super) fn acquire(path: &Path) -> Result<Self, Error> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|error| Error::file(path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _locked: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::Locked(path.parent().unwrap_or(path).to_owned()))
            }
            Err(TryLockError::Error(error)) => Err(Error::file(path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_had_once_and_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = DataLock::acquire(&path).unwrap();
        assert!(matches!(DataLock::acquire(&path), Err(Error::Locked(_))));
        drop(lock);
        DataLock::acquire(&path).unwrap();
    }
}
