//! Uploads in flight: the facts of each, and the digest of every chunk that arrived.
//!
//! ```text
//!            begin                      finish
//!  (nothing) ─────▶ Receiving ───────────────────▶ Finished ──▶ (expired)
//!                      │  cancel, sweep: end_upload                ▲
//!                      └───────────────────────────────────────────┘
//! ```

use std::time::Duration;

use miaofs::content::{ChunkDigest, Digest};
use miaofs::protocol::host::HostName;
use miaofs::protocol::ids::UploadId;

use super::{Tracker, ask};
use crate::backend::{Error, UserId};

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadPhase {
    /// Chunks may come.
    Receiving,
    /// Its content is stored; it is remembered so that asking again does no harm.
    Finished,
}

impl UploadPhase {
    /// The number that records have for it.
    pub(super) const fn number(self) -> i64 {
        match self {
            Self::Receiving => 0,
            Self::Finished => 1,
        }
    }

    /// What [`Self::number`] stands for.
    pub(super) const fn of_number(value: i64) -> Option<Self> {
        match value {
            0 => Some(Self::Receiving),
            1 => Some(Self::Finished),
            _ => None,
        }
    }
}

/// The facts of an upload that the tracker knows; its chunks' digests stand beside the staged bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrackedUpload {
    /// Its id.
    pub id: UploadId,
    /// Whose it is.
    pub user: UserId,
    /// The content that it brings.
    pub digest: Digest,
    /// Size of that content in bytes.
    pub size: u64,
    /// The host whose staging disk takes its chunks.
    pub host: HostName,
    /// The boot of that host in which all chunks that are marked were written. After another boot
    /// they may have been lost with the page cache.
    pub boot: Vec<u8>,
    /// How far it is.
    pub phase: UploadPhase,
    /// Seconds until it expires.
    pub expires_in: u64,
}

impl Tracker {
    /// Begins (or overwrites) an upload.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn put_upload(&self, upload: &TrackedUpload) -> Result<(), Error> {
        ask!(self, records => records.put_upload(upload))
    }

    /// One upload, expired or not.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn upload(&self, id: UploadId) -> Result<Option<TrackedUpload>, Error> {
        ask!(self, records => records.upload(id))
    }

    /// The uploads by which a user is bringing a content, to whichever host.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn uploads_of(
        &self,
        user: UserId,
        digest: Digest,
    ) -> Result<Vec<TrackedUpload>, Error> {
        ask!(self, records => records.uploads_of(user, digest))
    }

    /// Uploads of a host whose time is over. Finished ones may go by themselves.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn expired_uploads(
        &self,
        host: &HostName,
    ) -> Result<Vec<TrackedUpload>, Error> {
        ask!(self, records => records.expired_uploads(host))
    }

    /// How many uploads a host is receiving.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn receiving_uploads(&self, host: &HostName) -> Result<u64, Error> {
        ask!(self, records => records.receiving_uploads(host))
    }

    /// Marks a chunk as received and renews the upload. Answers whether the upload is still receiving;
    /// when it is not, nothing is marked.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn mark_chunk(
        &self,
        id: UploadId,
        index: u64,
        digest: ChunkDigest,
        lifetime: Duration,
    ) -> Result<bool, Error> {
        ask!(self, records => records.mark_chunk(id, index, digest, lifetime))
    }

    /// Whether a chunk was received.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn has_chunk(&self, id: UploadId, index: u64) -> Result<bool, Error> {
        ask!(self, records => records.has_chunk(id, index))
    }

    /// Indexes of the chunks that were received, rising; `None` when the upload is not receiving, or
    /// its marks are not of this `boot` and prove nothing.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn received_chunks(
        &self,
        id: UploadId,
        boot: &[u8],
    ) -> Result<Option<Vec<u64>>, Error> {
        ask!(self, records => records.received_chunks(id, boot))
    }

    /// Sets what was received to what the staged bytes prove, all of it written in this `boot`.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn replace_chunks(
        &self,
        id: UploadId,
        boot: &[u8],
        received: &[(u64, ChunkDigest)],
    ) -> Result<(), Error> {
        ask!(self, records => records.replace_chunks(id, boot, received))
    }

    /// Lets an upload live for `lifetime` from now.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn renew_upload(&self, id: UploadId, lifetime: Duration) -> Result<(), Error> {
        ask!(self, records => records.renew_upload(id, lifetime))
    }

    /// Remembers for `lifetime` that an upload is finished, and forgets its chunks.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn finish_upload(
        &self,
        id: UploadId,
        lifetime: Duration,
    ) -> Result<(), Error> {
        ask!(self, records => records.finish_upload(id, lifetime))
    }

    /// Forgets an upload and its chunks.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn end_upload(&self, id: UploadId) -> Result<(), Error> {
        ask!(self, records => records.end_upload(id))
    }
}
