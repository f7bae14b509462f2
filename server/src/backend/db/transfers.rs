//! The outbox: blobs that have to move from a staging disk to the stores, or from store to store.
//!
//! ```text
//!            relay              worker                    finisher
//!  Pending ────────▶ Published ────────▶ Moved (place set) ────────▶ (row gone, staged bytes too)
//!     ▲                  │ failed
//!     └──────────────────┤ (later and later)
//!                        └───▶ Dead (after too many tries, until an operator revives it)
//! ```
//!
//! `next_at` is when the relay reads the row again: for one that is published, when its message
//! counts as lost. Every change names the try that it is about, so a message or a worker that comes late
//! changes nothing.

use std::str::FromStr;

use super::columns::blob_from_column;
use super::{Connection, Row, query};
use crate::backend::blobs::StoreName;
use crate::backend::{BlobId, Error, TransferId};

/// State of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TransferState {
    /// Waits for its time.
    Pending,
    /// Is in the queue or with a worker.
    Published,
    /// The blob is in the store, and staged bytes may be left.
    Moved,
    /// Failed too often.
    Dead,
}

impl TransferState {
    /// All states.
    pub(crate) const ALL: [Self; 4] = [Self::Pending, Self::Published, Self::Moved, Self::Dead];

    pub(super) const fn to_column(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Published => 1,
            Self::Moved => 2,
            Self::Dead => 3,
        }
    }

    /// The word for people and programs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Published => "published",
            Self::Moved => "moved",
            Self::Dead => "dead",
        }
    }

    pub(super) fn from_column(number: i64) -> Result<Self, Error> {
        let state = Self::ALL.into_iter().find(|state| state.to_column() == number);
        state.ok_or_else(|| {
            Error::damaged("state of a transfer", format!("unknown number {number}"))
        })
    }
}

impl FromStr for TransferState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let state = Self::ALL.into_iter().find(|state| state.as_str() == text);
        state.ok_or_else(|| format!("'{text}' is no state: pending, published, moved or dead"))
    }
}

/// One try of one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Id of the transfer.
    pub id: TransferId,
    /// The blob to be moved.
    pub blob: BlobId,
    /// Number of failed tries.
    pub attempts: u32,
    /// From which store to which; `None` from the staging disk to the stores of the policy.
    pub route: Option<Route>,
}

/// From which store to which other one a blob moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// The store that it leaves.
    pub from: StoreName,
    /// The store that it comes to.
    pub to: StoreName,
}

/// A transfer as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedTransfer {
    /// The transfer, with the number of its failed tries.
    pub transfer: Transfer,
    /// The host that has the bytes.
    pub host: String,
    /// State of the transfer.
    pub state: TransferState,
    /// Why it failed the last time.
    pub error: Option<String>,
    /// When it is looked at again, in seconds since 1970.
    pub next_at: i64,
    /// Bytes that have to move.
    pub size: u64,
}

/// Transfers of one host in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransferCount {
    /// The host that has the bytes.
    pub host: String,
    /// Their state.
    pub state: TransferState,
    /// Number of transfers.
    pub transfers: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest of their blobs came, in seconds since 1970.
    pub oldest: i64,
}

/// Inserts the transfer of a blob that `host` has staged, due at once.
///
/// # Errors
/// [`Error::Duplicate`], [`Error::Database`].
pub(crate) async fn insert(
    db: &mut Connection,
    blob: BlobId,
    host: &str,
    now: i64,
) -> Result<(), Error> {
    query("INSERT INTO transfers (id, blob_id, host, state, next_at) VALUES (?, ?, ?, ?, ?)")
        .bind(&TransferId::of_staged(blob).as_bytes()[..])
        .bind(&blob.as_bytes()[..])
        .bind(host)
        .bind(TransferState::Pending.to_column())
        .bind(now)
        .execute(db)
        .await?;
    Ok(())
}

/// True if a transfer of `host` is due: `now`, or later than the `latest` time at which one may be, which only a clock has
/// written that was ahead.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn any_due(
    db: &mut Connection,
    host: &str,
    (now, latest): (i64, i64),
) -> Result<bool, Error> {
    let row = query(
        "SELECT 1 FROM transfers WHERE state IN (?, ?) AND (next_at <= ? OR next_at > ?)
         AND host = ? LIMIT 1",
    )
    .bind(TransferState::Pending.to_column())
    .bind(TransferState::Published.to_column())
    .bind(now)
    .bind(latest)
    .bind(host)
    .fetch_optional(db)
    .await?;
    Ok(row.is_some())
}

/// Number of transfers of `host` with the queue and its workers, as far as is known.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn published(db: &mut Connection, host: &str, now: i64) -> Result<usize, Error> {
    let row = query("SELECT COUNT(*) FROM transfers WHERE state = ? AND next_at > ? AND host = ?")
        .bind(TransferState::Published.to_column())
        .bind(now)
        .bind(host)
        .fetch_optional(db)
        .await?;
    let count = row.map_or(Ok(0), |row| row.try_get::<i64, _>(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Claims transfers of `host` that are due, to be published. Unless something comes of it they are due
/// again at `lost_at`. Whoever claims at the same time gets others.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn claim_due(
    db: &mut Connection,
    host: &str,
    (now, lost_at): (i64, i64),
    limit: usize,
) -> Result<Vec<Transfer>, Error> {
    let rows = query(
        "SELECT id, blob_id, attempts, from_place, to_place, state, next_at FROM transfers
         WHERE state IN (?, ?) AND next_at <= ? AND host = ? ORDER BY next_at LIMIT ?",
    )
    .bind(TransferState::Pending.to_column())
    .bind(TransferState::Published.to_column())
    .bind(now)
    .bind(host)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(&mut *db)
    .await?;
    let mut taken = Vec::new();
    for row in &rows {
        let transfer = transfer_of(row)?;
        let updated = query(
            "UPDATE transfers SET state = ?, next_at = ?
             WHERE id = ? AND attempts = ? AND state = ? AND next_at = ?",
        )
        .bind(TransferState::Published.to_column())
        .bind(lost_at)
        .bind(&transfer.id.as_bytes()[..])
        .bind(i64::from(transfer.attempts))
        .bind(row.try_get::<i64, _>("state")?)
        .bind(row.try_get::<i64, _>("next_at")?)
        .execute(&mut *db)
        .await?;
        if updated == 1 {
            taken.push(transfer);
        }
    }
    Ok(taken)
}

/// Makes the transfers of `host` in this state due now that would be later than `after`: since the queue that held their
/// messages was lost, or the clock was ahead.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn bring_forward(
    db: &mut Connection,
    host: &str,
    (state, after): (TransferState, i64),
    now: i64,
) -> Result<(), Error> {
    query("UPDATE transfers SET next_at = ? WHERE host = ? AND state = ? AND next_at > ?")
        .bind(now)
        .bind(host)
        .bind(state.to_column())
        .bind(after)
        .execute(db)
        .await?;
    Ok(())
}

/// Sets the time at which this try of a transfer is due again, unless something comes of it before.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn reschedule(
    db: &mut Connection,
    transfer: Transfer,
    at: i64,
) -> Result<(), Error> {
    query("UPDATE transfers SET next_at = ? WHERE id = ? AND attempts = ? AND state = ?")
        .bind(at)
        .bind(&transfer.id.as_bytes()[..])
        .bind(i64::from(transfer.attempts))
        .bind(TransferState::Published.to_column())
        .execute(db)
        .await?;
    Ok(())
}

/// The transfer that a message is about; `None` when that try of it is over.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn current(
    db: &mut Connection,
    id: TransferId,
    attempts: u32,
) -> Result<Option<Transfer>, Error> {
    let row = query(
        "SELECT id, blob_id, attempts, from_place, to_place FROM transfers
         WHERE id = ? AND attempts = ? AND state IN (?, ?)",
    )
    .bind(&id.as_bytes()[..])
    .bind(i64::from(attempts))
    .bind(TransferState::Pending.to_column())
    .bind(TransferState::Published.to_column())
    .fetch_optional(db)
    .await?;
    row.as_ref().map(transfer_of).transpose()
}

/// A transfer of `host` that has moved and is not finished.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn any_moved(db: &mut Connection, host: &str) -> Result<Option<Transfer>, Error> {
    let row = query(
        "SELECT id, blob_id, attempts, from_place, to_place FROM transfers
         WHERE state = ? AND host = ? ORDER BY next_at LIMIT 1",
    )
    .bind(TransferState::Moved.to_column())
    .bind(host)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(transfer_of).transpose()
}

/// Marks a blob as moved.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn set_moved(db: &mut Connection, id: TransferId) -> Result<(), Error> {
    query("UPDATE transfers SET state = ? WHERE id = ?")
        .bind(TransferState::Moved.to_column())
        .bind(&id.as_bytes()[..])
        .execute(db)
        .await?;
    Ok(())
}

/// Records the error of this try, and the time of the next one; without a next one the transfer is dead.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn fail(
    db: &mut Connection,
    failed: Transfer,
    error: &str,
    again_at: Option<i64>,
) -> Result<(), Error> {
    let state = if again_at.is_some() { TransferState::Pending } else { TransferState::Dead };
    query(
        "UPDATE transfers SET state = ?, attempts = ?, error = ?, next_at = ?
         WHERE id = ? AND attempts = ? AND state IN (?, ?)",
    )
    .bind(state.to_column())
    .bind(i64::from(failed.attempts) + 1)
    .bind(error)
    .bind(again_at.unwrap_or(i64::MAX))
    .bind(&failed.id.as_bytes()[..])
    .bind(i64::from(failed.attempts))
    .bind(TransferState::Pending.to_column())
    .bind(TransferState::Published.to_column())
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a transfer that is done.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove(db: &mut Connection, id: TransferId) -> Result<(), Error> {
    query("DELETE FROM transfers WHERE id = ?").bind(&id.as_bytes()[..]).execute(db).await?;
    Ok(())
}

/// Removes the transfers of a blob.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_of(db: &mut Connection, blob: BlobId) -> Result<(), Error> {
    query("DELETE FROM transfers WHERE blob_id = ?").bind(&blob.as_bytes()[..]).execute(db).await?;
    Ok(())
}

/// Makes a dead transfer due again; `false` when it is not dead.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn revive(db: &mut Connection, id: TransferId, now: i64) -> Result<bool, Error> {
    let updated = query(
        "UPDATE transfers SET state = ?, attempts = 0, next_at = ? WHERE id = ? AND state = ?",
    )
    .bind(TransferState::Pending.to_column())
    .bind(now)
    .bind(&id.as_bytes()[..])
    .bind(TransferState::Dead.to_column())
    .execute(db)
    .await?;
    Ok(updated == 1)
}

/// Makes all dead transfers due again; returns their number.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn revive_all(db: &mut Connection, now: i64) -> Result<u64, Error> {
    let updated =
        query("UPDATE transfers SET state = ?, attempts = 0, next_at = ? WHERE state = ?")
            .bind(TransferState::Pending.to_column())
            .bind(now)
            .bind(TransferState::Dead.to_column())
            .execute(db)
            .await?;
    Ok(updated)
}

/// State of a transfer; `None` when there is none.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn state(
    db: &mut Connection,
    id: TransferId,
) -> Result<Option<TransferState>, Error> {
    let row = query("SELECT state FROM transfers WHERE id = ?")
        .bind(&id.as_bytes()[..])
        .fetch_optional(db)
        .await?;
    row.map(|row| TransferState::from_column(row.try_get(0)?)).transpose()
}

/// Transfers in a state, or in any, in the order of their ids after one of them.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn page(
    db: &mut Connection,
    state: Option<TransferState>,
    after: Option<TransferId>,
    limit: usize,
) -> Result<Vec<ListedTransfer>, Error> {
    let states = state.map_or((0, i64::MAX), |state| (state.to_column(), state.to_column()));
    let after = after.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
    let rows = query(
        "SELECT t.id, t.blob_id, t.attempts, t.from_place, t.to_place, t.host, t.state, t.error, t.next_at, b.size
         FROM transfers t JOIN blobs b ON b.id = t.blob_id
         WHERE t.id > ? AND t.state >= ? AND t.state <= ? ORDER BY t.id LIMIT ?",
    )
    .bind(after)
    .bind(states.0)
    .bind(states.1)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    rows.iter().map(listed).collect()
}

/// Number of transfers of each host in each state.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn counts(db: &mut Connection) -> Result<Vec<TransferCount>, Error> {
    let rows = query(
        "SELECT t.host, t.state, COUNT(*), CAST(SUM(b.size) AS SIGNED), MIN(b.created_at)
         FROM transfers t JOIN blobs b ON b.id = t.blob_id
         GROUP BY t.host, t.state ORDER BY t.host, t.state",
    )
    .fetch_all(db)
    .await?;
    let count = |row: &Row| {
        Ok(TransferCount {
            host: row.try_get(0)?,
            state: TransferState::from_column(row.try_get(1)?)?,
            transfers: row.try_get::<i64, _>(2)?.unsigned_abs(),
            bytes: row.try_get::<i64, _>(3)?.unsigned_abs(),
            oldest: row.try_get(4)?,
        })
    };
    rows.iter().map(count).collect()
}

fn listed(row: &Row) -> Result<ListedTransfer, Error> {
    Ok(ListedTransfer {
        transfer: transfer_of(row)?,
        host: row.try_get("host")?,
        state: TransferState::from_column(row.try_get("state")?)?,
        error: row.try_get("error")?,
        next_at: row.try_get("next_at")?,
        size: row.try_get::<i64, _>("size")?.unsigned_abs(),
    })
}

pub(super) fn transfer_of(row: &Row) -> Result<Transfer, Error> {
    let attempts: i64 = row.try_get("attempts")?;
    let id: &[u8] = row.try_get("id")?;
    Ok(Transfer {
        id: id.try_into().map_err(|error| Error::damaged("id of a transfer", error))?,
        blob: blob_from_column(row.try_get("blob_id")?)?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        route: route_of(row)?,
    })
}

fn route_of(row: &Row) -> Result<Option<Route>, Error> {
    let store = |column| {
        let name: Option<String> = row.try_get(column)?;
        let store = name.map(|name| name.parse()).transpose();
        store.map_err(|error| Error::damaged("route of a transfer", error))
    };
    Ok(store("from_place")?.zip(store("to_place")?).map(|(from, to)| Route { from, to }))
}
