//! Upkeep of the store: space made by eviction, the journal synced by a timer, recovery after a crash and from damage.
//!
//! It stands on the store (`core.rs`) and what is below.

pub(super) mod evict;
mod lent;
pub(super) mod lost_and_found;
pub(super) mod orphans;
pub(super) mod rebuild;
pub(super) mod recovery;
pub(super) mod timer;
mod unchanged;
mod unseen;
