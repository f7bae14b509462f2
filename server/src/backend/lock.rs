//! The lock on the data directory: two servers on one database would not wake each other's waiters,
//! and each would sweep the other's uploads.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::Error;

/// The right to use a data directory; given back when dropped, and by the kernel when the process ends.
#[derive(Debug)]
pub struct DataLock {
    _locked: File,
}

impl DataLock {
    /// Takes the lock of a directory that exists.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it, [`Error::File`] when it cannot be made.
    pub fn take(directory: &Path) -> Result<Self, Error> {
        let path: PathBuf = directory.join("lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|error| Error::file(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _locked: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked(directory.to_owned())),
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
        let lock = DataLock::take(directory.path()).unwrap();
        assert!(matches!(DataLock::take(directory.path()), Err(Error::Locked(_))));
        drop(lock);
        DataLock::take(directory.path()).unwrap();
    }
}
