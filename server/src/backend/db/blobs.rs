//! Blobs: the stored objects that contents are made of, and where they are.

use std::collections::HashMap;

use miaofs::protocol::host::HostName;

use super::columns::{blob_from_column, size_to_column};
use super::{Connection, Lock, ROWS_A_STATEMENT, query};
use crate::backend::blobs::fanned_key;
use crate::backend::{BlobId, Error};

/// Location of the bytes of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    /// On the staging disk of the host that received it.
    Staging,
    /// In the stores that [`copies`](super::copies) name.
    Store,
}

impl Location {
    const fn to_column(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Store => "stored",
        }
    }

    fn from_column(text: &str) -> Result<Self, Error> {
        match text {
            "staging" => Ok(Self::Staging),
            "stored" => Ok(Self::Store),
            _ => Err(Error::damaged("place of a blob", format!("unknown word {text:?}"))),
        }
    }
}

/// Seconds that a process has to delete the blobs that it has claimed.
pub(crate) const DELETION_LEASE: i64 = 60;
const LIVE: i64 = 0;
const MARKED_FOR_DELETION: i64 = 1;

/// A blob as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Size in bytes.
    pub size: u64,
    /// Location of its bytes.
    pub location: Location,
    /// The host that received it.
    pub host: HostName,
}

/// Inserts a blob that was received on `host`.
///
/// # Errors
/// [`Error::Duplicate`], [`Error::Database`].
pub(crate) async fn insert(
    db: &mut Connection,
    id: BlobId,
    size: u64,
    host: &str,
    now: i64,
) -> Result<(), Error> {
    query(
        "INSERT INTO blobs (id, size, place, host, `key`, state, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&id.as_bytes()[..])
    .bind(size_to_column(size))
    .bind(Location::Staging.to_column())
    .bind(host)
    .bind(fanned_key(id))
    .bind(LIVE)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// A blob by its id; `None` when there is none, or it is marked for deletion.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn get(db: &mut Connection, id: BlobId) -> Result<Option<Blob>, Error> {
    Ok(get_many(db, &[id]).await?.remove(&id))
}

/// Those of many blobs that are there, as by [`get`].
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn get_many(
    db: &mut Connection,
    ids: &[BlobId],
) -> Result<HashMap<BlobId, Blob>, Error> {
    let mut blobs = HashMap::new();
    for some in ids.chunks(ROWS_A_STATEMENT) {
        let mut select = query("SELECT id, size, place, host FROM blobs WHERE state = ");
        select.push_bind(LIVE).push(" AND id IN ");
        select.push_list(some.iter().map(|id| &id.as_bytes()[..]));
        for row in select.fetch_all(&mut *db).await? {
            let size: i64 = row.try_get(1)?;
            let host: &str = row.try_get(3)?;
            let blob = Blob {
                size: size.cast_unsigned(),
                location: Location::from_column(row.try_get(2)?)?,
                host: host.parse().map_err(|error| Error::damaged("host of a blob", error))?,
            };
            blobs.insert(blob_from_column(row.try_get(0)?)?, blob);
        }
    }
    Ok(blobs)
}

/// True if contents use a blob, or will once a change that is under way is committed: it waits for
/// that one.
///
/// # Errors
/// [`Error::Database`], [`Error::SerializationFailure`].
pub(crate) async fn is_needed(db: &mut Connection, id: BlobId) -> Result<bool, Error> {
    let row = query("SELECT 1 FROM blobs WHERE id = ? AND state = ?")
        .bind(&id.as_bytes()[..])
        .bind(LIVE)
        .lock(Lock::Exclusive)
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}

/// Sets the location of a blob to the stores, whose copies are known. False when no content uses it
/// any more.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn set_stored(db: &mut Connection, id: BlobId) -> Result<bool, Error> {
    query("UPDATE blobs SET place = ? WHERE id = ? AND state = ?")
        .bind(Location::Store.to_column())
        .bind(&id.as_bytes()[..])
        .bind(LIVE)
        .execute(&mut *db)
        .await?;
    Ok(get(db, id).await?.is_some())
}

/// Marks those of `blobs` for deletion that no content uses; then none ever will.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn mark_unused_for_deletion(
    db: &mut Connection,
    blobs: &[BlobId],
) -> Result<(), Error> {
    lock(db, blobs).await?;
    for blob in blobs {
        query(
            "UPDATE blobs SET state = ? WHERE id = ? AND NOT EXISTS (
                 SELECT 1 FROM file_blobs WHERE blob_id = blobs.id)",
        )
        .bind(MARKED_FOR_DELETION)
        .bind(&blob.as_bytes()[..])
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// Two that each remove the other's last content but one would both see one left, so they take turns.
async fn lock(db: &mut Connection, blobs: &[BlobId]) -> Result<(), Error> {
    if db.is_alone() {
        return Ok(());
    }
    let mut sorted = blobs.to_vec();
    sorted.sort_unstable();
    for some in sorted.chunks(ROWS_A_STATEMENT) {
        let mut select = query("SELECT id FROM blobs WHERE id IN ");
        select.push_list(some.iter().map(|blob| &blob.as_bytes()[..])).push(" ORDER BY id");
        select.lock(Lock::Exclusive).fetch_all(&mut *db).await?;
    }
    Ok(())
}

/// Leases the deletion of some marked blobs to this process, until [`DELETION_LEASE`] seconds after `now`; then
/// another process deletes what is left. Returns the blobs with their sizes in bytes, without those that
/// another host than this one has still to drop from its staging disk.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn claim_deletions(
    db: &mut Connection,
    host: &HostName,
    now: i64,
    limit: u32,
) -> Result<Vec<(BlobId, u64)>, Error> {
    let leased_until = now.saturating_add(DELETION_LEASE);
    // One that is claimed for longer was claimed by a clock that was ahead.
    let latest = leased_until.saturating_add(DELETION_LEASE);
    let rows = query(
        "SELECT id, size FROM blobs WHERE state = ?
         AND (remove_at IS NULL OR remove_at <= ? OR remove_at > ?) AND (place <> ? OR host = ?) AND NOT EXISTS (
             SELECT 1 FROM transfers WHERE blob_id = blobs.id AND host <> ?) LIMIT ?",
    )
    .bind(MARKED_FOR_DELETION)
    .bind(now)
    .bind(latest)
    .bind(Location::Staging.to_column())
    .bind(host.as_str())
    .bind(host.as_str())
    .bind(i64::from(limit))
    .fetch_all(&mut *db)
    .await?;
    let mut claimed = Vec::new();
    for row in &rows {
        let blob = blob_from_column(row.try_get(0)?)?;
        // Another process may have seen the same row and been faster.
        let claims = query(
            "UPDATE blobs SET remove_at = ?
             WHERE id = ? AND state = ?
             AND (remove_at IS NULL OR remove_at <= ? OR remove_at > ?)",
        )
        .bind(leased_until)
        .bind(&blob.as_bytes()[..])
        .bind(MARKED_FOR_DELETION)
        .bind(now)
        .bind(latest);
        if claims.execute(&mut *db).await? > 0 {
            claimed.push((blob, row.try_get::<i64, _>(1)?.cast_unsigned()));
        }
    }
    Ok(claimed)
}

/// Removes the rows of a blob whose bytes are deleted, of its copies and of its transfer.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove(db: &mut Connection, id: BlobId) -> Result<(), Error> {
    for statement in [
        "DELETE FROM blobs WHERE id = ?",
        "DELETE FROM copies WHERE blob_id = ?",
        "DELETE FROM transfers WHERE id = ?",
    ] {
        query(statement).bind(&id.as_bytes()[..]).execute(&mut *db).await?;
    }
    Ok(())
}
