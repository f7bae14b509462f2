//! Reading directories.
//!
//! A position in a directory is a number that stays an entry's own while others come and go: 1 is after
//! `.`, 2 after `..`, and then the store's cookies follow. A reading ends at the entry that was the last
//! when it began, so one that makes or renames what it meets comes to an end.

use std::ops::ControlFlow;

use miaofs::protocol::files::Kind;

use crate::store::{Child, Ino, View};

use super::lookup::{directory, stat};
use super::streams::DirStream;
use super::{DirCache, Error, HandleId, SessionState, Stat, Vfs};

const AFTER_DOT: u64 = 1;
const AFTER_DOTS: u64 = 2;
/// Children that are read from the store at once: about what one of the kernel's requests holds.
const BATCH: usize = 256;

/// An entry of a directory, as readdir(3) has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirEntry<'a> {
    /// Position after it, where reading goes on.
    pub next: u64,
    /// Name in the directory.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: Ino,
    /// Kind of node.
    pub kind: Kind,
}

impl Vfs {
    /// Opens a directory for reading, also one that is removed and that somebody has open.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], [`Error::Stale`].
    pub(crate) fn open_directory(&self, ino: Ino) -> Result<(HandleId, DirCache), Error> {
        self.view(|view| match view.node(ino)?.attributes.kind {
            Kind::Directory => Ok(self.streams.insert(ino, view.last_cookie(ino)?)),
            _ => Err(Error::NotDirectory),
        })
    }

    /// Opens a directory again that a program opened with a daemon before this one, of whose session this one goes on.
    pub(crate) fn keep_directory_open(&self, ino: Ino, id: HandleId) {
        if self.settings.session != SessionState::Inherited || self.streams.contains(id) {
            return;
        }
        match self.view(|view| Ok(view.last_cookie(ino)?)) {
            Ok(end) => self.streams.insert_again(id, ino, end),
            Err(error) => tracing::debug!(%error, %ino, "a directory cannot be opened again"),
        }
    }

    /// Closes it.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub(crate) fn release_directory(&self, id: HandleId) -> Result<(), Error> {
        self.streams.remove(id)
    }

    /// Passes the entries after a position (0: from the start) to `emit`, until it breaks off: the entry did not fit.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::Stale`] for a directory that is gone.
    pub(crate) fn read_directory(
        &self,
        id: HandleId,
        after: u64,
        mut emit: impl FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.walk(id, after, &mut |_view, dir_entry| Ok(emit(dir_entry)))
    }

    /// Like [`Self::read_directory`], with what `stat` says about each entry.
    ///
    /// # Errors
    /// As [`Self::read_directory`].
    pub(crate) fn read_directory_stats(
        &self,
        id: HandleId,
        after: u64,
        mut emit: impl FnMut(DirEntry<'_>, &Stat) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.walk(id, after, &mut |view, dir_entry| {
            let stat = self.present(stat(view, dir_entry.ino)?);
            Ok(emit(dir_entry, &stat))
        })
    }

    fn walk(&self, id: HandleId, after: u64, emit: &mut Emit<'_>) -> Result<(), Error> {
        let stream = self.streams.get(id)?;
        self.view(|view| {
            directory(view, stream.ino)?;
            if after == 0 {
                stream.rewind(view.last_cookie(stream.ino)?);
            }
            walk(view, &stream, after, emit)
        })
    }
}

type Emit<'a> = dyn FnMut(&mut View<'_>, DirEntry<'_>) -> Result<ControlFlow<()>, Error> + 'a;

fn walk(
    view: &mut View<'_>,
    stream: &DirStream,
    after: u64,
    emit: &mut Emit<'_>,
) -> Result<(), Error> {
    if walk_dots(view, stream.ino, after, emit)?.is_break() {
        return Ok(());
    }
    let mut cookie = after.saturating_sub(AFTER_DOTS);
    loop {
        let children = view.children(stream.ino, cookie, BATCH)?;
        for child in &children {
            if child.cookie > stream.end() || emit(view, dir_entry(child))?.is_break() {
                return Ok(());
            }
            cookie = child.cookie;
        }
        if children.len() < BATCH {
            return Ok(());
        }
    }
}

fn walk_dots(
    view: &mut View<'_>,
    ino: Ino,
    after: u64,
    emit: &mut Emit<'_>,
) -> Result<ControlFlow<()>, Error> {
    let kind = Kind::Directory;
    let dots = [(AFTER_DOT, ino, &b"."[..]), (AFTER_DOTS, view.parent_of(ino)?, b"..")];
    for (next, ino, name) in dots {
        if next > after && emit(view, DirEntry { next, name, ino, kind })?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn dir_entry(child: &Child) -> DirEntry<'_> {
    let next = child.cookie + AFTER_DOTS;
    DirEntry { next, name: &child.name, ino: child.ino, kind: child.kind }
}
