//! Copying: a blob gets a verified copy in a store, and a staged one in every store of the policy.
//!
//! Each copy is written down as soon as it is verified, so a try after a failure makes only those that
//! are missing. Whoever moves the blob drops its staged bytes only after all of them are there.
//! A put in parts is written down before its first part is sent, so a try after one that was killed aborts it.

use std::path::Path;

use crate::backend::blobs::{MultipartUpload, StoreName, StoredCopy};
use crate::backend::db::transfers::Transfer;
use crate::backend::db::{self, copies, multipart_uploads};
use crate::backend::{BlobId, Error, TransferId, unix_now};
use crate::service::context::ServiceContext;

/// Makes the copies of a blob of `size` bytes that the policy wants and that are not there yet.
pub(super) async fn copy_to_stores(
    context: &ServiceContext,
    transfer: Transfer,
    size: u64,
) -> Result<(), Error> {
    let blob = transfer.blob;
    let there = copies::of_blob(&mut *context.db.read().await?, blob).await?;
    let file = context.staging.path(blob);
    for name in context.stores.policy() {
        if there.iter().all(|copy| copy.store != *name) {
            let copy = put(context, transfer, *name, (&file, size)).await?;
            write_down(context, transfer.id, &copy).await?;
        }
    }
    Ok(())
}

async fn write_down(
    context: &ServiceContext,
    transfer: TransferId,
    copy: &StoredCopy,
) -> Result<(), Error> {
    db::retry_transaction(|| async {
        let mut transaction = context.db.write().await?;
        copies::put(&mut transaction, copy, unix_now()).await?;
        multipart_uploads::clear(&mut transaction, transfer).await?;
        transaction.commit().await
    })
    .await
}

/// Makes a verified copy of a synced file of `size` bytes in a store, for a transfer.
pub(super) async fn put(
    context: &ServiceContext,
    transfer: Transfer,
    name: StoreName,
    (file, size): (&Path, u64),
) -> Result<StoredCopy, Error> {
    let begun = context.stores.begin_multipart(name, transfer.blob, size).await?;
    if let Some(put) = &begun
        && let Err(error) = db::retry_transaction(|| note(context, transfer.id, put)).await
    {
        abort(context, put).await;
        return Err(error);
    }
    let (blob, file) = (transfer.blob, file.to_owned());
    let copy = context.stores.put_multipart(name, blob, file, begun.as_ref()).await?;
    if copy.size == size {
        return Ok(copy);
    }
    let said = format!("{size} bytes sent, {} stored", copy.size);
    Err(Error::damaged("size of a staged blob", said))
}

async fn note(
    context: &ServiceContext,
    transfer: TransferId,
    put: &MultipartUpload,
) -> Result<(), Error> {
    let mut transaction = context.db.write().await?;
    multipart_uploads::record(&mut transaction, transfer, put).await?;
    transaction.commit().await
}

/// Ends what a former try of a transfer has begun to put and could not end.
pub(super) async fn abort_former(
    context: &ServiceContext,
    transfer: TransferId,
) -> Result<(), Error> {
    let former = multipart_uploads::of_transfer(&mut *context.db.read().await?, transfer).await?;
    if let Some(put) = former {
        abort(context, &put).await;
    }
    Ok(())
}

/// A store that does not answer holds nothing up here: it takes no new put either, so what is written
/// down stays.
async fn abort(context: &ServiceContext, put: &MultipartUpload) {
    if let Err(error) = context.stores.abort_multipart(put).await {
        tracing::warn!(store = %put.store, key = put.key, %error, "parts of a put are left");
    }
}

/// Removes a blob's copies from all stores, and what is known of them; the blob is condemned.
pub(crate) async fn remove_from_stores(
    context: &ServiceContext,
    blob: BlobId,
) -> Result<(), Error> {
    let there = copies::of_blob(&mut *context.db.read().await?, blob).await?;
    context.stores.remove_everywhere(blob, &there).await?;
    if there.is_empty() { Ok(()) } else { strike_out(context, &there).await }
}

async fn strike_out(context: &ServiceContext, gone: &[StoredCopy]) -> Result<(), Error> {
    let strike_out = || async {
        let mut transaction = context.db.write().await?;
        for copy in gone {
            copies::remove(&mut transaction, copy.blob, copy.store).await?;
        }
        transaction.commit().await
    };
    db::retry_transaction(strike_out).await
}
