//! The pace of those who get nothing but refusals: whoever shows no good token, and asks for what is refused, hears so more and
//! more slowly.
//!
//! A refusal is cheap, but a guesser who gets thousands of them in a second takes the processor from everybody. So they are
//! counted, by network and in all, and one beyond the rate is said later. The wait is bounded, so that somebody with a password
//! mistyped, or with a token that has expired, is only a little late beside a flood. This is the generic cell rate
//! algorithm (ITU-T I.371) with a wait in place of a loss.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use lru::LruCache;
use tokio::time::Instant;

use super::origin::Origin;
use crate::service::Subnet;

/// Refusals at once before any is late, as seconds of the rate.
const BURST: u32 = 5;
/// Networks that have the rate at the same time before all of them together are late.
const NETWORKS: u32 = 5;
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Networks that are told apart; of more, those that were refused lately.
const KNOWN: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not 0");

/// Mark of the answer to a request that came with a good token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known;

/// Counts refusals. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Strangers {
    /// Time that a refusal takes of its network; none where they are not counted.
    interval: Option<Duration>,
    counts: Arc<Mutex<Counts>>,
}

/// The times from which on a refusal is on time again.
#[derive(Debug)]
struct Counts {
    all: Option<Instant>,
    of: LruCache<Subnet, Instant>,
}

impl Strangers {
    /// So many refusals in a second to one network are said at once; with 0, all are.
    pub(crate) fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second);
        let counts = Counts { all: None, of: LruCache::new(KNOWN) };
        Self { interval, counts: Arc::new(Mutex::new(counts)) }
    }

    /// Counts a refusal; the time for which it has to wait.
    fn count(&self, network: Subnet, now: Instant) -> Duration {
        let Some(interval) = self.interval else { return Duration::ZERO };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let burst = Duration::from_secs(BURST.into());
        let all = counts.all.unwrap_or(now).max(now) + interval / NETWORKS;
        let own = counts.of.get(&network).copied().unwrap_or(now).max(now) + interval;
        // Who has waited for so long waits no longer, however many there are.
        let last = now + burst + WAIT_MAX;
        counts.all = Some(all.min(last));
        counts.of.put(network, own.min(last));
        all.max(own).min(last).saturating_duration_since(now + burst)
    }
}

/// Has the refusal of a stranger wait until it is due.
pub(super) async fn slow_down(
    State(strangers): State<Strangers>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.extensions().get::<Origin>().copied();
    let answer = next.run(request).await;
    let is_refused =
        answer.status().is_client_error() && answer.extensions().get::<Known>().is_none();
    if let (true, Some(Origin(from))) = (is_refused, origin) {
        tokio::time::sleep(strangers.count(Subnet::of(from), Instant::now())).await;
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(number: u8) -> Subnet {
        Subnet::of(IpAddr::from([10, 0, 0, number]))
    }

    #[test]
    fn refusals_beyond_the_rate_of_a_network_wait_and_those_of_others_do_not() {
        let (strangers, now) = (Strangers::new(10), Instant::now());
        for _ in 0..50 {
            assert_eq!(strangers.count(network(1), now), Duration::ZERO);
        }
        assert_eq!(strangers.count(network(1), now), Duration::from_millis(100));
        assert_eq!(strangers.count(network(1), now), Duration::from_millis(200));
        assert_eq!(strangers.count(network(2), now), Duration::ZERO);
        let later = now + Duration::from_secs(1);
        assert_eq!(strangers.count(network(1), later), Duration::ZERO, "it has paid by then");
    }

    #[test]
    fn many_networks_together_are_late_but_nobody_for_long() {
        let (strangers, now) = (Strangers::new(10), Instant::now());
        let waits: Vec<Duration> = (0..=249)
            .cycle()
            .take(1000)
            .map(|number| strangers.count(network(number), now))
            .collect();
        assert_eq!(waits[249], Duration::ZERO);
        assert!(waits[250] > Duration::ZERO, "so many are a flood, wherever they come from");
        assert_eq!(waits.iter().max(), Some(&WAIT_MAX));
        let later = now + Duration::from_secs(10);
        assert_eq!(strangers.count(network(1), later), Duration::ZERO);
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let (strangers, now) = (Strangers::new(0), Instant::now());
        assert!((0..1000).all(|_| strangers.count(network(1), now).is_zero()));
    }
}
