//! Free space of the disk that holds the store.

use std::sync::atomic::AtomicU64;

/// Free space of the disk as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct DiskSpace {
    /// Bytes that may be written before the disk is asked again.
    pub(crate) allowance: AtomicU64,
}
