//! Limits of how often something may be tried, shared by all who ask the same tracker.
//!
//! The algorithm is the generic cell rate algorithm (ITU-T I.371): of each key only the time is kept
//! at which all tries made so far will have been paid for.

use std::num::NonZeroU32;
use std::time::Duration;

/// How often something may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// So many times at once.
    pub burst: NonZeroU32,
    /// Then so many times a second.
    pub per_second: NonZeroU32,
}

impl RateLimit {
    /// What one try costs.
    pub(super) fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second.get()
    }

    /// How far ahead of now tries may be paid for.
    pub(super) fn tolerance(self) -> Duration {
        self.interval() * self.burst.get()
    }
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It may go on, and was counted.
    Allowed,
    /// It may not, and was not counted.
    Limited {
        /// When the next one is welcome.
        retry_after: Duration,
    },
}
