//! Looks whose results are good for a moment, so that many may ask for the price of one.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// Time for which a look is good.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The result of the last look, if there was one.
#[derive(Debug)]
pub(super) struct Fresh<T>(Mutex<Option<(Instant, T)>>);

impl<T: Copy> Fresh<T> {
    /// Nobody has looked yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The result of a look a second ago at the earliest. Those who ask at once share one.
    pub(super) async fn get(&self, look: impl Future<Output = T>) -> T {
        let mut last = self.0.lock().await;
        if let Some((at, result)) = *last
            && at.elapsed() < GOOD_FOR
        {
            return result;
        }
        let result = look.await;
        *last = Some((Instant::now(), result));
        result
    }
}
