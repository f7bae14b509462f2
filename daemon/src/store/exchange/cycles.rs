//! Directories that were moved into each other, here one and there the other: the server's move came first and stands,
//! the directory that was moved here goes back to where the server has it.

use miaofs::protocol::files::NodeState;

use super::apply::ChangeBatch;
use crate::store::disk::{base_rows, entry_rows};
use crate::store::error::Error;
use crate::store::invalidation::Invalidation;
use crate::store::node::Ino;

impl ChangeBatch<'_> {
    /// Looks whether what was moved in this batch is still below the root.
    pub(super) fn break_cycles(&mut self) -> Result<(), Error> {
        while let Some(directory) = self.moved_directories.pop() {
            // Each turn takes one of the moves back that were made here, so this ends.
            while let Some((moved, base)) = self.moved_here_in_cycle(directory)? {
                self.move_back(moved, &base)?;
            }
        }
        Ok(())
    }

    /// A directory of the cycle that this one is in or below which was moved here, with the server's state of it.
    ///
    /// A cycle without such a one is the server's doing, and on the way to be no cycle: a change is still to come.
    fn moved_here_in_cycle(&mut self, directory: Ino) -> Result<Option<(Ino, NodeState)>, Error> {
        let way: Vec<Ino> =
            self.tree.way_up(directory)?.into_iter().map(|(parent, _)| parent).collect();
        let Some((last, before)) = way.split_last() else { return Ok(None) };
        let is_cycle = *last == directory || before.contains(last);
        if !is_cycle {
            return Ok(None);
        }
        let first = before.iter().position(|above| above == last).map_or(0, |at| at + 1);
        for moved in &way[first..] {
            let base = base_rows::base(&self.tree.db, *moved)?;
            if let Some(base) = base
                && self.is_moved(*moved, &base)?
            {
                return Ok(Some((*moved, base)));
            }
        }
        Ok(None)
    }

    /// True if a directory is in another one than the server has it in.
    fn is_moved(&mut self, ino: Ino, base: &NodeState) -> Result<bool, Error> {
        let here = match entry_rows::parent_of(&self.tree.db, ino)? {
            Some(parent) => Some(self.tree.record(parent)?.id),
            None => None,
        };
        Ok(here != base.entries.first().map(|entry| entry.parent))
    }

    /// Puts a directory where the server has it; where there is no such place any more, into the root.
    fn move_back(&mut self, ino: Ino, base: &NodeState) -> Result<(), Error> {
        let Some(entry) = base.entries.first() else { return Ok(()) };
        let parent = self.known_directory(entry.parent)?;
        tracing::info!(%ino, %parent, "a directory was moved into one that another device moved into it: it goes back");
        for (parent, name) in entry_rows::entries_of(&self.tree.db, ino)? {
            self.tree.remove_entry(parent, &name, ino)?;
            self.applied.invalidations.push(Invalidation::Entry { parent, name });
        }
        let name = self.tree.free_name(parent, entry.name.as_bytes())?;
        self.tree.add_entry(parent, &name, ino)?;
        self.applied.invalidations.push(Invalidation::Entry { parent, name });
        self.clean_if_equal(ino, base)
    }
}
