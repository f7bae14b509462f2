//! Free space of the disk that holds the store.

use std::sync::atomic::AtomicU64;

/// What is known of the room on the disk.
#[derive(Debug, Default)]
pub(crate) struct DiskSpace {
    /// Bytes that may be written before the disk is asked again.
    pub(crate) allowance: AtomicU64,
}
