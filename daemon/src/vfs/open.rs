//! Opening, closing and syncing files and directories.

use std::sync::atomic::Ordering;

use miaofs::protocol::files::Kind;

use crate::store::{Access, Availability, Durable, Ino};
use crate::sync::Scope;

use super::create::make_at_free_name;
use super::handles::Handle;
use super::lookup::stat;
use super::write::Privileges;
use super::{
    Caller, EntryName, Error, HandleId, NodeSpec, SessionState, Stat, SyncMode, Vfs, check_name,
    now,
};

/// Treatment of the content on opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truncate {
    /// The content stays.
    No,
    /// `O_TRUNC`.
    Yes,
}

/// Mode of opening a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenMode {
    /// For reading only, or for writing as well.
    pub access: Access,
    /// Treatment of its content.
    pub truncate: Truncate,
}

/// Treatment of a file that is to be made and opened and is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfExists {
    /// Opens it.
    Open,
    /// `O_EXCL`: [`Error::Exists`].
    Fail,
}

/// Origin of a file that was opened by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileOrigin {
    /// The file was there.
    Existing,
    /// The file was made for this.
    Made,
}

impl Vfs {
    /// Opens a regular file.
    ///
    /// # Errors
    /// [`Error::Stale`], and what the store cannot do.
    pub(crate) fn open(&self, caller: Caller, ino: Ino, mode: OpenMode) -> Result<HandleId, Error> {
        let content = self.store.open_content(ino, mode.access)?;
        self.engine.came_to(&content, 0);
        let handle = Handle::new(content);
        if mode.truncate == Truncate::Yes {
            self.truncate(caller, &handle)?;
        }
        Ok(self.handles.insert(handle, mode.access))
    }

    /// Makes a regular file and opens it; one that is there already is opened. Both are one transaction, so a name
    /// that comes or goes meanwhile is either found or made.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::open`].
    pub(crate) fn create_and_open(
        &self,
        caller: Caller,
        entry: EntryName<'_>,
        permissions: u32,
        (mode, if_exists): (OpenMode, IfExists),
    ) -> Result<(Stat, HandleId, FileOrigin), Error> {
        check_name(entry.name)?;
        let new = NodeSpec { kind: Kind::File, mode: permissions, rdev: 0, target: None };
        let ((mut stat, found), content) = self.store.change_and_open(mode.access, |change| {
            let (found, ino) = match (change.entry(entry.parent, entry.name)?, if_exists) {
                (Some(_), IfExists::Fail) => return Err(Error::Exists),
                (Some(ino), IfExists::Open) => (FileOrigin::Existing, ino),
                (None, _) => (FileOrigin::Made, make_at_free_name(change, caller, entry, &new)?),
            };
            Ok(((stat(change, ino)?, found), ino))
        })?;
        let handle = Handle::new(content);
        match found {
            FileOrigin::Made => {
                handle.may_have_capability.store(false, Ordering::Relaxed);
            }
            FileOrigin::Existing if mode.truncate == Truncate::Yes => {
                self.truncate(caller, &handle)?;
                stat = self.stat(stat.ino)?;
            }
            FileOrigin::Existing => {}
        }
        Ok((self.present(stat), self.handles.insert(handle, mode.access), found))
    }

    fn truncate(&self, caller: Caller, handle: &Handle) -> Result<(), Error> {
        match handle.content.resize(0, now())? {
            Availability::Ready(()) => {}
            Availability::Missing(_) => return Err(Error::NotHere),
        }
        self.drop_privileges(handle.content.ino(), Privileges::Drop(caller)).map(drop)
    }

    /// Opens a file again that a program opened with a daemon before this one, of whose session this one goes on.
    ///
    /// It is not opened when it is gone, which whatever needs it then says.
    pub(crate) fn keep_open(&self, ino: Ino, id: HandleId) {
        if self.settings.session != SessionState::Inherited || self.handles.contains(id) {
            return;
        }
        match self.store.open_content(ino, id.access()) {
            Ok(content) => self.handles.insert_again(id, Handle::new(content)),
            Err(error) => tracing::debug!(%error, %ino, "a file cannot be opened again"),
        }
    }

    /// Closes a file, and answers how many bytes it has. The store tells the engine of what was written.
    ///
    /// # Errors
    /// [`Error::BadHandle`], and what the store cannot write down.
    pub(crate) fn release(&self, id: HandleId) -> Result<u64, Error> {
        let ended = self.end_loan(id);
        let handle = self.handles.remove(id)?;
        ended?;
        Ok(handle.content.size())
    }

    /// Makes a file survive power loss, and has it pushed without delay.
    ///
    /// # Errors
    /// [`Error::BadHandle`], and a disk that failed.
    pub(crate) fn sync(&self, id: HandleId) -> Result<Durable, Error> {
        let handle = self.handles.get(id)?;
        let durable = handle.content.sync()?;
        self.engine.urgent(handle.content.ino());
        Ok(durable)
    }

    /// Makes the names in a directory survive power loss, and has it pushed without delay.
    ///
    /// # Errors
    /// A disk that failed.
    pub(crate) fn sync_directory(&self, ino: Ino) -> Result<Durable, Error> {
        let durable = self.store.sync_tree()?;
        self.engine.urgent(ino);
        Ok(durable)
    }

    /// True if closing this file waits for the server: who has only read it has nothing to wait for.
    pub(crate) fn close_waits(&self, id: HandleId) -> bool {
        self.sync_mode() == SyncMode::Remote && id.access() == Access::Write
    }

    /// Waits until a node is on the server as it is now.
    ///
    /// # Errors
    /// [`Error::Flush`].
    pub(crate) async fn flush(&self, ino: Ino) -> Result<(), Error> {
        Ok(self.engine.flush(Scope::Node(ino)).await?)
    }
}
