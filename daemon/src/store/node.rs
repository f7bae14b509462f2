//! What the tree is made of: inode numbers, attributes, nodes and the children of directories.

use std::fmt;
use std::sync::Arc;

use miaofs::protocol::files::{Kind, NodeState};
use miaofs::protocol::ids::NodeId;

/// Number of a node on this machine: stable, never used again, the inode number of the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ino(pub u64);

impl Ino {
    /// The root directory.
    pub(crate) const ROOT: Self = Self(1);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Attributes of a node as of stat(2). Times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Type of the node.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at the most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, else 0.
    pub rdev: u64,
    /// Bytes of content; 0 for what has none.
    pub size: u64,
    /// Last reading; kept here only, never travels.
    pub atime: i64,
    /// Last change of content.
    pub mtime: i64,
    /// Last change of anything.
    pub ctime: i64,
    /// Creation.
    pub btime: i64,
}

/// A node as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Number on this machine.
    pub ino: Ino,
    /// Id on all machines.
    pub id: NodeId,
    /// Attributes as of stat(2).
    pub attributes: Attributes,
    /// Number of entries that name it.
    pub links: u32,
    /// Target of a symlink.
    pub target: Option<Arc<[u8]>>,
    /// 512-byte blocks: those of the data file where the content is here, else by size.
    pub blocks: u64,
}

/// Initial state of a node; all its times are `now`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewNode {
    /// Type of the node.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, else 0.
    pub rdev: u64,
    /// Target of a symlink.
    pub target: Option<Vec<u8>>,
    /// Time of creation in nanoseconds since 1970.
    pub now: i64,
}

impl NewNode {
    /// Initial state of a node that came from the server.
    pub(super) fn like(state: &NodeState) -> Self {
        Self {
            kind: state.kind,
            mode: state.mode,
            uid: state.uid,
            gid: state.gid,
            rdev: state.rdev,
            target: state.target.as_ref().map(|target| target.0.clone()),
            now: state.mtime,
        }
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child {
    /// Place in the directory: children come by rising cookie, and an entry keeps its own.
    pub cookie: u64,
    /// The name.
    pub name: Vec<u8>,
    /// The node that it names.
    pub ino: Ino,
    /// Type of that node.
    pub kind: Kind,
}

/// Access mode of a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}
