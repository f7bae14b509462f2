//! Changes of drives and ends of tokens through the pub/sub of Redis: published soon after, received by every process.
//!
//! Of each drive only the latest is published, so a backlog is never longer than there are drives. What
//! cannot be published is dropped, since requests that wait poll now and then.

use std::collections::{HashMap, HashSet};
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

/// The word of a message that tells of the end of a token, in the place of a sequence number.
const END: &str = "end";

/// Notifications that are still to be published. Cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub(super) struct Notifications(Arc<Pending>);

#[derive(Debug, Default)]
struct Pending {
    news: Mutex<News>,
    some: Notify,
}

#[derive(Debug, Default)]
struct News {
    /// The latest commit of each drive that has changed.
    latest: HashMap<UserId, u64>,
    /// Users of whom a token has ended.
    ended: HashSet<UserId>,
}

impl News {
    /// The messages that tell it.
    fn messages(&self) -> impl Iterator<Item = String> {
        let changes = self.latest.iter().map(|(user, seq)| format!("{user} {seq}"));
        changes.chain(self.ended.iter().map(|user| format!("{user} {END}")))
    }
}

impl Notifications {
    /// Adds a change; of each drive the latest is kept.
    pub(super) fn push(&self, user: UserId, seq: u64) {
        self.add(|news| {
            let known = news.latest.entry(user).or_insert(seq);
            *known = seq.max(*known);
        });
    }

    /// Adds the end of a token.
    pub(super) fn push_end(&self, user: UserId) {
        self.add(|news| {
            news.ended.insert(user);
        });
    }

    fn add(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.0.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.some.notify_one();
    }

    /// Publishes what is added, forever.
    pub(super) async fn publish(self, mut connection: ConnectionManager, channel: String) {
        loop {
            self.0.some.notified().await;
            let news =
                std::mem::take(&mut *self.0.news.lock().unwrap_or_else(PoisonError::into_inner));
            let mut messages = redis::pipe();
            for message in news.messages() {
                messages.publish(&channel, message).ignore();
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
        if wake(waiters, &text).is_none() {
            tracing::warn!("a message on the channel of changes is not ours");
        }
    }
    Ok(())
}

/// Wakes as a message says; `None` when it is none of ours.
fn wake(waiters: &Waiters, message: &str) -> Option<()> {
    let (user, news) = message.split_once(' ')?;
    let user = UserId(user.parse().ok()?);
    match news {
        END => waiters.wake_user(user),
        seq => waiters.wake(user, seq.parse().ok()?),
    }
    Some(())
}
