//! When a call that failed is made again: jittered, exponential, and not before the server wants.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use super::Error;

/// Number and pauses of the retries of an idempotent call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Retries at the most, after the first try.
    pub times: usize,
    /// Pause before the first repetition; each further one is twice as long, with jitter.
    pub first: Duration,
    /// The longest pause. A `Retry-After` beyond it ends the repetitions.
    pub longest: Duration,
}

impl Retry {
    /// No repetition: the caller has its own way.
    pub const NEVER: Self = Self { times: 0, first: Duration::ZERO, longest: Duration::ZERO };

    /// Calls until it succeeds, cannot succeed, or has been repeated often enough.
    pub(super) async fn run<T, F>(self, attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let backoff = ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_max_times(self.times)
            .with_jitter();
        attempt
            .retry(backoff)
            .when(Error::is_retryable)
            .adjust(|error, pause| self.pause(error, pause))
            .await
    }

    /// The pause after `error`: not shorter than the server asks; `None` to give up.
    fn pause(self, error: &Error, pause: Option<Duration>) -> Option<Duration> {
        let asked = error.retry_after().unwrap_or_default();
        pause.filter(|_| asked <= self.longest).map(|pause| pause.max(asked))
    }
}

impl Default for Retry {
    /// Three times within about two seconds.
    fn default() -> Self {
        Self { times: 3, first: Duration::from_millis(200), longest: Duration::from_secs(5) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::protocol::problem::{Code, Problem};

    fn refusal(code: Code, retry_after: Option<Duration>) -> Error {
        Error::Api { problem: Box::new(Problem::new(code, "")), retry_after }
    }

    #[tokio::test]
    async fn what_cannot_succeed_is_tried_once_and_the_rest_as_often_as_allowed() {
        for (code, expected) in [(Code::NotFound, 1), (Code::Unavailable, 4)] {
            let tries = Cell::new(0);
            let retry = Retry { first: Duration::from_millis(1), ..Retry::default() };
            let result: Result<(), Error> = retry
                .run(|| {
                    tries.set(tries.get() + 1);
                    async move { Err(refusal(code, None)) }
                })
                .await;
            assert!(result.is_err());
            assert_eq!(tries.get(), expected, "{code:?}");
        }
    }

    #[test]
    fn the_server_may_ask_for_a_longer_pause_but_not_for_any() {
        let retry = Retry::default();
        let short = Some(Duration::from_millis(1));
        let asked = |seconds| refusal(Code::Unavailable, Some(Duration::from_secs(seconds)));
        assert_eq!(retry.pause(&asked(2), short), Some(Duration::from_secs(2)));
        assert_eq!(retry.pause(&asked(60), short), None);
        assert_eq!(retry.pause(&asked(0), None), None);
    }
}
