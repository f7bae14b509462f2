//! How often somebody may try to sign in or up: per name and address, and per address.
//!
//! The name alone is no key: whoever knows a name could else lock its owner out. The tries are counted
//! in the tracker, so they are limited over all processes that share one.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::backend::tracker::{Decision, RateLimit, Tracker};
use crate::service::Error;

/// RateLimiter at one name from one address.
const PER_NAME: RateLimit = RateLimit {
    burst: NonZeroU32::new(30).expect("30 is not 0"),
    per_second: NonZeroU32::new(1).expect("1 is not 0"),
};
/// RateLimiter from one address.
const PER_ADDRESS: RateLimit = RateLimit {
    burst: NonZeroU32::new(300).expect("300 is not 0"),
    per_second: NonZeroU32::new(10).expect("10 is not 0"),
};

/// Counts tries. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct RateLimiter(Tracker);

impl RateLimiter {
    /// RateLimiter that this tracker counts.
    pub(super) fn new(tracker: Tracker) -> Self {
        Self(tracker)
    }

    /// Counts one try.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] says when the next one is welcome.
    pub(super) async fn check(&self, name: &str, address: IpAddr) -> Result<(), Error> {
        self.take(&format!("{address}"), PER_ADDRESS).await?;
        self.take(&format!("{name} {address}"), PER_NAME).await
    }

    async fn take(&self, key: &str, limit: RateLimit) -> Result<(), Error> {
        match self.0.check_rate_limit(key, limit).await? {
            Decision::Allowed => Ok(()),
            Decision::Limited { retry_after } => {
                Err(Error::TooManyRequests { retry_after: retry_after.max(Duration::from_secs(1)) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Settings;

    #[tokio::test]
    async fn the_tries_at_a_name_from_an_address_are_limited_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::embedded(directory.path().to_owned());
        let limiter = RateLimiter::new(Tracker::open(&settings).await.unwrap());
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..PER_NAME.burst.get() {
            limiter.check("anna", here).await.unwrap();
        }
        assert!(matches!(limiter.check("anna", here).await, Err(Error::TooManyRequests { .. })));
        limiter.check("anna", there).await.unwrap();
        limiter.check("berta", here).await.unwrap();
    }
}
