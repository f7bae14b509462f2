//! Removing names. What is open stays until its last handle is closed; the store sees to that.

use miaofs::protocol::files::Kind;

use crate::store::{Change, Ino};

use super::link::set_ctime;
use super::lookup::directory;
use super::{EntryName, Error, Vfs, check_name, now};

impl Vfs {
    /// Removes a name that is not a directory's.
    ///
    /// # Errors
    /// [`Error::NoName`], [`Error::IsDirectory`] and those of the name.
    pub(crate) fn unlink(&self, entry: EntryName<'_>) -> Result<(), Error> {
        self.remove(entry, |_change, _ino, kind| match kind {
            Kind::Directory => Err(Error::IsDirectory),
            _ => Ok(()),
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error::NoName`], [`Error::NotDirectory`], [`Error::NotEmpty`] and those of the name.
    pub(crate) fn remove_directory(&self, entry: EntryName<'_>) -> Result<(), Error> {
        self.remove(entry, |change, ino, kind| match kind {
            Kind::Directory if change.has_children(ino)? => Err(Error::NotEmpty),
            Kind::Directory => Ok(()),
            _ => Err(Error::NotDirectory),
        })
    }

    fn remove(
        &self,
        entry: EntryName<'_>,
        check: impl FnOnce(&mut Change<'_>, Ino, Kind) -> Result<(), Error>,
    ) -> Result<(), Error> {
        check_name(entry.name)?;
        self.change(|change| {
            directory(change, entry.parent)?;
            let ino = change.entry(entry.parent, entry.name)?.ok_or(Error::NoName)?;
            let kind = change.node(ino)?.attributes.kind;
            check(change, ino, kind)?;
            let now = now();
            set_ctime(change, ino, now)?;
            pin_unless_file(change, ino, kind);
            change.unlink(entry.parent, entry.name)?;
            change.touch(entry.parent, now, now)?;
            Ok(())
        })
    }
}

/// A file without a name lives while it is open here. Of all else only the kernel knows whether it is still open; of files
/// as well, if they may have been opened with a daemon before this one.
pub(super) fn pin_unless_file(change: &mut Change<'_>, ino: Ino, kind: Kind) {
    match kind {
        Kind::File if !change.pins_files() => {}
        _ => change.pin(ino),
    }
}
