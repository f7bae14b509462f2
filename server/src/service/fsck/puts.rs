//! Puts in parts that nobody goes on with: they take room in a bucket that no listing of objects shows.
//!
//! A transfer writes down what it has begun, and its next try ends it. What is left is what was begun just
//! before a process was killed, or by a transfer that is gone.

use super::objects::is_older;
use super::{FindingKind, Fsck};
use crate::backend::blobs::{MultipartUpload, StoreName, UnfinishedUpload};
use crate::backend::db::multipart_uploads;
use crate::backend::{BlobId, Error};

impl Fsck<'_> {
    /// Checks that each put in parts of all stores is some transfer's, or young.
    pub(super) async fn check_puts(&mut self) -> Result<(), Error> {
        let names: Vec<StoreName> = self.context.stores.names().collect();
        for name in names {
            self.check_puts_to(name).await?;
        }
        Ok(())
    }

    async fn check_puts_to(&mut self, name: StoreName) -> Result<(), Error> {
        let mut last = None;
        loop {
            let page = self.context.stores.list_multipart(name, last.as_ref()).await?;
            let Some(until) = page.last() else { return Ok(()) };
            last = Some(until.put.clone());
            for unfinished in page {
                // Somebody else's, when the key is none of ours.
                let blob = self.context.stores.blob_of(name, &unfinished.put.key);
                if let Some(blob) = blob
                    && self.is_stray_put(&unfinished).await?
                {
                    self.report_put(&unfinished.put, blob).await?;
                }
            }
        }
    }

    async fn is_stray_put(&self, unfinished: &UnfinishedUpload) -> Result<bool, Error> {
        if !is_older(unfinished.begun_at, self.options.grace_of_parts) {
            return Ok(false);
        }
        let (mut db, put) = (self.context.db.read().await?, &unfinished.put);
        Ok(!multipart_uploads::is_known(&mut db, put.store, &put.id).await?)
    }

    async fn report_put(&mut self, put: &MultipartUpload, blob: BlobId) -> Result<(), Error> {
        if self.mends() {
            self.context.stores.abort_multipart(put).await?;
        }
        let words =
            format!("parts that were sent of it to the store {} wait for nobody", put.store);
        self.mended(FindingKind::StrayParts, format!("blob {blob}"), words, "they are removed");
        Ok(())
    }
}
