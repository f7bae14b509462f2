//! What the tree is made of: inode numbers, attributes, nodes and the children of directories.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

use miaofs::protocol::files::{Kind, NodeState, OWNER};
use miaofs::protocol::ids::NodeId;

/// Number of a node on this machine: stable, the inode number of the mount. Where it can be it is the same on every device
/// (`tree/numbers.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// True while programs may have mapped it and change it unseen.
    pub is_volatile: bool,
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

/// The user whose drive it is, on this machine: who mounts it.
///
/// What belongs to that user travels as [`OWNER`] and belongs to the mounting user of each device; all other numbers travel
/// as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DriveOwner {
    /// User.
    pub uid: u32,
    /// Primary group of the user.
    pub gid: u32,
}

impl DriveOwner {
    /// The user of this process.
    pub(crate) fn of_this_process() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { uid: uid.as_raw(), gid: gid.as_raw() }
    }

    /// User and group of a state of the server, on this machine.
    pub(super) fn here(self, state: &NodeState) -> (u32, u32) {
        let number = |there, own| if there == OWNER { own } else { there };
        (number(state.uid, self.uid), number(state.gid, self.gid))
    }

    /// User and group as they travel. A number that the server has already stays one, though it is the owner's here.
    pub(super) fn there(self, (uid, gid): (u32, u32), base: Option<&NodeState>) -> (u32, u32) {
        let mark = |here, own, known| if here == own && known != Some(here) { OWNER } else { here };
        let (known_uid, known_gid) = (base.map(|base| base.uid), base.map(|base| base.gid));
        (mark(uid, self.uid, known_uid), mark(gid, self.gid, known_gid))
    }
}

impl NewNode {
    /// Initial state of a node that came from the server.
    pub(super) fn like(state: &NodeState, owner: DriveOwner) -> Self {
        let (uid, gid) = owner.here(state);
        Self {
            kind: state.kind,
            mode: state.mode,
            uid,
            gid,
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
