//! Metrics of the engine: counted by the executors as they go, read for the status.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::error::SyncError;
use super::mutex::lock;
use super::status::Counters;
use crate::store::Ino;

/// The rate is that of the last so many seconds.
const RATE_SPAN: Duration = Duration::from_secs(5);
/// Conflicts that are remembered, the latest ones.
const CONFLICTS_MAX: usize = 100;

/// Counters and lists that the executors write and [`Status`](super::status::Status) shows.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) chunks: Tally,
    pub(super) batches: Tally,
    pub(super) ranges: Tally,
    pub(super) from_stores: Tally,
    pub(super) instant_uploads: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) ranges_in_flight_max: AtomicU64,
    pub(super) held_deletions: AtomicU64,
    uploads: Mutex<HashMap<Ino, (u64, u64)>>,
    errors: Mutex<BTreeMap<Ino, Arc<SyncError>>>,
    conflicts: Mutex<VecDeque<String>>,
    sent: Mutex<VecDeque<(Instant, u64)>>,
}

/// Number of items, and of bytes in all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    pub(super) fn add(&self, bytes: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A content that is shown as being under way until this is dropped.
#[derive(Debug)]
pub(super) struct ShownUpload<'a> {
    metrics: &'a Metrics,
    ino: Ino,
}

impl ShownUpload<'_> {
    /// The server has this many bytes of it.
    pub(super) fn done(&self, bytes: u64) {
        if let Some(upload) = lock(&self.metrics.uploads).get_mut(&self.ino) {
            upload.1 = bytes;
        }
    }

    /// The server has this many more bytes of it, which were sent.
    pub(super) fn sent(&self, bytes: u64) {
        if let Some(upload) = lock(&self.metrics.uploads).get_mut(&self.ino) {
            upload.1 += bytes;
        }
        self.metrics.count_sent(bytes);
    }
}

impl Drop for ShownUpload<'_> {
    fn drop(&mut self) {
        lock(&self.metrics.uploads).remove(&self.ino);
    }
}

impl Metrics {
    pub(super) fn show_upload(&self, ino: Ino, bytes: u64) -> ShownUpload<'_> {
        lock(&self.uploads).insert(ino, (bytes, 0));
        ShownUpload { metrics: self, ino }
    }

    /// Contents under way: node, bytes in all, bytes done.
    pub(super) fn uploads(&self) -> Vec<(Ino, u64, u64)> {
        lock(&self.uploads).iter().map(|(ino, (bytes, done))| (*ino, *bytes, *done)).collect()
    }

    pub(super) fn count_sent(&self, bytes: u64) {
        let mut sent = lock(&self.sent);
        let now = Instant::now();
        sent.push_back((now, bytes));
        while sent.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_SPAN) {
            sent.pop_front();
        }
    }

    pub(super) fn rate(&self) -> u64 {
        let now = Instant::now();
        let lately = |at: &Instant| now.duration_since(*at) <= RATE_SPAN;
        let sent: u64 =
            lock(&self.sent).iter().filter(|(at, _)| lately(at)).map(|(_, bytes)| bytes).sum();
        sent / RATE_SPAN.as_secs()
    }

    pub(super) fn set_errors(&self, errors: BTreeMap<Ino, Arc<SyncError>>) {
        *lock(&self.errors) = errors;
    }

    pub(super) fn errors(&self) -> BTreeMap<Ino, Arc<SyncError>> {
        lock(&self.errors).clone()
    }

    pub(super) fn error(&self, ino: Ino) -> Option<Arc<SyncError>> {
        lock(&self.errors).get(&ino).cloned()
    }

    pub(super) fn add_conflict(&self, name: &[u8]) {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut conflicts = lock(&self.conflicts);
        if conflicts.contains(&name) {
            return;
        }
        tracing::warn!(%name, "both sides changed: the local one was kept under this name");
        conflicts.push_back(name);
        if conflicts.len() > CONFLICTS_MAX {
            conflicts.pop_front();
        }
    }

    pub(super) fn conflicts(&self) -> Vec<String> {
        lock(&self.conflicts).iter().cloned().collect()
    }

    pub(super) fn counters(&self, traffic: miaofs::client::Traffic) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            chunks_sent: read(&self.chunks.count),
            chunk_bytes_sent: read(&self.chunks.bytes),
            batches_sent: read(&self.batches.count),
            batch_bytes_sent: read(&self.batches.bytes),
            instant_uploads: read(&self.instant_uploads),
            commits: read(&self.commits),
            content_bytes_fetched: read(&self.ranges.bytes),
            content_bytes_from_stores: read(&self.from_stores.bytes),
            ranges_fetched: read(&self.ranges.count),
            ranges_in_flight_max: read(&self.ranges_in_flight_max),
            requests: traffic.requests,
            bytes_sent: traffic.bytes_sent,
            bytes_received: traffic.bytes_received,
        }
    }
}
