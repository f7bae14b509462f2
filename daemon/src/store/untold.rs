//! Files whose content became another one in place, and whose old pages the kernel may still have.
//!
//! Nobody has such a file open when that happens, and who opens it waits until the kernel has been told: else the first
//! pages would be those of the old content and the others of the new one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::node::Ino;

/// Numbers of changes that the kernel has not been told of, by inode.
#[derive(Debug)]
pub(crate) struct Untold {
    changes: Mutex<HashMap<Ino, u32>>,
    told: watch::Sender<()>,
}

impl Default for Untold {
    fn default() -> Self {
        Self { changes: Mutex::default(), told: watch::Sender::new(()) }
    }
}

impl Untold {
    /// A content changed, or what the kernel has of it is wrong. The caller has the tree locked, or the file open, so
    /// nobody opens it unheard of meanwhile, and tells the kernel afterwards.
    pub(crate) fn changed(&self, ino: Ino) {
        *self.lock().entry(ino).or_default() += 1;
    }

    /// The kernel has dropped what it had of a content before one change.
    pub(crate) fn told(&self, ino: Ino) {
        let mut changes = self.lock();
        if let Some(count) = changes.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                changes.remove(&ino);
                self.told.send_replace(());
            }
        }
    }

    /// True if the kernel may have pages of an older content.
    pub(crate) fn contains(&self, ino: Ino) -> bool {
        self.lock().contains_key(&ino)
    }

    /// Returns when it has none.
    pub(crate) async fn all_told(&self, ino: Ino) {
        let mut told = self.told.subscribe();
        while self.contains(ino) {
            // The sender lives as long as this.
            let _lives = told.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, u32>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
