//! Inodes that outlive their last name though no content of theirs is open: directories and special files.
//!
//! The kernel opens these by itself and tells nobody, but it sends FORGET when it drops an inode for good.
//! So whoever takes the last name away pins the inode: it stays as an orphan, like an unlinked file that
//! is open, until [`Store::forget`](crate::store::Store::forget). Pins are in memory only: closing the store
//! and recovery reap all orphans. There are never more than the kernel has inodes in use.
//!
//! They have a lock of their own, below the tree's: the kernel forgets very many inodes, and none of that waits for the tree.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::node::Ino;

/// The inodes that are pinned, and those that were. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pinned(Arc<Mutex<Pins>>);

#[derive(Debug, Default)]
struct Pins {
    /// Files, too, are open without being known: by programs that opened them with a daemon before this one.
    with_files: bool,
    inos: HashSet<Ino>,
    /// To be reaped with the next transaction, if they have no name: it saves one for each.
    released: Vec<Ino>,
}

impl Pinned {
    /// Has these orphans stay, and from now on files as well as all else that loses its last name: programs may have
    /// open what nobody here has.
    pub(crate) fn pin_files(&self, orphans: Vec<Ino>) {
        let mut pins = self.lock();
        pins.with_files = true;
        pins.inos.extend(orphans);
    }

    /// True if files are to be pinned, too.
    pub(crate) fn pins_files(&self) -> bool {
        self.lock().with_files
    }

    /// Has an inode stay without a name.
    pub(crate) fn pin(&self, ino: Ino) {
        self.lock().inos.insert(ino);
    }

    /// True if an inode stays without a name.
    pub(crate) fn holds(&self, ino: Ino) -> bool {
        self.lock().inos.contains(&ino)
    }

    /// Releases an inode, if it was pinned.
    pub(crate) fn release(&self, ino: Ino) {
        let mut pins = self.lock();
        if pins.inos.remove(&ino) {
            pins.released.push(ino);
        }
    }

    /// Releases all inodes.
    pub(crate) fn release_all(&self) {
        let Pins { inos, released, .. } = &mut *self.lock();
        released.extend(inos.drain());
    }

    /// Inodes that the next transaction is to reap, if they have no name.
    pub(crate) fn released(&self) -> Vec<Ino> {
        self.lock().released.clone()
    }

    /// Forgets the first `count` of what was released: a transaction has reaped these.
    pub(crate) fn forget_released(&self, count: usize) {
        self.lock().released.drain(..count);
    }

    /// True if an inode is to be reaped.
    pub(crate) fn has_released(&self) -> bool {
        !self.lock().released.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Pins> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
