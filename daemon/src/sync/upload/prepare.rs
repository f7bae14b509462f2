//! Tools of all uploads: a hashed snapshot of a content, and the bytes that must be sent though they are not here.

use std::ops::Range;
use std::sync::Arc;

use super::error::UploadError;
use super::limits::UploadLimits;
use super::throttle::Throttle;
use crate::store::{self, Ino, Snapshot};
use crate::sync::core::Core;
use crate::sync::download::Downloader;
use crate::sync::hash::{self, Hashed};

/// Shared by all uploads.
pub(crate) struct Uploader {
    pub(super) core: Arc<Core>,
    pub(super) limits: UploadLimits,
    pub(super) throttle: Throttle,
    downloader: Arc<Downloader>,
}

impl Uploader {
    pub(crate) fn new(core: Arc<Core>, downloader: Arc<Downloader>) -> Arc<Self> {
        let throttle = Throttle::new(core.settings.bwlimit);
        Arc::new(Self { core, limits: UploadLimits::new(), throttle, downloader })
    }

    /// Takes a snapshot and hashes it, on a thread that may block.
    pub(super) async fn hashed(&self, ino: Ino) -> Result<Hashed, UploadError> {
        let snapshot = match self.snapshot(ino).await {
            Err(store::Error::NoManifest(_)) => {
                self.downloader.ensure_manifest_of(ino).await?;
                self.snapshot(ino).await?
            }
            snapshot => snapshot?,
        };
        Ok(self.core.with_store(move |store| hash::hash(store, snapshot)).await?)
    }

    async fn snapshot(&self, ino: Ino) -> Result<Snapshot, store::Error> {
        self.core.with_store(move |store| store.snapshot(ino)).await
    }

    /// Fetches what must be sent though it is not here: the server knew it, and does not let it be named any more.
    pub(super) async fn fetch_absent(&self, ino: Ino, range: Range<u64>) {
        let wanted = range.clone();
        let missing = self.core.with_store(move |store| store.missing(ino, wanted)).await;
        if missing.is_ok_and(|missing| !missing.is_empty())
            && let Err(error) = self.downloader.ensure_present(ino, range).await
        {
            tracing::debug!(%error, %ino, "what is to be sent cannot be fetched");
        }
    }
}
