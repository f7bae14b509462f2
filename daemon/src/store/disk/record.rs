//! The record of a node: all that the store knows of it but its names and the state of its chunks.
//!
//! Two numbers say how far it is pushed: `change` counts the changes made here, `acknowledged` is
//! the count at the last push that the server took. Content changes are a flag of their own
//! (`content_dirty`), because writing to a file that is dirty already costs no transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use miaofs::content::Digest;
use miaofs::protocol::files::{ContentRef, Kind, NodeState};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::Bytes;

use crate::store::node::{Attributes, DriveOwner, Ino, NewNode};

/// Extended attributes by name.
pub(crate) type Xattrs = BTreeMap<String, Bytes>;

/// Pushes that are remembered of a node: daemons that were killed one after the other while they sent it.
const IN_FLIGHT_MAX: usize = 64;

/// Where a node stands in the tree.
///
/// ```text
///   insert ─▶ Present ─ last name and handle gone, the server has it ─▶ Deleted ─ pushed ─▶ no row
///   a child of an unknown directory came ─▶ Awaited ─ its own change ─▶ Present
///   its name was taken by another node ─▶ Detached ─ its own change ─▶ Present, or no row
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeStatus {
    /// In the tree, or an orphan that is open or pinned.
    Present,
    /// Gone here; the server must be told.
    Deleted,
    /// A directory whose children came before it.
    Awaited,
    /// Without a name, which a node of the server took; its own change is still to come.
    Detached,
}

/// A row of `nodes`.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) ino: Ino,
    pub(crate) id: NodeId,
    pub(crate) status: NodeStatus,
    pub(crate) attributes: Attributes,
    /// 512-byte blocks when last flushed.
    pub(crate) blocks: u64,
    pub(crate) target: Option<Arc<[u8]>>,
    pub(crate) xattrs: Option<Arc<Xattrs>>,
    pub(crate) links: u32,
    /// Directories in this one.
    pub(crate) subdirectories: u32,
    pub(crate) change: u64,
    pub(crate) acknowledged: u64,
    /// Version on the server that the local state grew from; 0 for none.
    pub(crate) base_version: u64,
    /// Revisions of pushes from that version whose answers are not known, the oldest first. The server takes one of them at the
    /// most, which may come after others were sent: a daemon that was killed leaves its own on the way.
    pub(crate) in_flight: Vec<Revision>,
    /// The last content that the server is known to have for it.
    pub(crate) content: Option<ContentRef>,
    /// An older content whose chunks are still in the data file, to be compared when the manifest comes.
    pub(crate) previous: Option<Digest>,
    /// Chunks below this index may still be those of `content`; all others are local and dirty.
    pub(crate) base_chunks: u64,
    pub(crate) content_dirty: bool,
    /// Size and mtime are those of the data file.
    pub(crate) attributes_dirty: bool,
    pub(crate) written_at: i64,
    /// When it was last opened or fetched, in nanoseconds since 1970.
    pub(crate) used_at: i64,
    /// Bytes of clean chunks that are here.
    pub(crate) cached: u64,
    /// When the data file was changed last, in nanoseconds since 1970, as far as this record tells of it: while programs may
    /// write to it unseen, and the record does not say that all of it is new.
    pub(crate) lent: Option<i64>,
}

impl Record {
    /// A node that was made here just now.
    pub(crate) fn new(ino: Ino, id: NodeId, new: NewNode) -> Self {
        let is_file = new.kind == Kind::File;
        Self {
            ino,
            id,
            status: NodeStatus::Present,
            attributes: Attributes {
                kind: new.kind,
                mode: new.mode,
                uid: new.uid,
                gid: new.gid,
                rdev: new.rdev,
                size: new.target.as_ref().map_or(0, |target| target.len() as u64),
                atime: new.now,
                mtime: new.now,
                ctime: new.now,
                btime: new.now,
            },
            blocks: 0,
            target: new.target.map(Into::into),
            xattrs: None,
            links: 0,
            subdirectories: 0,
            change: 1,
            acknowledged: 0,
            base_version: 0,
            in_flight: Vec::new(),
            content: None,
            previous: None,
            base_chunks: 0,
            content_dirty: is_file,
            attributes_dirty: is_file,
            written_at: 0,
            used_at: new.now,
            cached: 0,
            lent: None,
        }
    }

    /// Counts one more change that must be pushed.
    pub(crate) fn bump_change(&mut self) {
        self.change += 1;
    }

    /// Remembers a push that is about to be sent.
    pub(crate) fn begin_push(&mut self, revision: Revision) {
        if self.in_flight.len() == IN_FLIGHT_MAX {
            self.in_flight.remove(0);
        }
        self.in_flight.push(revision);
    }

    /// True if the server may have it: a push with an unknown answer counts.
    pub(crate) fn may_be_known(&self) -> bool {
        self.base_version > 0 || !self.in_flight.is_empty()
    }

    /// True if it is in the tree without a name: unlinked, but open or pinned.
    pub(crate) fn is_orphan(&self) -> bool {
        self.status == NodeStatus::Present && self.links == 0 && self.ino != Ino::ROOT
    }

    /// True if the server must be told of it.
    pub(crate) fn is_dirty(&self) -> bool {
        match self.status {
            NodeStatus::Deleted => true,
            NodeStatus::Awaited | NodeStatus::Detached => false,
            NodeStatus::Present if self.is_orphan() => self.may_be_known(),
            NodeStatus::Present => self.has_changes(),
        }
    }

    /// True if it changed here since the server last took it.
    pub(crate) fn has_changes(&self) -> bool {
        self.content_dirty || self.change != self.acknowledged
    }

    /// Takes over what a state of the server says but content and names.
    ///
    /// The root is made by the server without anybody's choice of owner and permissions, so until
    /// somebody changes it (`ctime`) it is the local user's.
    pub(crate) fn take_attributes(&mut self, state: &NodeState, owner: DriveOwner) {
        let attributes = &mut self.attributes;
        if self.ino != Ino::ROOT || state.ctime != state.btime {
            attributes.mode = state.mode;
            (attributes.uid, attributes.gid) = owner.here(state);
        }
        attributes.rdev = state.rdev;
        attributes.mtime = state.mtime;
        attributes.ctime = state.ctime;
        attributes.btime = state.btime;
        self.target = state.target.as_ref().map(|target| target.0.as_slice().into());
        if let Some(target) = &self.target {
            attributes.size = target.len() as u64;
        }
        self.xattrs = (!state.xattrs.is_empty()).then(|| Arc::new(state.xattrs.clone()));
    }

    /// True if it is deleted as far as the server is concerned.
    pub(crate) fn is_gone(&self) -> bool {
        self.status == NodeStatus::Deleted || self.is_orphan()
    }
}
