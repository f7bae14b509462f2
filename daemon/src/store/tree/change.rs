//! One transaction on the tree: what changes and that it is dirty stand or fall together.
//!
//! Times of directories are the caller's: `link` and `unlink` change entries and link counts only.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use miaofs::protocol::ids::NodeId;
use miaofs::protocol::name::Bytes;

use super::view::View;
use crate::store::disk::record::Record;
use crate::store::error::Error;
use crate::store::node::{Attributes, Ino, NewNode};

/// A transaction in progress; reads through [`View`] see what it has done so far.
pub(crate) struct Change<'a> {
    pub(crate) view: View<'a>,
}

impl<'a> Deref for Change<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &Self::Target {
        &self.view
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.view
    }
}

impl Change<'_> {
    /// Makes a node that has no entry yet; without one (or an open handle) it is gone at the end of the change.
    pub(crate) fn insert(&mut self, new: NewNode) -> Result<Ino, Error> {
        let id = NodeId::made_at(new.now);
        let ino = self.tree.number_for(id)?;
        self.tree.add(Record::new(ino, id, new))?;
        Ok(ino)
    }

    /// Gives a node a name; [`Error::NameTaken`] when another has it.
    pub(crate) fn link(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<(), Error> {
        if self.tree.entry(parent, name)?.is_some() {
            return Err(Error::NameTaken(parent));
        }
        self.tree.edit_and_bump(ino)?;
        self.tree.add_entry(parent, name, ino)
    }

    /// Takes a name away and says whose it was; [`Error::NoEntry`] when it was nobody's.
    pub(crate) fn unlink(&mut self, parent: Ino, name: &[u8]) -> Result<Ino, Error> {
        let ino = self.tree.entry(parent, name)?.ok_or(Error::NoEntry(parent))?;
        self.tree.edit_and_bump(ino)?;
        self.tree.remove_entry(parent, name, ino)?;
        Ok(ino)
    }

    /// Gives the node at a name another name, which must be free; within a directory its place in the order
    /// of reading stays. [`Error::NoEntry`] and [`Error::NameTaken`] as for the other two.
    pub(crate) fn rename(&mut self, from: (Ino, &[u8]), to: (Ino, &[u8])) -> Result<Ino, Error> {
        // A name that this transaction took from another node keeps its own place.
        if from.0 != to.0 || self.tree.is_freed(to.0, to.1)? {
            let ino = self.unlink(from.0, from.1)?;
            self.link(to.0, to.1, ino)?;
            return Ok(ino);
        }
        let ino = self.tree.entry(from.0, from.1)?.ok_or(Error::NoEntry(from.0))?;
        if self.tree.entry(to.0, to.1)?.is_some() {
            return Err(Error::NameTaken(to.0));
        }
        self.tree.edit_and_bump(ino)?;
        self.tree.rename_entry(from.0, from.1, to.1, ino)?;
        Ok(ino)
    }

    /// Sets mode, owner, group and times; kind, rdev and size are ignored. It will be pushed.
    pub(crate) fn set_attributes(
        &mut self,
        ino: Ino,
        attributes: &Attributes,
    ) -> Result<(), Error> {
        self.tree.present(ino)?;
        self.tree.flush_attributes(ino)?;
        let record = self.tree.edit_and_bump(ino)?;
        // Of a file that nobody has opened since it was made, only the row knows the times.
        record.attributes_dirty = false;
        let now = &mut record.attributes;
        let (kind, rdev, size) = (now.kind, now.rdev, now.size);
        *now = Attributes { kind, rdev, size, ..*attributes };
        Ok(())
    }

    /// Sets mtime and ctime of a directory whose entries changed. They will be pushed.
    pub(crate) fn touch(&mut self, ino: Ino, mtime: i64, ctime: i64) -> Result<(), Error> {
        self.tree.present(ino)?;
        self.tree.flush_attributes(ino)?;
        let attributes = &mut self.tree.edit_and_bump(ino)?.attributes;
        attributes.mtime = mtime;
        attributes.ctime = ctime;
        Ok(())
    }

    /// Sets atime and the ctime that goes with it: neither is pushed by itself.
    pub(crate) fn set_atime(&mut self, ino: Ino, atime: i64, ctime: i64) -> Result<(), Error> {
        self.tree.present(ino)?;
        self.tree.flush_attributes(ino)?;
        let attributes = &mut self.tree.edit(ino)?.attributes;
        attributes.atime = atime;
        attributes.ctime = ctime;
        Ok(())
    }

    /// Sets an extended attribute; [`Error::XattrName`] when the name is not UTF-8.
    pub(crate) fn set_xattr(&mut self, ino: Ino, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let Ok(name) = std::str::from_utf8(name) else { return Err(Error::XattrName) };
        self.tree.present(ino)?;
        let xattrs = self.tree.edit_and_bump(ino)?.xattrs.get_or_insert_default();
        Arc::make_mut(xattrs).insert(name.to_owned(), Bytes(value.to_vec()));
        Ok(())
    }

    /// Removes an extended attribute; [`Error::NoXattr`] when there is none of the name.
    pub(crate) fn remove_xattr(&mut self, ino: Ino, name: &[u8]) -> Result<(), Error> {
        let Ok(name) = std::str::from_utf8(name) else { return Err(Error::NoXattr) };
        self.tree.present(ino)?;
        let record = self.tree.edit_and_bump(ino)?;
        let xattrs = record.xattrs.as_mut().ok_or(Error::NoXattr)?;
        Arc::make_mut(xattrs).remove(name).ok_or(Error::NoXattr)?;
        if xattrs.is_empty() {
            record.xattrs = None;
        }
        Ok(())
    }

    /// True if a file, too, may be open without being known here.
    pub(crate) fn pins_files(&self) -> bool {
        self.tree.pinned.pins_files()
    }

    /// Has an inode that the kernel may use without a name outlive its last one, until
    /// [`Store::forget`](crate::store::Store::forget).
    pub(crate) fn pin(&mut self, ino: Ino) {
        self.tree.pinned.pin(ino);
    }
}
