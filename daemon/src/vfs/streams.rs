//! The directories that are open, by the number that the kernel knows each by.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::Ino;

use super::{Error, HandleId};

/// Whether the kernel may answer a reader of a directory from what it has kept of earlier readings.
///
/// The kernel looks for the place where a reader was in what it keeps. When another reader has it read
/// anew meanwhile, and the entry at that place has gone, it finds no such place and ends the stream
/// (`fuse_readdir_cached`, Linux 6.18). So of all streams of one directory only one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It may.
    Kept,
    /// It must ask.
    Asked,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ino: Ino,
    keeping: Keeping,
    /// The cookie of the last entry when the reading began.
    end: AtomicU64,
}

impl Stream {
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

#[derive(Debug, Default)]
struct Open {
    last: u64,
    streams: HashMap<HandleId, Arc<Stream>>,
    /// Directories of which one stream is kept.
    kept: HashSet<Ino>,
}

impl Streams {
    /// Opens a directory whose last entry has the cookie `end`.
    pub(super) fn insert(&self, ino: Ino, end: u64) -> (HandleId, Keeping) {
        let mut open = self.lock();
        let keeping = if open.kept.insert(ino) { Keeping::Kept } else { Keeping::Asked };
        open.last += 1;
        let id = HandleId(open.last);
        let stream = Stream { ino, keeping, end: AtomicU64::new(end) };
        open.streams.insert(id, Arc::new(stream));
        (id, keeping)
    }

    pub(super) fn get(&self, id: HandleId) -> Result<Arc<Stream>, Error> {
        self.lock().streams.get(&id).cloned().ok_or(Error::BadHandle)
    }

    pub(super) fn remove(&self, id: HandleId) -> Result<(), Error> {
        let mut open = self.lock();
        let stream = open.streams.remove(&id).ok_or(Error::BadHandle)?;
        if stream.keeping == Keeping::Kept {
            open.kept.remove(&stream.ino);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
