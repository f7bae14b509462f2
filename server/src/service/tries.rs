//! How often somebody may try to sign in or up: per name and address, and per address.
//!
//! The name alone is no key: whoever knows a name could else lock its owner out.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::Error;

/// Tries at one name from one address: this many at once, then one a second.
const PER_NAME: NonZeroU32 = NonZeroU32::new(30).expect("30 is not 0");
/// Tries from one address: this many at once, then ten a second.
const PER_ADDRESS: NonZeroU32 = NonZeroU32::new(300).expect("300 is not 0");
const PER_ADDRESS_A_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("10 is not 0");
/// Keys remembered before those that are full again are forgotten.
const KEYS_MAX: usize = 10_000;

/// Counts tries in this process.
#[derive(Debug)]
pub struct Tries {
    by_name: DefaultKeyedRateLimiter<(String, IpAddr)>,
    by_address: DefaultKeyedRateLimiter<IpAddr>,
}

impl Tries {
    /// Nobody has tried yet.
    pub fn new() -> Self {
        let by_name = Quota::per_second(NonZeroU32::MIN).allow_burst(PER_NAME);
        let by_address = Quota::per_second(PER_ADDRESS_A_SECOND).allow_burst(PER_ADDRESS);
        Self {
            by_name: DefaultKeyedRateLimiter::keyed(by_name),
            by_address: DefaultKeyedRateLimiter::keyed(by_address),
        }
    }

    /// Counts one try.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] says when the next one is welcome.
    pub fn count(&self, name: &str, address: IpAddr) -> Result<(), Error> {
        take(&self.by_address, &address)?;
        take(&self.by_name, &(name.to_owned(), address))
    }
}

fn take<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), Error> {
    if limiter.len() > KEYS_MAX {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|not_until| {
        let wait = not_until.wait_time_from(DefaultClock::default().now());
        Error::TooManyRequests { retry_after: wait.max(Duration::from_secs(1)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tries_at_a_name_from_an_address_are_limited_and_no_others() {
        let tries = Tries::new();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..PER_NAME.get() {
            tries.count("anna", here).unwrap();
        }
        assert!(matches!(tries.count("anna", here), Err(Error::TooManyRequests { .. })));
        tries.count("anna", there).unwrap();
        tries.count("berta", here).unwrap();
    }
}
