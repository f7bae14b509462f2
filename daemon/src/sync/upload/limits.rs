//! Bounds of the memory and the requests of uploads.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Groups of small contents under way at once.
const GROUPS: usize = 3;
/// Large contents under way at once.
const LARGE: usize = 3;
/// Chunks being sent at once.
pub(super) const STREAMS: usize = 6;

/// Permits of each kind; dropping one gives it back.
#[derive(Debug)]
pub(super) struct UploadLimits {
    groups: Semaphore,
    large: Semaphore,
    streams: Semaphore,
    /// Bytes of contents that a batch may have, if there are several.
    batch_bytes: AtomicU64,
}

impl UploadLimits {
    pub(super) fn new() -> Self {
        Self {
            groups: Semaphore::new(GROUPS),
            large: Semaphore::new(LARGE),
            streams: Semaphore::new(STREAMS),
            batch_bytes: AtomicU64::new(u64::MAX),
        }
    }

    /// Bytes of contents that a batch of several may have.
    pub(super) fn batch_bytes(&self) -> u64 {
        self.batch_bytes.load(Ordering::Relaxed)
    }

    /// A batch was refused for its size: from now on they have so many bytes at the most.
    pub(super) fn shrink_batches(&self, bytes: u64) {
        let before = self.batch_bytes.fetch_min(bytes, Ordering::Relaxed);
        if bytes < before {
            tracing::info!(
                bytes,
                "requests of this size are refused on the way: smaller ones are sent"
            );
        }
    }

    /// Permit to work at one group of small contents.
    pub(super) async fn group(&self) -> SemaphorePermit<'_> {
        permit(&self.groups).await
    }

    /// Permit to work at one large content.
    pub(super) async fn large(&self) -> SemaphorePermit<'_> {
        permit(&self.large).await
    }

    /// Permit to hold and send one chunk.
    pub(super) async fn stream(&self) -> SemaphorePermit<'_> {
        permit(&self.streams).await
    }
}

async fn permit(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    semaphore.acquire().await.expect("the semaphores are never closed")
}
