//! Drains the store: plans what to do about dirty nodes, has contents uploaded, and commits.
//!
//! The planner, the order of commits and the guard of deletions are pure. Stands on
//! [`upload`](super::upload), and on [`pull`](super::pull) for the conflicts of commits.

mod commit_order;
mod deletion_guard;
mod flush;
mod plan;
mod pusher;
mod request;
mod rotation;
mod window;

pub(crate) use flush::{FlushError, Refusal, Scope};
pub(super) use pusher::run;
pub(super) use request::PushRequest;
