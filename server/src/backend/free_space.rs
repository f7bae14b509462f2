//! Free room of the disk that a directory is on.

use std::path::Path;

use super::Error;
use super::blocking::run_blocking;

/// Room of a disk at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    /// Bytes that are free to this process.
    pub free: u64,
    /// Bytes of the whole disk.
    pub size: u64,
}

/// Measures the disk of a directory.
///
/// # Errors
/// [`Error::File`].
pub(crate) async fn measure(directory: &Path) -> Result<DiskSpace, Error> {
    let directory = directory.to_path_buf();
    run_blocking(move || {
        let disk = rustix::fs::statvfs(&directory);
        let disk = disk.map_err(|error| Error::file(directory, error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok(DiskSpace { free: bytes(disk.f_bavail), size: bytes(disk.f_blocks) })
    })
    .await
}
