//! The depth of the outbox, for who watches: what waits to be moved, and for how long it has.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{TransferCount, TransferState, Transfers};
use crate::backend::db::transfers;
use crate::backend::queue::RoutingKey;
use crate::backend::{self, unix_now};

/// Transfers that are not done, by lane and state.
const TRANSFERS: &str = "miaofs_transfers_waiting";
/// Their bytes.
const BYTES: &str = "miaofs_transfers_waiting_bytes";
/// Age of the oldest blob on the staging disk that has to move and has not failed for good.
const OLDEST: &str = "miaofs_transfers_oldest_seconds";

/// Pause between two counts,
const LOOK: Duration = Duration::from_secs(3);
/// unless a count takes long: then the pause is so many times as long.
const REST: u32 = 30;

impl Transfers {
    /// Counts the outbox until `stop`.
    pub(super) async fn measure(self, stop: CancellationToken) {
        metrics::describe_gauge!(TRANSFERS, "Transfers that are not done");
        metrics::describe_gauge!(BYTES, "Bytes of transfers that are not done");
        metrics::describe_gauge!(OLDEST, "Age of the oldest staged blob that is still to move");
        loop {
            let began = Instant::now();
            if let Err(error) = self.count().await {
                tracing::warn!(%error, "the outbox cannot be counted");
            }
            let pause = LOOK.max(began.elapsed() * REST);
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn count(&self) -> Result<(), backend::Error> {
        let counts = transfers::counts(&mut *self.context.db.read().await?).await?;
        let (here, shared) = (self.context.host().as_str(), RoutingKey::shared());
        tell("host", |count| count.host == here, &counts);
        tell("shared", |count| count.host == shared.as_str(), &counts);
        // Blobs that go from store to store may have come years ago.
        let waiting = counts.iter().filter(|it| it.host == here && it.state != TransferState::Dead);
        let oldest = waiting.map(|count| count.oldest).min();
        let age = oldest.map_or(0, |oldest| (unix_now() - oldest).max(0));
        metrics::gauge!(OLDEST).set(age as f64);
        Ok(())
    }
}

fn tell(lane: &'static str, is_in: impl Fn(&TransferCount) -> bool, counts: &[TransferCount]) {
    for state in TransferState::ALL {
        let count = counts.iter().find(|count| count.state == state && is_in(count));
        let (transfers, bytes) = count.map_or((0, 0), |count| (count.transfers, count.bytes));
        let labels = [("lane", lane), ("state", state.as_str())];
        metrics::gauge!(TRANSFERS, &labels).set(transfers as f64);
        metrics::gauge!(BYTES, &labels).set(bytes as f64);
    }
}
