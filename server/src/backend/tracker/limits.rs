//! Limits of how often something may be tried, shared by all who ask the same tracker.
//!
//! The algorithm is the generic cell rate algorithm (ITU-T I.371): of each key only its
//! theoretical arrival time is kept, at which all tries made so far will have been paid for.

use std::num::NonZeroU32;
use std::time::Duration;

/// A rate limit: a burst, then a steady rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// So many times at once.
    pub burst: NonZeroU32,
    /// Then once in so long a time.
    pub interval: Duration,
}

impl RateLimit {
    /// The time by which one try moves the arrival time.
    pub(super) fn interval(self) -> Duration {
        self.interval
    }

    /// The distance by which the arrival time may lie in the future.
    pub(super) fn tolerance(self) -> Duration {
        self.interval * self.burst.get()
    }
}

/// The answer to one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Allowed, and counted.
    Allowed,
    /// Refused, and not counted.
    Limited {
        /// Time until the next try is allowed.
        retry_after: Duration,
    },
}
