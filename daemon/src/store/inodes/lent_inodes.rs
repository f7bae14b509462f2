//! The inodes of which programs may write to the data files unseen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inode::Inode;
use crate::store::node::Ino;

/// Who may write to a data file that is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsedBy {
    /// Openings that are known here.
    Openings,
    /// Somebody else as well: a mapping outlived its opening, or the opening the daemon that knew it.
    Others,
}

/// An inode that is lent for writing.
#[derive(Debug, Clone)]
pub(crate) struct LentInode {
    pub(crate) inode: Arc<Inode>,
    pub(crate) used_by: UsedBy,
}

/// All inodes that are lent for writing.
#[derive(Debug, Default)]
pub(crate) struct LentInodes(Mutex<HashMap<Ino, LentInode>>);

impl LentInodes {
    /// Takes in an inode, or that others use it.
    pub(crate) fn insert(&self, inode: Arc<Inode>, used_by: UsedBy) {
        self.lock().insert(inode.ino, LentInode { inode, used_by });
    }

    /// An inode is not lent any more.
    pub(crate) fn remove(&self, ino: Ino) {
        let gone = self.lock().remove(&ino);
        drop(gone);
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<LentInode> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, LentInode>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
