//! Table of the fetches under way: by node, so that all who wait for the same bytes share one request.
//!
//! Its lock is held while the store is asked what is missing, so that two readers never begin a fetch
//! of the same bytes. So it is called on threads that may block.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lru::LruCache;
use miaofs::content::Digest;
use miaofs::protocol::files::ContentRef;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::error::AttemptError;
use super::readahead::{ReadAhead, pieces};
use crate::store::{self, Ino, Store};
use crate::sync::metrics::Metrics;
use crate::sync::mutex::lock;

/// Requests for ranges in flight at once.
const STREAMS: usize = 8;
/// Nodes whose readers are remembered.
const NODES: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// State of a fetch, as those see it who wait for its bytes. It is sent anew with every step.
#[derive(Debug, Clone)]
pub(super) enum FetchState {
    /// More bytes are to come.
    Running,
    /// The fetch has ended before all bytes came.
    Failed(Arc<AttemptError>),
}

/// A range of a content on its way here. Its sender is dropped when the fetch ends.
#[derive(Debug, Clone)]
pub(super) struct Fetch {
    digest: Digest,
    range: Range<u64>,
    state: watch::Receiver<FetchState>,
}

impl Fetch {
    fn is_running(&self) -> bool {
        self.state.has_changed().is_ok()
    }

    fn brings(&self, offset: u64) -> bool {
        self.range.contains(&offset)
    }
}

/// Readers of one node, and what is fetched for them.
#[derive(Debug, Default)]
struct NodeReaders {
    ahead: ReadAhead,
    fetches: Vec<Fetch>,
}

/// All fetches under way, and the readers of each node.
#[derive(Debug)]
pub(super) struct InFlightFetches {
    nodes: Mutex<LruCache<Ino, NodeReaders>>,
    streams: Semaphore,
    count: AtomicU64,
}

impl InFlightFetches {
    pub(super) fn new() -> Self {
        Self {
            nodes: Mutex::new(LruCache::new(NODES)),
            streams: Semaphore::new(STREAMS),
            count: AtomicU64::new(0),
        }
    }

    /// Returns the fetch that brings the first byte of `wanted`. If there is none, calls `begin` for each
    /// range of the read-ahead window that is neither here nor on its way.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn join_or_begin(
        &self,
        store: &Store,
        (ino, content): (Ino, ContentRef),
        wanted: &Range<u64>,
        mut begin: impl FnMut(Range<u64>) -> watch::Receiver<FetchState>,
    ) -> Result<watch::Receiver<FetchState>, store::Error> {
        let mut nodes = lock(&self.nodes);
        let readers = nodes.get_or_insert_mut(ino, NodeReaders::default);
        readers.fetches.retain(|fetch| fetch.digest == content.digest && fetch.is_running());
        if let Some(fetch) = readers.fetches.iter().find(|fetch| fetch.brings(wanted.start)) {
            return Ok(fetch.state.clone());
        }
        let window = readers.ahead.window(wanted, content.size);
        let mut first = None;
        for missing in store.missing(ino, window)? {
            for uncovered in without_fetches(missing, &readers.fetches) {
                for range in pieces(uncovered) {
                    let state = begin(range.clone());
                    first.get_or_insert_with(|| state.clone());
                    readers.fetches.push(Fetch { digest: content.digest, range, state });
                }
            }
        }
        Ok(first.unwrap_or_else(|| watch::Sender::new(FetchState::Running).subscribe()))
    }

    /// Waits for one of the few streams; dropping the answer gives it back.
    pub(super) async fn stream(&self, metrics: &Metrics) -> Stream<'_> {
        let permit = self.streams.acquire().await.expect("streams are never closed");
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        metrics.ranges_in_flight_max.fetch_max(count, Ordering::Relaxed);
        Stream { _permit: permit, count: &self.count }
    }
}

/// Permit for one request for a range, counted while it lives.
pub(super) struct Stream<'a> {
    _permit: SemaphorePermit<'a>,
    count: &'a AtomicU64,
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Parts of `range` that no fetch brings already.
fn without_fetches(range: Range<u64>, fetches: &[Fetch]) -> Vec<Range<u64>> {
    let mut covered: Vec<&Range<u64>> = fetches
        .iter()
        .map(|fetch| &fetch.range)
        .filter(|covered| covered.start < range.end && covered.end > range.start)
        .collect();
    covered.sort_by_key(|covered| covered.start);
    let mut uncovered = Vec::new();
    let mut at = range.start;
    for covered in covered {
        if covered.start > at {
            uncovered.push(at..covered.start);
        }
        at = at.max(covered.end);
    }
    if at < range.end {
        uncovered.push(at..range.end);
    }
    uncovered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_fetched_only_where_no_flight_brings_it() {
        let fetch = |range: Range<u64>| Fetch {
            digest: Digest::of_nothing(),
            range,
            state: watch::channel(FetchState::Running).1,
        };
        let fetches = [fetch(20..30), fetch(5..10), fetch(25..40)];
        assert_eq!(without_fetches(0..50, &fetches), [0..5, 10..20, 40..50]);
        assert!(without_fetches(22..28, &fetches).is_empty());
        assert_eq!(without_fetches(45..60, &fetches)[0], 45..60);
    }
}
