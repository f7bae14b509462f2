//! Values that several tables hold, to and from their columns.

use miaofs::content::Digest;

use crate::backend::{BlobId, Error};

/// A size as a column holds it. Sizes are far below 2^63: the largest content has 2^40 bytes or so.
pub(super) fn size_to_column(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Reads a digest from a column.
///
/// # Errors
/// [`Error::Damaged`] when it has not 32 bytes.
pub(crate) fn digest_from_column(bytes: &[u8]) -> Result<Digest, Error> {
    Digest::try_from(bytes).map_err(|error| Error::damaged("digest", error))
}

/// Reads a blob's id from a column.
///
/// # Errors
/// [`Error::Damaged`] when it has not 16 bytes.
pub(crate) fn blob_from_column(bytes: &[u8]) -> Result<BlobId, Error> {
    BlobId::try_from(bytes).map_err(|error| Error::damaged("blob id", error))
}
