//! Making nodes: files, directories, symlinks and special files.
//!
//! A node belongs to its maker, and to its directory's group where the directory has the set-group-id
//! bit, which directories made in it inherit (inode(7)). A default ACL of the directory takes the place of the
//! maker's umask ([`acl`]).

use miaofs::protocol::files::{Kind, SYMLINK_MAX};

use crate::store::{self, Change, Ino};

use super::acl;
use super::lookup::{directory, stat};
use super::{Caller, EntryName, Error, Stat, Vfs, check_name, now};

const SET_GROUP_ID: u32 = 0o2000;

/// Description of a node to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeSpec<'a> {
    /// Kind of node.
    pub kind: Kind,
    /// Permission bits, as the caller asked for them.
    pub mode: u32,
    /// Device number of a device.
    pub rdev: u64,
    /// Target of a symlink.
    pub target: Option<&'a [u8]>,
}

impl<'a> NodeSpec<'a> {
    /// A directory.
    pub(crate) const fn directory(mode: u32) -> Self {
        Self { kind: Kind::Directory, mode, rdev: 0, target: None }
    }

    /// A symlink, whose permissions nobody looks at.
    pub(crate) const fn symlink(target: &'a [u8]) -> Self {
        Self { kind: Kind::Symlink, mode: 0o777, rdev: 0, target: Some(target) }
    }
}

impl Vfs {
    /// Makes a node at a name that is free.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NameTooLong`], [`Error::NotDirectory`], [`Error::Stale`] for a
    /// directory that is gone, and what the store cannot do.
    pub(crate) fn create(
        &self,
        caller: Caller,
        entry: EntryName<'_>,
        new: NodeSpec<'_>,
    ) -> Result<Stat, Error> {
        check_name(entry.name)?;
        if new.target.is_some_and(|target| target.len() > SYMLINK_MAX) {
            return Err(Error::NameTooLong);
        }
        let made = self.change(|change| {
            let ino = make(change, caller, entry, &new)?;
            stat(change, ino)
        })?;
        Ok(self.present(made))
    }
}

/// Makes a node, within a transaction.
fn make(
    change: &mut Change<'_>,
    caller: Caller,
    entry: EntryName<'_>,
    new: &NodeSpec<'_>,
) -> Result<Ino, Error> {
    match change.entry(entry.parent, entry.name)? {
        Some(_) => Err(Error::Exists),
        None => make_at_free_name(change, caller, entry, new),
    }
}

/// Makes a node at a name that has been looked up in the same transaction and is free.
pub(super) fn make_at_free_name(
    change: &mut Change<'_>,
    caller: Caller,
    entry: EntryName<'_>,
    new: &NodeSpec<'_>,
) -> Result<Ino, Error> {
    let parent = directory(change, entry.parent)?.attributes;
    let inherits = parent.mode & SET_GROUP_ID != 0;
    let passes_on = inherits && new.kind == Kind::Directory;
    let acl::InheritedAcl { mode, acls } =
        acl::inherit(change, caller, entry.parent, (new.kind, new.mode))?;
    let now = now();
    let ino = change.insert(store::NewNode {
        kind: new.kind,
        mode: (mode & 0o7777) | if passes_on { SET_GROUP_ID } else { 0 },
        uid: caller.uid,
        gid: if inherits { parent.gid } else { caller.gid },
        rdev: new.rdev,
        target: new.target.map(<[u8]>::to_vec),
        now,
    })?;
    for (name, value) in acls {
        change.set_xattr(ino, name, &value)?;
    }
    change.link(entry.parent, entry.name, ino)?;
    change.touch(entry.parent, now, now)?;
    Ok(ino)
}
