//! Copies: in which stores the bytes of a blob are, each verified when it was written here.

use std::collections::HashMap;

use super::columns::{blob_from_column, size_to_column};
use super::{Connection, ROWS_A_STATEMENT, Row, query};
use crate::backend::blobs::{StoreName, StoredCopy};
use crate::backend::{BlobId, Error};

/// Keeps that a copy is there, in place of what was known of the same blob and store.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn put(db: &mut Connection, copy: &StoredCopy, now: i64) -> Result<(), Error> {
    remove(db, copy.blob, copy.store).await?;
    query(
        "INSERT INTO copies (blob_id, place, object_key, size, etag, created_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&copy.blob.as_bytes()[..])
    .bind(copy.store.as_str())
    .bind(copy.key.as_str())
    .bind(size_to_column(copy.size))
    .bind(copy.etag.as_deref())
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// The copies of one blob, in no order.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn of_blob(db: &mut Connection, blob: BlobId) -> Result<Vec<StoredCopy>, Error> {
    Ok(of_blobs(db, &[blob]).await?.remove(&blob).unwrap_or_default())
}

/// The copies of many blobs.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn of_blobs(
    db: &mut Connection,
    blobs: &[BlobId],
) -> Result<HashMap<BlobId, Vec<StoredCopy>>, Error> {
    let mut copies: HashMap<BlobId, Vec<StoredCopy>> = HashMap::new();
    for some in blobs.chunks(ROWS_A_STATEMENT) {
        let mut look =
            query("SELECT blob_id, place, object_key, size, etag FROM copies WHERE blob_id IN ");
        look.push_list(some.iter().map(|blob| &blob.as_bytes()[..]));
        for row in look.fetch_all(&mut *db).await? {
            let copy = copy_of(&row)?;
            copies.entry(copy.blob).or_default().push(copy);
        }
    }
    Ok(copies)
}

/// Forgets a copy.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove(
    db: &mut Connection,
    blob: BlobId,
    store: StoreName,
) -> Result<(), Error> {
    query("DELETE FROM copies WHERE blob_id = ? AND place = ?")
        .bind(&blob.as_bytes()[..])
        .bind(store.as_str())
        .execute(db)
        .await?;
    Ok(())
}

fn copy_of(row: &Row) -> Result<StoredCopy, Error> {
    let place: String = row.try_get("place")?;
    let store = place.parse().map_err(|error| Error::damaged("place of a copy", error))?;
    Ok(StoredCopy {
        blob: blob_from_column(row.try_get("blob_id")?)?,
        store,
        key: row.try_get("object_key")?,
        size: row.try_get::<i64, _>("size")?.cast_unsigned(),
        etag: row.try_get("etag")?,
    })
}
