//! Speaks to the kernel: requests become calls of [`crate::vfs`], news become invalidations.
//!
//! No meaning lives here. Callback threads never wait for the network or for a disk to sync: such
//! requests hand their reply to a task and return. The kernel keeps names and attributes for an
//! hour, and pages as long as it likes, because whatever changes on the server is told to it
//! ([`notify`]). It checks permissions itself (`default_permissions`), and its writeback cache is
//! off, so a write that returned has reached the store.

mod adapter;
mod answer;
mod backing_ids;
mod buffered;
mod capabilities;
mod deferred;
mod interrupt;
mod mount;
mod named;
mod notifier;
mod notify;
mod open;
mod passthrough;
mod received;
mod request_counts;
mod request_memory;
mod takeover;
mod threads;
mod trace;
mod translate;

pub(crate) use mount::{Audience, Error, Mount, Options, Writable, kernel_option};
pub(crate) use notifier::run_if_called as run_notifier_if_called;
pub(crate) use passthrough::{LentBefore, Passing, Passthrough};
pub(crate) use request_counts::RequestCounts;
pub(crate) use request_memory::RequestMemory;
pub(crate) use takeover::{Inherited, SessionRecord};
