//! The part of a drive that a commit touches, and the verdicts on its changes.

use std::collections::HashMap;

use miaofs::content::Digest;
use miaofs::protocol::files::{ConflictReason, Entry, NodeState};
use miaofs::protocol::ids::NodeId;

use crate::backend::db::accounts::Usage;
use crate::backend::db::files::Record;

/// The part of a drive that a commit touches.
#[derive(Debug, Clone)]
pub(in crate::service::files) struct LoadedDrive {
    /// Quota, bytes in use and sequence number.
    pub usage: Usage,
    /// Nodes that the drive may have.
    pub nodes_max: u64,
    /// The nodes that change and the directories that they want names in, as far as known.
    pub nodes: HashMap<NodeId, Record>,
    /// Who has the names that the changes want.
    pub holders: HashMap<Entry, NodeId>,
    /// Of each directory to be deleted, one child that no change names.
    pub unlisted_children: HashMap<NodeId, NodeId>,
    /// From directories to the directories that hold them, up to the root; needed when a directory
    /// moves.
    pub parents: HashMap<NodeId, NodeId>,
    /// Of the contents that the changes name, those of the user, with their sizes in bytes.
    pub owned: HashMap<Digest, u64>,
}

impl LoadedDrive {
    /// State of a node before the commit; `None` if it is unknown or deleted.
    pub(in crate::service::files) fn current(&self, id: NodeId) -> Option<&NodeState> {
        self.nodes.get(&id)?.node.state.as_ref()
    }
}

/// Decision on one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service::files) enum Verdict {
    /// The drive is like that already.
    AlreadyApplied {
        /// The node's version; 0 when it is unknown, as was wished.
        version: u64,
    },
    /// The change is applied.
    Apply,
    /// The change is a conflict of the answer.
    Reject {
        /// Why.
        reason: ConflictReason,
        /// The node of the drive that stands in the way.
        current: Option<NodeId>,
    },
}
