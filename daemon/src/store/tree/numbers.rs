//! Inode numbers. They follow from the ids of nodes, so that they are the same on every device of a drive: a program that remembers
//! them to see what has changed (`git`, a backup) finds no change where there is none.

use std::collections::HashSet;

use miaofs::protocol::ids::{COUNTER_BITS, NodeId};

use crate::store::disk::database::Database;
use crate::store::disk::meta::Counter;
use crate::store::error::Error;
use crate::store::node::Ino;

/// The first number that follows from an id; smaller ones are counted.
const FIRST: u64 = 1 << 32;
/// The last: programs that have a double for a number see it as it is.
const LAST: u64 = (1 << 53) - 1;
/// Numbers of nodes that have ended that are remembered one by one.
const ENDED_MAX: usize = 1 << 16;
/// Seconds of 1970 to the one that numbers begin with, that of 2020.
const EPOCH: u64 = 1_577_836_800;

/// Returns the number that follows from an id: the second in which it was made, and the count of its maker. So those of what was made
/// together stand together, and two makers have one number in common as rarely as they count alike in one second.
pub(super) fn of_id(id: NodeId) -> Option<Ino> {
    let (milliseconds, count) = id.made();
    let seconds = (milliseconds / 1000).checked_sub(EPOCH)?;
    let number = (seconds << COUNTER_BITS) + u64::from(count);
    (FIRST..=LAST).contains(&number).then_some(Ino(number))
}

/// Numbers that are counted, and those that were used.
#[derive(Debug)]
pub(super) struct Numbers {
    counter: Counter,
    /// Numbers of nodes that have ended since this process began: it may remember something of them.
    ended: HashSet<Ino>,
    /// Others of that kind are no larger than this.
    ended_up_to: Ino,
}

impl Numbers {
    pub(super) fn load(db: &Database) -> Result<Self, Error> {
        let counter = Counter::load(db, "next_ino", Ino::ROOT.0 + 1)?;
        Ok(Self { counter, ended: HashSet::new(), ended_up_to: Ino(0) })
    }

    /// The transaction was undone, and with it perhaps a reservation.
    pub(super) fn undo_reservation(&mut self) {
        self.counter.undo_reservation();
    }

    /// A node has ended.
    pub(super) fn ended(&mut self, ino: Ino) {
        if self.ended.len() == ENDED_MAX {
            let largest = self.ended.drain().max();
            self.ended_up_to = self.ended_up_to.max(largest.unwrap_or(Ino(0)));
        }
        self.ended.insert(ino);
    }

    /// A number that no node ever had.
    pub(super) fn next(&mut self, db: &Database) -> Result<Ino, Error> {
        self.counter.take(db).map(Ino)
    }

    /// True if this may have been the number of a node that has ended.
    pub(super) fn may_have_ended(&self, ino: Ino) -> bool {
        ino <= self.ended_up_to || self.ended.contains(&ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::schema;

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

    #[test]
    fn numbers_that_ended_are_remembered_however_many_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let db = schema::open_database(&dir.path().join("state.db"), dir.path()).unwrap();
        let mut numbers = Numbers::load(&db).unwrap();
        let ended: Vec<_> = (0..2 * ENDED_MAX as u64 + 5).map(|at| Ino(FIRST + 2 * at)).collect();
        ended.iter().for_each(|ino| numbers.ended(*ino));
        assert!(ended.iter().all(|ino| numbers.may_have_ended(*ino)));
        assert!(numbers.ended.len() <= ENDED_MAX);
        assert!(!numbers.may_have_ended(Ino(ended[ended.len() - 1].0 - 1)));
    }
}
