//! ArrivalTimes in the memory of the one process that counts them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::backend::tracker::{Decision, RateLimit};

/// Keys remembered before those that have paid for all their tries are forgotten.
const KEYS_MAX: usize = 10_000;

/// When the tries of each key will have been paid for.
#[derive(Debug, Clone, Default)]
pub(super) struct ArrivalTimes(Arc<Mutex<HashMap<String, Instant>>>);

impl ArrivalTimes {
    /// Counts one try at `key`, or says when the next one is allowed.
    pub(super) fn count(&self, key: &str, limit: RateLimit) -> Decision {
        let now = Instant::now();
        let mut paid_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paid_at.len() > KEYS_MAX {
            paid_at.retain(|_, at| *at > now);
        }
        let before = paid_at.get(key).map_or(now, |at| now.max(*at));
        let after = before + limit.interval();
        let ahead = after - now;
        if ahead > limit.tolerance() {
            return Decision::Limited { retry_after: ahead - limit.tolerance() };
        }
        paid_at.insert(key.to_owned(), after);
        Decision::Allowed
    }
}
