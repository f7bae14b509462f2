//! Consistent reads of the tree.

use miaofs::protocol::ids::NodeId;

use super::{Child, Error, Ino, Node};

/// The tree at one moment.
pub struct View<'a> {
    _store: &'a mut (),
}

impl View<'_> {
    /// A node; [`Error::NoNode`] when there is none.
    pub fn node(&mut self, _ino: Ino) -> Result<Node, Error> {
        todo!()
    }

    /// The node that a name in a directory names.
    pub fn entry(&mut self, _parent: Ino, _name: &[u8]) -> Result<Option<Ino>, Error> {
        todo!()
    }

    /// All names of a node, each with its directory.
    pub fn entries_of(&mut self, _ino: Ino) -> Result<Vec<(Ino, Vec<u8>)>, Error> {
        todo!()
    }

    /// Up to `limit` children with a cookie above `after` (0: from the first), by rising cookie.
    pub fn children(
        &mut self,
        _parent: Ino,
        _after: u64,
        _limit: usize,
    ) -> Result<Vec<Child>, Error> {
        todo!()
    }

    /// Whether a directory holds anything.
    pub fn has_children(&mut self, _ino: Ino) -> Result<bool, Error> {
        todo!()
    }

    /// How many directories a directory holds: what its link count rests on, asked for by each `stat`.
    pub fn subdirectories(&mut self, _ino: Ino) -> Result<u32, Error> {
        todo!()
    }

    /// The directory that a directory is in; the root is in itself.
    pub fn parent_of(&mut self, _ino: Ino) -> Result<Ino, Error> {
        todo!()
    }

    /// The value of an extended attribute.
    pub fn xattr(&mut self, _ino: Ino, _name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        todo!()
    }

    /// The names of all extended attributes.
    pub fn xattr_names(&mut self, _ino: Ino) -> Result<Vec<Vec<u8>>, Error> {
        todo!()
    }

    /// The node of an id.
    pub fn by_id(&mut self, _id: NodeId) -> Result<Option<Ino>, Error> {
        todo!()
    }
}
