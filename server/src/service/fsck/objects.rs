//! Bytes that belong to nothing: on the staging disk, and in the store.
//!
//! What is young is left alone, since an upload may be about to use it. A blob's id is never used again, so
//! what belongs to nothing after two looks never will.

use std::time::Duration;

use futures::stream::StreamExt as _;
use miaofs::protocol::ids::UploadId;

use super::copies::BlobBytes;
use super::{FindingKind, Fsck, Manifests, PAGE, PAUSE};
use crate::backend::blobs::StoreName;
use crate::backend::db::audit::contents as audit;
use crate::backend::db::blobs::{self, Blob, Location};
use crate::backend::db::{Connection, copies};
use crate::backend::{BlobId, Error, even_for, unix_now};

impl Fsck<'_> {
    /// Checks the blobs on the staging disk of this host.
    pub(super) async fn check_staging(&mut self) -> Result<(), Error> {
        let mut found = self.context.staging.list();
        let mut suspects = Vec::new();
        while let Some(staged) = found.recv().await {
            let staged = staged?;
            self.report.checked.objects += 1;
            if self.is_old(staged.changed_at) && self.is_stray_staged(staged.blob).await? {
                suspects.push((staged.blob, staged.size));
            }
            if suspects.len() >= PAGE as usize {
                self.report_staged(std::mem::take(&mut suspects)).await?;
            }
        }
        self.report_staged(suspects).await
    }

    async fn report_staged(&mut self, suspects: Vec<(BlobId, u64)>) -> Result<(), Error> {
        if !suspects.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
        for (blob, size) in suspects {
            if !self.is_stray_staged(blob).await? {
                continue;
            }
            let words = format!("{size} staged bytes belong to nothing");
            if self.removes(FindingKind::StrayStaged, blob, words) {
                self.context.staging.remove(blob).await?;
            }
        }
        self.progress();
        Ok(())
    }

    /// Reports bytes that belong to nothing; answers whether they are to be removed. They are not as long
    /// as a content's manifest cannot be read, which may name them.
    fn removes(&mut self, kind: FindingKind, blob: BlobId, words: String) -> bool {
        let subject = format!("blob {blob}");
        match self.manifests {
            Manifests::SomeDamaged => self.left(kind, subject, words, vec![]),
            Manifests::AllRead => self.mended(kind, subject, words, "they are removed"),
        }
        self.mends() && self.manifests == Manifests::AllRead
    }

    /// True if staged bytes are neither an upload's nor a blob's that is still staged. The upload is
    /// looked for first: at its end its blob is known before it is forgotten.
    async fn is_stray_staged(&mut self, blob: BlobId) -> Result<bool, Error> {
        let context = self.context.clone();
        if context.staging.has_sidecar(UploadId::from_bytes(*blob.as_bytes())).await? {
            return Ok(false);
        }
        let mut db = context.db.read().await?;
        let Some(used) = audit::blob_use(&mut db, blob).await? else {
            return Ok(audit::contents_on(&mut db, blob, None, 1).await?.is_empty());
        };
        let row = row_of(&mut db, blob).await?;
        drop(db);
        let Some(row) = row.filter(|row| row.location == Location::Store && used.transfers == 0)
        else {
            return Ok(false);
        };
        // It was moved and is left over, if the bytes in the stores are all there.
        Ok(self.look_at_bytes(blob, &row).await? == BlobBytes::Right)
    }

    /// Checks the objects of all stores.
    pub(super) async fn check_stores(&mut self) -> Result<(), Error> {
        let names: Vec<StoreName> = self.context.stores.names().collect();
        for name in names {
            self.check_store(name).await?;
        }
        Ok(())
    }

    async fn check_store(&mut self, name: StoreName) -> Result<(), Error> {
        let mut found = self.context.stores.list(name)?;
        let mut suspects = Vec::new();
        while let Some(object) = found.next().await {
            let object = object?;
            // Somebody else's, when the key is none of ours.
            let Some(blob) = self.context.stores.blob_of(name, &object.key) else { continue };
            self.report.checked.objects += 1;
            if self.is_old(object.changed_at) && self.is_stray_object(name, blob).await? {
                suspects.push((blob, object.size));
            }
            if suspects.len() >= PAGE as usize {
                self.report_objects(name, std::mem::take(&mut suspects)).await?;
            }
        }
        self.report_objects(name, suspects).await
    }

    async fn report_objects(
        &mut self,
        name: StoreName,
        suspects: Vec<(BlobId, u64)>,
    ) -> Result<(), Error> {
        if !suspects.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
        for (blob, size) in suspects {
            if !self.is_stray_object(name, blob).await? {
                continue;
            }
            let Some(found) = self.context.stores.head(name, blob).await? else { continue };
            let words = format!("{size} bytes in the store {name} belong to nothing");
            if self.removes(FindingKind::StrayObject, blob, words) {
                self.context.stores.remove(name, &found.key).await?;
            }
        }
        self.progress();
        Ok(())
    }

    /// True if an object is of no blob, or of one that is in stores, but by the tables not in this one.
    async fn is_stray_object(&mut self, name: StoreName, blob: BlobId) -> Result<bool, Error> {
        let context = self.context.clone();
        let mut db = context.db.read().await?;
        if audit::blob_use(&mut db, blob).await?.is_none() {
            return Ok(audit::contents_on(&mut db, blob, None, 1).await?.is_empty());
        }
        // What is staged may be on its way here, and what is condemned is collected.
        let row = row_of(&mut db, blob).await?.filter(|row| row.location == Location::Store);
        let Some(row) = row else { return Ok(false) };
        let copies = match copies::of_blob(&mut db, blob).await {
            Err(Error::Damaged { .. }) => return Ok(false),
            copies => copies?,
        };
        drop(db);
        if copies.iter().any(|copy| copy.store == name) {
            return Ok(false);
        }
        // It may be all that is left of the blob, unless its copies are right.
        Ok(self.look_at_bytes(blob, &row).await? == BlobBytes::Right)
    }

    fn is_old(&self, changed_at: i64) -> bool {
        is_older(changed_at, self.options.grace)
    }
}

/// True if a time in seconds since 1970 is so long ago, by a clock that has not jumped since.
pub(super) fn is_older(time: i64, than: Duration) -> bool {
    let seconds = i64::try_from(than.as_secs()).unwrap_or(i64::MAX);
    even_for() >= than && time <= unix_now().saturating_sub(seconds)
}

/// A blob that contents stand on; `None` too when its row cannot be read, which is a finding.
async fn row_of(db: &mut Connection, blob: BlobId) -> Result<Option<Blob>, Error> {
    match blobs::get(db, blob).await {
        Err(Error::Damaged { .. }) => Ok(None),
        row => row,
    }
}
