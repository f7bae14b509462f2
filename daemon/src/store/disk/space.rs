//! Free space of the disk that holds the store.

use std::sync::atomic::{AtomicU64, Ordering};

/// Free space of the disk as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct DiskSpace {
    /// Bytes that may be written before the disk is asked again.
    allowance: AtomicU64,
}

impl DiskSpace {
    /// Takes bytes out of the allowance; false if it has fewer.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let less = |left: u64| left.checked_sub(bytes);
        self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Sets the allowance, after the disk was asked.
    pub(crate) fn allow(&self, bytes: u64) {
        self.allowance.store(bytes, Ordering::Relaxed);
    }
}
