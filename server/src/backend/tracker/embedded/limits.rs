//! Rate limits in the memory of the one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::backend::tracker::{Decision, RateLimit};

/// Keys kept before those whose arrival time is past are dropped.
const KEYS_MAX: usize = 10_000;

/// Theoretical arrival time of each key.
#[derive(Debug, Clone, Default)]
pub(super) struct ArrivalTimes(Arc<Mutex<HashMap<String, Instant>>>);

impl ArrivalTimes {
    /// Counts one try at `key`, or says when the next one is allowed.
    pub(super) fn count(&self, key: &str, limit: RateLimit) -> Decision {
        let now = Instant::now();
        let mut arrival_times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if arrival_times.len() > KEYS_MAX {
            arrival_times.retain(|_, at| *at > now);
        }
        let before = arrival_times.get(key).map_or(now, |at| now.max(*at));
        let after = before + limit.interval();
        let ahead = after - now;
        if ahead > limit.tolerance() {
            return Decision::Limited { retry_after: ahead - limit.tolerance() };
        }
        arrival_times.insert(key.to_owned(), after);
        Decision::Allowed
    }
}
