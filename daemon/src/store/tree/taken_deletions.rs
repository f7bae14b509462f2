//! Deletions that the server has taken, until the cursor has come to them.
//!
//! A page of the feed that was asked for before may still show such a node, and no row tells of it any more: taken for a new one, it
//! would come back, and take its name from the node that has it now.

use std::collections::HashMap;

use miaofs::protocol::files;
use miaofs::protocol::ids::NodeId;

/// Versions with which nodes were deleted. Only pages in memory can be older, so they are forgotten with the daemon.
#[derive(Debug, Default)]
pub(crate) struct TakenDeletions(HashMap<NodeId, u64>);

impl TakenDeletions {
    /// The server has deleted a node, as this device or another told it, and that is its last version.
    pub(crate) fn add(&mut self, id: NodeId, version: u64) {
        self.0.insert(id, version);
    }

    /// True if this is a node as it was before it was deleted.
    pub(crate) fn is_of_before(&self, node: &files::Node) -> bool {
        self.0.get(&node.id).is_some_and(|deleted| node.version < *deleted)
    }

    /// The cursor has come to this commit: no page shows anything of before.
    pub(crate) fn forget_until(&mut self, seq: u64) {
        self.0.retain(|_, version| *version > seq);
    }

    /// Versions do not mean any more what they did.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
