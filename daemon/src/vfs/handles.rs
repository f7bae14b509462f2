//! The files that are open, by the number that the kernel knows each by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::store::{Content, Ino};

use super::Error;

/// Number of an open file; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HandleId(pub u64);

/// An open file; dropping it closes it.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) content: Content,
    /// Set while a write must first look for file capabilities that it takes away.
    pub(super) may_have_capability: AtomicBool,
}

impl Handle {
    pub(super) fn new(content: Content) -> Self {
        let may_have_capability = AtomicBool::new(true);
        Self { content, may_have_capability }
    }
}

/// All open files.
#[derive(Debug, Default)]
pub(super) struct Handles {
    last: AtomicU64,
    open: RwLock<HashMap<HandleId, Arc<Handle>>>,
}

impl Handles {
    pub(super) fn insert(&self, handle: Handle) -> HandleId {
        let id = HandleId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(id, Arc::new(handle));
        id
    }

    pub(super) fn get(&self, id: HandleId) -> Result<Arc<Handle>, Error> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&id).cloned().ok_or(Error::BadHandle)
    }

    /// Has the next write to each open file look for capabilities: one got some.
    pub(super) fn recheck_capabilities(&self) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        for handle in open.values() {
            handle.may_have_capability.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self, id: HandleId) -> Result<Arc<Handle>, Error> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.remove(&id).ok_or(Error::BadHandle)
    }
}

/// Files that are held open by us alone ([`super::pinned`]).
#[derive(Debug, Default)]
pub(super) struct PinnedFiles(Mutex<HashMap<Ino, Content>>);

impl PinnedFiles {
    pub(super) fn insert(&self, content: Content) {
        let before = self.lock().insert(content.ino(), content);
        drop(before);
    }

    pub(super) fn remove(&self, ino: Ino) -> Option<Content> {
        self.lock().remove(&ino)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Content>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
