//! Limits the bytes sent in a second: a token bucket that may go into debt by one piece.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Shared by everything that sends content.
#[derive(Debug)]
pub(super) struct Throttle {
    bytes_per_second: Option<NonZeroU64>,
    /// Time at which all that was let through so far has been paid for.
    paid_at: Mutex<Instant>,
}

impl Throttle {
    /// No limit when `bytes_per_second` is `None`.
    pub(super) fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, paid_at: Mutex::new(Instant::now()) }
    }

    /// Returns when `bytes` may be sent. Whoever waits holds up those who come after.
    pub(super) async fn let_through(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else { return };
        let mut paid_at = self.paid_at.lock().await;
        tokio::time::sleep_until(*paid_at).await;
        let cost = Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        *paid_at = Instant::now().max(*paid_at) + cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_beyond_the_rate_wait() {
        let started = Instant::now();
        let throttle = Throttle::new(NonZeroU64::new(1_000_000));
        for _ in 0..3 {
            throttle.let_through(50_000).await;
        }
        assert!(started.elapsed() >= Duration::from_millis(100));
    }
}
