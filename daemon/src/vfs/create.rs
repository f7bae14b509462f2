//! Making nodes: files, directories, symlinks and special files.
//!
//! A node belongs to its maker, and to its directory's group where the directory has the set-group-id
//! bit, which directories made in it inherit (inode(7)). A default ACL of the directory takes the place of the
//! maker's umask ([`acl`]).

use miaofs::protocol::files::{Kind, SYMLINK_MAX};

use crate::store::{self, Change, Ino};

use super::acl;
use super::lookup::{directory, stat};
use super::{Caller, Error, Place, Stat, Vfs, check_name, now};

const SET_GROUP_ID: u32 = 0o2000;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewNode<'a> {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, as the caller asked for them.
    pub mode: u32,
    /// Device number of a device.
    pub rdev: u64,
    /// Target of a symlink.
    pub target: Option<&'a [u8]>,
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
        place: Place<'_>,
        new: NewNode<'_>,
    ) -> Result<Stat, Error> {
        check_name(place.name)?;
        if new.target.is_some_and(|target| target.len() > SYMLINK_MAX) {
            return Err(Error::NameTooLong);
        }
        self.change(|change| {
            let ino = make(change, caller, place, &new)?;
            stat(change, ino)
        })
    }
}

/// Makes a node at a name that is free, within a transaction.
pub(super) fn make(
    change: &mut Change<'_>,
    caller: Caller,
    place: Place<'_>,
    new: &NewNode<'_>,
) -> Result<Ino, Error> {
    let parent = directory(change, place.parent)?.attributes;
    if change.entry(place.parent, place.name)?.is_some() {
        return Err(Error::Exists);
    }
    let inherits = parent.mode & SET_GROUP_ID != 0;
    let passes_on = inherits && new.kind == Kind::Directory;
    let acl::Heritage { mode, acls } =
        acl::inherit(change, caller, place.parent, (new.kind, new.mode))?;
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
    change.link(place.parent, place.name, ino)?;
    change.touch(place.parent, now, now)?;
    Ok(ino)
}
