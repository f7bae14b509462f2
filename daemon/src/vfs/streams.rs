//! The directories that are open, by the number that the kernel knows each by.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::Ino;

use super::handles::first_number;
use super::{Error, HandleId};

/// Use of the kernel's cache of a directory's entries by one reader.
///
/// The kernel looks for the position of a reader in its cache. When another reader has had the directory
/// read anew meanwhile, and the entry at that position has gone, it finds no such position and ends the stream
/// (`fuse_readdir_cached`, Linux 6.18). So of all streams of one directory only one uses the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirCache {
    /// The kernel may answer from the entries that it has cached.
    Allowed,
    /// The kernel asks us for each entry.
    Bypass,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct DirStream {
    pub(super) ino: Ino,
    cache: DirCache,
    /// The cookie of the last entry when the reading began.
    end: AtomicU64,
}

impl DirStream {
    /// The cookie behind which nothing is read: what comes later is seen after `rewinddir`.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// The reading begins again, in a directory whose last entry has this cookie now.
    pub(super) fn rewind(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }
}

/// All open directories.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Open>);

#[derive(Debug)]
struct Open {
    last: u64,
    streams: HashMap<HandleId, Arc<DirStream>>,
    /// Directories one stream of which the kernel caches.
    cached: HashSet<Ino>,
}

impl Default for Open {
    fn default() -> Self {
        Self { last: first_number(), streams: HashMap::new(), cached: HashSet::new() }
    }
}

impl Streams {
    /// Opens a directory again under the number that a daemon before this one has given it. Its kernel may have cached
    /// entries, of which nobody knows any more.
    pub(super) fn insert_again(&self, id: HandleId, ino: Ino, end: u64) {
        let mut open = self.lock();
        let stream =
            || Arc::new(DirStream { ino, cache: DirCache::Bypass, end: AtomicU64::new(end) });
        open.streams.entry(id).or_insert_with(stream);
    }

    pub(super) fn contains(&self, id: HandleId) -> bool {
        self.lock().streams.contains_key(&id)
    }

    /// Opens a directory whose last entry has the cookie `end`.
    pub(super) fn insert(&self, ino: Ino, end: u64) -> (HandleId, DirCache) {
        let mut open = self.lock();
        let cache = if open.cached.insert(ino) { DirCache::Allowed } else { DirCache::Bypass };
        open.last += 1;
        let id = HandleId(open.last);
        let stream = DirStream { ino, cache, end: AtomicU64::new(end) };
        open.streams.insert(id, Arc::new(stream));
        (id, cache)
    }

    pub(super) fn get(&self, id: HandleId) -> Result<Arc<DirStream>, Error> {
        self.lock().streams.get(&id).cloned().ok_or(Error::BadHandle)
    }

    pub(super) fn remove(&self, id: HandleId) -> Result<(), Error> {
        let mut open = self.lock();
        let stream = open.streams.remove(&id).ok_or(Error::BadHandle)?;
        if stream.cache == DirCache::Allowed {
            open.cached.remove(&stream.ino);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
