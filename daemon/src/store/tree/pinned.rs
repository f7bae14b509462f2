//! Inodes that outlive their last name though no content of theirs is open: directories and special files.
//!
//! The kernel opens these by itself and tells nobody, but it sends FORGET when it drops an inode for good.
//! So whoever takes the last name away pins the inode: it stays as an orphan, like an unlinked file that
//! is open, until [`Store::forget`](crate::store::Store::forget). Pins are in memory only: closing the store
//! and recovery reap all orphans. There are never more than the kernel has inodes in use.

use std::collections::HashSet;

use crate::store::node::Ino;

/// The inodes that are pinned, and those that were.
#[derive(Debug, Default)]
pub(crate) struct Pinned {
    inos: HashSet<Ino>,
    /// To be reaped with the next transaction, if they have no name: it saves one for each.
    released: Vec<Ino>,
}

impl Pinned {
    /// Has an inode stay without a name.
    pub(crate) fn pin(&mut self, ino: Ino) {
        self.inos.insert(ino);
    }

    /// True if an inode stays without a name.
    pub(crate) fn holds(&self, ino: Ino) -> bool {
        self.inos.contains(&ino)
    }

    /// Releases an inode, if it was pinned.
    pub(crate) fn release(&mut self, ino: Ino) {
        if self.inos.remove(&ino) {
            self.released.push(ino);
        }
    }

    /// Releases all inodes.
    pub(crate) fn release_all(&mut self) {
        self.released.extend(self.inos.drain());
    }

    /// Inodes that the next transaction is to reap, if they have no name.
    pub(crate) fn released(&self) -> &[Ino] {
        &self.released
    }

    /// Forgets what was released: a transaction has reaped it.
    pub(crate) fn clear_released(&mut self) {
        self.released.clear();
    }
}
