//! The worker: moves what is published, several blobs at once, and says in the outbox what came of it.
//!
//! A message is answered after the outbox has the outcome. A worker that dies in between leaves the
//! message to the next one, which continues from wherever this one was.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Transfers, copying};
use crate::backend::db;
use crate::backend::db::blobs::{self, Blob, Location};
use crate::backend::db::transfers::{self, Transfer};
use crate::backend::queue::{Delivery, Message, RoutingKey};
use crate::backend::{self, TransferId, unix_now};
use crate::service::Error;
use crate::service::policy::after;

/// Pause before a worker asks again a database that does not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Characters of an error that are kept for the operator.
const ERROR_LENGTH: usize = 1000;

/// Result of handling a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransferOutcome {
    /// The message was about a try that is over, or that another task is at.
    Void,
    /// The blob has moved.
    Moved,
    /// The move failed and is tried again later.
    Failed,
    /// The move failed for the last time; an operator may revive it.
    Dead,
}

impl TransferOutcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::Moved => "done",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

impl Transfers {
    /// Moves what is published for a lane until `stop`; what is at work then comes to its end.
    pub(super) async fn work(self, lane: RoutingKey, stop: CancellationToken) {
        let at_once = self.context.policy.transfer.at_once;
        let mut deliveries = self.context.queue.deliveries(&lane, at_once);
        let mut working = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_ended) = working.join_next() => (),
                delivery = deliveries.next(), if working.len() < usize::from(at_once) => {
                    working.spawn(self.clone().deliver(delivery, stop.clone()));
                }
            }
        }
        while working.join_next().await.is_some() {}
    }

    async fn deliver(self, delivery: Delivery, stop: CancellationToken) {
        let Some(outcome) = self.outcome_of(delivery.message, &stop).await else { return };
        metrics::counter!("miaofs_transfers_total", "result" => outcome.label()).increment(1);
        match outcome {
            TransferOutcome::Void | TransferOutcome::Moved | TransferOutcome::Failed => {
                delivery.ack().await
            }
            TransferOutcome::Dead => delivery.reject().await,
        }
        self.answered.notify_one();
    }

    /// Does what a message asks for; `None` when the process stops before the outbox has the outcome.
    async fn outcome_of(
        &self,
        message: Message,
        stop: &CancellationToken,
    ) -> Option<TransferOutcome> {
        let Some(_claim) = WorkClaim::on(&self.at_work, message) else {
            return Some(TransferOutcome::Void);
        };
        let Some(transfer) = retry_until_stopped(stop, || self.current(message)).await? else {
            return Some(TransferOutcome::Void);
        };
        let Err(error) = self.transfer_and_renew(transfer).await else {
            return Some(TransferOutcome::Moved);
        };
        let pause = self.context.policy.transfer.pause_after(transfer.attempts);
        tracing::warn!(blob = %transfer.blob, %error, again_in = ?pause, "a transfer failed");
        let error = with_causes(&error);
        retry_until_stopped(stop, || self.put_off(transfer, &error, pause)).await?;
        Some(if pause.is_some() { TransferOutcome::Failed } else { TransferOutcome::Dead })
    }

    async fn current(&self, message: Message) -> Result<Option<Transfer>, backend::Error> {
        let mut db = self.context.db.read().await?;
        transfers::current(&mut db, message.transfer, message.attempts).await
    }

    /// Moves one blob and says meanwhile that its message is not lost.
    async fn transfer_and_renew(&self, transfer: Transfer) -> Result<(), Error> {
        let mut moving = pin!(self.transfer(transfer));
        let sign_of_life = self.context.policy.transfer.sign_of_life();
        loop {
            match tokio::time::timeout(sign_of_life, &mut moving).await {
                Ok(moved) => return moved,
                Err(_elapsed) => {
                    if let Err(error) = self.renew(transfer).await {
                        tracing::warn!(blob = %transfer.blob, %error, "a transfer may be begun twice");
                    }
                }
            }
        }
    }

    async fn renew(&self, transfer: Transfer) -> Result<(), backend::Error> {
        let lost_at = self.context.policy.transfer.lost_at(unix_now());
        db::retry_transaction(|| async {
            let mut transaction = self.context.db.write().await?;
            transfers::reschedule(&mut transaction, transfer, lost_at).await?;
            transaction.commit().await
        })
        .await
    }

    /// Moves one blob, from wherever a former try has left it.
    async fn transfer(&self, transfer: Transfer) -> Result<(), Error> {
        copying::abort_former(&self.context, transfer.id).await?;
        if let Some(route) = transfer.route {
            return self.relocate(transfer, route).await;
        }
        let (context, blob) = (&self.context, transfer.blob);
        let row = blobs::get(&mut *context.db.read().await?, blob).await?;
        let Some(row) = row else { return self.forget(transfer.id).await };
        match row.location {
            Location::Staging if !self.place_in_stores(transfer, row).await? => {
                return self.forget(transfer.id).await;
            }
            Location::Staging => (),
            Location::Store => self.set_moved(transfer.id).await?,
        }
        // The finisher drops the staged bytes, which it has a use for.
        self.moved.notify_one();
        Ok(())
    }

    /// Copies a blob to the stores of the policy and says so; `false` when nobody needs it any more.
    async fn place_in_stores(&self, transfer: Transfer, row: Blob) -> Result<bool, Error> {
        let (context, blob) = (&self.context, transfer.blob);
        copying::copy_to_stores(context, transfer, row.size).await?;
        let place_in_stores = || async {
            let mut transaction = context.db.write().await?;
            let needed = blobs::set_stored(&mut transaction, blob).await?;
            transfers::set_moved(&mut transaction, transfer.id).await?;
            transaction.commit().await?;
            Ok::<_, Error>(needed)
        };
        let needed = db::retry_transaction(place_in_stores).await?;
        if !needed {
            copying::remove_from_stores(context, blob).await?;
        }
        Ok(needed)
    }

    async fn set_moved(&self, transfer: TransferId) -> Result<(), backend::Error> {
        db::retry_transaction(|| async {
            let mut transaction = self.context.db.write().await?;
            transfers::set_moved(&mut transaction, transfer).await?;
            transaction.commit().await
        })
        .await
    }

    pub(super) async fn forget(&self, transfer: TransferId) -> Result<(), Error> {
        Ok(db::retry_transaction(|| async {
            let mut transaction = self.context.db.write().await?;
            transfers::remove(&mut transaction, transfer).await?;
            transaction.commit().await
        })
        .await?)
    }

    async fn put_off(
        &self,
        failed: Transfer,
        error: &str,
        pause: Option<Duration>,
    ) -> Result<(), backend::Error> {
        let again_at = pause.map(|pause| after(unix_now(), pause));
        let fail = || async {
            let mut transaction = self.context.db.write().await?;
            transfers::fail(&mut transaction, failed, error, again_at).await?;
            transaction.commit().await
        };
        db::retry_transaction(fail).await
    }
}

/// Holds a try of a transfer that a worker of this process is at, so that no other begins with it. A
/// message about a former try holds nothing that the current one needs.
struct WorkClaim {
    at_work: Arc<Mutex<HashSet<Message>>>,
    message: Message,
}

impl WorkClaim {
    /// `None` when another worker is at it.
    fn on(at_work: &Arc<Mutex<HashSet<Message>>>, message: Message) -> Option<Self> {
        let first = at_work.lock().unwrap_or_else(PoisonError::into_inner).insert(message);
        first.then(|| Self { at_work: at_work.clone(), message })
    }
}

impl Drop for WorkClaim {
    fn drop(&mut self) {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.message);
    }
}

/// Asks until the database answers; `None` when the process stops before.
async fn retry_until_stopped<T, F: Future<Output = Result<T, backend::Error>>>(
    stop: &CancellationToken,
    ask: impl Fn() -> F,
) -> Option<T> {
    loop {
        match ask().await {
            Ok(answer) => return Some(answer),
            Err(error) => tracing::error!(%error, "a transfer waits for the database"),
        }
        stop.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await?;
    }
}

/// An error in words, with what its causes add to it.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.chars().take(ERROR_LENGTH).collect()
}
