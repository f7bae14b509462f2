//! Limits against clients that are slow, or many.

use std::num::NonZeroU32;
use std::time::Duration;

use super::file::File;
use super::flags::ServingFlags;
use crate::http::{ConnectionLimits, ConnectionTimes, Pace};

/// Seconds for the head of a request, and between requests.
const HEAD_TIMEOUT: u32 = 60;
/// Seconds in which nothing of a body comes.
const BODY_PAUSE: u32 = 30;
/// Seconds in which nothing of an answer is taken.
const ANSWER_PAUSE: u32 = 60;

/// Refusals in a second to one network that shows no good token.
const REFUSALS: u32 = 20;
/// Connections at the most when nothing is said: each takes some ten kilobytes.
const CONNECTIONS_MAX: u64 = 16 * 1024;
/// Descriptors that the process needs for itself.
const DESCRIPTORS_RESERVED: u64 = 128;
/// Descriptors for each connection: one for itself and one for what is read or written for it.
const DESCRIPTORS_EACH: u64 = 2;
/// The part of all connections that one network may have when nothing is said.
const SUBNET_PART: usize = 4;

/// Limits of what clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    max_connections: Option<NonZeroU32>,
    max_connections_per_address: Option<NonZeroU32>,
    /// Refusals in a second that a stranger gets at once.
    pub refusals: u32,
    /// Times of connections.
    pub times: ConnectionTimes,
    /// The pace of bodies.
    pub pace: Pace,
}

impl Limits {
    /// Puts flags, file and defaults together.
    pub(super) fn of(serving: &ServingFlags, file: &File) -> Self {
        let time = |flag: Option<NonZeroU32>, file: Option<NonZeroU32>, default| {
            Duration::from_secs(flag.or(file).map_or(default, NonZeroU32::get).into())
        };
        let per_address = serving.max_connections_per_address.or(file.max_connections_per_address);
        Self {
            max_connections: serving.max_connections.or(file.max_connections),
            max_connections_per_address: per_address,
            refusals: serving.refusals_per_second.or(file.refusals_per_second).unwrap_or(REFUSALS),
            pace: Pace { pause: time(serving.body_pause, file.body_pause, BODY_PAUSE) },
            times: ConnectionTimes {
                head: time(serving.head_timeout, file.head_timeout, HEAD_TIMEOUT),
                answer_pause: time(serving.answer_pause, file.answer_pause, ANSWER_PAUSE),
            },
        }
    }

    /// Limits of connections in a process that may have so many files open.
    pub(crate) fn connections(&self, descriptors: u64) -> ConnectionLimits {
        let free = descriptors.saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_EACH;
        let count = |count: NonZeroU32| count.get() as usize;
        let total = self.max_connections.map_or(free.clamp(1, CONNECTIONS_MAX) as usize, count);
        let share = self.max_connections_per_address.map_or(total.div_ceil(SUBNET_PART), count);
        ConnectionLimits { total, per_subnet: share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_what_is_done_for_them() {
        let pace = Pace { pause: Duration::ZERO };
        let times = ConnectionTimes { head: Duration::ZERO, answer_pause: Duration::ZERO };
        let limits = Limits {
            max_connections: None,
            max_connections_per_address: None,
            refusals: 0,
            times,
            pace,
        };
        let total = |descriptors| limits.connections(descriptors).total;
        assert_eq!([0, 1024, u64::MAX].map(total), [1, 448, 16_384]);
        assert_eq!(limits.connections(1024).per_subnet, 112);
        let said = Limits { max_connections: NonZeroU32::new(10), ..limits };
        assert_eq!(said.connections(1024), ConnectionLimits { total: 10, per_subnet: 3 });
    }
}
