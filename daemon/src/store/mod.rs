//! The local store: what survives a crash of the daemon or of the machine.
//!
//! It knows the tree, what of it is dirty, and bytes; neither POSIX nor the network nor any policy.
//! One state directory holds, region by region:
//!
//! | region | what | why it can be trusted after a crash |
//! |---|---|---|
//! | `lock` | locked while a daemon has the directory open | the kernel gives the lock back |
//! | `state.db` (`schema.rs`) | names, attributes, which chunks are here, what is dirty, the cursor | SQLite: a transaction is there wholly or not at all |
//! | `state.db-wal` (`journal.rs`) | commits not yet worked into it | a killed process loses none; `sync` makes them durable |
//! | `data/XX/INO` (`data.rs`) | bytes of one file, holes where they are not here | the order below |
//! | `lost+found/` | data files that no row tells of | recovery moves them, nothing deletes them |
//!
//! The order between rows and bytes, and what a crash in between leaves:
//!
//! - A chunk is committed as dirty **before** its first byte changes: it is pushed though it is equal.
//! - Fetched bytes are written **before** their chunk is committed as here: they are fetched again.
//! - Chunks that a copy takes over by reference are committed as not here **before** the bytes in their place go,
//!   and these go only after that is durable; bytes copied beside them are written **before** they are committed as here.
//! - A file is cut **after** its new size is committed, and grows **before**: recovery makes it as long as the row says.
//! - Size and times of a file being written are in memory; its row says so (`unsettled`), and they are read from the data file.
//! - A hole is punched **after** its chunks are committed as dirty; where one was clean, after that is durable.
//! - Blocks of zeros are given back whenever nobody can write there: it changes no byte.
//! - Bytes are destroyed (unlink, eviction) only **after** the commit that gives them up is durable: power loss never brings back a row whose bytes are gone.
//! - A chunk committed as here counts as `fresh` until its bytes are known to be on the disk: after power loss it is fetched again.
//! - What a chunk held is on the disk **before** it is committed as dirty: power loss takes only what was written since.
//! - A data file that changed **after** the last commit that power loss left is not believed: its clean chunks are fetched again.
//!
//! Locks, in order: the content of one inode (`live.rs`), the tree (`tree.rs`), size and times of one inode.
//! Nothing waits for bytes to be read or written while the tree is locked.

mod acknowledge;
mod ahead;
mod apply;
mod blocking;
mod change;
mod chunks;
mod content;
mod content_rows;
mod copy;
mod data;
mod durable;
mod entries;
mod error;
mod evict;
mod fill;
mod holes;
mod journal;
mod kept;
mod live;
mod living;
mod lock;
mod meta;
mod migrations;
mod names;
mod node;
mod open;
mod pull;
mod push;
mod record;
mod recovery;
mod reference;
mod schema;
mod seek;
mod tree;
mod view;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use miaofs::protocol::files::Kind;
use tokio::sync::watch;

pub(crate) use ahead::{DirPosition, PrefetchLimits};
pub(crate) use blocking::run_blocking;
pub(crate) use change::Change;
pub(crate) use content::{Access, Availability, Content, Durable};
pub(crate) use copy::{Copied, CopyRange};
pub(crate) use error::Error;
pub(crate) use holes::Growth;
pub(crate) use node::{Attributes, Child, Ino, NewNode, Node};
pub(crate) use pull::{Invalidation, NameResolution, Resolution, Rules};
pub(crate) use push::{ChunkRead, DirtyNode, Pushed, Snapshot};
pub(crate) use seek::SeekWhence;
pub(crate) use view::View;

use data::DataFiles;
use error::while_doing;
use journal::{Journal, Timer};
use live::Live;
use lock::Lock;
use tree::{Committed, Tree};

/// Bytes that are fetched and kept track of as one: 64 KiB.
pub(crate) const BLOCK_SIZE: u64 = 64 * 1024;

/// Closed inodes that may wait for a transaction to write their size and times.
const WAITING_MAX: usize = 256;

/// How much room the store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreOptions {
    /// Bytes of clean content that may be kept.
    pub cache_limit: u64,
    /// Bytes of the disk that are left free.
    pub free_floor: u64,
}

/// One state directory, open.
pub(crate) struct Store {
    options: StoreOptions,
    tree: Mutex<Tree>,
    data: Arc<DataFiles>,
    journal: Journal,
    dirtied: watch::Sender<u64>,
    room: evict::Room,
    timer: OnceLock<Timer>,
    dir: PathBuf,
    /// Given back last.
    _lock: Lock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Reads the tree at one moment.
    pub(crate) fn view<T, E: From<Error>>(
        &self,
        read: impl FnOnce(&mut View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        read(&mut View { tree: &mut self.tree() })
    }

    /// Changes the tree in one transaction; an `Err` undoes all of it.
    pub(crate) fn change<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transact(|tree| change(&mut Change { view: View { tree } }))
    }

    /// Like [`Store::change`], then opens the node that it answers, even one without an entry (`O_TMPFILE`).
    pub(crate) fn change_and_open<T, E: From<Error>>(
        self: &Arc<Self>,
        access: Access,
        change: impl FnOnce(&mut Change<'_>) -> Result<(T, Ino), E>,
    ) -> Result<(T, Content), E> {
        let (answer, live) = self.transact(|tree| {
            let (answer, ino) = change(&mut Change { view: View { tree } })?;
            let live = opened(tree, ino, access)?;
            Ok::<_, E>((answer, live))
        })?;
        Ok((answer, Content { store: Arc::clone(self), live, access }))
    }

    /// Opens the content of a regular file.
    pub(crate) fn open_content(
        self: &Arc<Self>,
        ino: Ino,
        access: Access,
    ) -> Result<Content, Error> {
        let live = opened(&mut self.tree(), ino, access)?;
        Ok(Content { store: Arc::clone(self), live, access })
    }

    /// Makes all that was acknowledged survive power loss.
    pub(crate) fn sync_all(&self) -> Result<Durable, Error> {
        let folder = std::fs::File::open(self.data.folder())
            .map_err(while_doing("opening the folder of data files"))?;
        rustix::fs::syncfs(&folder)
            .map_err(|error| while_doing("syncing the data files")(error.into()))?;
        self.sync_tree()
    }

    /// A signal that changes whenever something became dirty.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.dirtied.subscribe()
    }

    /// Runs one transaction and tells those who wait for something dirty.
    fn transact<T, E: From<Error>>(
        &self,
        edit: impl FnOnce(&mut Tree) -> Result<T, E>,
    ) -> Result<T, E> {
        let (answer, committed) = self.tree().transact(edit)?;
        match committed {
            Committed::Dirty => self.tell_dirty(),
            Committed::Quiet => {}
        }
        Ok(answer)
    }

    fn tell_dirty(&self) {
        self.dirtied.send_modify(|count| *count += 1);
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().expect("a transaction that panicked left the tree in an unknown state")
    }

    /// The state of a regular file that may not be open.
    fn live(&self, ino: Ino) -> Result<Arc<Live>, Error> {
        live_file(&mut self.tree(), ino)
    }

    /// Ends a handle; the last one of a file without a name ends the file.
    fn close(&self, live: &Live, access: Access) -> Result<(), Error> {
        let mut tree = self.tree();
        live.closed(access);
        if live.writers() > 0 {
            drop(tree);
            if access == Access::Write {
                self.tell_dirty();
            }
            return Ok(());
        }
        if live.hot().unsettled {
            tree.settle_later(live.ino);
        }
        let ends = !live.is_open() && tree.record(live.ino)?.is_orphan();
        if ends || tree.waiting_to_settle() > WAITING_MAX {
            tree.transact(|tree| if ends { tree.bury(live.ino) } else { tree.begin().map(drop) })?;
        }
        drop(tree);
        if access == Access::Write || ends {
            self.tell_dirty();
        }
        Ok(())
    }
}

/// Counts a new handle on a regular file.
fn opened(tree: &mut Tree, ino: Ino, access: Access) -> Result<Arc<Live>, Error> {
    let live = live_file(tree, ino)?;
    tree.note_used(ino)?;
    live.opened(access);
    Ok(live)
}

fn live_file(tree: &mut Tree, ino: Ino) -> Result<Arc<Live>, Error> {
    match tree.present(ino)?.attributes.kind {
        Kind::File => tree.live(ino),
        _ => Err(Error::NoContent(ino)),
    }
}

#[cfg(test)]
mod tests;
