//! The relay: publishes what the outbox has, and publishes again what seems lost.
//!
//! Each host relays its own. Several relays of one host are no harm: a row is taken by one of them.

use futures::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::{LOOK, Transfers};
use crate::backend::db;
use crate::backend::db::transfers::{self, Transfer, TransferState};
use crate::backend::queue::{Message, RoutingKey};
use crate::backend::{self, unix_now};

/// Transfers that are published in one step.
const AT_ONCE: usize = 64;
/// Transfers of one lane that are published and not done at the most. The rest waits in the outbox, so
/// that a message does not wait for so long that it seems lost.
const PUBLISHED_MAX: usize = 256;

impl Transfers {
    /// Publishes what the outbox has for a lane, as it comes, until `stop`.
    pub(super) async fn relay(self, lane: RoutingKey, stop: CancellationToken) {
        // What a queue held that has ended with its process is published again at once.
        let mut restarted = !self.context.queue.is_durable();
        // While the queue is away everything stays as it is: uploads go on, transfers wait.
        while stop.run_until_cancelled(self.context.queue.ready()).await.is_some() {
            match self.publish_due(&lane, restarted).await {
                Ok(published) => {
                    restarted = false;
                    if published == AT_ONCE {
                        continue;
                    }
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be relayed"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                // What is staged here is the host's; another relay that waited would take its bell.
                () = self.context.staged.notified(), if lane != RoutingKey::shared() => (),
                () = self.answered.notified() => (),
                () = tokio::time::sleep(LOOK) => (),
            }
        }
    }

    /// Publishes at most [`AT_ONCE`] transfers and answers how many.
    pub(super) async fn publish_due(
        &self,
        lane: &RoutingKey,
        restarted: bool,
    ) -> Result<usize, backend::Error> {
        let due = self.take_due(lane, restarted).await?;
        let publish = |transfer: Transfer| async move {
            let message = Message { transfer: transfer.id, attempts: transfer.attempts };
            (transfer, self.context.queue.publish(lane, message).await)
        };
        let mut published =
            stream::iter(due.iter().copied()).map(publish).buffer_unordered(AT_ONCE);
        let (mut confirmed, mut refused) = (Vec::with_capacity(due.len()), Vec::new());
        let mut outcome = Ok(due.len());
        while let Some((transfer, result)) = published.next().await {
            match result {
                Ok(()) => confirmed.push(transfer),
                Err(error) => {
                    refused.push(transfer);
                    outcome = Err(error);
                }
            }
        }
        let now = unix_now();
        self.set_due(&confirmed, self.context.policy.transfer.lost_at(now)).await?;
        // A message may have arrived all the same: then the next one is void, or this one is.
        self.set_due(&refused, now).await?;
        outcome
    }

    pub(super) async fn take_due(
        &self,
        lane: &RoutingKey,
        restarted: bool,
    ) -> Result<Vec<Transfer>, backend::Error> {
        let db = &self.context.db;
        let (host, now) = (lane.as_str(), unix_now());
        let latest = self.context.policy.transfer.latest_at(now);
        let mut look = db.read().await?;
        let due = restarted || transfers::any_due(&mut look, host, (now, latest)).await?;
        let room = PUBLISHED_MAX.saturating_sub(transfers::published(&mut look, host, now).await?);
        drop(look);
        if !due || room < AT_ONCE && !restarted {
            return Ok(Vec::new());
        }
        // A process that ends before the queue has confirmed does not keep them for as long as a lost message.
        let again_at = self.context.policy.transfer.unconfirmed_at(now);
        let take = || async {
            let mut transaction = db.write().await?;
            let published = if restarted { now } else { latest };
            let late = [(TransferState::Pending, latest), (TransferState::Published, published)];
            for late in late {
                transfers::bring_forward(&mut transaction, host, late, now).await?;
            }
            let taken =
                transfers::claim_due(&mut transaction, host, (now, again_at), AT_ONCE).await?;
            transaction.commit().await?;
            Ok(taken)
        };
        db::retry_transaction(take).await
    }

    async fn set_due(&self, transfers: &[Transfer], at: i64) -> Result<(), backend::Error> {
        if transfers.is_empty() {
            return Ok(());
        }
        db::retry_transaction(|| async {
            let mut transaction = self.context.db.write().await?;
            for &transfer in transfers {
                transfers::reschedule(&mut transaction, transfer, at).await?;
            }
            transaction.commit().await
        })
        .await
    }
}
