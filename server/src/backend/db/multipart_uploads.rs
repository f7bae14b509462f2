//! Multipart uploads of transfers, recorded in the rows of the outbox: at most one of each transfer.

use super::{Connection, query};
use crate::backend::blobs::{MultipartUpload, StoreName};
use crate::backend::{Error, TransferId};

/// Records the multipart upload of a transfer, in place of a former one.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn record(
    db: &mut Connection,
    transfer: TransferId,
    put: &MultipartUpload,
) -> Result<(), Error> {
    query("UPDATE transfers SET put_place = ?, put_key = ?, put_id = ? WHERE id = ?")
        .bind(put.store.as_str())
        .bind(put.key.as_str())
        .bind(put.id.as_str())
        .bind(&transfer.as_bytes()[..])
        .execute(db)
        .await?;
    Ok(())
}

/// Clears the record, once the upload of a transfer is completed or aborted.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn clear(db: &mut Connection, transfer: TransferId) -> Result<(), Error> {
    query("UPDATE transfers SET put_place = NULL, put_key = NULL, put_id = NULL WHERE id = ?")
        .bind(&transfer.as_bytes()[..])
        .execute(db)
        .await?;
    Ok(())
}

/// The multipart upload of a transfer, if one is recorded.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn of_transfer(
    db: &mut Connection,
    transfer: TransferId,
) -> Result<Option<MultipartUpload>, Error> {
    let row = query(
        "SELECT put_place, put_key, put_id FROM transfers WHERE id = ? AND put_id IS NOT NULL",
    )
    .bind(&transfer.as_bytes()[..])
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let place: String = row.try_get(0)?;
    let store = place.parse().map_err(|error| Error::damaged("put of a transfer", error))?;
    Ok(Some(MultipartUpload { store, key: row.try_get(1)?, id: row.try_get(2)? }))
}

/// True if any transfer has recorded a multipart upload with this id.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn is_known(
    db: &mut Connection,
    store: StoreName,
    id: &str,
) -> Result<bool, Error> {
    let row = query("SELECT 1 FROM transfers WHERE put_place = ? AND put_id = ? LIMIT 1")
        .bind(store.as_str())
        .bind(id)
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}
