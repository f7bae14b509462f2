//! Objects of stores: verified copies, objects of listings, multipart uploads that are not completed.

use super::settings::StoreName;
use crate::backend::BlobId;

/// A copy of a blob in a store, which was verified when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredCopy {
    /// The blob that it is a copy of.
    pub blob: BlobId,
    /// The store that has it.
    pub store: StoreName,
    /// Full key in that store.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// The ETag that the store gave it; a directory gives none.
    pub etag: Option<String>,
}

/// An object that a store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredObject {
    /// Full key, with the prefix of its bucket.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// ETag without quotation marks, in small letters; a directory gives none.
    pub etag: Option<String>,
    /// When it was put there, in seconds since 1970.
    pub changed_at: i64,
}

/// A multipart upload that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MultipartUpload {
    /// The store that has it.
    pub store: StoreName,
    /// Key of the object that it is to become.
    pub key: String,
    /// Upload id that the store gave.
    pub id: String,
}

/// A multipart upload that is neither completed nor aborted, as a store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnfinishedUpload {
    /// The upload.
    pub put: MultipartUpload,
    /// When it was begun, in seconds since 1970.
    pub begun_at: i64,
}
