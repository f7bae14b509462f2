//! Rate limits in the memory of the one process.
//!
//! Keys come from outside, so there may be any number: of too many, the one goes whose tries will be paid for first. That
//! is as good as one that was never seen, while whoever has tried often stays.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::backend::tracker::{Decision, RateLimit};

/// Keys kept at the most, some 5 MB.
const KEYS_MAX: usize = 20_000;

/// Theoretical arrival time of each key.
#[derive(Debug, Clone, Default)]
pub(super) struct ArrivalTimes(Arc<Mutex<Times>>);

#[derive(Debug, Default)]
struct Times {
    of_key: HashMap<Arc<str>, Instant>,
    /// The same, the earliest first.
    in_order: BTreeSet<(Instant, Arc<str>)>,
}

impl ArrivalTimes {
    /// Counts one try at `key`, or says when the next one is allowed.
    pub(super) fn count(&self, key: &str, limit: RateLimit) -> Decision {
        let now = Instant::now();
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = times.of_key.get(key).map_or(now, |at| now.max(*at));
        let after = before + limit.interval();
        let ahead = after - now;
        if ahead > limit.tolerance() {
            return Decision::Limited { retry_after: ahead - limit.tolerance() };
        }
        times.set(key, after);
        times.forget(now);
        Decision::Allowed
    }
}

impl Times {
    fn set(&mut self, key: &str, at: Instant) {
        let key = match self.of_key.remove_entry(key) {
            Some((key, before)) => {
                self.in_order.remove(&(before, key.clone()));
                key
            }
            None => key.into(),
        };
        self.in_order.insert((at, key.clone()));
        self.of_key.insert(key, at);
    }

    /// Drops what is paid for, and what is too much.
    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.in_order.first()
            && (*at <= now || self.of_key.len() > KEYS_MAX)
        {
            let Some((_, key)) = self.in_order.pop_first() else { return };
            self.of_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn a_flood_of_keys_takes_no_more_memory_and_frees_nobody_who_tried_often() {
        let number = |number| NonZeroU32::new(number).unwrap();
        let limit = RateLimit { burst: number(30), interval: std::time::Duration::from_secs(1) };
        let times = ArrivalTimes::default();
        while times.count("guesser", limit) == Decision::Allowed {}
        for key in 0..5 * KEYS_MAX {
            assert_eq!(times.count(&format!("key {key}"), limit), Decision::Allowed);
        }
        let kept = times.0.lock().unwrap();
        assert!(kept.of_key.len() <= KEYS_MAX, "{} keys", kept.of_key.len());
        assert_eq!(kept.of_key.len(), kept.in_order.len());
        drop(kept);
        // Of a slow run, some tries have been paid for.
        let again = (0..30).filter(|_| times.count("guesser", limit) == Decision::Allowed).count();
        assert!(again < 15, "the guesser was forgotten");
    }
}
