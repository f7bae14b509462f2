//! Brings bytes here that a read misses, from stores of objects or through the server.
//!
//! [`Prefetcher`] is what readers ask, [`Downloader`] what uploads ask for bytes that they must send.
//! Stands on [`core`](super::core) alone.

mod access_pattern;
mod downloader;
mod error;
mod fetch_writer;
mod in_flight;
mod manifests;
mod milestones;
mod prefetch;
mod readahead;
mod retry;
mod sources;
mod together;

pub(super) use downloader::Downloader;
pub(super) use error::AttemptError;
pub(crate) use error::FetchError;
pub(super) use prefetch::Prefetcher;
