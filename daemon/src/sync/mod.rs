//! Keeps the local store and the server equal: drains what is dirty, applies what changed there, fetches bytes.
//!
//! The [`Engine`] is the front door. Behind it a pure planner decides and thin executors do:
//!
//! ```text
//! store: dirty nodes ─▶ plan (pure) ─┬▶ upload: hash, known, batch | instant | chunks ─▶ store: content known
//!                                    └▶ push: commits ─▶ store: pushed
//! server: feed ─▶ conflict (pure) ─▶ store: apply ─▶ news to the kernel
//! a read that misses ─▶ download: flights, read-ahead (pure) ─▶ store: fill
//! ```
//!
//! Nothing here knows POSIX or the kernel, and nothing here is remembered across a restart: the
//! store's state says what is left to do.
//!
//! Memory is bounded whatever the size of files. Uploading holds [`upload::GROUPS`] groups of small
//! contents of at most [`plan::GROUP_BYTES`] each, one chunk for each of [`upload::STREAMS`]
//! streams and one for each hashing thread; downloading holds one piece for each of
//! [`download::STREAMS`] streams; the plan holds one window of [`plan::WINDOW`] dirty nodes. Only
//! a manifest grows with its file, by 33 bytes for each chunk of 4 MiB.

mod download;
mod engine;
mod flush;
mod link;
mod pull;
mod push;
mod status;
mod throttle;
mod upload;

pub(crate) use download::fetch::FetchError;
pub(crate) use engine::{Engine, Settings};
pub(crate) use flush::{FlushError, Scope};
#[cfg(test)]
pub(crate) use status::{Cache, Counters, NodeError};
pub(crate) use status::{Server, ServerState, Status, SyncState};
#[cfg(test)]
pub(crate) use upload::hash::{Hashed, hash};
