//! Counters of requests and bytes, one set for all clones of a client.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests and bytes since the client was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent, repeated ones included.
    pub requests: u64,
    /// Bytes of request bodies handed to the connection.
    pub bytes_sent: u64,
    /// Bytes of answers' bodies received.
    pub bytes_received: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

impl Counters {
    pub(super) fn request(&self, body: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(body as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, body: usize) {
        self.bytes_received.fetch_add(body as u64, Ordering::Relaxed);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
        }
    }
}
