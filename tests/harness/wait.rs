//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(20);

/// Returns once `condition` holds; panics when it does not within `limit`. Answers how long it took.
#[track_caller]
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(INTERVAL);
    }
    start.elapsed()
}

/// Seconds as a duration, for limits.
pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
