//! Keeps the local store and the server equal: drains what is dirty, applies what changed there, fetches bytes.
//!
//! The [`Engine`] is the front door. Behind it pure functions decide and thin executors do, one wing
//! a direction; a wing stands on those to its left or below, and all on `core`:
//!
//! ```text
//!                     engine: starts all, requests, status
//!   push    dirty nodes ─▶ plan (pure) ─┬▶ upload jobs
//!    │                                  └▶ commit order (pure) ─▶ commits ─▶ store: pushed
//!    ├─▶ pull      feed ─▶ conflict (pure) ─▶ store: apply ─▶ the kernel forgets
//!    └─▶ upload    hash ─▶ known? ─▶ batch | instant | chunks ─▶ store: content known
//!          └─▶ download   a read that misses ─▶ read-ahead (pure) ─▶ fetches ─▶ store: fill
//!   hash    contents to manifests
//!   core    store, client, link to the server, metrics
//! ```
//!
//! Nothing here knows POSIX or the kernel, and nothing here is remembered across a restart: the
//! store's state says what is left to do.
//!
//! Memory is bounded whatever the size of files. Uploading holds a few groups of small contents, of
//! a bounded size each, one chunk for each stream and one for each hashing thread; downloading holds
//! one step for each stream; the plan holds one window of dirty nodes. Only a manifest grows with its
//! file, by 33 bytes for each chunk of 4 MiB.

mod core;
mod download;
mod engine;
mod error;
mod first_pull;
mod hash;
mod link;
mod metrics;
mod mutex;
mod pull;
mod push;
mod status;
mod upload;
mod verify;

pub(crate) use self::core::EngineSettings;
pub(crate) use download::FetchError;
pub(crate) use engine::Engine;
#[cfg(test)]
pub(crate) use error::SyncError;
pub(crate) use error::with_causes;
pub(crate) use first_pull::NamesError;
#[cfg(test)]
pub(crate) use hash::{Hashed, hash};
pub(crate) use push::{FlushError, Refusal, Scope};
#[cfg(test)]
pub(crate) use status::{Cache, Counters, LockWaits, NodeError};
pub(crate) use status::{Server, ServerState, Status, SyncState};
pub(crate) use verify::{Verification, verify_step};
