//! Relocations: transfers that move blobs from one store to another, by the queue that all hosts share.
//!
//! They are rows of the outbox that name both stores. A blob has one at a time. One that has moved rests until
//! nobody reads the old object any more; then one process claims its removal.

use super::columns::blob_from_column;
use super::transfers::{Route, Transfer, TransferState, transfer_of};
use super::{Connection, Row, query};
use crate::backend::blobs::{StoreName, StoredCopy, UnknownStore};
use crate::backend::{BlobId, Error, TransferId};

/// The copy of a moved blob that is left in its former store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OldCopy {
    /// The transfer that moved it, with its route.
    pub transfer: Transfer,
    /// The key of the object that is left.
    pub key: String,
    /// Time from which it may be removed, in seconds since 1970; another value once it is claimed.
    pub at: i64,
}

/// Some copies in a store that may be moved, as blobs with their sizes in bytes: the blobs are used,
/// staged nowhere, and no transfer moves them.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn movable(
    db: &mut Connection,
    from: StoreName,
    limit: u32,
) -> Result<Vec<(BlobId, u64)>, Error> {
    let rows = query(
        "SELECT c.blob_id, c.size FROM copies c JOIN blobs b ON b.id = c.blob_id
         WHERE c.place = ? AND b.place = 'stored' AND b.state = 0 AND NOT EXISTS (
             SELECT 1 FROM transfers t WHERE t.blob_id = c.blob_id) ORDER BY c.blob_id LIMIT ?",
    )
    .bind(from.as_str())
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    let movable = |row: &Row| {
        let size: i64 = row.try_get(1)?;
        Ok((blob_from_column(row.try_get(0)?)?, size.unsigned_abs()))
    };
    rows.iter().map(movable).collect()
}

/// Inserts transfers of blobs, due at once, with this routing key.
///
/// # Errors
/// [`Error::Duplicate`] when one of them moves already, [`Error::Database`].
pub(crate) async fn insert(
    db: &mut Connection,
    blobs: &[BlobId],
    route: Route,
    (lane, now): (&str, i64),
) -> Result<(), Error> {
    for blob in blobs {
        query(
            "INSERT INTO transfers (id, blob_id, host, state, next_at, from_place, to_place)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&TransferId::of_stored(*blob).as_bytes()[..])
        .bind(&blob.as_bytes()[..])
        .bind(lane)
        .bind(TransferState::Pending.to_column())
        .bind(now)
        .bind(route.from.as_str())
        .bind(route.to.as_str())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// Marks a blob as moved by this try, its old copy to be removed at `leave_at`; `false` when another try
/// has done so.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn set_moved(
    db: &mut Connection,
    transfer: Transfer,
    old: &StoredCopy,
    leave_at: i64,
) -> Result<bool, Error> {
    let updated = query(
        "UPDATE transfers SET state = ?, from_key = ?, next_at = ?
         WHERE id = ? AND attempts = ? AND state IN (?, ?)",
    )
    .bind(TransferState::Moved.to_column())
    .bind(old.key.as_str())
    .bind(leave_at)
    .bind(&transfer.id.as_bytes()[..])
    .bind(i64::from(transfer.attempts))
    .bind(TransferState::Pending.to_column())
    .bind(TransferState::Published.to_column())
    .execute(db)
    .await?;
    Ok(updated == 1)
}

/// An old copy of a moved blob that may be removed by now, of the transfers with this routing key.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn next_old_copy(
    db: &mut Connection,
    lane: &str,
    now: i64,
) -> Result<Option<OldCopy>, Error> {
    let row = query(
        "SELECT id, blob_id, attempts, from_place, to_place, from_key, next_at FROM transfers
         WHERE state = ? AND next_at <= ? AND host = ? ORDER BY next_at LIMIT 1",
    )
    .bind(TransferState::Moved.to_column())
    .bind(now)
    .bind(lane)
    .fetch_optional(db)
    .await?;
    let old_copy = |row: Row| {
        let (transfer, at) = (transfer_of(&row)?, row.try_get("next_at")?);
        Ok(OldCopy { transfer, key: row.try_get("from_key")?, at })
    };
    row.map(old_copy).transpose()
}

/// Claims the removal of an old copy for this process until `again_at`; `false` when another has.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn claim_old_copy(
    db: &mut Connection,
    old: &OldCopy,
    again_at: i64,
) -> Result<bool, Error> {
    let updated =
        query("UPDATE transfers SET next_at = ? WHERE id = ? AND state = ? AND next_at = ?")
            .bind(again_at)
            .bind(&old.transfer.id.as_bytes()[..])
            .bind(TransferState::Moved.to_column())
            .bind(old.at)
            .execute(db)
            .await?;
    Ok(updated == 1)
}

/// Makes the dead transfers on this route due again.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn revive(db: &mut Connection, route: Route, now: i64) -> Result<(), Error> {
    query(
        "UPDATE transfers SET state = ?, attempts = 0, next_at = ?
         WHERE state = ? AND from_place = ? AND to_place = ?",
    )
    .bind(TransferState::Pending.to_column())
    .bind(now)
    .bind(TransferState::Dead.to_column())
    .bind(route.from.as_str())
    .bind(route.to.as_str())
    .execute(db)
    .await?;
    Ok(())
}

/// Number of transfers in each state on each route.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn counts(db: &mut Connection) -> Result<Vec<(Route, TransferState, u64)>, Error> {
    let rows = query(
        "SELECT from_place, to_place, state, COUNT(*) FROM transfers
         WHERE from_place IS NOT NULL GROUP BY from_place, to_place, state",
    )
    .fetch_all(db)
    .await?;
    let damaged = |error: UnknownStore| Error::damaged("route of a transfer", error);
    let count = |row: &Row| {
        let (from, to): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let route =
            Route { from: from.parse().map_err(damaged)?, to: to.parse().map_err(damaged)? };
        let state = TransferState::from_column(row.try_get(2)?)?;
        Ok((route, state, row.try_get::<i64, _>(3)?.unsigned_abs()))
    };
    rows.iter().map(count).collect()
}

/// Number and bytes of the copies that a store has.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn copies_in(db: &mut Connection, store: StoreName) -> Result<(u64, u64), Error> {
    let row = query(
        "SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS SIGNED) FROM copies WHERE place = ?",
    )
    .bind(store.as_str())
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok((0, 0)) };
    let number = |column| Ok::<_, Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
    Ok((number(0)?, number(1)?))
}

/// Why the last transfer on this route that failed for good did so.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn any_error(db: &mut Connection, route: Route) -> Result<Option<String>, Error> {
    let row = query(
        "SELECT error FROM transfers WHERE state = ? AND from_place = ? AND to_place = ? LIMIT 1",
    )
    .bind(TransferState::Dead.to_column())
    .bind(route.from.as_str())
    .bind(route.to.as_str())
    .fetch_optional(db)
    .await?;
    row.map_or(Ok(None), |row| row.try_get(0))
}
