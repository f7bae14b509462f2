//! The drive: nodes and their entries, the commit that changes them, and the plain API by path.
//!
//! A node travels as what it *is*, its names included: a rename is a node whose entries differ, a
//! hard link is a node with two entries, and a node without any (but the root) is deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{CommitId, NodeId, Revision};
use super::name::{Bytes, Name};
use crate::content::Digest;

/// Nodes that one commit may change at the most.
pub const COMMIT_NODES_MAX: usize = 2000;
/// Names that the changes of one commit may give and take in all: those that the nodes get, and those that they have.
pub const COMMIT_NAMES_MAX: usize = 8000;
/// Bytes of JSON that the changes of one commit may have at the most, and, more or less, all nodes that they touch as these
/// are: those that change, and the directories that they are to be in.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Names that one node may have at the most.
pub const ENTRIES_MAX: usize = 1000;
/// The longest target of a symlink in bytes: one less than Linux' `PATH_MAX`.
pub const SYMLINK_MAX: usize = 4095;
/// Bytes that the names and values of a node's xattrs may have in all.
pub const XATTRS_MAX: usize = 128 * 1024;
/// The longest name of an xattr in bytes, with its prefix: Linux' `XATTR_NAME_MAX`. It has one byte at least, and no NUL.
pub const XATTR_NAME_MAX: usize = 255;
/// The longest value of an xattr in bytes: Linux' `XATTR_SIZE_MAX`.
pub const XATTR_VALUE_MAX: usize = 64 * 1024;
/// Bytes that the names of a node's xattrs may have in all, each with a NUL after it: Linux' `XATTR_LIST_MAX`, since nobody
/// could list more.
pub const XATTR_LIST_MAX: usize = 64 * 1024;

/// Bytes that a path of the plain API may have: Linux' `PATH_MAX`.
pub const PATH_MAX: usize = 4096;

/// Type of a node, as in `st_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// A content by name: enough to refer to it, when it is one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContentRef {
    /// BLAKE3 of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
}

/// One name of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entry {
    /// The directory that holds the name.
    pub parent: NodeId,
    /// The name in it.
    pub name: Name,
}

/// Stands for the owner of the drive, or that user's group, in place of a number: one person has other numbers on other
/// machines. It is `(uid_t)-1`, which no user has.
pub const OWNER: u32 = u32::MAX;

/// All that a node is, apart from its id and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeState {
    /// Type of the node; never changes.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at the most.
    pub mode: u32,
    /// Owner: a number as the device that set it knows users, or [`OWNER`].
    pub uid: u32,
    /// Group: such a number, or [`OWNER`] for the group of the drive's owner.
    pub gid: u32,
    /// Device number of a device node, as Linux' `makedev` packs it; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rdev: u64,
    /// Time of the last change of content.
    pub mtime: i64,
    /// Time of the last change of anything.
    pub ctime: i64,
    /// Time of creation.
    pub btime: i64,
    /// Target of a symlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Bytes>,
    /// Extended attributes by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Bytes>,
    /// Content of a regular file, always there for one; the empty content has a digest as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentRef>,
    /// All of its names; exactly one for a directory, none for the root.
    pub entries: Vec<Entry>,
}

impl NodeState {
    /// A node of the drive's owner made at `time`, without target, xattrs, content and names.
    pub fn new(kind: Kind, mode: u32, time: i64) -> Self {
        Self {
            kind,
            mode,
            uid: OWNER,
            gid: OWNER,
            rdev: 0,
            mtime: time,
            ctime: time,
            btime: time,
            target: None,
            xattrs: BTreeMap::new(),
            content: None,
            entries: Vec::new(),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A node as the server has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Node {
    /// Id that the device minted that made the node.
    pub id: NodeId,
    /// Sequence number of the commit that last changed it.
    pub version: u64,
    /// The revision that this commit's client gave to the change.
    pub revision: Revision,
    /// State as of this version; absent when the node is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<NodeState>,
}

/// One node's change within a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeChange {
    /// The node.
    pub id: NodeId,
    /// The version that the change is based on; 0 for a node that is new.
    pub base: u64,
    /// Random, the same when the change is sent again.
    pub revision: Revision,
    /// State to put; absent to delete the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<NodeState>,
}

/// A commit that a client has seen: the place up to which it knows the drive's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeenCommit {
    /// Sequence number.
    pub seq: u64,
    /// Id of the commit.
    pub id: CommitId,
}

/// Changes to a drive, checked as the state that they end in and applied together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Commit {
    /// The commit that the client's cursor is at, if it is known: the versions that changes are based on are of the history
    /// that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenCommit>,
    /// At most [`COMMIT_NODES_MAX`], each node once, with [`COMMIT_NAMES_MAX`] and [`COMMIT_BYTES_MAX`].
    pub changes: Vec<NodeChange>,
}

/// Result of a commit, change by change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Committed {
    /// The drive's sequence number afterwards.
    pub seq: u64,
    /// Id of the commit of that number: a client that gets it has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The changes that hold now, those that a former try had applied included.
    pub applied: Vec<Applied>,
    /// The changes that were not applied, each with the reason.
    pub conflicts: Vec<Conflict>,
}

/// A change that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Applied {
    /// The node.
    pub id: NodeId,
    /// Version after the commit.
    pub version: u64,
}

/// A change that was not applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Conflict {
    /// The node whose change it was.
    pub id: NodeId,
    /// Why.
    pub reason: ConflictReason,
    /// The server's node that stands in the way: of `stale` the node itself, of `name_taken` the one
    /// that has the name, of `no_parent` the deleted directory, of `not_empty` one child. Left out where the answer would have
    /// more than about 8 MiB of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Box<Node>>,
}

/// Why a change of a commit was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ConflictReason {
    /// The node is at another version than the change is based on.
    Stale,
    /// Another node has one of its names.
    NameTaken,
    /// The directory of one of its names is deleted, unknown, or no directory.
    NoParent,
    /// A directory to be deleted has children.
    NotEmpty,
    /// A directory would be inside itself.
    Cycle,
    /// The content is not the user's: upload it first.
    NoContent,
    /// The drive's quota would be exceeded.
    OverQuota,
    /// The drive would have more nodes than it may.
    TooManyNodes,
    /// Another change of this commit, on which this one depends, was not applied.
    Dependent,
}

/// The nodes of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Listing {
    /// The directory.
    pub directory: Node,
    /// The nodes in it, in order of name.
    pub nodes: Vec<Node>,
}

/// A node of the plain API, by path: `/` and names, UTF-8, percent-encoded in a query.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams, utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct PathQuery {
    /// Absolute path in the drive.
    pub path: String,
}

/// Rename or move.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdatePath {
    /// Where it is.
    pub path: String,
    /// Where it shall be; its directory exists, itself it does not.
    pub new_path: String,
}

/// Delete.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeletePath {
    /// Absolute path in the drive.
    pub path: String,
    /// Delete a directory with all that is in it.
    #[serde(default)]
    pub recursive: bool,
}
