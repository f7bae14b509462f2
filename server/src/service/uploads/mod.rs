//! Uploads: every way in which a content comes, each of which ends in `ServiceContext::store`.
//!
//! In chunks (`chunked`, with the `session` of each upload, the `active` ones counted, those that are `finished` as they begin, and `proofs` of what they bring), many small ones at
//! once (`batch`), one file in one request (`plain`), and without its bytes, for a proof (`instant`, which
//! reads the content by way of `downloads`).

mod active;
mod batch;
mod chunked;
mod finished;
mod instant;
mod plain;
mod proofs;
mod session;

pub(crate) use batch::Batches;
pub(crate) use chunked::{ChunkBody, Uploads};
pub(crate) use instant::InstantUploads;
pub(crate) use plain::PlainUploads;
