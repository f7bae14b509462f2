//! The record of the backing files that the kernel has, for the daemon that goes on with the session when this one dies.
//!
//! Of an inode that is open by passthrough the kernel takes no other backing file, and each has a number that only who opened it
//! knows. So the number is written down before the kernel is told to use it: one slot of a file for each, which no crash of the
//! machine needs to spare, as the session ends with that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::store::Ino;

/// Bytes of a slot: the inode, and the number of its backing file plus one; zeros when it is free.
const SLOT: usize = 16;

/// The record, open.
#[derive(Debug)]
pub(super) struct BackingIds {
    file: File,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    free: Vec<u64>,
    count: u64,
}

/// Place of one backing file in the record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot(u64);

/// A backing file in the record: the inode, its number, and its place.
pub(super) type Recorded = (Ino, u32, Slot);

impl BackingIds {
    /// Begins a record without any.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        file.set_len(0)?;
        Ok(Self { file, slots: Mutex::default() })
    }

    /// Goes on with the record of the daemon before this one: what stands in it.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn go_on(path: &Path) -> io::Result<(Self, Vec<Recorded>)> {
        let file = open(path)?;
        let count = file.metadata()?.len().div_ceil(SLOT as u64);
        let mut bytes = vec![0; count as usize * SLOT];
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(&mut bytes[done..], done as u64)? {
                0 => break,
                read => done += read,
            }
        }
        let mut slots = Slots { free: Vec::new(), count };
        let mut found = Vec::new();
        for (slot, bytes) in (0..).zip(bytes.chunks_exact(SLOT)) {
            let (ino, id) = bytes.split_at(SLOT / 2);
            let number =
                |bytes: &[u8]| bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
            match (number(ino), number(id)) {
                (_, 0) => slots.free.push(slot),
                (ino, id) => found.push((Ino(ino), (id - 1) as u32, Slot(slot))),
            }
        }
        Ok((Self { file, slots: Mutex::new(slots) }, found))
    }

    /// Writes down the backing file of an inode.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn add(&self, ino: Ino, id: u32) -> io::Result<Slot> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            match slots.free.pop() {
                Some(slot) => slot,
                None => {
                    slots.count += 1;
                    slots.count - 1
                }
            }
        };
        let mut bytes = [0; SLOT];
        bytes[..SLOT / 2].copy_from_slice(&ino.0.to_le_bytes());
        bytes[SLOT / 2..].copy_from_slice(&(u64::from(id) + 1).to_le_bytes());
        self.write(&Slot(slot), &bytes).map(|()| Slot(slot))
    }

    /// A backing file is closed.
    pub(super) fn remove(&self, slot: Slot) {
        // One that stays costs its inode a backing file that nobody needs.
        if let Err(error) = self.write(&slot, &[0; SLOT]) {
            tracing::debug!(%error, "the end of a backing file cannot be written down");
            return;
        }
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).free.push(slot.0);
    }

    fn write(&self, slot: &Slot, bytes: &[u8; SLOT]) -> io::Result<()> {
        self.file.write_all_at(bytes, slot.0 * SLOT as u64)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_daemon_reads_what_was_written_down() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backing");
        let ids = BackingIds::new(&path).unwrap();
        let first = ids.add(Ino(7), 0).unwrap();
        ids.add(Ino(1 << 50), 41).unwrap();
        ids.remove(first);
        drop(ids);
        let (ids, found) = BackingIds::go_on(&path).unwrap();
        assert_eq!(found, [(Ino(1 << 50), 41, Slot(1))]);
        assert_eq!(ids.add(Ino(8), 3).unwrap(), Slot(0), "a free slot is used again");
    }
}
