//! Relocation: a stored blob gets a verified copy in another store, and leaves the one it was in.
//!
//! The tables name the new copy instead of the old one in one transaction, so a reader finds one of them at any
//! moment. The old object stays for those who have just looked the place up, and for signed URLs that
//! were given out; who still reads it when it goes goes on with the new one.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::{LOOK, Transfers, copying};
use crate::backend::blobs::{ObjectBody, StoreName, StoredCopy};
use crate::backend::db::relocations::{self, OldCopy};
use crate::backend::db::transfers::{self, Route, Transfer};
use crate::backend::db::{self, blobs, copies};
use crate::backend::queue::RoutingKey;
use crate::backend::{self, BlobId, run_blocking, unix_now};
use crate::service::Error;
use crate::service::policy::after;

/// For how long a reader may be on its way to a place that it has looked up.
const LOOKED_UP: Duration = Duration::from_secs(10);
/// For how long one process has an old copy for itself to remove.
const REMOVAL: Duration = Duration::from_secs(300);
/// Bytes that are gathered for a write to the staging disk.
const GATHERED: usize = 1024 * 1024;

impl Transfers {
    /// Moves a blob from store to store, from wherever a former try has left it.
    pub(super) async fn relocate(&self, transfer: Transfer, route: Route) -> Result<(), Error> {
        let (context, blob) = (&self.context, transfer.blob);
        let mut db = context.db.read().await?;
        let row = blobs::get(&mut db, blob).await?;
        let there = copies::of_blob(&mut db, blob).await?;
        drop(db);
        if row.is_none() {
            return self.abandon(transfer, route).await;
        }
        let copy_in = |name: StoreName| there.iter().find(|copy| copy.store == name);
        let Some(old) = copy_in(route.from) else { return self.forget(transfer.id).await };
        let new = match copy_in(route.to) {
            Some(copy) if self.is_whole(copy).await? => copy.clone(),
            _ => self.copy_across(transfer, old, route.to).await?,
        };
        if !db::retry_transaction(|| self.swap(transfer, old, &new)).await? {
            self.abandon(transfer, route).await?;
        }
        Ok(())
    }

    async fn is_whole(&self, copy: &StoredCopy) -> Result<bool, Error> {
        let found = self.context.stores.find(copy).await?;
        Ok(found.is_some_and(|found| found.size == copy.size && found.etag == copy.etag))
    }

    /// Copies by way of the staging disk, where the bytes are checked before they go on.
    async fn copy_across(
        &self,
        transfer: Transfer,
        old: &StoredCopy,
        to: StoreName,
    ) -> Result<StoredCopy, Error> {
        let (stores, staging) = (&self.context.stores, &self.context.staging);
        let name = BlobId::random();
        let _removed_in_the_end = staging.draft(name).await?;
        let path = staging.path(name);
        self.fetch(old, name).await?;
        staging.sync(name).await?;
        stores.verify(old, &path).await?;
        Ok(copying::put(&self.context, transfer, to, (&path, old.size)).await?)
    }

    async fn fetch(&self, old: &StoredCopy, name: BlobId) -> Result<(), backend::Error> {
        let staging = &self.context.staging;
        let opened = self.context.stores.read(old, 0..old.size).await?;
        let lost = backend::Error::MissingBlob { blob: old.blob };
        let mut pieces: BoxStream<'static, _> = match opened.ok_or(lost)? {
            ObjectBody::Stream(pieces) => pieces,
            ObjectBody::File(mut file) => {
                let path = staging.path(name);
                return run_blocking(move || copy_file(&mut file, &path)).await;
            }
        };
        let mut offset = 0;
        let mut gathered = bytes::BytesMut::new();
        loop {
            let piece = pieces.next().await.transpose()?;
            let ended = piece.is_none();
            gathered.extend(piece);
            if ended || gathered.len() >= GATHERED {
                let length = gathered.len() as u64;
                staging.write(name, offset, gathered.split().freeze()).await?;
                offset += length;
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Answers `false` when nobody needs the blob any more; then nothing is changed.
    async fn swap(
        &self,
        transfer: Transfer,
        old: &StoredCopy,
        new: &StoredCopy,
    ) -> Result<bool, backend::Error> {
        let mut transaction = self.context.db.write().await?;
        if !blobs::is_needed(&mut transaction, transfer.blob).await? {
            return Ok(false);
        }
        let leave_at = after(unix_now(), self.linger());
        if !relocations::set_moved(&mut transaction, transfer, old, leave_at).await? {
            return Ok(true);
        }
        copies::put(&mut transaction, new, unix_now()).await?;
        copies::remove(&mut transaction, old.blob, old.store).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// For how long an object that the tables name no more may still be read.
    fn linger(&self) -> Duration {
        let signed = match self.context.stores.signs_urls() {
            true => self.context.policy.signed_url_ttl,
            false => Duration::ZERO,
        };
        signed.saturating_add(LOOKED_UP)
    }

    /// Drops what was copied of a blob that is condemned meanwhile; collection does the rest.
    async fn abandon(&self, transfer: Transfer, route: Route) -> Result<(), Error> {
        self.context.stores.remove_blob(route.to, transfer.blob).await?;
        self.forget(transfer.id).await
    }

    /// Removes old copies, each when its time has come, until `stop`.
    pub(super) async fn remove_left(self, stop: CancellationToken) {
        loop {
            let removed = tokio::select! {
                () = stop.cancelled() => return,
                removed = self.remove_next_left() => removed,
            };
            match removed {
                Ok(true) => continue,
                Ok(false) => (),
                Err(error) => tracing::error!(%error, "a blob's former copy cannot be removed"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    /// Answers whether there was anything to remove.
    async fn remove_next_left(&self) -> Result<bool, Error> {
        let (db, now) = (&self.context.db, unix_now());
        let lane = RoutingKey::shared();
        let left = relocations::next_old_copy(&mut *db.read().await?, lane.as_str(), now).await?;
        let Some(left) = left else { return Ok(false) };
        if !db::retry_transaction(|| self.claim_left(&left)).await? {
            return Ok(true);
        }
        let (transfer, route) = (left.transfer, left.transfer.route);
        let named = copies::of_blob(&mut *db.read().await?, transfer.blob).await?;
        if let Some(from) = route.map(|route| route.from)
            && named.iter().all(|copy| copy.store != from)
        {
            self.context.stores.remove(from, &left.key).await?;
        }
        db::retry_transaction(|| self.forget_left(transfer)).await?;
        Ok(true)
    }

    async fn claim_left(&self, left: &OldCopy) -> Result<bool, backend::Error> {
        let mut transaction = self.context.db.write().await?;
        let again_at = after(unix_now(), REMOVAL);
        let claimed = relocations::claim_old_copy(&mut transaction, left, again_at).await?;
        transaction.commit().await?;
        Ok(claimed)
    }

    async fn forget_left(&self, transfer: Transfer) -> Result<(), backend::Error> {
        let mut transaction = self.context.db.write().await?;
        transfers::remove(&mut transaction, transfer.id).await?;
        transaction.commit().await
    }
}

fn copy_file(from: &mut File, path: &Path) -> Result<(), backend::Error> {
    let copied =
        OpenOptions::new().write(true).open(path).and_then(|mut to| io::copy(from, &mut to));
    copied.map(|_bytes| ()).map_err(|error| backend::Error::file(path, error))
}
