//! The outbox: blobs that have to move from a staging disk to the store.
//!
//! ```text
//!            relay              worker                    finisher
//!  Pending ────────▶ Published ────────▶ Moved (place set) ────────▶ (row gone, staged bytes too)
//!     ▲                  │ failed
//!     └──────────────────┤ (later and later)
//!                        └───▶ Dead (after too many tries; rests until somebody looks)
//! ```

use super::blobs::blob_of;
use super::{Connection, Row, query};
use crate::backend::{BlobId, Error};

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It waits for its time.
    Pending,
    /// It is in the queue or with a worker.
    Published,
    /// The blob is in the store, and staged bytes may be left.
    Moved,
    /// It failed too often.
    Dead,
}

impl State {
    const fn to_column(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Published => 1,
            Self::Moved => 2,
            Self::Dead => 3,
        }
    }
}

/// One transfer. Its id is its blob's: a blob has one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// What has to move.
    pub blob: BlobId,
    /// How often it has failed.
    pub attempts: u32,
}

/// Writes what has to move from `host`, at once.
///
/// # Errors
/// [`Error::Duplicate`], [`Error::Database`].
pub async fn insert(db: &mut Connection, blob: BlobId, host: &str, now: i64) -> Result<(), Error> {
    query("INSERT INTO transfers (id, blob_id, host, state, next_at) VALUES (?, ?, ?, ?, ?)")
        .bind(&blob.as_bytes()[..])
        .bind(&blob.as_bytes()[..])
        .bind(host)
        .bind(State::Pending.to_column())
        .bind(now)
        .execute(db)
        .await?;
    Ok(())
}

/// Whether the time of a transfer of `host` has come.
///
/// # Errors
/// [`Error::Database`].
pub async fn any_due(db: &mut Connection, host: &str, now: i64) -> Result<bool, Error> {
    let row =
        query("SELECT 1 FROM transfers WHERE state = ? AND next_at <= ? AND host = ? LIMIT 1")
            .bind(State::Pending.to_column())
            .bind(now)
            .bind(host)
            .fetch_optional(db)
            .await?;
    Ok(row.is_some())
}

/// Transfers of `host` whose time has come, which are published from now on.
///
/// # Errors
/// [`Error::Database`].
pub async fn take_due(
    db: &mut Connection,
    host: &str,
    now: i64,
    limit: usize,
) -> Result<Vec<Transfer>, Error> {
    let rows = query(
        "SELECT blob_id, attempts FROM transfers
         WHERE state = ? AND next_at <= ? AND host = ? ORDER BY next_at LIMIT ?",
    )
    .bind(State::Pending.to_column())
    .bind(now)
    .bind(host)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(&mut *db)
    .await?;
    let mut taken = Vec::new();
    for transfer in rows.iter().map(transfer_of) {
        let transfer = transfer?;
        if publish(db, transfer.blob).await? {
            taken.push(transfer);
        }
    }
    Ok(taken)
}

/// Marks a transfer as published; `false` when another process was quicker.
async fn publish(db: &mut Connection, blob: BlobId) -> Result<bool, Error> {
    let published = query("UPDATE transfers SET state = ? WHERE id = ? AND state = ?")
        .bind(State::Published.to_column())
        .bind(&blob.as_bytes()[..])
        .bind(State::Pending.to_column())
        .execute(db)
        .await?;
    Ok(published > 0)
}

/// Lets everything of `host` that was published wait for its time again: what a queue held that is gone.
///
/// # Errors
/// [`Error::Database`].
pub async fn republish(db: &mut Connection, host: &str) -> Result<(), Error> {
    query("UPDATE transfers SET state = ? WHERE host = ? AND state = ?")
        .bind(State::Pending.to_column())
        .bind(host)
        .bind(State::Published.to_column())
        .execute(db)
        .await?;
    Ok(())
}

/// A blob of `host` that has moved and is not finished.
///
/// # Errors
/// [`Error::Database`].
pub async fn any_moved(db: &mut Connection, host: &str) -> Result<Option<BlobId>, Error> {
    let row = query(
        "SELECT blob_id FROM transfers WHERE state = ? AND host = ? ORDER BY next_at LIMIT 1",
    )
    .bind(State::Moved.to_column())
    .bind(host)
    .fetch_optional(db)
    .await?;
    row.map(|row| blob_of(row.try_get(0)?)).transpose()
}

/// Says how far a transfer is.
///
/// # Errors
/// [`Error::Database`].
pub async fn set_state(db: &mut Connection, blob: BlobId, state: State) -> Result<(), Error> {
    query("UPDATE transfers SET state = ? WHERE id = ?")
        .bind(state.to_column())
        .bind(&blob.as_bytes()[..])
        .execute(db)
        .await?;
    Ok(())
}

/// Keeps why a transfer failed, and when it is tried again: never, when it is to rest.
///
/// # Errors
/// [`Error::Database`].
pub async fn fail(
    db: &mut Connection,
    failed: Transfer,
    error: &str,
    again_at: Option<i64>,
) -> Result<(), Error> {
    let state = if again_at.is_some() { State::Pending } else { State::Dead };
    query("UPDATE transfers SET state = ?, attempts = ?, error = ?, next_at = ? WHERE id = ?")
        .bind(state.to_column())
        .bind(i64::from(failed.attempts) + 1)
        .bind(error)
        .bind(again_at.unwrap_or(i64::MAX))
        .bind(&failed.blob.as_bytes()[..])
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets a transfer that is done.
///
/// # Errors
/// [`Error::Database`].
pub async fn remove(db: &mut Connection, blob: BlobId) -> Result<(), Error> {
    query("DELETE FROM transfers WHERE id = ?").bind(&blob.as_bytes()[..]).execute(db).await?;
    Ok(())
}

/// How many transfers there are, those that rest included.
///
/// # Errors
/// [`Error::Database`].
#[cfg(test)]
pub async fn count(db: &mut Connection) -> Result<u64, Error> {
    let row = query("SELECT COUNT(*) FROM transfers").fetch_optional(db).await?;
    Ok(row.map_or(Ok(0), |row| row.try_get::<i64, _>(0))?.unsigned_abs())
}

fn transfer_of(row: &Row) -> Result<Transfer, Error> {
    let attempts: i64 = row.try_get("attempts")?;
    Ok(Transfer {
        blob: blob_of(row.try_get("blob_id")?)?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
    })
}
