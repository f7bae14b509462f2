//! What every service of contents stands on, and the one way in which contents come to stay.
//!
//! A content exists from the transaction that [`ServiceContext::store`] is part of: its row, the blob that
//! brought it, the outbox row that will move the blob, and the claim by which the user owns it are
//! written together. Before that its bytes are staged and synced; nothing else refers to them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miaofs::content::Digest;
use miaofs::protocol::host::HostName;
use tokio::sync::Notify;

use super::hosts::Hosts;
use super::policy::before;
use super::{Dedup, Error, Policy};
use crate::backend::blobs::Stores;
use crate::backend::db::contents::{NewContent, Retention};
use crate::backend::db::{self, Connection, Db, Lock, accounts, blobs, contents, transfers};
use crate::backend::layout::Layout;
use crate::backend::queue::Queue;
use crate::backend::spool::Spools;
use crate::backend::staging::Staging;
use crate::backend::tracker::Tracker;
use crate::backend::{self, Backends, BlobId, UserId, unix_now};

/// Time for which spare contents stay: their blobs move like any others meanwhile.
const SPARE_TIME: Duration = Duration::from_secs(120);

/// The backends of contents.
#[derive(Debug)]
pub(crate) struct ServiceContext {
    pub(super) db: Db,
    pub(super) tracker: Tracker,
    pub(super) hosts: Hosts,
    pub(super) staging: Staging,
    pub(super) spools: Spools,
    pub(super) stores: Stores,
    pub(super) queue: Queue,
    pub(super) policy: Arc<Policy>,
    /// Rings when there is something to move.
    pub(super) staged: Notify,
    /// Staged blobs that nobody may need and that could not be let go yet.
    unreleased: Mutex<HashSet<BlobId>>,
}

/// Contents whose bytes have been received and are not stored yet.
#[derive(Debug)]
pub(super) struct ReceivedContents {
    /// Who brought them.
    pub user: UserId,
    /// The contents with their layouts. The same one may stand there twice.
    pub contents: Vec<NewContent>,
    /// The staged and synced blob that has their bytes, with its size; `None` when they need none.
    pub blob: Option<(BlobId, u64)>,
}

impl ServiceContext {
    /// Contents on these backends.
    pub(crate) fn new(backends: &Backends, policy: Arc<Policy>) -> Arc<Self> {
        let Backends { db, tracker, queue, staging, spools, stores, .. } = backends.clone();
        let (hosts, staged) = (Hosts::new(backends), Notify::new());
        let unreleased = Mutex::default();
        Arc::new(Self {
            db,
            tracker,
            hosts,
            staging,
            spools,
            stores,
            queue,
            policy,
            staged,
            unreleased,
        })
    }

    /// The staging disk's name in the tables.
    pub(super) fn host(&self) -> &HostName {
        self.hosts.here()
    }

    /// The oldest claim that still holds, in seconds since 1970.
    pub(super) fn claimed_since(&self) -> i64 {
        before(unix_now(), self.policy.grace_period)
    }

    /// The layout of a content that the user owns; `None` when it is not theirs or not here.
    pub(super) async fn owned(
        &self,
        user: UserId,
        digest: Digest,
    ) -> Result<Option<Layout>, backend::Error> {
        self.owned_in(&mut *self.db.read().await?, user, digest).await
    }

    /// As [`Self::owned`], for a reader to whom it does not matter that it is theirs no more since a
    /// moment ago.
    pub(super) async fn owned_lately(
        &self,
        user: UserId,
        digest: Digest,
    ) -> Result<Option<Layout>, backend::Error> {
        if let Some(mut late) = self.db.read_lagging().await
            && let Ok(Some(layout)) = self.owned_in(&mut late, user, digest).await
        {
            return Ok(Some(layout));
        }
        self.owned(user, digest).await
    }

    async fn owned_in(
        &self,
        db: &mut Connection,
        user: UserId,
        digest: Digest,
    ) -> Result<Option<Layout>, backend::Error> {
        let since = self.claimed_since();
        let mut owned = contents::owned_layouts(db, user, &[digest], since, u64::MAX).await?;
        Ok(owned.remove(&digest))
    }

    /// The layouts of those of many contents that the user owned a moment ago, and that have at most `size_max` bytes.
    pub(super) async fn small_owned_lately(
        &self,
        user: UserId,
        digests: &HashSet<Digest>,
        size_max: u64,
    ) -> Result<HashMap<Digest, Layout>, backend::Error> {
        let since = self.claimed_since();
        let mut found = HashMap::new();
        let mut missing: Vec<Digest> = digests.iter().copied().collect();
        if let Some(mut late) = self.db.read_lagging().await
            && let Ok(owned) =
                contents::owned_layouts(&mut late, user, &missing, since, size_max).await
        {
            found = owned;
            missing.retain(|digest| !found.contains_key(digest));
        }
        if !missing.is_empty() {
            let mut db = self.db.read().await?;
            found.extend(contents::owned_layouts(&mut db, user, &missing, since, size_max).await?);
        }
        Ok(found)
    }

    /// Makes sure that a content of `size` bytes may come. Whether the drive has room for it is
    /// decided by the commit, which knows what goes instead; see [`super::gc`] for what is
    /// never committed.
    pub(super) async fn admit(&self, user: UserId, size: u64) -> Result<(), Error> {
        self.admit_size(size)?;
        if size > self.quota(user).await? {
            return Err(Error::OverQuota);
        }
        Ok(())
    }

    /// Bytes that the user's drive may have in all.
    pub(super) async fn quota(&self, user: UserId) -> Result<u64, Error> {
        let usage = accounts::usage(&mut *self.db.read().await?, user).await?;
        Ok(usage.ok_or(Error::NotFound("account"))?.quota)
    }

    /// Makes sure that a content may be so large.
    pub(super) fn admit_size(&self, size: u64) -> Result<(), Error> {
        let largest = self.policy.max_file_size;
        if size > largest {
            return Err(Error::TooLarge(format!("a file has at most {largest} bytes here")));
        }
        Ok(())
    }

    /// Stores what was received within the caller's transaction. After the commit the caller calls
    /// [`Self::after_store`]. The change is to be retry_transaction when somebody else brings the same
    /// content at the same time: then it is found.
    ///
    /// With [`Dedup::User`] a content that only others have is stored a second time, as a spare one that soon
    /// goes: neither the time that it takes nor what is counted tells of them.
    pub(super) async fn store(
        &self,
        db: &mut Connection,
        received: &ReceivedContents,
    ) -> Result<(), backend::Error> {
        let now = unix_now();
        let mut new: Vec<&NewContent> = received.contents.iter().collect();
        new.sort_unstable_by_key(|content| content.digest);
        new.dedup_by_key(|content| content.digest);
        let digests: Vec<Digest> = new.iter().map(|content| content.digest).collect();

        // Nothing of the kind is asked where all may know.
        let owned = match self.policy.dedup {
            Dedup::User => {
                let since = self.claimed_since();
                Some(contents::owned(db, received.user, &digests, since).await?)
            }
            Dedup::Server => None,
        };
        let known = contents::lock_rows(db, &digests, Lock::Shared).await?;
        let retention = |digest: &Digest| match &owned {
            _ if !known.contains(digest) => Some(Retention::Kept),
            Some(owned) if !owned.contains_key(digest) => Some(self.spare()),
            _ => None,
        };
        let rows: Vec<(&NewContent, Retention)> = new
            .into_iter()
            .filter_map(|content| Some((content, retention(&content.digest)?)))
            .collect();
        if let Some((blob, size)) = received.blob
            && rows.iter().any(|(content, _)| content.layout.blobs().contains(&blob))
        {
            blobs::insert(db, blob, size, self.host().as_str(), now).await?;
            transfers::insert(db, blob, self.host().as_str(), now).await?;
        }
        contents::insert(db, &rows, now).await?;
        contents::claim(db, received.user, &digests, now).await
    }

    /// A spare content that comes now: it stays for [`SPARE_TIME`], or the grace period if that is shorter.
    fn spare(&self) -> Retention {
        let stays = self.policy.grace_period.min(SPARE_TIME);
        let stays = i64::try_from(stays.as_secs()).unwrap_or(i64::MAX);
        Retention::Spare { unnamed_since: self.claimed_since().saturating_add(stays) }
    }

    /// Stores what was received in a transaction of its own.
    pub(super) async fn store_alone(
        &self,
        received: &ReceivedContents,
    ) -> Result<(), backend::Error> {
        db::retry_transaction(|| self.try_store(received)).await
    }

    async fn try_store(&self, received: &ReceivedContents) -> Result<(), backend::Error> {
        let mut transaction = self.db.write().await?;
        self.store(&mut transaction, received).await?;
        transaction.commit().await
    }

    /// Makes a content the user's own that the server has, in a transaction of its own.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has gone meanwhile.
    pub(super) async fn claim_stored(&self, user: UserId, digest: Digest) -> Result<(), Error> {
        let mut transaction = self.db.write().await?;
        if contents::lock_rows(&mut transaction, &[digest], Lock::Shared).await?.is_empty() {
            return Err(Error::NotFound("content"));
        }
        contents::claim(&mut transaction, user, &[digest], unix_now()).await?;
        Ok(transaction.commit().await?)
    }

    /// After a try to store what was received: lets its blob move, or drops it when nothing needs it.
    pub(super) async fn after_store(&self, blob: Option<BlobId>) -> Result<(), backend::Error> {
        if let Some(blob) = blob {
            self.release(blob).await?;
        }
        self.staged.notify_one();
        Ok(())
    }

    /// Drops staged bytes, unless a content stands on them. Of a commit whose answer was lost, the outcome
    /// is waited for. What cannot be done now is remembered for [`Self::release_again`].
    pub(super) async fn release(&self, blob: BlobId) -> Result<(), backend::Error> {
        let released = self.try_release(blob).await;
        let mut unreleased = self.unreleased.lock().unwrap_or_else(PoisonError::into_inner);
        if released.is_err() {
            unreleased.insert(blob);
        } else {
            unreleased.remove(&blob);
        }
        released
    }

    /// Releases what could not be released when it should have been.
    pub(super) async fn release_again(&self) -> Result<(), backend::Error> {
        let unreleased = self.unreleased.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for blob in unreleased {
            self.release(blob).await?;
        }
        Ok(())
    }

    async fn try_release(&self, blob: BlobId) -> Result<(), backend::Error> {
        let is_stored = blobs::get(&mut *self.db.read().await?, blob).await?.is_some();
        if is_stored || blobs::is_needed(&mut *self.db.write().await?, blob).await? {
            return Ok(());
        }
        self.staging.remove(blob).await
    }
}
