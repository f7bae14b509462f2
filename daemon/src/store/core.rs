//! The store itself: its parts, each with its lock, and how the tree is read and changed.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::disk::data_files::DataFiles;
use super::disk::journal::Journal;
use super::disk::lock::Lock;
use super::disk::pending_rows;
use super::disk::reserve::Reserve;
use super::disk::seal::Sealer;
use super::disk::space::DiskSpace;
use super::error::{Error, while_doing};
use super::inodes::inode::Inode;
use super::inodes::lent_inodes::LentInodes;
use super::invalidation::Invalidation;
use super::lock_waits::{LockMeter, LockWaitCounts};
use super::node::{Access, Ino};
use super::tree::change::Change;
use super::tree::frozen::FrozenTree;
use super::tree::pinned::Pinned;
use super::tree::transaction::{Committed, Tree};
use super::tree::view::View;
use super::untold::Untold;

/// Closed inodes that may wait for a transaction to write their size and times.
const WAITING_MAX: usize = 256;

/// Data files whose removal is noted at once, while others wait for the tree.
const UNLINKS: usize = 1000;

/// Limits of the space that the store takes on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreOptions {
    /// Bytes of clean content that may be kept.
    pub cache_limit: u64,
    /// Bytes of the disk that are left free.
    pub free_floor: u64,
}

/// One state directory, open.
pub(crate) struct Store {
    pub(super) options: StoreOptions,
    pub(super) tree: Arc<Mutex<Tree>>,
    pub(super) lock_waits: LockMeter,
    /// Requests that the daemon before this one has done, and may not have answered.
    pub(super) done: HashSet<u64>,
    /// Inodes that the kernel may use without a name.
    pub(super) pinned: Pinned,
    /// Answers those who read while a long transaction has the tree.
    pub(super) frozen: FrozenTree,
    pub(super) data: Arc<DataFiles>,
    /// Files that programs may write to unseen.
    pub(super) lent: LentInodes,
    pub(super) journal: Journal,
    /// Read while data files may be unlinked of which the tree does not tell any more.
    pub(super) unlinking: RwLock<()>,
    pub(super) dirtied: watch::Sender<u64>,
    /// Hears of what changed under the kernel's feet and not by the server.
    pub(super) invalidations: OnceLock<UnboundedSender<Invalidation>>,
    pub(super) space: DiskSpace,
    /// Changes of contents that the kernel has not been told of.
    pub(super) untold: Untold,
    /// Room that is given up when the disk is full.
    pub(super) reserve: Reserve,
    /// Wakes the thread that syncs the journal, which ends when it is dropped.
    pub(super) timer: OnceLock<TimerThread>,
    /// Has the thread that commits the database do so soon; it ends in the same way.
    pub(super) committer: OnceLock<TimerThread>,
    pub(super) dir: PathBuf,
    /// Counts the reads and the changes of programs.
    pub(super) activity: AtomicU64,
    /// Set once the database was found damaged while it was in use.
    pub(super) is_damaged: AtomicBool,
    /// Seals the directory, after the tree with its connection is gone.
    pub(super) sealer: Sealer,
    /// Given back last.
    pub(super) _lock: Lock,
}

/// The thread of the timer; dropping this ends it and waits until it has ended.
#[derive(Debug)]
pub(super) struct TimerThread {
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TimerThread {
    /// A thread that ends when the other side of `wake` is gone.
    pub(super) fn new(wake: Sender<()>, thread: JoinHandle<()>) -> Self {
        Self { wake: Some(wake), thread: Some(thread) }
    }

    /// Has the thread do its work now.
    pub(super) fn wake(&self) {
        let _ending = self.wake.as_ref().map(|wake| wake.send(()));
    }

    /// Sender that wakes it, for another thread, which has to end before this one.
    pub(super) fn waker(&self) -> Option<Sender<()>> {
        self.wake.clone()
    }
}

impl Drop for TimerThread {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take()
            // The thread itself may be the last that has the store.
            && thread.thread().id() != std::thread::current().id()
        {
            let _panicked = thread.join();
        }
    }
}

/// Proof that all that was acknowledged before survives power loss. Only the store makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Durable(pub(super) ());

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Reads the tree at one moment; the last one before a long transaction, while such runs.
    pub(crate) fn view<T, E: From<Error>>(
        &self,
        read: impl FnOnce(&mut View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.frozen.read(|| self.tree(), |tree| read(&mut View { tree }))
    }

    /// Changes the tree in one transaction; an `Err` undoes all of it.
    pub(crate) fn change<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transact(|tree| change(&mut Change { view: View { tree } }))
    }

    /// Makes all that was acknowledged survive power loss.
    pub(crate) fn sync_all(&self) -> Result<Durable, Error> {
        let folder = std::fs::File::open(self.data.folder())
            .map_err(while_doing("opening the folder of data files"))?;
        rustix::fs::syncfs(&folder)
            .map_err(|error| while_doing("syncing the data files")(error.into()))?;
        self.sync_tree()
    }

    /// Makes the tree (names, attributes, what is dirty) survive power loss, not the bytes of files.
    pub(crate) fn sync_tree(&self) -> Result<Durable, Error> {
        let _unlinking = self.unlinking.read().unwrap_or_else(PoisonError::into_inner);
        let mut gone = {
            let mut tree = self.tree();
            tree.transact(|tree| tree.reap_released().and_then(|()| tree.flush_all_attributes()))?;
            tree.db.commit_all()?;
            std::mem::take(&mut tree.pending_unlinks)
        };
        let mut unlinked = self.journal.sync();
        // Very many may have been removed, and nobody waits for the tree until all their rows are gone.
        while unlinked.is_ok() && !gone.is_empty() {
            let some = gone.split_off(gone.len().saturating_sub(UNLINKS));
            unlinked = self.unlink(&some).inspect_err(|_| gone.extend(some));
        }
        self.tree().pending_unlinks.extend(gone);
        unlinked.map(|()| Durable(()))
    }

    /// Unlinks data files whose nodes' end survives power loss.
    fn unlink(&self, gone: &[Ino]) -> Result<(), Error> {
        gone.iter().try_for_each(|ino| self.data.remove(*ino))?;
        self.tree().transact(|tree| {
            tree.begin()?;
            gone.iter().try_for_each(|ino| pending_rows::remove_pending_unlink(&tree.db, *ino))
        })?;
        Ok(())
    }

    /// Returns when the data files are gone that others are about to unlink.
    pub(super) fn wait_for_unlinks(&self) {
        drop(self.unlinking.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Has all that was committed so far survive power loss.
    pub(super) fn sync_journal(&self) -> Result<(), Error> {
        self.tree().db.commit_all()?;
        self.journal.sync()
    }

    /// Waits for the tree's lock since the store was opened.
    pub(crate) fn lock_waits(&self) -> LockWaitCounts {
        self.lock_waits.counts()
    }

    /// True if the daemon before this one, with whose session this one goes on, has done what a request asks for.
    pub(crate) fn has_done(&self, request: u64) -> bool {
        self.done.contains(&request)
    }

    /// The kernel does not know this number any more. Without a name the node ends with the next change, or soon.
    pub(crate) fn forget(&self, ino: Ino) {
        self.pinned.release(ino);
    }

    /// Has the kernel drop what it has of a content.
    pub(crate) fn forget_pages(&self, ino: Ino) {
        self.untold.changed(ino);
        self.report([Invalidation::Content(ino)]);
    }

    /// Files whose old pages the kernel may still have.
    pub(crate) fn untold(&self) -> &Untold {
        &self.untold
    }

    /// A signal that changes whenever something became dirty.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.dirtied.subscribe()
    }

    /// Has `listener` hear what the kernel is to be told though no change of the server was applied. Only the first counts.
    pub(crate) fn report_to(&self, listener: UnboundedSender<Invalidation>) {
        let _first = self.invalidations.set(listener);
    }

    /// Tells whoever was named by [`Store::report_to`]. Nobody listens when nothing is mounted, and nobody opens a file then.
    pub(super) fn report(&self, invalidations: impl IntoIterator<Item = Invalidation>) {
        let Some(listener) = self.invalidations.get() else { return };
        for invalidation in invalidations {
            let _ending = listener.send(invalidation);
        }
    }

    /// Runs one transaction and tells those who wait for something dirty.
    pub(super) fn transact<T, E: From<Error>>(
        &self,
        edit: impl FnOnce(&mut Tree) -> Result<T, E>,
    ) -> Result<T, E> {
        self.give_rows_room();
        let (answer, committed, revived, is_first) = {
            let mut tree = self.tree();
            let (answer, committed) = tree.transact(edit)?;
            (answer, committed, std::mem::take(&mut tree.revived), tree.db.announce())
        };
        if is_first {
            self.wake_committer();
        }
        let entry = |(parent, name)| Invalidation::Entry { parent, name };
        self.report(revived.into_iter().map(entry));
        match committed {
            Committed::Dirty => {
                self.activity.fetch_add(1, Ordering::Relaxed);
                self.notify_dirty();
            }
            Committed::Quiet => {}
        }
        Ok(answer)
    }

    /// Sees to it that the disk has room for a transaction: else no name could be removed, to free some. The timer then
    /// gives up cached bytes.
    pub(super) fn give_rows_room(&self) {
        if self.reserve.is_needed() && self.reserve.release() {
            tracing::warn!("the disk is full: what was kept in reserve for names is given up");
            self.wake_timer();
        }
    }

    /// Has the database commit soon.
    pub(super) fn wake_committer(&self) {
        self.committer.get().map(TimerThread::wake);
    }

    fn wake_timer(&self) {
        self.timer.get().map(TimerThread::wake);
    }

    pub(super) fn notify_dirty(&self) {
        self.dirtied.send_modify(|count| *count += 1);
    }

    pub(super) fn tree(&self) -> MutexGuard<'_, Tree> {
        let locked = self.lock_waits.lock(&self.tree);
        locked.expect("a transaction that panicked left the tree in an unknown state")
    }

    /// The state of a regular file that may not be open.
    pub(super) fn inode(&self, ino: Ino) -> Result<Arc<Inode>, Error> {
        self.tree().file_inode(ino)
    }

    /// Ends a handle; the last one of a file without a name ends the file.
    pub(super) fn close(&self, inode: &Inode, access: Access) -> Result<(), Error> {
        let mut tree = self.tree();
        inode.closed(access);
        if inode.writers() > 0 {
            drop(tree);
            if access == Access::Write {
                self.notify_dirty();
            }
            return Ok(());
        }
        if inode.attributes().dirty {
            tree.flush_attributes_later(inode.ino);
        }
        let is_held = inode.is_open() || tree.pinned.holds(inode.ino);
        let ends = !is_held && tree.record(inode.ino)?.is_orphan();
        if ends || tree.waiting_to_flush() > WAITING_MAX {
            tree.transact(|tree| if ends { tree.reap(inode.ino) } else { tree.begin().map(drop) })?;
        }
        drop(tree);
        if access == Access::Write || ends {
            self.notify_dirty();
        }
        Ok(())
    }
}
