//! The uploads that were begun on this host and have not ended: how many a user has, of how many bytes.
//!
//! Each takes a sidecar and a file of its size, so a user may have so many only. They are counted where
//! they are, on the host whose staging disk they use.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use miaofs::protocol::ids::UploadId;

use crate::backend::UserId;
use crate::service::context::ServiceContext;
use crate::service::{Error, Policy};

/// The bytes of begun uploads may be so many times the user's quota: what is replaced while it is being
/// sent is left begun until it is swept.
const QUOTAS: u64 = 2;

/// The uploads of this host that are going on.
#[derive(Debug, Default)]
pub(super) struct ActiveUploads(Mutex<HashMap<UserId, HashMap<UploadId, u64>>>);

impl ActiveUploads {
    /// Learns of the uploads that a former process has begun here. Called once, before any request.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(super) async fn recover(&self, context: &ServiceContext) -> Result<(), Error> {
        for id in context.staging.inventory().await?.uploads {
            if let Some(upload) = context.tracker.upload(id).await? {
                self.add(upload.user, id, upload.size);
            }
        }
        Ok(())
    }

    /// Makes sure that a user whose drive may have `quota` bytes may begin one more upload.
    ///
    /// # Errors
    /// [`Error::TooManyUploads`].
    pub(super) fn admit(
        &self,
        user: UserId,
        size: u64,
        quota: u64,
        policy: &Policy,
    ) -> Result<(), Error> {
        let active = self.lock();
        let Some(uploads) = active.get(&user) else { return Ok(()) };
        let bytes = uploads.values().copied().fold(size, u64::saturating_add);
        let most = policy.max_uploads;
        if (most > 0 && uploads.len() as u64 >= most) || bytes > quota.saturating_mul(QUOTAS) {
            return Err(Error::TooManyUploads);
        }
        Ok(())
    }

    /// Counts an upload of so many bytes.
    pub(super) fn add(&self, user: UserId, id: UploadId, size: u64) {
        self.lock().entry(user).or_default().insert(id, size);
    }

    /// Counts an upload no more.
    pub(super) fn remove(&self, user: UserId, id: UploadId) {
        let mut active = self.lock();
        if let Some(uploads) = active.get_mut(&user) {
            uploads.remove(&id);
            if uploads.is_empty() {
                active.remove(&user);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, HashMap<UploadId, u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
