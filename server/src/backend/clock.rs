//! The clock of the server, as tables and the tracker hold times.

use std::time::{SystemTime, UNIX_EPOCH};

/// Current time in seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
