//! Inode numbers. They follow from the ids of nodes, so that they are the same on every device of a drive: a program that remembers
//! them to see what has changed (`git`, a backup) finds no change where there is none.

use miaofs::protocol::ids::NodeId;

use super::transaction::Tree;
use crate::store::disk::{inode_rows, pending_rows};
use crate::store::error::Error;
use crate::store::node::Ino;

/// The first number that follows from an id; smaller ones are counted.
const FIRST: u64 = 1 << 32;
/// Bits of an id that are left out at its end. Of one that was made at some time 42 bits of milliseconds and 22 random ones are left.
const SHIFT: u32 = 58;
/// Largest number that the database has.
const LAST: u64 = i64::MAX as u64;

/// The number that follows from an id.
fn of_id(id: NodeId) -> Option<Ino> {
    let number = (u128::from_be_bytes(id.to_bytes()) >> SHIFT) as u64 & LAST;
    (number >= FIRST).then_some(Ino(number))
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
    fn numbers_follow_from_ids_and_are_neither_small_nor_negative() {
        let made_at = |nanoseconds| of_id(NodeId::made_at(nanoseconds)).map(|ino| ino.0);
        assert_eq!(made_at(0), None);
        let now = 1_796_000_000_000_000_000;
        assert_eq!(made_at(now).map(|number| number >> 22), Some(1_796_000_000_000));
        assert_eq!(of_id(NodeId::from_bytes([0xff; 16])), Some(Ino(LAST)));
        assert_eq!(of_id(NodeId::ROOT), None);
    }
}
