//! Dirty nodes, for the engine that makes the server agree, and the beginning of a push.

use std::collections::HashSet;

use miaofs::protocol::files::{Entry, Kind, NodeState};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::{Bytes, Name};

use crate::store::core::Store;
use crate::store::disk::record::Record;
use crate::store::disk::{base_rows, entry_rows, inode_queries};
use crate::store::error::Error;
use crate::store::node::Ino;
use crate::store::tree::changed::ChangedNodes;
use crate::store::tree::transaction::Tree;

/// Dirty nodes that are counted or listed at once, while others wait for the tree.
const INOS: usize = 10_000;

/// A node that the server does not have as it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirtyNode {
    /// The node.
    pub ino: Ino,
    /// Id on all machines.
    pub id: NodeId,
    /// Counts the changes made here; what [`Pushed::change`] must repeat.
    pub change: u64,
    /// The server's version that the local state grew from; 0 when the server has never had it.
    pub base_version: u64,
    /// The state at that version.
    pub base_state: Option<NodeState>,
    /// Revisions of pushes that were begun and whose answers are not known.
    pub in_flight: Vec<Revision>,
    /// The node as it is now; `None` when it is deleted. Its content is the last that the server is
    /// known to have had, if any.
    pub state: Option<NodeState>,
    /// True if the content differs from `state.content`.
    pub content_dirty: bool,
    /// Number of handles that may write to it now.
    pub writers: u32,
    /// When it was last written to, in nanoseconds since 1970; 0 when never.
    pub written_at: i64,
    /// Size of the content now.
    pub size: u64,
    /// Of a directory that is in another one than the server has it in: those above it, the nearest first. Else nothing.
    pub above: Vec<NodeId>,
}

/// A push that the server has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pushed {
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

impl Store {
    /// Dirty nodes by rising number, beginning after `after`.
    pub(crate) fn dirty_nodes(&self, after: Ino, limit: usize) -> Result<Vec<DirtyNode>, Error> {
        self.take_in_unseen()?;
        self.tree().reading(|tree| {
            let inos = inode_queries::dirty_after(&tree.db, after, limit)?;
            let nodes = inos.into_iter().map(|ino| tree.dirty_node(ino));
            nodes.filter_map(Result::transpose).collect()
        })
    }

    /// Nodes that may be others than when this was asked for last. Of `known`, the dirty nodes as they were read until then,
    /// these are also those of which it shows in no row of theirs.
    pub(crate) fn changed_nodes(&self, known: &[DirtyNode]) -> Result<ChangedNodes, Error> {
        self.take_in_unseen()?;
        let mut tree = self.tree();
        let mut changed = tree.changed.take();
        let is_other = |node: &&DirtyNode| match tree.loaded_inode(node.ino) {
            Some(inode) => inode.attributes().dirty || inode.writers() != node.writers,
            None => node.writers != 0,
        };
        // What stands above a directory changes without it.
        let others = known.iter().filter(|node| !node.above.is_empty() || is_other(node));
        others.for_each(|node| changed.note(node.ino));
        Ok(changed)
    }

    /// Those of some nodes that are dirty.
    pub(crate) fn dirty_among(&self, inos: &[Ino]) -> Result<Vec<DirtyNode>, Error> {
        self.tree().reading(|tree| {
            let dirty = |ino: &Ino| match tree.dirty_node(*ino) {
                Err(Error::NoNode(_)) => None,
                read => read.transpose(),
            };
            inos.iter().filter_map(dirty).collect()
        })
    }

    /// All dirty nodes.
    pub(crate) fn dirty_inos(&self) -> Result<HashSet<Ino>, Error> {
        self.take_in_unseen()?;
        let mut inos = HashSet::new();
        let mut after = Ino(0);
        loop {
            let page = inode_queries::dirty_after(&self.tree().db, after, INOS)?;
            let Some(last) = page.last() else { return Ok(inos) };
            after = *last;
            inos.extend(page);
        }
    }

    /// Nodes by rising number, beginning after `after`.
    pub(crate) fn nodes_after(&self, after: Ino, limit: usize) -> Result<Vec<Ino>, Error> {
        inode_queries::after(&self.tree().db, after, limit)
    }

    /// One node, if it is dirty.
    pub(crate) fn dirty_node(&self, ino: Ino) -> Result<Option<DirtyNode>, Error> {
        match self.tree().dirty_node(ino) {
            Err(Error::NoNode(_)) => Ok(None),
            other => other,
        }
    }

    /// Number of dirty nodes, and bytes of their contents that the server does not have.
    pub(crate) fn pending(&self) -> Result<(u64, u64), Error> {
        self.take_in_unseen()?;
        let (mut nodes, mut bytes, mut after) = (0, 0, Some(Ino(0)));
        while let Some(from) = after {
            let page = inode_queries::count_dirty(&self.tree().db, from, INOS)?;
            nodes += page.nodes;
            bytes += page.bytes as i64;
            after = page.last;
        }
        let mut tree = self.tree();
        for inode in tree.inodes_with_dirty_attributes() {
            let record = match tree.record(inode.ino) {
                Err(Error::NoNode(_)) => continue,
                record => record?,
            };
            if record.is_dirty() && record.content_dirty && record.links > 0 {
                bytes += inode.attributes().size as i64 - record.attributes.size as i64;
            }
        }
        Ok((nodes, bytes.max(0) as u64))
    }

    /// Number of deletions that the server is to be told of.
    pub(crate) fn deletions(&self) -> Result<u64, Error> {
        inode_queries::count_deletions(&self.tree().db)
    }

    /// Remembers the revisions of a commit before it is sent, so that a lost answer is recognised.
    ///
    /// # Errors
    /// [`Error::NoNode`] when one of the nodes is gone without a trace; nothing is remembered then.
    pub(crate) fn begin_push(&self, pushes: &[(Ino, Revision)]) -> Result<(), Error> {
        self.transact(|tree| {
            for (ino, revision) in pushes {
                tree.edit(*ino)?.begin_push(*revision);
            }
            Ok(())
        })
    }
}

fn is_moved_directory(before: &NodeState, now: &NodeState) -> bool {
    let parent = |state: &NodeState| state.entries.first().map(|entry| entry.parent);
    now.kind == Kind::Directory && parent(before) != parent(now)
}

impl Tree {
    /// A node as the engine sees it, if it is dirty.
    pub(crate) fn dirty_node(&mut self, ino: Ino) -> Result<Option<DirtyNode>, Error> {
        let record = self.record(ino)?;
        if !record.is_dirty() {
            return Ok(None);
        }
        self.as_dirty(ino).map(Some)
    }

    /// A node as the engine sees one that is dirty.
    pub(crate) fn as_dirty(&mut self, ino: Ino) -> Result<DirtyNode, Error> {
        let mut record = self.record(ino)?.clone();
        let mut writers = 0;
        if let Some(inode) = self.loaded_inode(ino) {
            writers = inode.writers();
            record.apply_cached(&inode.attributes());
        }
        let base_state = base_rows::base(&self.db, ino)?;
        let state = match record.is_gone() {
            true => None,
            false => Some(self.state_of(&record, base_state.as_ref())?),
        };
        let above = match (&base_state, &state) {
            (Some(before), Some(now)) if is_moved_directory(before, now) => self.ids_above(ino)?,
            _ => Vec::new(),
        };
        Ok(DirtyNode {
            ino,
            id: record.id,
            change: record.change,
            base_version: record.base_version,
            base_state,
            in_flight: record.in_flight.clone(),
            state,
            content_dirty: record.content_dirty,
            writers,
            written_at: record.written_at,
            size: record.attributes.size,
            above,
        })
    }

    /// Ids of the directories above one, the nearest first.
    fn ids_above(&mut self, ino: Ino) -> Result<Vec<NodeId>, Error> {
        let way = self.way_up(ino)?;
        way.into_iter().map(|(parent, _)| Ok(self.record(parent)?.id)).collect()
    }

    /// A node's state as it travels, next to the one that the server is known to have.
    pub(crate) fn state_of(
        &mut self,
        record: &Record,
        base: Option<&NodeState>,
    ) -> Result<NodeState, Error> {
        let mut entries = Vec::with_capacity(record.links as usize);
        for (parent, name) in entry_rows::entries_of(&self.db, record.ino)? {
            let parent = self.record(parent)?.id;
            let name = Name::new(name).map_err(|_cause| Error::Damaged("the name of an entry"))?;
            entries.push(Entry { parent, name });
        }
        let attributes = &record.attributes;
        let (uid, gid) = self.owner.there((attributes.uid, attributes.gid), base);
        Ok(NodeState {
            kind: attributes.kind,
            mode: attributes.mode,
            uid,
            gid,
            rdev: attributes.rdev,
            mtime: attributes.mtime,
            ctime: attributes.ctime,
            btime: attributes.btime,
            target: record.target.as_ref().map(|target| Bytes(target.to_vec())),
            xattrs: record.xattrs.as_deref().cloned().unwrap_or_default(),
            content: record.content,
            entries,
        })
    }
}
