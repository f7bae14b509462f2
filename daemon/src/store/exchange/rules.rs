//! The rules by which conflicts between local changes and those of the server are resolved.

use miaofs::protocol::files::{self, NodeState};

use super::push::DirtyNode;

/// Resolution of a conflict: a node changed here and on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// The server's state; local edits are equal or given up.
    TakeRemote,
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

/// Resolution of a conflict of names: the server gave a dirty node's name to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameResolution {
    /// The local node takes this name.
    RenameLocal(Vec<u8>),
    /// They are the same thing: the local node becomes the server's node.
    Adopt,
}

/// The rules by which conflicts are resolved: pure functions, called inside the transaction.
pub(crate) struct Rules<'a> {
    /// A node that is dirty here and changed there.
    pub node: &'a dyn Fn(&DirtyNode, &files::Node) -> Resolution,
    /// A dirty node whose name another node took.
    pub name: &'a dyn Fn(&DirtyNode, &files::Node) -> NameResolution,
    /// Name that tells of a conflict, for something whose own name another node has.
    pub conflict_name: &'a dyn Fn(&[u8]) -> Vec<u8>,
}
