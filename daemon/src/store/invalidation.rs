//! Cached state of the kernel that a change of the server made stale.

use serde::{Deserialize, Serialize};

use crate::store::node::Ino;

/// One thing that the kernel may have cached and that is no longer true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Invalidation {
    /// Attributes of a node.
    Attributes(Ino),
    /// Content of a node (and its attributes).
    Content(Ino),
    /// Attributes and pages of a node of which a daemon before this one may have told nothing.
    Everything(Ino),
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
