//! What is read of the tree while a long transaction changes it: all that was committed before.
//!
//! Whoever changes the tree holds its lock to the end, and a batch of ten thousand changes of the server takes a good
//! part of a second. Nothing else is committed meanwhile, so a second connection to the database, which sees what was
//! committed, answers for the tree until then: names and attributes are those from before the batch, all of them.

use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::transaction::Tree;
use crate::store::disk::database::Database;
use crate::store::error::Error;

/// The place of the frozen tree: empty unless a long transaction runs.
///
/// It is locked before the tree. A reader keeps it locked until it has the tree, so a long transaction cannot come in
/// between.
#[derive(Default)]
pub(crate) struct FrozenTree(RwLock<Option<Mutex<Tree>>>);

/// The lock of the tree for a transaction. After a long one, readers come back to the tree before the lock is given back.
pub(crate) struct TreeLock<'a> {
    /// The tree.
    pub tree: MutexGuard<'a, Tree>,
    frozen: Option<&'a FrozenTree>,
}

impl FrozenTree {
    /// Reads the frozen tree if there is one, else the tree itself.
    pub(crate) fn read<'a, T>(
        &self,
        lock: impl FnOnce() -> MutexGuard<'a, Tree>,
        read: impl FnOnce(&mut Tree) -> T,
    ) -> T {
        let slot = self.slot();
        if let Some(frozen) = &*slot {
            // A reader that panicked changed nothing but caches.
            return read(&mut frozen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        }
        let mut tree = lock();
        drop(slot);
        read(&mut tree)
    }

    /// Locks the tree for a long transaction; meanwhile `connect`'s connection answers those who read.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn freeze<'a>(
        &'a self,
        lock: impl FnOnce() -> Result<MutexGuard<'a, Tree>, Error>,
        connect: impl FnOnce() -> Result<Database, Error>,
    ) -> Result<TreeLock<'a>, Error> {
        let mut slot = self.slot_mut();
        let tree = lock()?;
        *slot = Some(Mutex::new(tree.frozen(connect()?)?));
        Ok(TreeLock { tree, frozen: Some(self) })
    }

    fn slot(&self) -> RwLockReadGuard<'_, Option<Mutex<Tree>>> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn slot_mut(&self) -> RwLockWriteGuard<'_, Option<Mutex<Tree>>> {
        self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<'a> TreeLock<'a> {
    /// The lock for a transaction that others can wait for.
    pub(crate) fn short(tree: MutexGuard<'a, Tree>) -> Self {
        Self { tree, frozen: None }
    }
}

impl Drop for TreeLock<'_> {
    fn drop(&mut self) {
        if let Some(frozen) = self.frozen {
            *frozen.slot_mut() = None;
        }
    }
}
