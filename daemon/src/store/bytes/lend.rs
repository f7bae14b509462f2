//! Lends data files to the kernel, which then reads and writes them for programs by itself.
//!
//! What is lent stays whole and in its place: nothing of it is given up, and news of the server go to another inode, as for all
//! files that are open. What is lent for writing may change at any time, and nobody tells: before it begins the row says so, and
//! whoever needs to know looks at the stamp of the data file ([`Inode::unseen`]). Then all of the content counts as changed, as
//! nobody knows where. A mapping that a program has written through outlives its descriptor, so what could be mapped stays lent
//! until nobody can write to the data file any more, also beyond the end of the daemon.

use std::fs::File;
use std::sync::{Arc, RwLockWriteGuard};

use super::content::Content;
use crate::store::core::Store;
use crate::store::disk::space::free_bytes;
use crate::store::disk::writers::has_writers;
use crate::store::error::{Error, while_doing};
use crate::store::inodes::inode::{ContentState, Inode};
use crate::store::inodes::loan::{Mapping, Stamp, Writer};
use crate::store::invalidation::Invalidation;
use crate::store::node::{Access, Ino};

/// Smallest content that is lent to somebody who only reads: what is smaller stays in the kernel's memory by itself.
const READ_MIN: u64 = 1024 * 1024;
/// Room above the floor that must be left for a file to be lent for writing: nobody counts what is written then.
const ROOM: u64 = 256 * 1024 * 1024;

/// Openings of a file that the kernel has before one that is to be lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// None, or such as ask for each byte that they read or write.
    None,
    /// Openings to which it is lent, so this one has to be, too.
    Lent,
}

/// An opening to which a data file is lent. It stays lent, also beyond the end of this process, unless [`Loan::end`] is called.
#[derive(Debug)]
pub(crate) struct Loan {
    store: Arc<Store>,
    inode: Arc<Inode>,
    access: Access,
    file: Arc<File>,
}

impl Loan {
    /// The data file, for the kernel.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The opening has ended.
    ///
    /// # Errors
    /// What the store cannot write down; the file stays lent then.
    pub(crate) fn end(self) -> Result<(), Error> {
        let Self { store, inode, access, file } = self;
        drop(file);
        if access == Access::Read {
            inode.lent.remove_reader();
            return Ok(());
        }
        let mut content_state = inode.content_state_mut();
        if inode.lent.remove_opening() {
            return Ok(());
        }
        if inode.lent.may_be_mapped() {
            store.data.close(inode.ino);
            if let Some(file) = store.data.open_to_look(inode.ino)? {
                inode.lent.look_at(file);
            }
            // The kernel does not know of what is stored through a mapping.
            if store.take_in(&inode, &mut content_state)? {
                store.report([Invalidation::Attributes(inode.ino)]);
            }
            if has_writers(&store.data.path(inode.ino)).unwrap_or(true) {
                return store.keep_lent(&inode, &mut content_state);
            }
        }
        store.end_lending(&inode, &mut content_state)
    }
}

impl Content {
    /// Lends the data file to the kernel for this opening; `None` if it had better ask for each byte.
    ///
    /// # Errors
    /// What the store cannot write down.
    pub(crate) fn lend(&self, others: Others, mapping: Mapping) -> Result<Option<Loan>, Error> {
        let access = self.access;
        let file = match access {
            Access::Read => self.lend_for_reading(others)?,
            Access::Write => self.lend_for_writing(others, mapping)?,
        };
        let (store, inode) = (Arc::clone(&self.store), Arc::clone(&self.inode));
        Ok(file.map(|file| Loan { store, inode, access, file }))
    }

    fn lend_for_reading(&self, others: Others) -> Result<Option<Arc<File>>, Error> {
        let (ino, lent) = (self.inode.ino, &self.inode.lent);
        let content_state = self.inode.content_state();
        let size = self.inode.attributes().size;
        if others == Others::None
            && (size < READ_MIN
                || content_state.is_lost
                || !content_state.chunks.is_here(&(0..size)))
        {
            return Ok(None);
        }
        let Some(file) = self.store.data.existing(ino)? else { return Ok(None) };
        let found = file.metadata().map_err(while_doing("looking at a data file"))?;
        if others == Others::None && found.len() < size {
            return Ok(None);
        }
        lent.add_reader();
        Ok(Some(file))
    }

    fn lend_for_writing(
        &self,
        others: Others,
        mapping: Mapping,
    ) -> Result<Option<Arc<File>>, Error> {
        let (ino, lent) = (self.inode.ino, &self.inode.lent);
        let mut content_state = self.inode.content_state_mut();
        if lent.is_lent_for_writing() {
            lent.add_writer(Writer::Opening(mapping));
            return lent.file().map(Some).ok_or(Error::NoNode(ino));
        }
        let all_is_new = content_state.content_dirty && content_state.chunks.base_chunks() == 0;
        let is_welcome = all_is_new && !content_state.is_lost && self.store.has_room_to_lend()?;
        if others == Others::None && !is_welcome {
            return Ok(None);
        }
        content_state.not_lost(ino)?;
        let attributes = *self.inode.attributes();
        let file = self.store.data.open(ino, attributes.size)?;
        let found = file.metadata().map_err(while_doing("looking at a data file"))?;
        let stamp = Stamp::of(&found);
        if !(all_is_new && attributes.dirty) {
            self.record_lent(&mut content_state, stamp)?;
        }
        lent.begin_writing(Arc::clone(&file), stamp, Writer::Opening(mapping));
        self.store.lent.insert(Arc::clone(&self.inode));
        Ok(Some(file))
    }

    /// The content, to change, with all that programs have written to it unseen.
    pub(crate) fn current_state(&self) -> Result<RwLockWriteGuard<'_, ContentState>, Error> {
        let mut content_state = self.inode.content_state_mut();
        if self.inode.lent.is_lent_for_writing() {
            self.store.take_in(&self.inode, &mut content_state)?;
        }
        Ok(content_state)
    }

    /// Has the state tell of all that programs have written unseen, for whoever only looks at it next.
    pub(crate) fn take_in_unseen(&self) -> Result<(), Error> {
        if self.inode.lent.is_lent_for_writing() { self.current_state().map(drop) } else { Ok(()) }
    }

    /// Has the row tell that the data file may change from now on. What can be fetched again is on the disk before that.
    fn record_lent(&self, content_state: &mut ContentState, stamp: Stamp) -> Result<(), Error> {
        let chunks: Vec<u64> = (0..content_state.chunks.base_chunks()).collect();
        self.sync_old_bytes(content_state, &chunks)?;
        self.store.transact(|tree| {
            tree.flush_attributes(self.inode.ino)?;
            tree.edit(self.inode.ino)?.lent = Some(stamp.modified);
            Ok(())
        })
    }
}

impl Store {
    /// Lends a data file to openings that the kernel may have from a daemon before this one; `None` if there is none.
    ///
    /// It is lent for writing if a program may write to it, though the kernel has not opened it for that program yet.
    ///
    /// # Errors
    /// [`Error::NoNode`] when it is gone, and what the store cannot write down.
    pub(crate) fn lend_as_before(
        self: &Arc<Self>,
        ino: Ino,
    ) -> Result<Option<(Content, Loan)>, Error> {
        let access = if self.lent.contains(ino) { Access::Write } else { Access::Read };
        let content = self.open_content(ino, access)?;
        let loan = content.lend(Others::Lent, Mapping::Writable)?;
        Ok(loan.map(|loan| (content, loan)))
    }

    fn has_room_to_lend(&self) -> Result<bool, Error> {
        let free = free_bytes(self.data.folder())?;
        Ok(free > self.options.free_floor.saturating_add(ROOM))
    }
}
