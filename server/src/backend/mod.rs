//! What the server stands on: SQL, the tracker, staging disks and stores; knows no rule of the service.

pub mod blobs;
mod blocking;
pub mod db;
mod error;
mod ids;
pub mod layout;
mod lock;
pub mod queue;
pub mod staging;
pub mod tracker;

pub use blocking::{background_thread, off_loop, to_the_end};
pub use error::Error;
pub use ids::{BlobId, TokenId, UserId};
pub use lock::DataLock;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, as tables hold times.
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
