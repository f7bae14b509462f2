//! Brings contents to the server: hashed, asked about, and sent as far as the server does not have them.
//!
//! Memory is bounded by [`limits`]: a few groups of small contents, one chunk for each stream, and one
//! for each hashing thread. Stands on [`download`](super::download), which brings back what must be
//! sent and was given up here.

mod error;
mod job;
mod large;
mod limits;
mod prepare;
mod small;
mod throttle;

pub(super) use error::UploadOutcome;
pub(super) use job::{Job, run};
pub(super) use prepare::Uploader;
