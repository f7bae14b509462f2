//! Drains the store: plans what to do about dirty nodes, uploads contents, and commits.

mod commit_order;
mod deletion_guard;
pub(super) mod plan;
pub(super) mod pusher;
