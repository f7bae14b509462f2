//! A file that lost its name to a change of the server while it was open gets one again when a program writes to it.

use miaofs::protocol::ids::NodeId;

use super::transaction::Tree;
use crate::store::disk::meta;
use crate::store::error::Error;
use crate::store::node::Ino;

impl Tree {
    /// Gives an open file that a change of the server took the name from a name again, since a program changes its content.
    pub(crate) fn revive(&mut self, ino: Ino) -> Result<(), Error> {
        let Some(place) = self.superseded.get(&ino).cloned() else { return Ok(()) };
        if !self.record(ino)?.is_orphan() {
            return Ok(());
        }
        let is_there = place.parent == Ino::ROOT
            || self.present(place.parent).is_ok_and(|directory| directory.links > 0);
        let parent = if is_there { place.parent } else { Ino::ROOT };
        let name = match self.entry(parent, &place.name)? {
            None => place.name,
            Some(_) => self.free_name(parent, &place.conflict_name)?,
        };
        let shown = String::from_utf8_lossy(&name);
        tracing::warn!(%ino, name = %shown, "an old version is written to: it is kept under this name");
        // Its own id may be that of a node which the server deleted.
        self.set_id(ino, NodeId::made_at(meta::now()))?;
        self.add_entry(parent, &name, ino)?;
        self.note_revived(ino, parent, name)
    }
}
