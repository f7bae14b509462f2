//! Free room of a disk, looked at once a second at the most however many ask.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Error;
use super::blocking::run_blocking;

/// Time for which a look is good.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Room of a disk at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    /// Bytes that are free to this process.
    pub free: u64,
    /// Bytes of the whole disk.
    pub size: u64,
}

/// The disk that a directory is on. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct FreeSpace {
    directory: Arc<Path>,
    last: Arc<Mutex<Option<(Instant, DiskSpace)>>>,
}

impl FreeSpace {
    /// The disk of this directory, which nobody has looked at.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.into(), last: Arc::default() }
    }

    /// The room that it had a second ago at the earliest. Those who ask at once share one look.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) async fn look(&self) -> Result<DiskSpace, Error> {
        let mut last = self.last.lock().await;
        if let Some((at, space)) = *last
            && at.elapsed() < GOOD_FOR
        {
            return Ok(space);
        }
        let directory = self.directory.to_path_buf();
        let space = run_blocking(move || measure(directory)).await?;
        *last = Some((Instant::now(), space));
        Ok(space)
    }
}

fn measure(directory: PathBuf) -> Result<DiskSpace, Error> {
    let disk = rustix::fs::statvfs(&directory);
    let disk = disk.map_err(|error| Error::file(directory, error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(DiskSpace { free: bytes(disk.f_bavail), size: bytes(disk.f_blocks) })
}
