//! Inode numbers. They follow from the ids of nodes, so that they are the same on every device of a drive: a program that remembers
//! them to see what has changed (`git`, a backup) finds no change where there is none.

use miaofs::protocol::ids::{COUNTER_BITS, NodeId};

use super::transaction::Tree;
use crate::store::disk::{inode_rows, pending_rows};
use crate::store::error::Error;
use crate::store::node::Ino;

/// The first number that follows from an id; smaller ones are counted.
const FIRST: u64 = 1 << 32;
/// The last: programs that have a double for a number see it as it is.
const LAST: u64 = (1 << 53) - 1;
/// Seconds of 1970 to the one that numbers begin with, that of 2020.
const EPOCH: u64 = 1_577_836_800;

/// The number that follows from an id: the second in which it was made, and the count of its maker. So those of what was made
/// together stand together, and two makers have one number in common as rarely as they count alike in one second.
fn of_id(id: NodeId) -> Option<Ino> {
    let (milliseconds, count) = id.made();
    let seconds = (milliseconds / 1000).checked_sub(EPOCH)?;
    let number = (seconds << COUNTER_BITS) + u64::from(count);
    (FIRST..=LAST).contains(&number).then_some(Ino(number))
}

impl Tree {
    /// A number for a new node: the one that follows from its id, or in the rare case that another node has that one, one
    /// that no node ever had.
    ///
    /// A node that had been deleted and comes back has the number that it had, unless somebody still uses that. The kernel is
    /// told to drop what it may have of such a file, as it is for each content that comes.
    pub(crate) fn number_for(&mut self, id: NodeId) -> Result<Ino, Error> {
        match of_id(id) {
            Some(ino) if !self.is_used(ino)? => Ok(ino),
            _ => self.next_number(),
        }
    }

    /// A number that no node ever had.
    pub(crate) fn next_number(&mut self) -> Result<Ino, Error> {
        self.begin()?;
        self.inos.take(&self.db).map(Ino)
    }

    /// True if a node has this number, or what is left of one.
    fn is_used(&mut self, ino: Ino) -> Result<bool, Error> {
        Ok(self.is_touched(ino)
            || self.pinned.holds(ino)
            || inode_rows::exists(&self.db, ino)?
            || pending_rows::is_pending_unlink(&self.db, ino)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_ids_one_after_the_other() {
        let number = |id| of_id(id).map(|ino| ino.0);
        let now = 1_796_000_000_000_000_000;
        let [one, two] = [(); 2].map(|()| number(NodeId::made_at(now)).unwrap());
        assert_eq!(one >> COUNTER_BITS, 1_796_000_000 - EPOCH);
        assert_eq!(two % (1 << COUNTER_BITS), (one + 1) % (1 << COUNTER_BITS));
        assert_eq!([NodeId::made_at(0), NodeId::ROOT].map(number), [None; 2]);
        assert_eq!(number(NodeId::from_bytes([0xff; 16])), None);
    }
}
