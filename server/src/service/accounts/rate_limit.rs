//! How often somebody may try to sign in or up, or renew a session: per name and network, per network, and per site.
//!
//! The name alone is no key: whoever knows a name could else lock its owner out. The tries are counted
//! in the tracker, so they are limited over all processes that share one. The narrowest limit comes first: a try
//! that it refuses is not counted by the wider ones, so that a guesser does not use up what his neighbours have.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::backend::tracker::{Decision, RateLimit, Tracker};
use crate::service::{Error, Subnet};

const fn limit(burst: u32, per_second: u64) -> RateLimit {
    let burst = NonZeroU32::new(burst).expect("a burst is not 0");
    RateLimit { burst, interval: Duration::from_micros(1_000_000 / per_second) }
}

/// Tries at one name from one network.
const PER_NAME: RateLimit = limit(30, 1);
/// Tries from one network.
const PER_NETWORK: RateLimit = limit(300, 10);
/// Tries from one site, which may hold many networks.
const PER_SITE: RateLimit = limit(1200, 40);
/// Renewals from one network. All devices behind it renew at once when the tracker has lost its memory.
const RENEWALS_PER_NETWORK: RateLimit = limit(1000, 20);
/// Renewals from one site.
const RENEWALS_PER_SITE: RateLimit = limit(4000, 80);

/// Counts tries. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct RateLimiter(Tracker);

impl RateLimiter {
    /// RateLimiter that this tracker counts.
    pub(super) fn new(tracker: Tracker) -> Self {
        Self(tracker)
    }

    /// Counts one try at an account.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] says when the next one is welcome.
    pub(super) async fn check(&self, name: &str, address: IpAddr) -> Result<(), Error> {
        let (network, site) = (Subnet::of(address), Subnet::site_of(address));
        self.take(&format!("{name} {network}"), PER_NAME).await?;
        self.take(&format!("{network}"), PER_NETWORK).await?;
        self.take_of_site(&format!("{site}"), (network, site), PER_SITE).await
    }

    /// Counts one try to renew a session.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] says when the next one is welcome.
    pub(super) async fn check_renewal(&self, address: IpAddr) -> Result<(), Error> {
        let (network, site) = (Subnet::of(address), Subnet::site_of(address));
        self.take(&format!("renew {network}"), RENEWALS_PER_NETWORK).await?;
        self.take_of_site(&format!("renew {site}"), (network, site), RENEWALS_PER_SITE).await
    }

    async fn take_of_site(
        &self,
        key: &str,
        (network, site): (Subnet, Subnet),
        limit: RateLimit,
    ) -> Result<(), Error> {
        if network == site { Ok(()) } else { self.take(key, limit).await }
    }

    /// Counts one try with a scoped token that is none.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] says when the next one is welcome.
    pub(super) async fn check_guess(&self, address: IpAddr) -> Result<(), Error> {
        let (network, site) = (Subnet::of(address), Subnet::site_of(address));
        self.take(&format!("token {network}"), PER_NETWORK).await?;
        self.take_of_site(&format!("token {site}"), (network, site), PER_SITE).await
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

    async fn limiter(directory: &tempfile::TempDir) -> RateLimiter {
        let settings = Settings::embedded(directory.path().to_owned());
        RateLimiter::new(Tracker::open(&settings).await.unwrap())
    }

    fn is_limited(result: Result<(), Error>) -> bool {
        matches!(result, Err(Error::TooManyRequests { .. }))
    }

    #[tokio::test]
    async fn the_tries_at_a_name_from_an_address_are_limited_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let limiter = limiter(&directory).await;
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..PER_NAME.burst.get() {
            limiter.check("anna", here).await.unwrap();
        }
        assert!(is_limited(limiter.check("anna", here).await));
        limiter.check("anna", there).await.unwrap();
        limiter.check("berta", here).await.unwrap();
    }

    #[tokio::test]
    async fn another_address_of_the_same_network_of_ipv6_is_no_other_client() {
        let directory = tempfile::tempdir().unwrap();
        let limiter = limiter(&directory).await;
        let address =
            |network: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]);
        let mut tries = 0;
        while !is_limited(limiter.check("anna", address(0, tries)).await) {
            tries += 1;
        }
        assert!((30..40).contains(&tries), "{tries} tries from one /64");
        limiter.check("anna", address(1, 0)).await.unwrap();

        let mut tries = 0;
        while !is_limited(limiter.check(&tries.to_string(), address(tries % 500 + 2, 1)).await) {
            tries += 1;
            assert!(tries < 4000, "no limit for a /48");
        }
        assert!(tries >= 1000, "{tries} tries from one /48");
        limiter.check("anna", "2001:db8:9::1".parse().unwrap()).await.unwrap();
    }
}
