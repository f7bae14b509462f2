//! Places in files at which something is to be fetched before a reader who comes there misses it.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;

use lru::LruCache;

use crate::store::Ino;
use crate::sync::mutex::lock;

/// Files whose milestones are remembered.
const FILES: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// Milestones of the files that are being read.
#[derive(Debug)]
pub(super) struct Milestones(Mutex<LruCache<Ino, Vec<Range<u64>>>>);

impl Milestones {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(FILES)))
    }

    /// Sets those of a file, each a range within which a read begins; the former ones are forgotten.
    pub(super) fn set(&self, ino: Ino, places: Vec<Range<u64>>) {
        let mut files = lock(&self.0);
        match places.is_empty() {
            true => files.pop(&ino),
            false => files.put(ino, places),
        };
    }

    /// True if a read at `offset` has come to a milestone, which is forgotten with that.
    pub(super) fn reached(&self, ino: Ino, offset: u64) -> bool {
        let mut files = lock(&self.0);
        let Some(places) = files.get_mut(&ino) else { return false };
        let Some(index) = places.iter().position(|place| place.contains(&offset)) else {
            return false;
        };
        places.swap_remove(index);
        if places.is_empty() {
            files.pop(&ino);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_milestone_is_reached_once_and_by_who_reads_there_only() {
        let milestones = Milestones::new();
        milestones.set(Ino(7), vec![10..20, 50..60]);
        assert!(!milestones.reached(Ino(7), 9) && !milestones.reached(Ino(8), 10));
        assert!(milestones.reached(Ino(7), 19));
        assert!(!milestones.reached(Ino(7), 19));
        assert!(milestones.reached(Ino(7), 50));
        assert!(lock(&milestones.0).is_empty());
    }
}
