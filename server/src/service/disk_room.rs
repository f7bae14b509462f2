//! Room on the disks that uploads fill: while it is scarce, what brings bytes is refused, and all else goes on.
//!
//! The last bytes of a disk belong to commits, deletions and the database's log: a disk that uploads fill to the end
//! stops those as well, among them the deletions that would make room.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::Gauge;

use super::Error;
use super::fresh::Fresh;
use crate::backend::free_space::{self, DiskSpace};
use crate::backend::{Settings, StagingUse};

/// Bytes that are free on a disk, by disk.
const FREE: &str = "miaofs_disk_free_bytes";

/// The most that is kept free when the operator says nothing.
const MIN_FREE_MAX: u64 = 1 << 30;
/// The part of a disk that is kept free then, unless it is more than that.
const MIN_FREE_PART: u64 = 20;

/// Time after which a refused client is to come again: somebody has to make room first.
const RETRY: Duration = Duration::from_secs(10);

/// The disks that uploads fill. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct DiskWatch(Arc<[WatchedDisk]>);

#[derive(Debug)]
struct WatchedDisk {
    name: &'static str,
    directory: PathBuf,
    /// Bytes to be kept free, when the operator has said so.
    min_free: Option<u64>,
    has_room: Fresh<bool>,
    /// As it was said in the log.
    is_full: AtomicBool,
    free: Gauge,
}

impl DiskWatch {
    /// The disks that a process with these settings writes to.
    pub(crate) fn new(settings: &Settings, min_free: Option<u64>) -> Self {
        metrics::describe_gauge!(FREE, "Bytes free on a disk of the server");
        let staging = (settings.staging != StagingUse::Nothing)
            .then(|| ("staging", settings.staging_directory()));
        let data = settings.is_embedded().then(|| ("data", settings.data.clone()));
        let disks = [staging, data].into_iter().flatten().map(|(name, directory)| WatchedDisk {
            name,
            directory,
            min_free,
            has_room: Fresh::new(),
            is_full: AtomicBool::new(false),
            free: metrics::gauge!(FREE, "disk" => name),
        });
        Self(disks.collect())
    }

    /// Looks at all disks, so that their gauges are of now.
    pub(crate) async fn look(&self) {
        for disk in &*self.0 {
            disk.has_room().await;
        }
    }

    /// Makes sure that there is room for an upload.
    ///
    /// # Errors
    /// [`Error::StorageFull`].
    pub(crate) async fn check_upload(&self) -> Result<(), Error> {
        for disk in &*self.0 {
            if !disk.has_room().await {
                return Err(Error::StorageFull { retry_after: RETRY });
            }
        }
        Ok(())
    }
}

impl WatchedDisk {
    /// True if it has room, also when that cannot be told: what is wrong is then said by whoever writes.
    async fn has_room(&self) -> bool {
        self.has_room.get(self.look()).await
    }

    async fn look(&self) -> bool {
        let space = match free_space::measure(&self.directory).await {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, disk = self.name, "the room of a disk cannot be told");
                return true;
            }
        };
        self.free.set(space.free as f64);
        let min_free = min_free(self.min_free, space);
        let is_full = space.free < min_free;
        if self.is_full.swap(is_full, Ordering::Relaxed) != is_full {
            let (disk, free) = (self.name, space.free);
            if is_full {
                tracing::warn!(disk, free, min_free, "a disk is nearly full: uploads are refused");
            } else {
                tracing::warn!(disk, free, min_free, "a disk has room again: uploads are taken");
            }
        }
        !is_full
    }
}

/// Bytes that are to be kept free on a disk.
pub(crate) fn min_free(said: Option<u64>, space: DiskSpace) -> u64 {
    said.unwrap_or_else(|| MIN_FREE_MAX.min(space.size / MIN_FREE_PART))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twentieth_of_a_small_disk_is_kept_free_and_a_gibibyte_of_a_large_one() {
        let of = |said, size| min_free(said, DiskSpace { free: 0, size });
        assert_eq!(of(None, 100 << 20), 5 << 20);
        assert_eq!(of(None, 1 << 40), 1 << 30);
        assert_eq!(of(Some(7), 1 << 40), 7);
        assert_eq!(of(Some(0), 1 << 40), 0);
    }
}
