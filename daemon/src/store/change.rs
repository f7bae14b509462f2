//! One transaction on the tree: what changes and that it is dirty stand or fall together.

use std::ops::{Deref, DerefMut};

use super::{Attributes, Error, Ino, NewNode, View};

/// A transaction in progress; reads through [`View`] see what it has done so far.
pub struct Change<'a> {
    view: View<'a>,
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
    pub fn insert(&mut self, _new: NewNode) -> Result<Ino, Error> {
        todo!()
    }

    /// Gives a node a name; [`Error::NameTaken`] when another has it.
    pub fn link(&mut self, _parent: Ino, _name: &[u8], _ino: Ino) -> Result<(), Error> {
        todo!()
    }

    /// Takes a name away and says whose it was; [`Error::NoEntry`] when it was nobody's.
    pub fn unlink(&mut self, _parent: Ino, _name: &[u8]) -> Result<Ino, Error> {
        todo!()
    }

    /// Sets mode, owner, group and times; kind, rdev and size are ignored. It will be pushed.
    pub fn set_attributes(&mut self, _ino: Ino, _attributes: &Attributes) -> Result<(), Error> {
        todo!()
    }

    /// Sets mtime and ctime of a directory whose entries changed: not pushed by itself.
    pub fn touch(&mut self, _ino: Ino, _mtime: i64, _ctime: i64) -> Result<(), Error> {
        todo!()
    }

    /// Sets atime, which is not pushed.
    pub fn set_atime(&mut self, _ino: Ino, _atime: i64) -> Result<(), Error> {
        todo!()
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&mut self, _ino: Ino, _name: &[u8], _value: &[u8]) -> Result<(), Error> {
        todo!()
    }

    /// Removes an extended attribute; [`Error::NoXattr`] when there is none of the name.
    pub fn remove_xattr(&mut self, _ino: Ino, _name: &[u8]) -> Result<(), Error> {
        todo!()
    }
}
