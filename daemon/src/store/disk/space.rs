//! Free space of the disk that holds the store.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::error::{Error, while_doing};

/// Bytes that may be written to the disk of a directory.
pub(crate) fn free_bytes(directory: &Path) -> Result<u64, Error> {
    let disk = rustix::fs::statvfs(directory)
        .map_err(|error| while_doing("asking how full the disk is")(error.into()))?;
    Ok(disk.f_bavail * disk.f_frsize)
}

/// Free space of the disk as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct DiskSpace {
    /// Bytes that may be written before the disk is asked again.
    allowance: AtomicU64,
}

impl DiskSpace {
    /// Takes bytes out of the allowance; false if it has fewer.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let less = |left: u64| left.checked_sub(bytes);
        self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Sets the allowance, after the disk was asked.
    pub(crate) fn allow(&self, bytes: u64) {
        self.allowance.store(bytes, Ordering::Relaxed);
    }
}
