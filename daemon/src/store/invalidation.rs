//! Cached state of the kernel that a change of the server made stale.

use crate::store::node::Ino;

/// One thing that the kernel may have cached and that is no longer true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Invalidation {
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
        /// The name that it had there.
        name: Vec<u8>,
    },
}
