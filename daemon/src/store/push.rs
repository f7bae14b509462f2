//! What is dirty, for the engine that makes the server agree: dirty nodes, snapshots of content, acknowledgements.

use std::sync::Arc;

use miaofs::content::Manifest;
use miaofs::protocol::files::NodeState;
use miaofs::protocol::ids::{NodeId, Revision};

use super::live::Live;
use super::{Error, Ino, Store};

/// A node that the server does not have as it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirtyNode {
    /// The node.
    pub ino: Ino,
    /// Its id.
    pub id: NodeId,
    /// Counts the changes made here; what [`Pushed::change`] must repeat.
    pub change: u64,
    /// The server's version that the local state grew from; 0 when the server has never had it.
    pub base: u64,
    /// The state at that version.
    pub base_state: Option<NodeState>,
    /// Revision of a push that was begun and whose answer is not known.
    pub in_flight: Option<Revision>,
    /// The node as it is now; `None` when it is deleted. Its content is the last that the server is
    /// known to have had, if any.
    pub state: Option<NodeState>,
    /// Whether the content differs from `state.content`.
    pub content_dirty: bool,
    /// How many handles may write to it now.
    pub writers: u32,
    /// When it was last written to, in nanoseconds since 1970; 0 when never.
    pub written_at: i64,
    /// Size of the content now.
    pub size: u64,
}

/// A push that the server has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The node.
    pub ino: Ino,
    /// [`DirtyNode::change`] of what was pushed.
    pub change: u64,
    /// The node's version on the server now.
    pub version: u64,
    /// The revision that was pushed.
    pub revision: Revision,
    /// The state that was pushed; `None` for a deletion.
    pub state: Option<NodeState>,
}

/// A content at one moment, as long as nobody writes to it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The node.
    pub ino: Ino,
    /// Size of the content in bytes.
    pub size: u64,
    /// Which snapshot of the node this is; a later one takes its place.
    pub generation: u64,
    /// The content that chunks outside `dirty` are still equal to.
    pub base: Option<Arc<Manifest>>,
    /// Indexes of the chunks that may differ from `base`.
    pub dirty: Vec<u64>,
    pub(super) live: Arc<Live>,
}

/// What reading a chunk of a snapshot gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkRead {
    /// The bytes are those of the snapshot.
    Unchanged,
    /// Somebody wrote to the chunk since: take a new snapshot.
    ChangedSince,
}

impl Store {
    /// Dirty nodes by rising number, beginning after `after`.
    pub fn dirty_nodes(&self, _after: Ino, _limit: usize) -> Result<Vec<DirtyNode>, Error> {
        todo!()
    }

    /// One node, if it is dirty.
    pub fn dirty_node(&self, _ino: Ino) -> Result<Option<DirtyNode>, Error> {
        todo!()
    }

    /// Remembers the revisions of a commit before it is sent, so that a lost answer is recognised.
    pub fn begin_push(&self, _pushes: &[(Ino, Revision)]) -> Result<(), Error> {
        todo!()
    }

    /// The server has these states: each becomes the node's base, and the node clean unless it changed since.
    pub fn pushed(&self, _done: &[Pushed]) -> Result<(), Error> {
        todo!()
    }

    /// The content of a node now, to be hashed and uploaded.
    pub fn snapshot(&self, _ino: Ino) -> Result<Snapshot, Error> {
        todo!()
    }

    /// Reads one chunk of a snapshot into `buffer`, which takes its length.
    pub fn read_chunk(
        &self,
        _snapshot: &Snapshot,
        _index: u64,
        _buffer: &mut Vec<u8>,
    ) -> Result<ChunkRead, Error> {
        todo!()
    }

    /// The server has the content of the snapshot: chunks not written since become clean.
    pub fn content_known(
        &self,
        _snapshot: &Snapshot,
        _manifest: Arc<Manifest>,
    ) -> Result<(), Error> {
        todo!()
    }
}
