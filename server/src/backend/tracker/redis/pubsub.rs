//! Changes of drives through the pub/sub of Redis: published soon after a commit, received by every process.
//!
//! Of each drive only the latest is published, so a backlog is never longer than there are drives. What
//! cannot be published is dropped, since requests that wait poll now and then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::StreamExt as _;
use redis::aio::ConnectionManager;
use redis::{Client, RedisError};
use tokio::sync::Notify;

use crate::backend::UserId;
use crate::backend::tracker::wakeups::Waiters;

/// After so long without a message the connection is opened anew: its other end may have vanished.
const SILENCE: Duration = Duration::from_secs(60);
/// Between two tries to listen again.
const PAUSE: Duration = Duration::from_millis(300);

/// Notifications that are still to be published. Cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub(super) struct Notifications(Arc<Pending>);

#[derive(Debug, Default)]
struct Pending {
    latest: Mutex<HashMap<UserId, u64>>,
    some: Notify,
}

impl Notifications {
    /// Adds one; of each drive the latest is kept.
    pub(super) fn push(&self, user: UserId, seq: u64) {
        let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = latest.entry(user).or_insert(seq);
        *known = seq.max(*known);
        drop(latest);
        self.0.some.notify_one();
    }

    /// Publishes what is added, forever.
    pub(super) async fn publish(self, mut connection: ConnectionManager, channel: String) {
        loop {
            self.0.some.notified().await;
            let latest =
                std::mem::take(&mut *self.0.latest.lock().unwrap_or_else(PoisonError::into_inner));
            let mut messages = redis::pipe();
            for (user, seq) in latest {
                messages.publish(&channel, format!("{user} {seq}")).ignore();
            }
            if let Err(error) = messages.exec_async(&mut connection).await {
                tracing::debug!(%error, "changes of drives were not published");
            }
        }
    }
}

/// Wakes the waiters of this process by what any process publishes, forever.
pub(super) async fn listen(client: Client, channel: String, waiters: Waiters) {
    loop {
        if let Err(error) = listen_once(&client, &channel, &waiters).await {
            tracing::debug!(%error, "cannot subscribe to changes of drives");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens until the connection is lost, or seems to be.
async fn listen_once(client: &Client, channel: &str, waiters: &Waiters) -> Result<(), RedisError> {
    let mut subscription = client.get_async_pubsub().await?;
    subscription.subscribe(channel).await?;
    // What was published before is lost.
    waiters.wake_all();
    let mut messages = subscription.on_message();
    while let Ok(Some(message)) = tokio::time::timeout(SILENCE, messages.next()).await {
        let text: String = message.get_payload()?;
        let change = text
            .split_once(' ')
            .and_then(|(user, seq)| Some((UserId(user.parse().ok()?), seq.parse().ok()?)));
        match change {
            Some((user, seq)) => waiters.wake(user, seq),
            None => tracing::warn!("a message on the channel of changes is not ours"),
        }
    }
    Ok(())
}
