//! Fetches for readers, and small files ahead of who reads a directory file by file, so that not each is a round trip.
//!
//! When [`AccessPattern`] says so, the next files of the directory are fetched, a batch at a time; a
//! miss after that begins the next batch.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt, stream};
use miaofs::protocol::downloads::{CONTENTS_MAX, SMALL_MAX};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::access_pattern::{AccessPattern, Decision};
use super::downloader::Downloader;
use super::error::FetchError;
use crate::store::{DirPosition, Ino, PrefetchLimits};
use crate::sync::core::Core;
use crate::sync::mutex::lock;

/// Bounds of a batch: as many files as come together, and 8 MiB.
const BATCH: PrefetchLimits =
    PrefetchLimits { files: CONTENTS_MAX, bytes: 8 * 1024 * 1024, largest: SMALL_MAX };
/// Files fetched ahead at the same time that do not come together: fewer than there are streams, so that a reader finds one free.
const PARALLEL: usize = 6;

/// Fetches contents for readers who wait, and what they will want next.
pub(crate) struct Prefetcher {
    core: Arc<Core>,
    downloader: Arc<Downloader>,
    pattern: Mutex<AccessPattern>,
    permits: Semaphore,
}

impl Prefetcher {
    pub(crate) fn new(core: Arc<Core>, downloader: Arc<Downloader>) -> Arc<Self> {
        Arc::new(Self {
            core,
            downloader,
            pattern: Mutex::new(AccessPattern::new()),
            permits: Semaphore::new(PARALLEL),
        })
    }

    /// Returns when `range` of a node's content is here for a reader who waits for it.
    ///
    /// # Errors
    /// [`FetchError`]; soon, when the server is away.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        ino: Ino,
        range: Range<u64>,
    ) -> Result<(), FetchError> {
        let content = self.core.with_store(move |store| store.content_of(ino)).await?;
        if content.is_some_and(|content| content.size <= SMALL_MAX) {
            let prefetcher = Arc::clone(self);
            self.core.spawn(async move { prefetcher.small_file_missed(ino).await });
        }
        self.downloader.ensure_present(ino, range).await
    }

    /// Fetches the files after one that had to be fetched for a reader, if that is a pattern.
    async fn small_file_missed(&self, ino: Ino) {
        if let Err(error) = self.prefetch_after(ino).await {
            tracing::debug!(%error, %ino, "cannot fetch ahead");
        }
    }

    async fn prefetch_after(&self, ino: Ino) -> Result<(), FetchError> {
        let position = self.core.with_store(move |store| store.position(ino)).await?;
        let Some(position) = position else { return Ok(()) };
        let decision = lock(&self.pattern).missed(position.parent, Instant::now());
        match decision {
            Decision::Wait => Ok(()),
            Decision::Prefetch => {
                let fetched = self.fetch_batch(position).await;
                lock(&self.pattern).ended(position.parent, Instant::now());
                fetched
            }
        }
    }

    async fn fetch_batch(&self, position: DirPosition) -> Result<(), FetchError> {
        let files =
            self.core.with_store(move |store| store.uncached_after(position, BATCH)).await?;
        if let Err(error) = self.downloader.fetch_together(files.clone()).await {
            tracing::debug!(%error, "files do not come together");
        }
        // What was left out, or all of it from a server that does not know how.
        stream::iter(files)
            .map(|(ino, size)| async move {
                let _permit = self.permits.acquire().await.expect("permits are never closed");
                self.downloader.ensure_present(ino, 0..size).await
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }
}
