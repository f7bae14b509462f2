//! Changing mode, owner, size and times, as chmod(2), chown(2), truncate(2) and utimensat(2) say.
//!
//! Changing the owner of a file, or its content as somebody without privileges, takes away the
//! set-user-id bit, the set-group-id bit of an executable, and file capabilities.

use miaofs::protocol::files::Kind;

use crate::store::{Access, Attributes, Availability, Change, Ino};

use super::lookup::stat;
use super::write::Privileges;
use super::xattr::{CAPABILITY_XATTR, remove_if_any};
use super::{Caller, Error, ModeEffect, Stat, Vfs, now};

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o0010;

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// When the change is made.
    Now,
    /// Nanoseconds since 1970.
    At(i64),
}

/// Attributes to set; those that are `None` stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AttributeChange {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Time of last access.
    pub atime: Option<Time>,
    /// Time of last change of content.
    pub mtime: Option<Time>,
}

impl AttributeChange {
    fn is_only_size(&self) -> bool {
        self.size.is_some() && *self == Self { size: self.size, ..Self::default() }
    }

    /// Only this device ever sees access times.
    fn is_synced(&self) -> bool {
        self.mode.is_some() || self.uid.is_some() || self.gid.is_some() || self.mtime.is_some()
    }

    fn changes_owner(&self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }
}

impl Vfs {
    /// Changes attributes; `Missing` when bytes must be fetched before the size can be changed.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::IsDirectory`] for the size of one, and what the store cannot do.
    pub(crate) fn set_attributes(
        &self,
        caller: Caller,
        ino: Ino,
        wanted: AttributeChange,
    ) -> Result<Availability<Stat>, Error> {
        if let Some(size) = wanted.size
            && let Availability::Missing(range) = self.resize(caller, ino, size)?
        {
            return Ok(Availability::Missing(range));
        }
        if wanted.is_only_size() {
            return self.stat(ino).map(Availability::Ready);
        }
        let stat = self.change(|change| {
            apply(change, caller, ino, &wanted)?;
            stat(change, ino)
        })?;
        Ok(Availability::Ready(self.present(stat)))
    }

    /// Like [`Self::set_attributes`], fetching what is missing.
    ///
    /// # Errors
    /// Those, and [`Error::Fetch`].
    pub(crate) async fn set_attributes_fetching(
        &self,
        caller: Caller,
        ino: Ino,
        wanted: AttributeChange,
    ) -> Result<Stat, Error> {
        let content = self.store.open_content(ino, Access::Read)?;
        self.fetching(&content, || self.set_attributes(caller, ino, wanted)).await
    }

    fn resize(&self, caller: Caller, ino: Ino, size: u64) -> Result<Availability<()>, Error> {
        if self.stat(ino)?.attributes.kind == Kind::Directory {
            return Err(Error::IsDirectory);
        }
        let content = self.store.open_content(ino, Access::Write)?;
        let outcome = content.resize(size, now())?;
        if outcome == Availability::Ready(()) {
            self.drop_privileges(ino, Privileges::Drop(caller))?;
        }
        Ok(outcome)
    }

    /// Takes away what a file may not keep when its content changes: capabilities always, and set-id bits.
    pub(super) fn drop_privileges(
        &self,
        ino: Ino,
        privileges: Privileges,
    ) -> Result<ModeEffect, Error> {
        let (attributes, capability) =
            self.view(|view| Ok((view.node(ino)?.attributes, view.xattr(ino, CAPABILITY_XATTR)?)))?;
        let mode = match privileges {
            Privileges::Keep => attributes.mode,
            Privileges::Drop(caller) => mode_after_write(&attributes, caller),
        };
        let is_unchanged = mode == attributes.mode;
        if is_unchanged && capability.is_none() {
            return Ok(ModeEffect::Unchanged);
        }
        self.change(|change| {
            let attributes = Attributes { mode, ..change.node(ino)?.attributes };
            change.set_attributes(ino, &attributes)?;
            remove_if_any(change, ino, CAPABILITY_XATTR)
        })?;
        Ok(if is_unchanged { ModeEffect::Unchanged } else { ModeEffect::Changed })
    }
}

fn apply(
    change: &mut Change<'_>,
    caller: Caller,
    ino: Ino,
    wanted: &AttributeChange,
) -> Result<(), Error> {
    let now = now();
    let time = |time: Time| match time {
        Time::Now => now,
        Time::At(nanoseconds) => nanoseconds,
    };
    let before = change.node(ino)?.attributes;
    let attributes = Attributes {
        mode: wanted
            .mode
            .map_or_else(|| implied_mode(caller, &before, wanted), |mode| mode & 0o7777),
        uid: wanted.uid.unwrap_or(before.uid),
        gid: wanted.gid.unwrap_or(before.gid),
        atime: wanted.atime.map_or(before.atime, time),
        mtime: wanted.mtime.map_or(before.mtime, time),
        ctime: now,
        ..before
    };
    if wanted.changes_owner() && before.kind == Kind::File {
        remove_if_any(change, ino, CAPABILITY_XATTR)?;
    }
    if wanted.is_synced() || *wanted == AttributeChange::default() {
        change.set_attributes(ino, &attributes)?;
    } else if wanted.atime.is_some() {
        change.set_atime(ino, attributes.atime, attributes.ctime)?;
    }
    Ok(())
}

/// The mode where none is set. A request for nothing is how the kernel tells of the end of set-id bits: before a
/// write, after which the privileged may keep them, and for a `chown` that leaves owner and group.
fn implied_mode(caller: Caller, before: &Attributes, wanted: &AttributeChange) -> u32 {
    if wanted.changes_owner() {
        return unprivileged(caller, before);
    }
    match *wanted == AttributeChange::default() {
        true => mode_after_write(before, caller),
        false => before.mode,
    }
}

/// The mode of a file whose content somebody changed.
fn mode_after_write(before: &Attributes, caller: Caller) -> u32 {
    match unprivileged(caller, before) {
        mode if mode == before.mode || caller.keeps_set_ids() => before.mode,
        mode => mode,
    }
}

/// The mode without what lets a program run as its owner or group. Without the right to execute, the
/// set-group-id bit means something else (mandatory locks, once), which members of the group may keep.
fn unprivileged(caller: Caller, attributes: &Attributes) -> u32 {
    let mode = attributes.mode;
    if attributes.kind == Kind::Directory || mode & (SET_USER_ID | SET_GROUP_ID) == 0 {
        return mode;
    }
    let keeps_group_id = mode & SET_GROUP_ID == 0
        || mode & GROUP_EXECUTE == 0 && caller.may_set_group_id_of(attributes.gid);
    mode & !SET_USER_ID & if keeps_group_id { !0 } else { !SET_GROUP_ID }
}
