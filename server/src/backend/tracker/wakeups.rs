//! News of drives: whoever waits for a drive is woken when it has changed.
//!
//! With Redis the news of other processes come too, but they are a hint only: one may be lost on its
//! way, so whoever waits also looks by itself now and then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Records, Tracker};
use crate::backend::UserId;

/// Who waits in this process, by drive.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiters(Arc<Mutex<HashMap<UserId, watch::Sender<u64>>>>);

impl Waiters {
    /// Wakes whoever waits for a drive, unless they know of `seq` already.
    pub(super) fn wake(&self, user: UserId, seq: u64) {
        let mut drives = self.lock();
        let Some(drive) = drives.get(&user) else { return };
        if drive.receiver_count() == 0 {
            drives.remove(&user);
            return;
        }
        drive.send_if_modified(|last| {
            let is_news = seq > *last;
            *last = seq.max(*last);
            is_news
        });
    }

    /// Wakes everybody: news may have been lost.
    pub(super) fn wake_all(&self) {
        let mut drives = self.lock();
        drives.retain(|_, drive| drive.receiver_count() > 0);
        drives.values().for_each(|drive| drive.send_modify(|_same| ()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, watch::Sender<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracker {
    /// Wakes whoever waits for a drive, in whichever process, which has been committed up to `seq`.
    pub(crate) fn announce(&self, user: UserId, seq: u64) {
        self.waiters.wake(user, seq);
        if let Records::Redis(redis) = &self.records {
            redis.announce(user, seq);
        }
    }

    /// Changes when a drive has changed. Its value says nothing.
    pub(crate) fn subscribe(&self, user: UserId) -> watch::Receiver<u64> {
        self.waiters.lock().entry(user).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }
}
