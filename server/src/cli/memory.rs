//! Memory that the services keep to be fast is given back after a busy time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use crate::service::Services;

/// Gives memory back after each busy time, until `stop`. The allocator gives back by itself what is free.
pub(super) async fn give_back_forever(services: Services, stop: CancellationToken) {
    /// Time between two looks.
    const LOOK: Duration = Duration::from_secs(5);
    let mut busy = BusyTime::default();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        if busy.is_over()
            && let Err(error) = services.shrink().await
        {
            tracing::debug!(%error, "no memory of the database is given back");
        }
    }
}

/// The times in which the process has much to do, told by the time that it takes of the processors.
#[derive(Debug, Default)]
struct BusyTime {
    /// Time of the processors up to the last look.
    until_now: Duration,
    /// The most between two looks since the last busy time was over.
    most: Duration,
}

impl BusyTime {
    /// Time between two looks that is much.
    const MUCH: Duration = Duration::from_millis(500);
    /// Part of that of the busy time below which it is over.
    const PART: u32 = 4;

    /// Looks; true if a busy time is over.
    fn is_over(&mut self) -> bool {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        self.look(Duration::try_from(now).unwrap_or_default())
    }

    fn look(&mut self, now: Duration) -> bool {
        let lately = now.saturating_sub(self.until_now);
        self.until_now = now;
        let is_over = self.most > Self::MUCH && lately < self.most / Self::PART;
        self.most = if is_over { lately } else { self.most.max(lately) };
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_time_is_over_once_and_a_steady_one_never() {
        let mut busy = BusyTime::default();
        let mut now = Duration::ZERO;
        let mut looks = |seconds: &[f64]| {
            let look = |taken: &f64| {
                now += Duration::from_secs_f64(*taken);
                busy.look(now)
            };
            seconds.iter().map(look).collect::<Vec<bool>>()
        };
        assert_eq!(looks(&[0.1, 0.0, 0.3, 0.0]), [false; 4], "it had nothing much to do");
        assert_eq!(looks(&[1.0, 8.0, 3.0, 0.2, 0.1]), [false, false, false, true, false]);
        assert_eq!(looks(&[2.0, 2.0, 1.0, 2.0]), [false; 4]);
    }
}
