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
use super::milestones::Milestones;
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
    /// The bytes before this offset of the content are here, and more are to come.
    Running(u64),
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
    /// The part of its range that is still to come; empty once it has ended.
    fn to_come(&self) -> Range<u64> {
        let ended = self.state.has_changed().is_err();
        match *self.state.borrow() {
            FetchState::Running(here) if !ended => here.max(self.range.start)..self.range.end,
            FetchState::Running(_) | FetchState::Failed(_) => self.range.end..self.range.end,
        }
    }

    /// Waits until it has brought the bytes before `end`, or has ended: whether it has brought them.
    ///
    /// # Errors
    /// That of the fetch.
    pub(super) async fn has_brought(mut self, end: u64) -> Result<bool, Arc<AttemptError>> {
        let moved = |state: &FetchState| match state {
            FetchState::Running(here) => *here >= end,
            FetchState::Failed(_) => true,
        };
        // An error means that the fetch has ended and its sender is gone.
        let _ended = self.state.wait_for(moved).await.map(drop);
        match &*self.state.borrow() {
            FetchState::Failed(error) => Err(Arc::clone(error)),
            FetchState::Running(here) => Ok(*here >= end),
        }
    }

    /// Offset up to which it brings bytes.
    pub(super) fn end(&self) -> u64 {
        self.range.end
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
    milestones: Milestones,
    streams: Semaphore,
    count: AtomicU64,
}

impl InFlightFetches {
    pub(super) fn new() -> Self {
        Self {
            nodes: Mutex::new(LruCache::new(NODES)),
            milestones: Milestones::new(),
            streams: Semaphore::new(STREAMS),
            count: AtomicU64::new(0),
        }
    }

    /// Returns the first byte of `wanted` that is not here with the fetch that brings it; `None` when it is here by now. If there is
    /// no fetch, calls `begin` for each range of the read-ahead window that is neither here nor on its way. If there is one
    /// and the reader is past the middle of its window, calls it for those of the next window.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn join_or_begin(
        &self,
        store: &Store,
        (ino, content): (Ino, ContentRef),
        wanted: &Range<u64>,
        mut begin: impl FnMut(Range<u64>) -> watch::Receiver<FetchState>,
    ) -> Result<Option<(u64, Fetch)>, store::Error> {
        let mut nodes = lock(&self.nodes);
        let readers = nodes.get_or_insert_mut(ino, NodeReaders::default);
        readers.forget_ended(content.digest);
        let Some(missing) = store.missing(ino, wanted.clone())?.into_iter().next() else {
            return Ok(None);
        };
        let first = missing.start.max(wanted.start);
        let on_its_way = readers.fetches.iter().find(|it| it.to_come().contains(&missing.start));
        let joined = on_its_way.cloned();
        let window = match joined {
            Some(_) => readers.ahead.beyond(first, content.size),
            None => Some(readers.ahead.window(&(first..wanted.end), content.size)),
        };
        if let Some(window) = window {
            readers.begin(store, (ino, content), window, &mut begin)?;
            self.milestones.set(ino, readers.ahead.due(content.size));
        }
        // One that has just begun counts also when it has ended already: its error is what the reader is to hear.
        let begun = || readers.fetches.iter().rev().find(|it| it.range.contains(&missing.start));
        Ok(joined.or_else(|| begun().cloned()).map(|fetch| (first, fetch)))
    }

    /// True if a read at `offset` of bytes that are here makes [`Self::go_on`] due.
    pub(super) fn is_due(&self, ino: Ino, offset: u64) -> bool {
        self.milestones.reached(ino, offset)
    }

    /// Calls `begin` for each range to be fetched for a reader who has come to `offset` and has missed nothing.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn go_on(
        &self,
        store: &Store,
        (ino, content): (Ino, ContentRef),
        offset: u64,
        mut begin: impl FnMut(Range<u64>) -> watch::Receiver<FetchState>,
    ) -> Result<(), store::Error> {
        let mut nodes = lock(&self.nodes);
        let Some(readers) = nodes.get_mut(&ino) else { return Ok(()) };
        readers.forget_ended(content.digest);
        if let Some(window) = readers.ahead.beyond(offset, content.size) {
            readers.begin(store, (ino, content), window, &mut begin)?;
            self.milestones.set(ino, readers.ahead.due(content.size));
        }
        Ok(())
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

impl NodeReaders {
    fn forget_ended(&mut self, digest: Digest) {
        self.fetches.retain(|fetch| fetch.digest == digest && !fetch.to_come().is_empty());
    }

    /// Calls `begin` for each range of a window that is neither here nor on its way.
    fn begin(
        &mut self,
        store: &Store,
        (ino, content): (Ino, ContentRef),
        window: Range<u64>,
        begin: &mut impl FnMut(Range<u64>) -> watch::Receiver<FetchState>,
    ) -> Result<(), store::Error> {
        for missing in store.missing(ino, window)? {
            for uncovered in without_fetches(missing, &self.fetches) {
                for range in pieces(uncovered) {
                    let state = begin(range.clone());
                    self.fetches.push(Fetch { digest: content.digest, range, state });
                }
            }
        }
        Ok(())
    }
}

/// Parts of `range` that no fetch brings already.
fn without_fetches(range: Range<u64>, fetches: &[Fetch]) -> Vec<Range<u64>> {
    let mut covered: Vec<Range<u64>> = fetches
        .iter()
        .map(Fetch::to_come)
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
        let senders: Vec<_> = (0..4).map(|_| watch::Sender::new(FetchState::Running(0))).collect();
        let fetch = |range: Range<u64>, sender: &watch::Sender<FetchState>| Fetch {
            digest: Digest::of_nothing(),
            range,
            state: sender.subscribe(),
        };
        let mut fetches = vec![
            fetch(20..30, &senders[0]),
            fetch(5..10, &senders[1]),
            fetch(25..40, &senders[2]),
            fetch(70..80, &senders[3]),
        ];
        assert_eq!(without_fetches(0..50, &fetches), [0..5, 10..20, 40..50]);
        assert!(without_fetches(22..28, &fetches).is_empty());
        assert_eq!(without_fetches(45..60, &fetches)[0], 45..60);
        senders[3].send_replace(FetchState::Running(75));
        assert_eq!(without_fetches(70..80, &fetches)[0], 70..75, "what has come comes no more");
        drop(senders);
        fetches.truncate(1);
        assert_eq!(without_fetches(22..28, &fetches)[0], 22..28, "it has ended");
    }
}
