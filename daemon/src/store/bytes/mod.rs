//! Contents of files as programs use them: read, write, allocate, seek, copy, sync, snapshots to be uploaded, and a
//! comparison with the digests that they should have.
//!
//! A write ensures that there is space first, by eviction if need be, so this stands on `upkeep`.

pub(super) mod allocate;
pub(super) mod content;
pub(super) mod copy;
pub(super) mod lend;
pub(super) mod reference;
pub(super) mod seek;
pub(super) mod snapshot;
pub(super) mod sync;
pub(super) mod verify;
