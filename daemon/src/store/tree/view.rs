//! Consistent reads of the tree, answered from memory where they can be.

use miaofs::protocol::ids::NodeId;

use super::transaction::{Moment, Tree};
use crate::store::disk::entry_rows;
use crate::store::disk::record::NodeStatus;
use crate::store::error::Error;
use crate::store::node::{Child, Ino, Node};

/// The tree at one moment.
pub(crate) struct View<'a> {
    pub(crate) tree: &'a mut Tree,
}

impl View<'_> {
    /// A node; [`Error::NoNode`] when there is none.
    pub(crate) fn node(&mut self, ino: Ino) -> Result<Node, Error> {
        let record = self.tree.present(ino)?;
        let mut node = Node {
            ino,
            id: record.id,
            attributes: record.attributes,
            links: record.links,
            target: record.target.clone(),
            blocks: record.blocks,
            is_volatile: false,
        };
        if let Some(inode) = self.tree.loaded_inode(ino) {
            let attributes = *inode.attributes();
            node.is_volatile = inode.lent.may_be_mapped();
            // A long transaction may have written them to the row already, where they are not seen yet.
            if attributes.dirty || self.tree.moment == Moment::Frozen {
                node.attributes.size = attributes.size;
                node.attributes.mtime = attributes.mtime;
                node.attributes.ctime = attributes.ctime;
                node.blocks = self.tree.data.blocks(ino).unwrap_or(attributes.size.div_ceil(512));
            }
        }
        Ok(node)
    }

    /// The node that a name in a directory names.
    pub(crate) fn entry(&mut self, parent: Ino, name: &[u8]) -> Result<Option<Ino>, Error> {
        self.tree.entry(parent, name)
    }

    /// The way up from a node: its first name with the directory, that directory's, and so on to the root.
    ///
    /// It ends early at a directory without a name, and at one that it went through already: the server's changes
    /// may put directories into each other for a while, until all of them are here.
    pub(crate) fn way_up(&mut self, ino: Ino) -> Result<Vec<(Ino, Vec<u8>)>, Error> {
        self.tree.way_up(ino)
    }

    /// Up to `limit` children with a cookie above `after` (0: from the first), by rising cookie.
    pub(crate) fn children(
        &mut self,
        parent: Ino,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Child>, Error> {
        entry_rows::children(&self.tree.db, parent, after, limit)
    }

    /// The highest cookie in a directory, 0 when it is empty: entries that come later have a higher one.
    pub(crate) fn last_cookie(&mut self, parent: Ino) -> Result<u64, Error> {
        entry_rows::last_cookie(&self.tree.db, parent)
    }

    /// True if a directory holds anything.
    pub(crate) fn has_children(&mut self, ino: Ino) -> Result<bool, Error> {
        entry_rows::has_children(&self.tree.db, ino)
    }

    /// The directory that a directory is in; the root is in itself.
    pub(crate) fn parent_of(&mut self, ino: Ino) -> Result<Ino, Error> {
        if ino == Ino::ROOT {
            return Ok(Ino::ROOT);
        }
        entry_rows::parent_of(&self.tree.db, ino)?.ok_or(Error::NoNode(ino))
    }

    /// Number of directories in a directory, which its link count is made of: kept in the record, as each `stat` asks.
    pub(crate) fn subdirectories(&mut self, ino: Ino) -> Result<u32, Error> {
        Ok(self.tree.present(ino)?.subdirectories)
    }

    /// The value of an extended attribute.
    pub(crate) fn xattr(&mut self, ino: Ino, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let record = self.tree.present(ino)?;
        let (Some(xattrs), Ok(name)) = (&record.xattrs, std::str::from_utf8(name)) else {
            return Ok(None);
        };
        Ok(xattrs.get(name).map(|value| value.0.clone()))
    }

    /// The names of all extended attributes.
    pub(crate) fn xattr_names(&mut self, ino: Ino) -> Result<Vec<Vec<u8>>, Error> {
        let record = self.tree.present(ino)?;
        let names = record.xattrs.iter().flat_map(|xattrs| xattrs.keys());
        Ok(names.map(|name| name.clone().into_bytes()).collect())
    }

    /// The node of an id.
    pub(crate) fn by_id(&mut self, id: NodeId) -> Result<Option<Ino>, Error> {
        let Some(ino) = self.tree.by_id(id)? else { return Ok(None) };
        let status = self.tree.record(ino)?.status;
        Ok(matches!(status, NodeStatus::Present | NodeStatus::Detached).then_some(ino))
    }
}
