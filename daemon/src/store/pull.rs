//! The server's changes, applied: clean nodes take the server's state, for dirty ones the caller's rules decide.

use miaofs::protocol::files::{self, NodeState};

use super::{DirtyNode, Error, Ino, Store};

/// What shall become of a node that changed here and there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The server's state; local edits are equal or given up.
    Take,
    /// Local state becomes this, base the server's; dirty if they differ.
    Merge(NodeState),
    /// The local content and attributes move to a new node beside it, dirty; the node takes the server's state.
    KeepBoth {
        /// Name of the new node, in the directory of the old one.
        copy_name: Vec<u8>,
    },
    /// Base becomes the server's version, also a deletion; the local state stays and stays dirty.
    KeepLocal,
}

/// What shall become of a dirty node whose name the server gave to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameResolution {
    /// The local node takes this name.
    RenameLocal(Vec<u8>),
    /// They are the same thing: the local node becomes the server's node.
    Adopt,
}

/// The rules by which conflicts are settled: pure functions, called inside the transaction.
pub struct Rules<'a> {
    /// A node that is dirty here and changed there.
    pub node: &'a dyn Fn(&DirtyNode, &files::Node) -> Resolution,
    /// A dirty node whose name another node took.
    pub name: &'a dyn Fn(&DirtyNode, &files::Node) -> NameResolution,
}

/// What changed under the kernel's feet, so that its caches can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Attributes of a node.
    Attributes(Ino),
    /// Content of a node (and its attributes).
    Content(Ino),
    /// An entry came, went, or names another node.
    Entry {
        /// The directory.
        parent: Ino,
        /// The name.
        name: Vec<u8>,
    },
    /// A node was deleted.
    Deleted {
        /// The directory that it was in.
        parent: Ino,
        /// The node.
        child: Ino,
        /// Its name there.
        name: Vec<u8>,
    },
}

impl Store {
    /// How far the changes of the server have been applied.
    pub fn cursor(&self) -> u64 {
        todo!()
    }

    /// Applies one page of changes and moves the cursor, in one transaction.
    pub fn apply(
        &self,
        _nodes: &[files::Node],
        _rules: &Rules<'_>,
        _cursor: u64,
    ) -> Result<Vec<News>, Error> {
        todo!()
    }
}
