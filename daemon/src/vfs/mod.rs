//! What POSIX means on the local store: one family of operations a file.
//!
//! It knows neither the kernel nor the network. Every operation on names and attributes is one
//! transaction of the store and never waits for the server, once all names have been here; only bytes that are not here are
//! awaited, in the `async` twins of the operations that may need them. Permissions are checked by
//! the kernel (`default_permissions`), as is a mount that is read-only; what POSIX says beyond them is said here.
//!
//! Access times are kept only as far as programs set them: reading does not change them, as with
//! the mount option `noatime`.

mod acl;
mod allocate;
mod attributes;
mod caller;
mod copy;
mod create;
mod directory;
mod error;
mod handles;
mod lend;
mod link;
mod lookup;
mod open;
mod pinned;
mod presentation;
mod read;
mod remove;
mod rename;
mod seek;
mod space;
mod streams;
#[cfg(test)]
mod tests;
mod write;
mod xattr;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use miaofs::protocol::name::NAME_MAX;

use crate::store::{self, Change, Ino, Store, View};
use crate::sync::Engine;

pub(crate) use allocate::{Allocation, ByteRange};
pub(crate) use attributes::{AttributeChange, Time};
pub(crate) use caller::Caller;
pub(crate) use create::NodeSpec;
pub(crate) use directory::DirEntry;
pub(crate) use error::Error;
pub(crate) use handles::HandleId;
pub(crate) use lookup::Stat;
pub(crate) use open::{FileOrigin, IfExists, OpenMode, Truncate};
pub(crate) use presentation::Presentation;
pub(crate) use rename::RenameMode;
pub(crate) use space::{BLOCK_SIZE, Space};
pub(crate) use streams::DirCache;
pub(crate) use write::{ModeEffect, Privileges, Written};
pub(crate) use xattr::SetXattr;

use handles::{Handles, PinnedFiles};
use streams::Streams;

/// Place that `close` and `fsync` wait for bytes to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SyncMode {
    /// For this machine's disk (`fsync`), or for nothing (`close`).
    #[default]
    Local,
    /// For the server as well: the mount option `sync=remote`.
    Remote,
}

/// Origin and keeper of the session with the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionState {
    /// Begun by this daemon, and ends with it.
    Alone,
    /// Begun by this daemon, and kept when it dies.
    Kept,
    /// Begun by a daemon that died: programs have files open that this one does not know.
    Inherited,
}

/// Settings of a mount.
#[derive(Debug, Clone)]
pub(crate) struct MountSettings {
    /// Place that `close` and `fsync` wait for.
    pub sync: SyncMode,
    /// Origin and keeper of the session with the kernel.
    pub session: SessionState,
    /// Owners and permissions that are shown.
    pub presentation: Presentation,
    /// The daemon's control socket, which the root directory names in an xattr; its directory is
    /// the state directory, whose disk bounds the free space.
    pub control_socket: PathBuf,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryName<'a> {
    /// The directory.
    pub parent: Ino,
    /// The name, as the kernel gives it: never empty, or with a `/` in it; `.` and `..` only where it looks a node up.
    pub name: &'a [u8],
}

/// The file system of one account's drive.
pub(crate) struct Vfs {
    store: Arc<Store>,
    engine: Engine,
    handles: Handles,
    pinned: PinnedFiles,
    streams: Streams,
    settings: MountSettings,
}

impl Vfs {
    /// A file system over a store and the engine that keeps it equal with the server.
    pub(crate) fn new(store: Arc<Store>, engine: Engine, settings: MountSettings) -> Arc<Self> {
        let (handles, streams) = (Handles::default(), Streams::default());
        let pinned = PinnedFiles::default();
        Arc::new(Self { store, engine, handles, pinned, streams, settings })
    }

    /// Returns what `close` and `fsync` wait for.
    pub(crate) fn sync_mode(&self) -> SyncMode {
        self.settings.sync
    }

    /// True if a name that the store does not know is none. Until then requests for names wait ([`Self::learn_names`]).
    pub(crate) fn knows_names(&self) -> bool {
        self.engine.knows_names()
    }

    /// Returns when all names of the drive are here.
    ///
    /// # Errors
    /// [`Error::Names`]; soon, when the server is away.
    pub(crate) async fn learn_names(&self) -> Result<(), Error> {
        Ok(self.engine.learn_names().await?)
    }

    /// Returns when the kernel has dropped the pages that it had of a file before a change of the server.
    pub(crate) async fn pages_are_current(&self, ino: Ino) {
        self.store.untold().all_told(ino).await;
    }

    /// True if it has.
    pub(crate) fn has_current_pages(&self, ino: Ino) -> bool {
        !self.store.untold().contains(ino)
    }

    /// Numbers of nodes by rising number, beginning after `after`, at most so many.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn nodes_after(&self, after: Ino, limit: usize) -> Result<Vec<Ino>, Error> {
        Ok(self.store.nodes_after(after, limit)?)
    }

    /// The kernel has dropped them.
    pub(crate) fn pages_were_dropped(&self, ino: Ino) {
        self.store.untold().told(ino);
    }

    /// Does what a request asks for, which may be done once only: one that the daemon before this one has done and not
    /// answered is answered by `done`. `request` is the kernel's number of it.
    ///
    /// # Errors
    /// Those of either.
    pub(crate) fn once<T>(
        &self,
        request: u64,
        change: impl FnOnce(&Self) -> Result<T, Error>,
        done: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.settings.session {
            SessionState::Alone => change(self),
            SessionState::Inherited if self.store.has_done(request) => done(self),
            SessionState::Kept | SessionState::Inherited => {
                store::working_for(request, || change(self))
            }
        }
    }

    fn view<T>(&self, f: impl FnOnce(&mut View<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.store.view(f)
    }

    /// Applies `f` as one transaction.
    fn change<T>(&self, f: impl FnOnce(&mut Change<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.store.change(f)
    }
}

/// Refuses a name that is longer than an entry may be.
fn check_name(name: &[u8]) -> Result<(), Error> {
    if name.len() > NAME_MAX { Err(Error::NameTooLong) } else { Ok(()) }
}

/// The clock in nanoseconds since 1970, as the store keeps times.
fn now() -> i64 {
    let nanoseconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    };
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}
