//! The files that are open, by the number that the kernel knows each by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::store::{Access, Content, Ino, Loan};

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
    /// Data file that is lent to the kernel for it.
    pub(super) loan: Mutex<Option<Loan>>,
}

impl Handle {
    pub(super) fn new(content: Content) -> Self {
        let may_have_capability = AtomicBool::new(true);
        Self { content, may_have_capability, loan: Mutex::default() }
    }
}

/// All open files.
///
/// The lowest bit of a number says whether the file may be written to, so that a daemon which goes on with the session of
/// another one can open it again.
#[derive(Debug)]
pub(super) struct Handles {
    last: AtomicU64,
    open: RwLock<HashMap<HandleId, Arc<Handle>>>,
}

impl Default for Handles {
    fn default() -> Self {
        Self { last: AtomicU64::new(first_number()), open: RwLock::default() }
    }
}

impl Handles {
    pub(super) fn insert(&self, handle: Handle, access: Access) -> HandleId {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let id = HandleId(number << 1 | u64::from(access == Access::Write));
        self.insert_again(id, handle);
        id
    }

    /// Takes in a file under the number that a daemon before this one has given it.
    pub(super) fn insert_again(&self, id: HandleId, handle: Handle) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.entry(id).or_insert_with(|| Arc::new(handle));
    }

    pub(super) fn contains(&self, id: HandleId) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
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

/// Number above all that a daemon before this one gave out: milliseconds since the machine's start, which no session with the kernel
/// outlives and nobody sets back, and room for a million a millisecond.
pub(super) fn first_number() -> u64 {
    let up = Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default();
    (up.as_millis() as u64) << 20
}

impl HandleId {
    /// Access with which a file of this number was opened.
    pub(super) const fn access(self) -> Access {
        if self.0 & 1 == 1 { Access::Write } else { Access::Read }
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
