//! Renaming: moving over what is there, not moving over it, and swapping (rename(2)).

use miaofs::protocol::files::Kind;

use crate::store::{Change, Ino, View};

use super::link::set_ctime;
use super::lookup::directory;
use super::remove::pin_unless_file;
use super::{EntryName, Error, Vfs, check_name, now};

/// Treatment of a node that has the new name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenameMode {
    /// The node loses the name.
    Replace,
    /// The node keeps the name: [`Error::Exists`].
    KeepTarget,
    /// The node gets the old name; there must be one.
    Exchange,
}

impl Vfs {
    /// Gives the node at one name another one.
    ///
    /// # Errors
    /// [`Error::NoName`], [`Error::Exists`], [`Error::NotEmpty`], [`Error::IsDirectory`],
    /// [`Error::NotDirectory`], [`Error::IntoItself`] and those of the names, as rename(2) has them.
    pub(crate) fn rename(
        &self,
        from: EntryName<'_>,
        to: EntryName<'_>,
        mode: RenameMode,
    ) -> Result<(), Error> {
        check_name(from.name)?;
        check_name(to.name)?;
        let pinned = if mode == RenameMode::Replace { self.pin_if_last_link(to)? } else { None };
        let replaced = self.change(|change| rename(change, from, to, mode))?;
        match pinned {
            Some(content) if replaced == Some(content.ino()) => self.pinned.insert(content),
            _ => {}
        }
        Ok(())
    }
}

/// Renames, and answers the other node whose names changed, if there is one.
fn rename(
    change: &mut Change<'_>,
    from: EntryName<'_>,
    to: EntryName<'_>,
    mode: RenameMode,
) -> Result<Option<Ino>, Error> {
    directory(change, from.parent)?;
    directory(change, to.parent)?;
    let source = change.entry(from.parent, from.name)?.ok_or(Error::NoName)?;
    let target = change.entry(to.parent, to.name)?;
    match (mode, target) {
        (RenameMode::KeepTarget, Some(_)) => return Err(Error::Exists),
        (RenameMode::Exchange, None) => return Err(Error::NoName),
        _ if is_inside(change, to.parent, source)? => return Err(Error::IntoItself),
        (_, Some(target)) if target == source => return Ok(None),
        (RenameMode::Exchange, Some(target)) => exchange(change, (from, source), (to, target))?,
        (RenameMode::Replace, Some(target)) => {
            check_replaceable(change, (from, source), target)?;
            set_ctime(change, target, now())?;
            let kind = change.node(target)?.attributes.kind;
            pin_unless_file(change, target, kind);
            change.unlink(to.parent, to.name)?;
            move_entry(change, from, to)?;
        }
        (_, None) => move_entry(change, from, to)?,
    }
    let now = now();
    set_ctime(change, source, now)?;
    change.touch(from.parent, now, now)?;
    change.touch(to.parent, now, now)?;
    Ok(target)
}

fn move_entry(
    change: &mut Change<'_>,
    from: EntryName<'_>,
    to: EntryName<'_>,
) -> Result<(), Error> {
    change.rename((from.parent, from.name), (to.parent, to.name))?;
    Ok(())
}

fn exchange(
    change: &mut Change<'_>,
    (from, source): (EntryName<'_>, Ino),
    (to, target): (EntryName<'_>, Ino),
) -> Result<(), Error> {
    if is_inside(change, from.parent, target)? {
        return Err(Error::IntoItself);
    }
    change.unlink(from.parent, from.name)?;
    change.unlink(to.parent, to.name)?;
    change.link(from.parent, from.name, target)?;
    change.link(to.parent, to.name, source)?;
    set_ctime(change, target, now())
}

/// True if a directory is another node or below it.
fn is_inside(view: &mut View<'_>, directory: Ino, other: Ino) -> Result<bool, Error> {
    if view.node(other)?.attributes.kind != Kind::Directory {
        return Ok(false);
    }
    Ok(directory == other || view.way_up(directory)?.iter().any(|(above, _)| *above == other))
}

fn check_replaceable(
    view: &mut View<'_>,
    (from, source): (EntryName<'_>, Ino),
    target: Ino,
) -> Result<(), Error> {
    let source_kind = view.node(source)?.attributes.kind;
    let target_kind = view.node(target)?.attributes.kind;
    match (source_kind, target_kind) {
        (Kind::Directory, Kind::Directory) if view.has_children(target)? => Err(Error::NotEmpty),
        (Kind::Directory, Kind::Directory) => Ok(()),
        (Kind::Directory, _) => Err(Error::NotDirectory),
        // What is to replace it is in it.
        (_, Kind::Directory) if is_inside(view, from.parent, target)? => Err(Error::NotEmpty),
        (_, Kind::Directory) => Err(Error::IsDirectory),
        _ => Ok(()),
    }
}
