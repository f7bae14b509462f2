//! Two contents of one node: the local one keeps its inode, with all who have it open, and the server's gets a new one.
//!
//! So an opening shows one version until it is closed, and an upload that is on its way stays one of what it was. An inode that
//! is left without a name lives as long as it is open, as after an unlink. What is written to it then must not be lost with
//! it: with the first write it gets a name beside the new version ([`Tree::revive`]).

use miaofs::protocol::files::NodeState;
use miaofs::protocol::ids::NodeId;

use super::apply::ChangeBatch;
use crate::store::disk::record::{NodeStatus, Record};
use crate::store::disk::{base_rows, entry_rows, meta};
use crate::store::error::Error;
use crate::store::invalidation::Invalidation;
use crate::store::node::Ino;
use crate::store::tree::superseded::Place;
use crate::store::tree::transaction::Tree;

impl ChangeBatch<'_> {
    /// Keeps a node's local content under another name; the inode that the server's node has from now on, without content.
    pub(super) fn keep_beside(&mut self, ino: Ino, name: Vec<u8>) -> Result<Ino, Error> {
        self.tree.flush_attributes(ino)?;
        let place = entry_rows::entries_of(&self.tree.db, ino)?.into_iter().next();
        let base = base_rows::base(&self.tree.db, ino)?;
        let id = self.id_beside(ino)?;
        let there = self.part(ino, id)?;
        // Of one that lost its names, the server's node with its own is still to come.
        self.tree.edit(ino)?.status = NodeStatus::Present;
        let parent = match (place, base.as_ref().and_then(|base| base.entries.first())) {
            (Some((parent, _)), _) => parent,
            (None, Some(entry)) => self.known_directory(entry.parent)?,
            (None, None) => Ino::ROOT,
        };
        let name = self.tree.free_name(parent, &name)?;
        self.tree.add_entry(parent, &name, ino)?;
        self.tree.edit_and_bump(ino)?;
        self.applied.invalidations.push(Invalidation::Entry { parent, name });
        Ok(there)
    }

    /// The inode that takes the server's state of a node: a new one, if programs have the node open with another content.
    pub(super) fn leave_to_those_who_have_it_open(
        &mut self,
        ino: Ino,
        state: &NodeState,
    ) -> Result<Ino, Error> {
        let is_same = self.tree.record(ino)?.content == state.content;
        if is_same || !self.tree.is_open(ino) {
            return Ok(ino);
        }
        self.remember_place(ino)?;
        let there = self.part(ino, NodeId::made_at(meta::now()))?;
        let left = self.tree.edit(ino)?;
        left.acknowledged = left.change;
        Ok(there)
    }

    /// Remembers where an open file was that loses its name: it comes back there if a program writes to it.
    pub(super) fn remember_place(&mut self, ino: Ino) -> Result<(), Error> {
        let place = entry_rows::entries_of(&self.tree.db, ino)?.into_iter().next();
        if let Some((parent, name)) = place
            && self.tree.is_open(ino)
        {
            let conflict_name = (self.rules.conflict_name)(&name);
            self.tree.superseded.insert(ino, Place { parent, name, conflict_name });
        }
        Ok(())
    }

    /// The id of a node's local content beside the server's: where other devices may have the same content to keep, they
    /// give it the same id, and it is kept once.
    fn id_beside(&mut self, ino: Ino) -> Result<NodeId, Error> {
        let record = self.tree.record(ino)?.clone();
        if let Some(content) = record.content.filter(|_| !record.content_dirty) {
            let mut bytes = record.id.to_bytes();
            let digest = content.digest.as_bytes();
            bytes.iter_mut().zip(digest).for_each(|(byte, other)| *byte ^= other);
            let id = NodeId::from_bytes(bytes);
            if self.tree.by_id(id)?.is_none() {
                return Ok(id);
            }
        }
        Ok(NodeId::made_at(meta::now()))
    }

    /// Gives a node's id, base and names to a new inode that has no content yet, and the node another id.
    fn part(&mut self, ino: Ino, id: NodeId) -> Result<Ino, Error> {
        let there = self.tree.split_identity(ino, id)?;
        for (parent, name) in entry_rows::entries_of(&self.tree.db, ino)? {
            self.tree.remove_entry(parent, &name, ino)?;
            self.tree.add_entry(parent, &name, there)?;
            self.applied.invalidations.push(Invalidation::Entry { parent, name });
        }
        Ok(there)
    }
}

impl Tree {
    /// Makes a new inode of a file what the server knows it as. The old one stays with its names and its content, as a node
    /// that the server has never heard of.
    fn split_identity(&mut self, ino: Ino, id: NodeId) -> Result<Ino, Error> {
        let there = self.next_number()?;
        let old = self.record(ino)?.clone();
        let base = base_rows::base(&self.db, ino)?;
        self.set_id(ino, id)?;
        let left = self.edit(ino)?;
        left.base_version = 0;
        left.in_flight.clear();
        left.acknowledged = 0;
        base_rows::set_base(&self.db, ino, None)?;
        self.add(Record {
            ino: there,
            links: 0,
            content: None,
            previous: None,
            base_chunks: 0,
            content_dirty: false,
            attributes_dirty: false,
            cached: 0,
            ..old
        })?;
        base_rows::set_base(&self.db, there, base.as_ref())?;
        Ok(there)
    }
}
