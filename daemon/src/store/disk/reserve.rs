//! A file that takes up room on the disk so that it can be given up: a full disk must not keep anybody from removing a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::space::free_bytes;

/// Bytes that are kept.
const SIZE: u64 = 16 * 1024 * 1024;
/// Free bytes of the disk that transactions need.
const ROOM: u64 = 4 * 1024 * 1024;

/// The file, there or not.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    directory: PathBuf,
    is_wanted: bool,
}

impl Reserve {
    /// The reserve of a state directory, of whose disk so many bytes are to stay free; without a floor there is none.
    pub(crate) fn new(directory: &Path, free_floor: u64) -> Self {
        let path = directory.join("reserve");
        Self { path, directory: directory.to_owned(), is_wanted: free_floor > 0 }
    }

    /// The same; it is given up at once if the disk has no room for transactions.
    pub(crate) fn with_room(directory: &Path, free_floor: u64) -> Self {
        let reserve = Self::new(directory, free_floor);
        if reserve.is_needed() {
            reserve.release();
        }
        reserve
    }

    /// True if the disk has no room for transactions.
    pub(crate) fn is_needed(&self) -> bool {
        self.is_wanted && self.free().is_some_and(|free| free < ROOM)
    }

    /// Gives the room back to the disk; false if there is none in reserve.
    pub(crate) fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    /// Free bytes of the disk from which on the room can be taken; none once it is.
    pub(crate) fn wants(&self) -> u64 {
        if self.is_wanted && !self.path.exists() { SIZE + 2 * ROOM } else { 0 }
    }

    /// Takes the room if the disk has it.
    pub(crate) fn restore(&self) {
        let wants = self.wants();
        if wants == 0 || self.free().is_none_or(|free| free < wants) {
            return;
        }
        let made = File::create(&self.path)
            .and_then(|file| Ok(fallocate(file, FallocateFlags::empty(), 0, SIZE)?));
        if let Err(error) = made {
            tracing::debug!(%error, "no room is kept in reserve");
            self.release();
        }
    }

    fn free(&self) -> Option<u64> {
        free_bytes(&self.directory).ok()
    }
}
