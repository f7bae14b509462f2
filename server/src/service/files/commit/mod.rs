//! What a commit does to a drive, decided without touching it: a pure function of the changes and
//! of what the drive holds.
//!
//! A commit is checked as the state that it ends in, so the order of its changes does not matter:
//! two nodes may swap names, a file may take the name of one that is deleted beside it. A change that
//! cannot be is rejected, and with it only what rests on it; [`resolve`] goes on until the state
//! that is left holds:
//!
//! - no two nodes have the same name in the same directory;
//! - every name is in a directory that is not deleted, and every directory is below the root;
//! - a deleted directory is empty;
//! - every content belongs to the user, and the drive did not grow beyond its quota.
//!
//! Where two changes of one commit exclude each other, the earlier one wins; between a deletion and
//! what is put into the deleted directory, the latter.

mod limits;
mod resolver;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use miaofs::content::Digest;
use miaofs::protocol::files::{ConflictReason, Entry, NodeChange, NodeState};
use miaofs::protocol::ids::NodeId;

use crate::backend::db::accounts::Usage;
use crate::backend::db::files::Record;
use crate::service::Error;

pub(super) use limits::check as check_limits;

/// The part of a drive that a commit touches.
#[derive(Debug, Clone)]
pub(super) struct Drive {
    /// How full it is.
    pub usage: Usage,
    /// The nodes that change and the directories that they want names in, as far as known.
    pub nodes: HashMap<NodeId, Record>,
    /// Who has the names that the changes want.
    pub holders: HashMap<Entry, NodeId>,
    /// Of each directory to be deleted, one child that no change names.
    pub outsiders: HashMap<NodeId, NodeId>,
    /// From directories to the directories that hold them, up to the root; needed when a directory
    /// moves.
    pub parents: HashMap<NodeId, NodeId>,
    /// Of the contents that the changes name, those of the user, with their sizes in bytes.
    pub owned: HashMap<Digest, u64>,
}

impl Drive {
    /// What a node is now, unless it is unknown or deleted.
    pub(super) fn standing(&self, id: NodeId) -> Option<&NodeState> {
        self.nodes.get(&id)?.node.state.as_ref()
    }
}

/// What becomes of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The drive is like that already.
    Held {
        /// The node's version; 0 when it is unknown, as was wished.
        version: u64,
    },
    /// It is applied.
    Apply,
    /// It is not applied.
    Reject {
        /// Why.
        reason: ConflictReason,
        /// The node of the drive that stands in the way.
        current: Option<NodeId>,
    },
}

/// Decides on every change, in their order.
///
/// # Errors
/// [`Error::Invalid`] when a change would make a node another kind.
pub(super) fn resolve(drive: &Drive, changes: &[NodeChange]) -> Result<Vec<Verdict>, Error> {
    resolver::Resolver::new(drive, changes)?.resolve()
}

/// Bytes that a node counts for.
pub(super) fn size_of(state: Option<&NodeState>) -> u64 {
    state.and_then(|state| state.content).map_or(0, |content| content.size)
}
