//! What stores hold: verified copies, objects as listings show them, multipart uploads that are not completed.

use super::settings::StoreName;
use crate::backend::BlobId;

/// A copy of a blob in a store, which was verified when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredCopy {
    /// Of which blob.
    pub blob: BlobId,
    /// In which store.
    pub store: StoreName,
    /// Under which key there.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// The ETag that the store gave it; a directory gives none.
    pub etag: Option<String>,
}

/// An object that a store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredObject {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its ETag, without quotation marks and in small letters; a directory gives none.
    pub etag: Option<String>,
    /// When it was put there, in seconds since 1970.
    pub changed_at: i64,
}

/// A put in parts that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MultipartUpload {
    /// In which store.
    pub store: StoreName,
    /// Of the object with this key.
    pub key: String,
    /// What the store calls it.
    pub id: String,
}

/// A put in parts as a store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnfinishedUpload {
    /// Which one.
    pub put: MultipartUpload,
    /// When it was begun, in seconds since 1970.
    pub begun_at: i64,
}
