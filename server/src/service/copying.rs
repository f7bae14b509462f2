//! Copying: a staged blob gets a verified copy in every store of the policy.
//!
//! Each copy is written down as soon as it is verified, so a try after a failure makes only those that
//! are missing. Whoever moves the blob drops its staged bytes only after all of them are there.

use std::path::Path;

use super::contents::Contents;
use crate::backend::blobs::{StoreName, StoredCopy};
use crate::backend::db::{self, copies};
use crate::backend::{BlobId, Error, unix_now};

/// Makes the copies of a blob of `size` bytes that the policy wants and that are not there yet.
pub(super) async fn copy_to_stores(
    contents: &Contents,
    blob: BlobId,
    size: u64,
) -> Result<(), Error> {
    let there = copies::of_blob(&mut *contents.db.read().await?, blob).await?;
    let file = contents.staging.path(blob);
    for name in contents.stores.policy() {
        if there.iter().all(|copy| copy.store != *name) {
            copy_to_store(contents, *name, (blob, size), &file).await?;
        }
    }
    Ok(())
}

async fn copy_to_store(
    contents: &Contents,
    name: StoreName,
    (blob, size): (BlobId, u64),
    file: &Path,
) -> Result<(), Error> {
    let copy = contents.stores.put(name, blob, file.to_owned()).await?;
    if copy.size != size {
        return Err(Error::Damaged { what: "size of a staged blob" });
    }
    db::rerun(|| async {
        let mut transaction = contents.db.write().await?;
        copies::put(&mut transaction, &copy, unix_now()).await?;
        transaction.commit().await
    })
    .await
}

/// Removes a blob's copies from all stores, and what is known of them; the blob is condemned.
pub(super) async fn remove_from_stores(contents: &Contents, blob: BlobId) -> Result<(), Error> {
    let there = copies::of_blob(&mut *contents.db.read().await?, blob).await?;
    contents.stores.remove_everywhere(blob, &there).await?;
    if there.is_empty() { Ok(()) } else { strike_out(contents, &there).await }
}

async fn strike_out(contents: &Contents, gone: &[StoredCopy]) -> Result<(), Error> {
    let strike_out = || async {
        let mut transaction = contents.db.write().await?;
        for copy in gone {
            copies::remove(&mut transaction, copy.blob, copy.store).await?;
        }
        transaction.commit().await
    };
    db::rerun(strike_out).await
}
