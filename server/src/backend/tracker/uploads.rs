//! Uploads in flight: the facts of each, and the digest of every chunk that arrived.
//!
//! ```text
//!            begin                      finish
//!  (nothing) ─────▶ Receiving ───────────────────▶ Finished ──▶ (expired)
//!                      │  cancel, sweep: remove_upload                ▲
//!                      └───────────────────────────────────────────┘
//! ```

use miaofs::content::Digest;
use miaofs::protocol::host::HostName;
use miaofs::protocol::ids::UploadId;

use crate::backend::UserId;

/// Phase of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadPhase {
    /// Chunks may come.
    Receiving,
    /// Complete: its content is stored. Remembered, so that completing again does no harm.
    Finished,
}

impl UploadPhase {
    /// The number that records have for it.
    pub(super) const fn to_number(self) -> i64 {
        match self {
            Self::Receiving => 0,
            Self::Finished => 1,
        }
    }

    /// The inverse of [`Self::to_number`].
    pub(super) const fn from_number(value: i64) -> Option<Self> {
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
    /// Id of the upload.
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
    /// Phase of the upload.
    pub phase: UploadPhase,
    /// Seconds until it expires.
    pub expires_in: u64,
}
