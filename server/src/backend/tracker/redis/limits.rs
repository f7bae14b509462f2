//! Rate limits in Redis, by the clock of Redis, which all processes share.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::Redis;
use crate::backend::Error;
use crate::backend::tracker::{Decision, RateLimit};

/// Returns 0, or the microseconds by which the try comes too early. Times are whole microseconds,
/// which a double holds exactly.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000000 + time[2]
         local interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
         local before = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now)
         local ahead = before + interval - now
         if ahead > tolerance then return ahead - tolerance end
         redis.call('SET', KEYS[1], string.format('%.0f', now + ahead),
                    'PX', math.ceil(ahead / 1000))
         return 0",
    )
});

impl Redis {
    pub(crate) async fn check_rate_limit(
        &self,
        key: &str,
        limit: RateLimit,
    ) -> Result<Decision, Error> {
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut count = COUNT.key(self.keys.tries(key));
        count.arg(microseconds(limit.interval())).arg(microseconds(limit.tolerance()));
        Ok(match self.script::<u64>(&count).await? {
            0 => Decision::Allowed,
            early => Decision::Limited { retry_after: Duration::from_micros(early) },
        })
    }
}
