//! Wake-ups: requests that wait for a drive are woken when it has changed, and when a token of its user ended.
//!
//! With Redis the changes of other processes wake too, but only as a hint: a message may be lost, so
//! a request that waits also polls now and then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::backend::UserId;

/// Waiters of this process, by drive.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiters(Arc<Mutex<HashMap<UserId, watch::Sender<u64>>>>);

impl Waiters {
    /// Wakes the waiters of a drive, unless they know of `seq` already.
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

    /// Wakes all waiters of a drive, since a token of its user has ended: perhaps theirs.
    pub(super) fn wake_user(&self, user: UserId) {
        if let Some(drive) = self.lock().get(&user) {
            drive.send_modify(|_same| ());
        }
    }

    /// Wakes everybody: messages may have been lost.
    pub(super) fn wake_all(&self) {
        let mut drives = self.lock();
        drives.retain(|_, drive| drive.receiver_count() > 0);
        drives.values().for_each(|drive| drive.send_modify(|_same| ()));
    }

    /// Changes when a drive has changed. The value has no meaning.
    pub(super) fn subscribe(&self, user: UserId) -> watch::Receiver<u64> {
        self.lock().entry(user).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, watch::Sender<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
