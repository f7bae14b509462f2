//! The inodes of which programs may write to the data files unseen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inode::Inode;
use crate::store::node::Ino;

/// All inodes that are lent for writing.
#[derive(Debug, Default)]
pub(crate) struct LentInodes(Mutex<HashMap<Ino, Arc<Inode>>>);

impl LentInodes {
    /// Takes in an inode.
    pub(crate) fn insert(&self, inode: Arc<Inode>) {
        self.lock().insert(inode.ino, inode);
    }

    /// An inode is not lent any more.
    pub(crate) fn remove(&self, ino: Ino) {
        let gone = self.lock().remove(&ino);
        drop(gone);
    }

    /// True if an inode is.
    pub(crate) fn contains(&self, ino: Ino) -> bool {
        self.lock().contains_key(&ino)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Inode>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Arc<Inode>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
