//! Entries of the server's nodes: directories that are still to come, and names that are taken.

use miaofs::protocol::files::{self, Entry, Kind};
use miaofs::protocol::ids::NodeId;

use super::apply::ChangeBatch;
use crate::store::disk::record::{NodeStatus, Record};
use crate::store::disk::{base_rows, entry_rows};
use crate::store::error::Error;
use crate::store::invalidation::Invalidation;
use crate::store::node::{Ino, NewNode};

impl ChangeBatch<'_> {
    /// Gives a node these names and no others.
    pub(crate) fn set_entries(
        &mut self,
        ino: Ino,
        node: &files::Node,
        entries: &[Entry],
    ) -> Result<(), Error> {
        self.being_named.insert(ino);
        let mut wanted = Vec::with_capacity(entries.len());
        for entry in entries {
            wanted.push((parent_directory(self, entry.parent)?, entry.name.as_bytes().to_vec()));
        }
        for (parent, name) in entry_rows::entries_of(&self.tree.db, ino)? {
            if !wanted.contains(&(parent, name.clone())) {
                self.tree.remove_entry(parent, &name, ino)?;
                self.applied.invalidations.push(Invalidation::Entry { parent, name });
            }
        }
        for (parent, name) in wanted {
            match self.tree.entry(parent, &name)? {
                Some(occupant) if occupant == ino => continue,
                Some(occupant) => self.evict_name(occupant, (parent, &name), node)?,
                None => {}
            }
            self.tree.add_entry(parent, &name, ino)?;
            self.applied.invalidations.push(Invalidation::Entry { parent, name });
            if node.state.as_ref().is_some_and(|state| state.kind == Kind::Directory) {
                self.moved_directories.push(ino);
            }
        }
        self.being_named.remove(&ino);
        Ok(())
    }

    /// The directory of an id that comes back if it was deleted here; the root where the id is not known any more.
    pub(crate) fn known_directory(&mut self, id: NodeId) -> Result<Ino, Error> {
        match self.tree.by_id(id)? {
            Some(_) => parent_directory(self, id),
            None => Ok(Ino::ROOT),
        }
    }
}

/// The directory of an id; one that is still to come gets a row that waits for it, one that was
/// deleted here comes back, because something new is in it.
fn parent_directory(batch: &mut ChangeBatch<'_>, id: NodeId) -> Result<Ino, Error> {
    if batch.tree.by_id(id)?.is_none() {
        batch.bring_forward(id)?;
    }
    if let Some(ino) = batch.tree.by_id(id)? {
        if batch.tree.record(ino)?.is_gone() && !batch.being_named.contains(&ino) {
            undelete(batch, ino)?;
        }
        return Ok(ino);
    }
    let ino = batch.tree.number_for(id)?;
    let kind = Kind::Directory;
    let new = NewNode { kind, mode: 0o755, uid: 0, gid: 0, rdev: 0, target: None, now: 0 };
    let mut record = Record::new(ino, id, new);
    record.status = NodeStatus::Awaited;
    record.acknowledged = record.change;
    batch.tree.add(record)?;
    Ok(ino)
}

/// Undoes the deletion of a directory that the server still has.
fn undelete(batch: &mut ChangeBatch<'_>, ino: Ino) -> Result<(), Error> {
    let base = base_rows::base(&batch.tree.db, ino)?;
    let owner = batch.tree.owner;
    let record = batch.tree.edit(ino)?;
    record.status = NodeStatus::Present;
    match &base {
        Some(base) => {
            record.take_attributes(base, owner);
            record.acknowledged = record.change;
        }
        None => record.bump_change(),
    }
    for entry in base.map(|base| base.entries).unwrap_or_default() {
        let parent = parent_directory(batch, entry.parent)?;
        let name = batch.tree.free_name(parent, entry.name.as_bytes())?;
        if name != entry.name.as_bytes() {
            batch.tree.edit_and_bump(ino)?;
        }
        batch.tree.add_entry(parent, &name, ino)?;
        batch.applied.invalidations.push(Invalidation::Entry { parent, name });
        batch.moved_directories.push(ino);
    }
    Ok(())
}
