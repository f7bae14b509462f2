//! Retries of a transaction that another one made impossible.
//!
//! On MySQL changes run at once. One of two that wait for each other is undone, and whoever inserts a row
//! that another has just inserted is refused. Neither is an error of the request: the same change, begun
//! anew, sees what the other has done.

use std::time::Duration;

use rand::RngExt as _;

use crate::backend::Error;

/// Runs of a change at the most.
const RUNS: u32 = 12;
/// The pause after the first run in milliseconds, at most; each next one may take twice as long.
const PAUSE: u64 = 4;
/// The longest pause in milliseconds.
const PAUSE_MAX: u64 = 250;

/// An error that tells if a change was rolled back and may succeed when it is run again.
pub(crate) trait Retryable {
    /// True if a retry may succeed.
    fn is_retryable(&self) -> bool;
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::SerializationFailure(_) | Self::Duplicate(_))
    }
}

/// Runs a change, which begins and commits a transaction of its own, until it is not in the way of
/// another, or has been so too often.
///
/// # Errors
/// The change's own.
pub(crate) async fn retry_transaction<T, E, F>(mut change: impl FnMut() -> F) -> Result<T, E>
where
    E: Retryable,
    F: Future<Output = Result<T, E>>,
{
    for run in 1..RUNS {
        match change().await {
            Err(error) if error.is_retryable() => pause(run).await,
            result => return result,
        }
    }
    change().await
}

/// Waits for a random time, so that transactions that collided do not collide again.
async fn pause(run: u32) {
    metrics::counter!("miaofs_database_reruns_total").increment(1);
    let longest = (PAUSE << run.min(8)).min(PAUSE_MAX);
    let pause = rand::rng().random_range(0..=longest);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
