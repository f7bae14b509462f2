//! Fetches for readers, and small files ahead of who reads a directory file by file, so that not each is a round trip.
//!
//! When [`AccessPattern`] says so, the next files of the directory are fetched, a batch at a time; the
//! next batch begins when half of one has been used, or with a miss.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt, stream};
use miaofs::protocol::downloads::{CONTENTS_MAX, SMALL_MAX};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::access_pattern::{AccessPattern, Decision};
use super::downloader::Downloader;
use super::error::FetchError;
use crate::store::{Ino, PrefetchLimits, Store};
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

    /// Returns when `range` of a node's content, which has `size` bytes on the server, has come for a reader who waits for it.
    ///
    /// # Errors
    /// [`FetchError`]; soon, when the server is away.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        (ino, size): (Ino, Option<u64>),
        range: Range<u64>,
    ) -> Result<(), FetchError> {
        if size.is_some_and(|size| size <= SMALL_MAX) {
            let prefetcher = Arc::clone(self);
            self.core.spawn(async move { prefetcher.small_file_missed(ino).await });
        }
        self.downloader.fetch(ino, range).await
    }

    /// Takes note that a program reads a file at `offset`, or opens it, so that what it will want next comes before it waits
    /// for that. Cheap when there is nothing to do.
    pub(crate) fn came_to(self: &Arc<Self>, ino: Ino, offset: u64) {
        if let Some((directory, last)) = lock(&self.pattern).used(ino, Instant::now()) {
            let prefetcher = Arc::clone(self);
            self.core.spawn(async move { prefetcher.fetch_batches(directory, last).await });
        }
        self.downloader.came_to(ino, offset);
    }

    /// Fetches the files after one that had to be fetched for a reader, if that is a pattern.
    async fn small_file_missed(&self, ino: Ino) {
        let position = self.core.with_store(move |store| store.position(ino)).await;
        let directory = match position {
            Ok(Some(position)) => position.parent,
            Ok(None) => return,
            Err(error) => return tracing::debug!(%error, %ino, "cannot fetch ahead"),
        };
        let decision = lock(&self.pattern).missed(directory, Instant::now());
        if decision == Decision::Prefetch {
            self.fetch_batches(directory, ino).await;
        }
    }

    /// Fetches the files of a directory behind one of them, and so on as long as a reader is about to come to the end of them.
    async fn fetch_batches(&self, directory: Ino, mut behind: Ino) {
        loop {
            if let Err(error) = self.fetch_batch(directory, behind).await {
                tracing::debug!(%error, %directory, "cannot fetch ahead");
            }
            match lock(&self.pattern).ended(directory, Instant::now()) {
                Some(last) => behind = last,
                None => break,
            }
        }
    }

    async fn fetch_batch(&self, directory: Ino, behind: Ino) -> Result<(), FetchError> {
        let find = move |store: &Arc<Store>| match store.position(behind)? {
            Some(position) if position.parent == directory => store.uncached_after(position, BATCH),
            _ => Ok(Vec::new()),
        };
        let files = self.core.with_store(find).await?;
        let inos: Vec<Ino> = files.iter().map(|(ino, _size)| *ino).collect();
        lock(&self.pattern).begun(directory, &inos);
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
