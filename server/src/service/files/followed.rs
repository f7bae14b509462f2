//! How far each device has followed its feed: noted now and then, so that deletions which all have seen can be forgotten.

use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use miaofs::protocol::ids::DeviceId;

use crate::backend::db::{self, Db, tombstones};
use crate::backend::{Error, UserId};
use crate::service::Caller;

/// Time between two notes of one device.
const EACH: Duration = Duration::from_secs(600);
/// Devices that are remembered; one that is not is noted sooner than it need be.
const DEVICES: NonZero<usize> = NonZero::new(100_000).expect("100,000 is not 0");

/// A device of a user.
type DeviceOf = (UserId, DeviceId);

/// When and up to where.
#[derive(Debug, Clone, Copy)]
struct Noted {
    at: Instant,
    cursor: u64,
}

/// The last notes of this process.
#[derive(Debug, Clone)]
pub(super) struct FollowedNotes {
    db: Db,
    noted: Arc<Mutex<LruCache<DeviceOf, Noted>>>,
}

impl FollowedNotes {
    pub(super) fn new(db: Db) -> Self {
        Self { db, noted: Arc::new(Mutex::new(LruCache::new(DEVICES))) }
    }

    /// A device shows its cursor. Noted beside the request if that is due; a note that fails is made up for by a later one.
    pub(super) fn shown(&self, caller: Caller, cursor: u64) {
        let device = (caller.user, caller.device);
        if cursor == 0 || !self.is_due(device, cursor) {
            return;
        }
        let db = self.db.clone();
        tokio::spawn(async move {
            if let Err(error) = db::retry_transaction(|| note(&db, device, cursor)).await {
                tracing::warn!(%error, "how far a device has followed its feed is not noted");
            }
        });
    }

    fn is_due(&self, device: DeviceOf, cursor: u64) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let last = noted.get(&device);
        let is_due = last.is_none_or(|last| last.cursor != cursor && last.at.elapsed() >= EACH);
        if is_due {
            noted.put(device, Noted { at: Instant::now(), cursor });
        }
        is_due
    }
}

async fn note(db: &Db, device: DeviceOf, cursor: u64) -> Result<(), Error> {
    let mut transaction = db.write().await?;
    tombstones::note_followed(&mut transaction, device, cursor).await?;
    transaction.commit().await
}
