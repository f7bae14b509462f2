//! Applies the changes of the drive on the server to the store, by the rules for conflicts.

mod conflict;
pub(super) mod feed;
pub(super) mod resolve;
