//! The threads that open files: what they have done tells what they are likely to do with the next one.
//!
//! Guesses only: a wrong one costs time, never a byte.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::vfs::HandleId;

/// Size up to which a file counts as small, in bytes: a write or two, which cost no more than it does to have the kernel write by itself.
const SMALL: u64 = 32 * 1024;
/// Makers of small files that are remembered.
const MAKERS: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

/// The threads that have files of the mount open, or have made some.
#[derive(Debug)]
pub(super) struct Threads {
    readers: HashMap<HandleId, u32>,
    /// Number of files that a thread has open to read.
    reads: HashMap<u32, u32>,
    /// Makers of files that are still open.
    makers: HashMap<HandleId, u32>,
    /// Threads the last of whose files was small.
    makers_of_small: LruCache<u32, ()>,
}

impl Default for Threads {
    fn default() -> Self {
        let (readers, reads, makers) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { readers, reads, makers, makers_of_small: LruCache::new(MAKERS) }
    }
}

impl Threads {
    /// A thread has opened a file to read only.
    pub(super) fn reads(&mut self, pid: u32, handle: HandleId) {
        self.readers.insert(handle, pid);
        *self.reads.entry(pid).or_default() += 1;
    }

    /// A thread has made a file.
    pub(super) fn makes(&mut self, pid: u32, handle: HandleId) {
        self.makers.insert(handle, pid);
    }

    /// A file was closed that has so many bytes; `None` if that is not known.
    pub(super) fn closed(&mut self, handle: HandleId, size: Option<u64>) {
        if let Some(pid) = self.readers.remove(&handle)
            && let Entry::Occupied(mut reads) = self.reads.entry(pid)
        {
            *reads.get_mut() -= 1;
            if *reads.get() == 0 {
                reads.remove();
            }
        }
        let Some(pid) = self.makers.remove(&handle) else { return };
        match size {
            Some(size) if size <= SMALL => drop(self.makers_of_small.put(pid, ())),
            _ => drop(self.makers_of_small.pop(&pid)),
        }
    }

    /// True if a thread has files of the mount open to read. If it makes one, it is likely to copy between the two
    /// (copy_file_range(2)), which is to be by reference, without the bytes; but of what the kernel reads by itself none may be missing.
    pub(super) fn may_copy(&self, pid: u32) -> bool {
        self.reads.contains_key(&pid)
    }

    /// True if the next file that a thread makes is likely to be small.
    pub(super) fn makes_small(&self, pid: u32) -> bool {
        self.makers_of_small.contains(&pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_makes_small_files_until_it_makes_a_large_one() {
        let mut threads = Threads::default();
        let mut make = |handle, size| {
            threads.makes(7, HandleId(handle));
            threads.closed(HandleId(handle), Some(size));
            (threads.makes_small(7), threads.makes_small(8))
        };
        assert_eq!(make(1, 0), (true, false));
        assert_eq!(make(2, SMALL), (true, false));
        assert_eq!(make(3, SMALL + 1), (false, false));
        assert!(threads.makers.is_empty());
    }

    #[test]
    fn a_thread_may_copy_while_it_has_something_open_to_read() {
        let mut threads = Threads::default();
        (1..3).for_each(|handle| threads.reads(7, HandleId(handle)));
        threads.closed(HandleId(1), None);
        assert!(threads.may_copy(7) && !threads.may_copy(8));
        threads.closed(HandleId(2), None);
        assert!(!threads.may_copy(7) && threads.reads.is_empty());
    }
}
