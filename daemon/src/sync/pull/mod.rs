//! Applies the changes of the drive on the server to the store, by the rules for conflicts.
//!
//! The feed brings changes, and the conflicts of a commit are resolved by the same rules. Stands on
//! [`core`](super::core), and on [`hash`](super::hash) to know what is equal.

mod conflict;
mod equal;
mod feed;
mod history;
mod resolve;

pub(super) use feed::run;
pub(super) use history::is_of_another_history;
pub(super) use resolve::{AfterConflict, resolve_conflict};
