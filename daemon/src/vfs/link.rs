//! Hard links.

use miaofs::protocol::files::{ENTRIES_MAX, Kind};

use crate::store::{Change, Ino};

use super::lookup::{directory, stat};
use super::{EntryName, Error, Stat, Vfs, check_name, now};

impl Vfs {
    /// Gives a node one more name.
    ///
    /// # Errors
    /// [`Error::LinkToDirectory`], [`Error::TooManyLinks`], [`Error::Exists`] and those of the name.
    pub(crate) fn link(&self, ino: Ino, entry: EntryName<'_>) -> Result<Stat, Error> {
        check_name(entry.name)?;
        self.change(|change| link(change, ino, entry)).map(|stat| self.present(stat))
    }
}

fn link(change: &mut Change<'_>, ino: Ino, entry: EntryName<'_>) -> Result<Stat, Error> {
    let node = change.node(ino)?;
    directory(change, entry.parent)?;
    if change.entry(entry.parent, entry.name)?.is_some() {
        return Err(Error::Exists);
    }
    if node.attributes.kind == Kind::Directory {
        return Err(Error::LinkToDirectory);
    }
    if node.links as usize >= ENTRIES_MAX {
        return Err(Error::TooManyLinks);
    }
    let now = now();
    change.link(entry.parent, entry.name, ino)?;
    set_ctime(change, ino, now)?;
    change.touch(entry.parent, now, now)?;
    stat(change, ino)
}

/// A node's names are part of what it is: changing them moves its ctime.
pub(super) fn set_ctime(change: &mut Change<'_>, ino: Ino, now: i64) -> Result<(), Error> {
    let mut attributes = change.node(ino)?.attributes;
    attributes.ctime = now;
    Ok(change.set_attributes(ino, &attributes)?)
}
