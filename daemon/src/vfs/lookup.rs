//! Finding nodes by name, and what `stat` and `readlink` say about them.

use std::sync::Arc;

use miaofs::protocol::files::Kind;

use crate::store::{Attributes, Ino, Node, View};

use super::{EntryName, Error, Vfs, check_name};

/// Attributes of a node as stat(2) gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Inode number.
    pub ino: Ino,
    /// Kind, mode, owner, size and times.
    pub attributes: Attributes,
    /// Names that it has; of a directory, 2 and one for each directory in it, or 0 when it is removed.
    pub links: u32,
    /// Disk space in units of 512 bytes.
    pub blocks: u64,
    /// True while it may change with no request that tells.
    pub is_volatile: bool,
}

impl Vfs {
    /// The node at a name that is there.
    ///
    /// # Errors
    /// [`Error::NoName`], and those of [`Self::lookup`].
    pub(crate) fn existing(&self, entry: EntryName<'_>) -> Result<Stat, Error> {
        self.lookup(entry)?.ok_or(Error::NoName)
    }

    /// The node at a name, or `None` if there is none.
    ///
    /// The kernel asks for `.`, and `..` of a directory, when it is given a handle of a node that it has forgotten
    /// (open_by_handle_at(2), as an NFS server does).
    ///
    /// # Errors
    /// [`Error::NameTooLong`], [`Error::Stale`] or [`Error::NotDirectory`] for the parent.
    pub(crate) fn lookup(&self, entry: EntryName<'_>) -> Result<Option<Stat>, Error> {
        check_name(entry.name)?;
        let found = self.view(|view| {
            let found = match entry.name {
                b"." => Some(entry.parent),
                b".." => Some(view.parent_of(entry.parent)?),
                name => view.entry(entry.parent, name)?,
            };
            match found {
                Some(ino) => stat(view, ino).map(Some),
                None => directory(view, entry.parent).map(|_directory| None),
            }
        })?;
        Ok(found.map(|stat| self.present(stat)))
    }

    /// Returns the attributes of a node.
    ///
    /// # Errors
    /// [`Error::Stale`] if it is gone.
    pub(crate) fn stat(&self, ino: Ino) -> Result<Stat, Error> {
        self.view(|view| stat(view, ino)).map(|stat| self.present(stat))
    }

    /// Attributes of a node as this mount shows them.
    pub(super) fn present(&self, stat: Stat) -> Stat {
        Stat { attributes: self.settings.presentation.of(stat.attributes), ..stat }
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// [`Error::NotSymlink`] if it is something else.
    pub(crate) fn read_link(&self, ino: Ino) -> Result<Arc<[u8]>, Error> {
        self.view(|view| view.node(ino)?.target.ok_or(Error::NotSymlink))
    }
}

/// Returns the attributes of a node, within a transaction.
pub(super) fn stat(view: &mut View<'_>, ino: Ino) -> Result<Stat, Error> {
    let node = view.node(ino)?;
    stat_of(view, &node)
}

/// Returns the attributes of a node that has been read already.
pub(super) fn stat_of(view: &mut View<'_>, node: &Node) -> Result<Stat, Error> {
    let links = match node.attributes.kind {
        Kind::Directory if is_removed(node) => 0,
        Kind::Directory => 2 + view.subdirectories(node.ino)?,
        _ => node.links,
    };
    let Node { ino, attributes, blocks, is_volatile, .. } = *node;
    Ok(Stat { ino, attributes, links, blocks, is_volatile })
}

/// True for a removed directory that somebody still has open.
fn is_removed(node: &Node) -> bool {
    node.links == 0 && node.ino != Ino::ROOT
}

/// The node of a directory that an entry is looked for or made in.
pub(super) fn directory(view: &mut View<'_>, ino: Ino) -> Result<Node, Error> {
    let node = view.node(ino)?;
    match node.attributes.kind {
        Kind::Directory if is_removed(&node) => Err(Error::NoName),
        Kind::Directory => Ok(node),
        _ => Err(Error::NotDirectory),
    }
}
